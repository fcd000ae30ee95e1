"""The Serve deployment that makes the skeleton a ControlNet reads, of whatever a request gives the pose by. On the CPU.

Invariants: a skeleton is exactly as large as was asked for; pictures are decoded in a sandbox and worked on by a few
threads, so the event loop never waits for one; nothing of a picture is logged.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from ray import serve
from ray.serve import Application

from config.schema import PoseEstimatorConfig
from deployments.errors import InvalidRequest, ModelUnavailable
from deployments.imaging.encode import encode
from deployments.imaging.places import Places
from deployments.imaging.sandbox import Sandbox
from deployments.logs import join_serves_log, nothing_but_own_errors
from deployments.pose.detector import DetectorUnavailable, PoseDetector, load_detector
from deployments.pose.skeleton import draw, fit, fit_drawing, is_recognisable
from deployments.types import PoseSource, Skeleton

if TYPE_CHECKING:
    from deployments.types import Person

logger = logging.getLogger(__name__)


class PoseEstimator:
    """One detector, and the threads that share it."""

    def __init__(self, config: PoseEstimatorConfig) -> None:
        join_serves_log()
        started_at = time.monotonic()
        self._watchdog_seconds = config.watchdog_seconds
        self._working_since: dict[int, float] = {}  # by thread
        self._wide_limbs = config.limbs == "wide"
        self._detector: PoseDetector | None = None
        try:
            self._detector = load_detector(config)
            logger.info("Loaded the pose detector %s in %.1f s", config.detector, time.monotonic() - started_at)
        except DetectorUnavailable:  # skeletons and joints need none, and no other model should be away for it
            logger.exception("There is no pose detector: photos will be refused")
        self._sandbox = Sandbox()
        self._places = Places(config.threads)
        self._threads = ThreadPoolExecutor(config.threads, thread_name_prefix="pose")

    async def draw(self, source: PoseSource, width: int, height: int, caller: str) -> Skeleton:
        """The skeleton, of width × height pixels. Raises InvalidRequest (`no_pose_found`), ImageRejected, TooLarge."""
        async with self._places.taken_by(caller):  # what waits is not decoded yet, which would take its memory
            with nothing_but_own_errors():
                picture = await self._decoded(source, caller)
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, self._draw, source, picture, width, height)

    async def check_health(self) -> None:
        """Raises when work on a picture hangs, so that Serve replaces this replica."""
        now = time.monotonic()
        longest = max((now - since for since in list(self._working_since.values())), default=0)
        if longest > self._watchdog_seconds:
            raise RuntimeError(f"a picture has been worked on for {longest:.0f} s")

    def __del__(self) -> None:
        if hasattr(self, "_threads"):
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._sandbox.close()
            if self._detector is not None:
                self._detector.close()

    async def _decoded(self, source: PoseSource, caller: str) -> Image.Image | None:
        """The picture that it holds, if any."""
        if source.drawing is not None:
            return await self._sandbox.picture(source.drawing, "pose_image", caller=caller)
        if source.photo is None:
            return None
        self._require_detector()
        return await self._sandbox.picture(source.photo, "image", caller=caller)

    def _draw(self, source: PoseSource, picture: Image.Image | None, width: int, height: int) -> Skeleton:
        with self._watched():
            if picture is not None and source.drawing is not None:
                drawing = fit_drawing(picture, width, height)
                return Skeleton(width=width, height=height, picture=encode(np.asarray(drawing), "png", 100))
            if picture is not None:
                people, canvas = self._people_in(picture), picture.size
            else:
                people, canvas = source.people, source.canvas or (width, height)
            people = fit(people, canvas, width, height)
            return Skeleton(
                width=width,
                height=height,
                picture=encode(draw(people, width, height, wide=self._wide_limbs), "png", 100),
                people=people,
            )

    def _people_in(self, photo: Image.Image) -> tuple[Person, ...]:
        people = tuple(filter(is_recognisable, self._require_detector().detect(photo.convert("RGB"))))
        if not people:
            raise InvalidRequest(
                "image: no person was found in it. Send a photo that shows somebody clearly, at least head and "
                "shoulders, or the pose itself: a skeleton picture, or joints.",
                code="no_pose_found",
                param="image",
            )
        return people

    def _require_detector(self) -> PoseDetector:
        if self._detector is None:
            raise ModelUnavailable(
                "Poses cannot be found in photos now: the service's log says why. Send the pose itself: a skeleton "
                "picture, or joints.",
                code="no_pose_detector",
                retry_after_seconds=60,
            )
        return self._detector

    @contextmanager
    def _watched(self) -> Iterator[None]:
        thread = threading.get_ident()
        self._working_since[thread] = time.monotonic()
        try:
            yield
        finally:
            del self._working_since[thread]


def build(args: dict[str, Any]) -> Application:
    """The Serve application that makes skeletons; `args` is a PoseEstimatorConfig, as the Serve config file has it."""
    deployment = serve.deployment(
        PoseEstimator,
        name="PoseEstimator",
        ray_actor_options={"num_cpus": 1, "num_gpus": 0},
        max_ongoing_requests=64,  # they wait here, by turns between callers; Serve's router knows no callers
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=60,
        max_surge_percent=100,  # as a model's
    )
    return deployment.bind(PoseEstimatorConfig.model_validate(args))
