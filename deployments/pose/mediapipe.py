"""Google's BlazePose: finds mostly the one person that a picture is of, in some 30 ms on a CPU, and no hands.

The embedded default, since its networks come in a Python package (landmarker.py). mediapipe works through the calls of
a landmarker one after another, on a thread of its own, so threads may share one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from deployments.pose.detector import DetectorUnavailable, from_coco17
from deployments.pose.landmarker import landmarker_model
from deployments.types import Person, Point

if TYPE_CHECKING:
    from mediapipe.tasks.python.components.containers.landmark import NormalizedLandmark

    from config.schema import PoseEstimatorConfig

_COCO17 = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)  # where its joints are among the 33 landmarks
_LEAST_VISIBILITY = 0.3


class MediaPipeDetector:
    """One landmarker."""

    def __init__(self, config: PoseEstimatorConfig) -> None:
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision

            self._mediapipe = mediapipe
            base = BaseOptions(model_asset_path=str(landmarker_model()))
            options = vision.PoseLandmarkerOptions(base_options=base, num_poses=config.max_people)
            with _without_native_output():
                self._landmarker = vision.PoseLandmarker.create_from_options(options)
                self.detect(Image.new("RGB", (64, 64)))  # the first one is slower, and talks
        except OSError as error:
            if "libEGL" not in str(error) and "libGLES" not in str(error):
                raise
            raise DetectorUnavailable(
                f"mediapipe cannot be loaded: {error}. It needs EGL and OpenGL ES even without a GPU; "
                "on Debian and Ubuntu: apt-get install libegl1 libgles2"
            ) from error

    def detect(self, picture: Image.Image) -> tuple[Person, ...]:
        pixels = np.ascontiguousarray(picture)
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=pixels)
        found = self._landmarker.detect(image).pose_landmarks
        return tuple(Person(body=from_coco17([_point(landmarks[index]) for index in _COCO17])) for landmarks in found)

    def close(self) -> None:
        self._landmarker.close()


def _point(landmark: NormalizedLandmark) -> Point | None:
    """mediapipe guesses where the joints are that the picture does not show."""
    is_inside = 0 <= landmark.x < 1 and 0 <= landmark.y < 1
    return (landmark.x, landmark.y) if is_inside and landmark.visibility >= _LEAST_VISIBILITY else None


@contextlib.contextmanager
def _without_native_output() -> Iterator[None]:
    """mediapipe's C++ writes to stderr, whatever the logging is set to."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
