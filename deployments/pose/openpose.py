"""CMU's OpenPose, as controlnet_aux has it: what the first ControlNets were trained with. Many people and their hands.

Not for commercial use, neither the code nor the weights, so it is not installed; whoever may use it installs it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from deployments.pose.detector import DetectorUnavailable
from deployments.pose.weights import WEIGHTS_FILES, weights_file
from deployments.types import Person, Point

if TYPE_CHECKING:
    from config.schema import PoseEstimatorConfig

_MAX_SIDE = 768  # the network sees less; what comes after it works on every pixel

logger = logging.getLogger(__name__)


class OpenPoseDetector:
    """The networks of bodies and hands; they hold no state, so threads may share them."""

    def __init__(self, config: PoseEstimatorConfig) -> None:
        assert config.weights is not None  # the schema sees to it
        try:
            import torch
            from controlnet_aux.open_pose import Body, Hand, OpenposeDetector
        except ImportError as error:
            raise DetectorUnavailable(
                f"the detector 'openpose' is not installed ({error}). Its licence forbids commercial use; where that "
                "is no hindrance: .venv/bin/python -m pip install controlnet-aux==0.0.10"
            ) from error
        logger.warning("The detector 'openpose', its code and its weights, is licensed for non-commercial use only")
        torch.set_num_threads(config.threads)
        self._max_people = config.max_people
        body, hand = (weights_file(config.weights, name) for name in WEIGHTS_FILES["openpose"])
        for file in (body, hand):
            _require_nothing_but_weights(file)
        self._openpose = OpenposeDetector(Body(body), Hand(hand))

    def detect(self, picture: Image.Image) -> tuple[Person, ...]:
        smaller = picture.copy()
        smaller.thumbnail((_MAX_SIDE, _MAX_SIDE))
        found = self._openpose.detect_poses(np.asarray(smaller), include_hand=True)
        clearest = sorted(found, key=lambda pose: pose.body.total_score, reverse=True)[: self._max_people]
        return tuple(
            Person(
                body=tuple(map(_point, pose.body.keypoints)),
                left_hand=_hand(pose.left_hand),
                right_hand=_hand(pose.right_hand),
            )
            for pose in clearest
        )

    def close(self) -> None:
        """Nothing to free."""


def _require_nothing_but_weights(file: Path) -> None:
    """Such a file is a pickle, which may hold code; controlnet_aux leaves it to torch's settings whether that runs."""
    import torch

    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds: what a damaged pickle leads to
        raise DetectorUnavailable(f"'{file}' does not hold weights alone: {error}") from error


def _point(keypoint: Any) -> Point | None:
    """Of a keypoint in fractions. One not found is None in a body, and below 0 in a hand."""
    if keypoint is None or keypoint.x < 0 or keypoint.y < 0:
        return None
    return float(keypoint.x), float(keypoint.y)


def _hand(keypoints: list[Any] | None) -> tuple[Point | None, ...]:
    joints = tuple(map(_point, keypoints or ()))
    return joints if any(joints) else ()
