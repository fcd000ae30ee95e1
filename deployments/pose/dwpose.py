"""DWPose: YOLOX finds the people, then a network of 133 joints looks at each. Many people, with their hands.

The production default. Both networks run in ONNX Runtime on the CPU; what is around them (boxes, crops, coordinates) is
rtmlib's, without its sessions, which take every core, and its downloads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from rtmlib import YOLOX, RTMPose

from deployments.pose.detector import DetectorUnavailable, from_coco17
from deployments.pose.weights import WEIGHTS_FILES, weights_file
from deployments.types import Person, Point

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from config.schema import PoseEstimatorConfig

_PERSON_CLASS = 0  # of COCO's 80
_BODY, _LEFT_HAND, _RIGHT_HAND = slice(0, 17), slice(91, 112), slice(112, 133)  # of COCO-WholeBody's 133 joints
_LEAST_SCORE = 0.3  # of people and of joints, as DWPose has it
_MOST_OVERLAP = 0.45  # of two people's boxes


class DWPoseDetector:
    """The two networks; ONNX Runtime lets threads share them."""

    def __init__(self, config: PoseEstimatorConfig) -> None:
        assert config.weights is not None  # the schema sees to it
        self._max_people = config.max_people
        people, joints = WEIGHTS_FILES["dwpose"]
        self._people = _People(_session(weights_file(config.weights, people), config.threads))
        self._joints = _Joints(_session(weights_file(config.weights, joints), config.threads))

    def detect(self, picture: Image.Image) -> tuple[Person, ...]:
        pixels = np.asarray(picture)
        boxes, classes = self._people(pixels[:, :, ::-1])  # YOLOX was trained on BGR, the other on RGB
        boxes = boxes[classes == _PERSON_CLASS][: self._max_people]
        if len(boxes) == 0:  # of no box rtmlib makes one of all the picture
            return ()
        found, scores = self._joints(pixels, boxes)
        places = found / picture.size
        return tuple(_person(*each) for each in zip(places, scores, strict=True))

    def close(self) -> None:
        """Sessions free themselves."""


class _People(YOLOX):
    """The boxes of what a picture shows, clearest first within a class, and their classes."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session, self.backend = session, "onnxruntime"
        self.model_input_size = tuple(session.get_inputs()[0].shape[2:])  # height, width
        self.det_mode = "multiclass"
        self.score_thr, self.nms_thr = _LEAST_SCORE, _MOST_OVERLAP


class _Joints(RTMPose):
    """The joints in each of some boxes, in pixels of the picture, and their scores."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session, self.backend = session, "onnxruntime"
        self.model_input_size = tuple(session.get_inputs()[0].shape[:1:-1])  # width, height
        self.mean, self.std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, as ever
        self.to_openpose = False


def _session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no base in common
        raise DetectorUnavailable(f"'{file}' is not a network that ONNX Runtime can run: {error}") from error


def _person(places: NDArray[np.floating[Any]], scores: NDArray[np.floating[Any]]) -> Person:
    joints: list[Point | None] = [
        (float(x), float(y)) if score >= _LEAST_SCORE and 0 <= x < 1 and 0 <= y < 1 else None
        for (x, y), score in zip(places, scores, strict=True)
    ]
    return Person(
        body=from_coco17(joints[_BODY]),
        left_hand=_hand(joints[_LEFT_HAND]),
        right_hand=_hand(joints[_RIGHT_HAND]),
    )


def _hand(joints: list[Point | None]) -> tuple[Point | None, ...]:
    return tuple(joints) if any(joints) else ()
