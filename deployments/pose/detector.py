"""What finds people in a picture: one protocol, and for each way a line here and a file beside it.

Importing this module costs nothing; only a replica loads the detector that it uses.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from config.schema import DetectorName

if TYPE_CHECKING:
    from PIL import Image

    from config.schema import PoseEstimatorConfig
    from deployments.types import Person, Point

DETECTORS: dict[DetectorName, str] = {  # "module:class"
    "mediapipe": "deployments.pose.mediapipe:MediaPipeDetector",
    "dwpose": "deployments.pose.dwpose:DWPoseDetector",
    "openpose": "deployments.pose.openpose:OpenPoseDetector",
}


class DetectorUnavailable(RuntimeError):
    """A detector's packages or weights cannot be had; the message says what to do about it."""


class PoseDetector(Protocol):
    """Finds people. `detect` may be called by several threads at once."""

    def __init__(self, config: PoseEstimatorConfig) -> None:
        """Loads all that is needed. Raises DetectorUnavailable."""

    def detect(self, picture: Image.Image) -> tuple[Person, ...]:
        """The people in an RGB picture, in fractions of it, at most `config.max_people`."""

    def close(self) -> None:
        """Frees what it holds; it is not used again."""


def load_detector(config: PoseEstimatorConfig) -> PoseDetector:
    """The detector of that name, ready. Raises DetectorUnavailable."""
    module, _, name = DETECTORS[config.detector].partition(":")
    return cast("type[PoseDetector]", getattr(importlib.import_module(module), name))(config)


def from_coco17(joints: Sequence[Point | None]) -> tuple[Point | None, ...]:
    """COCO's own 17 joints, which most networks find, as the 18 of `Person.body`: the neck is between the shoulders."""
    nose, left_eye, right_eye, left_ear, right_ear, left_shoulder, right_shoulder, *limbs = joints
    left_elbow, right_elbow, left_wrist, right_wrist, *legs = limbs
    left_hip, right_hip, left_knee, right_knee, left_ankle, right_ankle = legs
    neck = None
    if left_shoulder and right_shoulder:
        neck = (left_shoulder[0] + right_shoulder[0]) / 2, (left_shoulder[1] + right_shoulder[1]) / 2
    return (
        *(nose, neck),
        *(right_shoulder, right_elbow, right_wrist, left_shoulder, left_elbow, left_wrist),
        *(right_hip, right_knee, right_ankle, left_hip, left_knee, left_ankle),
        *(right_eye, left_eye, right_ear, left_ear),
    )
