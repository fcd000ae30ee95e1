"""The backend of HTTP on a cluster: models behind Serve handles, pictures in the image store, readiness from Serve."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter

from config.schema import IngressConfig, IngressSettings, ModelRoute, PoseRoute
from deployments.errors import DeadlineExceeded, ModelUnavailable
from deployments.imaging.sandbox import Sandbox
from deployments.types import ImageRequest, ImageResult, OutputFormat, PoseSource, Progress, Skeleton
from serve_app.backend import ModelState
from serve_app.dispatch import Dispatcher
from serve_app.images.routes import create_router, link
from serve_app.images.signing import LinkSigner
from serve_app.images.store import ImageStore
from serve_app.images.sweeper import sweep_forever
from serve_app.readiness import readiness

logger = logging.getLogger("ray.serve")


class Service:
    """See serve_app.backend.Backend. Touches the image store once when made, so that a wrong one is found at start."""

    def __init__(self, config: IngressConfig) -> None:
        self._config = config
        self._settings: IngressSettings | None = None
        self._dispatcher = Dispatcher()
        self._sandbox = Sandbox()
        self._store = ImageStore(config.images.url)
        self._store.check_writable()
        self._signer = LinkSigner(self._store.secret())

    @property
    def images_router(self) -> APIRouter:
        return create_router(self._store, self._signer)

    @property
    def max_body_bytes(self) -> int:
        return self._config.max_body_bytes

    @property
    def body_timeout_seconds(self) -> float:
        return self._config.body_timeout_seconds

    def configure(self, user_config: dict[str, Any]) -> None:
        """Takes a new configuration, or raises and keeps the old one."""
        settings = IngressSettings.model_validate(user_config)
        if not settings.keys and (self._settings is None or self._settings.keys):
            logger.info("No API keys are configured: whoever reaches this service may use it.")
        self._settings = settings

    def settings(self) -> IngressSettings:
        if self._settings is None:
            raise ModelUnavailable("The ingress has no user_config: its models are required.")
        return self._settings

    async def generate(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        async with self._told_if_not_ready(route.name):
            return await self._dispatcher.generate(route, request)

    async def stream(self, route: ModelRoute, request: ImageRequest) -> AsyncGenerator[Progress | ImageResult, None]:
        async with (
            self._told_if_not_ready(route.name),
            aclosing(self._dispatcher.stream(route, request)) as events,
        ):
            async for event in events:
                yield event

    async def draw_skeleton(
        self, pose: PoseRoute, source: PoseSource, width: int, height: int, deadline: float
    ) -> Skeleton:
        async with self._told_if_not_ready(pose.application):
            return await self._dispatcher.draw_skeleton(pose.application, source, width, height, deadline)

    async def measure(self, picture: bytes, param: str) -> tuple[int, int]:
        return await self._sandbox.measure(picture, param)

    async def keep(self, picture: bytes, output_format: OutputFormat, base_url: str) -> str:
        expires = math.ceil(time.time()) + self._config.images.lifetime_seconds
        name = await asyncio.to_thread(self._store.put, picture, output_format, expires)
        return link(self._signer, base_url, name, expires)

    @asynccontextmanager
    async def _told_if_not_ready(self, name: str) -> AsyncIterator[None]:
        """A time that ran out because an application is not there yet is not the request's fault."""
        try:
            yield
        except DeadlineExceeded:
            try:
                state = (await self.readiness()).get(name)
            except ModelUnavailable:
                state = None
            if state is None or state.ready:
                raise
            raise ModelUnavailable(f"{name} is not ready: {state.description}.", retry_after_seconds=30) from None

    async def readiness(self) -> Mapping[str, ModelState]:
        settings = self.settings()
        try:
            return await asyncio.to_thread(readiness, settings)
        except Exception as error:  # of Serve and Ray, which have no nearer class in common
            logger.warning("The Serve controller does not answer", exc_info=True)
            raise ModelUnavailable("The service cannot tell the state of its models now.") from error

    async def sweep_pictures(self) -> None:
        """Deletes expired pictures from time to time, until cancelled."""
        await sweep_forever(self._store, self._config.images.sweep_seconds)
