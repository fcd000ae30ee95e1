"""The backend of HTTP on a cluster: models behind Serve handles, pictures in the image store, readiness from Serve."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter
from ray.serve.handle import DeploymentHandle

from config.schema import IngressConfig, IngressSettings, ModelRoute, PoseRoute
from deployments.errors import DeadlineExceeded, ModelUnavailable
from deployments.imaging.sandbox import Sandbox
from deployments.logs import without_text
from deployments.quotas import Quota
from deployments.types import ImageRequest, ImageResult, OutputFormat, PoseSource, Progress, Skeleton
from serve_app.backend import ModelState, Spending
from serve_app.dispatch import Dispatcher
from serve_app.images.keeper import Keeper
from serve_app.images.routes import create_router, link
from serve_app.images.store import ImageStore
from serve_app.images.sweeper import sweep_forever
from serve_app.live_settings import LiveSettings
from serve_app.permits import Permits
from serve_app.readiness import Readiness
from serve_app.request_log import RequestRecord
from serve_app.request_metrics import RequestMetrics

logger = logging.getLogger(__name__)

KEYS_ARE_LOOKED_AT_SECONDS = 1.0


class Service:
    """See serve_app.backend.Backend.

    Looks at the image store once when made, so that a wrong one is found at start (`Keeper.open`).

    `quotas` is a handle of deployments.quotas.Quotas.
    """

    def __init__(self, config: IngressConfig, quotas: DeploymentHandle) -> None:
        self._config = config
        self._live: LiveSettings | None = None
        self._permits = Permits(quotas)
        self._metrics = RequestMetrics()
        self._dispatcher = Dispatcher()
        self._readiness = Readiness()
        self._sandbox = Sandbox()
        self._store = ImageStore(config.images.url, config.images.least_free_bytes)
        self._keeper = Keeper(self._store, config.images.timeout_seconds)
        self._keeper.open()

    @property
    def images_router(self) -> APIRouter:
        return create_router(self._keeper, self.settings)

    @property
    def max_body_bytes(self) -> int:
        return self._config.max_body_bytes

    @property
    def body_timeout_seconds(self) -> float:
        return self._config.body_timeout_seconds

    def configure(self, user_config: dict[str, Any]) -> None:
        """Takes a new configuration, with the file of keys that it names, or raises and keeps the old one."""
        live = LiveSettings(IngressSettings.model_validate(user_config))
        if not live.current.needs_key and (self._live is None or self._live.current.needs_key):
            logger.info("No API keys are configured: whoever reaches this service may use it.")
        self._live = live

    def settings(self) -> IngressSettings:
        if self._live is None:
            raise ModelUnavailable("The ingress has no user_config: its models are required.")
        return self._live.current

    async def follow_keys(self) -> None:
        """Takes the keys of the configured file anew whenever it changes, until cancelled."""
        while True:
            await asyncio.sleep(KEYS_ARE_LOOKED_AT_SECONDS)
            if self._live is not None:
                await asyncio.to_thread(self._live.refresh)

    def permit(self, quota: Quota, pictures: int, deadline: float) -> AbstractAsyncContextManager[Spending]:
        return self._permits.permit(quota, pictures, deadline)

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
        self, pose: PoseRoute, source: PoseSource, width: int, height: int, deadline: float, caller: str
    ) -> Skeleton:
        async with self._told_if_not_ready(pose.application):
            return await self._dispatcher.draw_skeleton(pose.application, source, width, height, deadline, caller)

    async def measure(self, picture: bytes, param: str, caller: str) -> tuple[int, int]:
        return await self._sandbox.measure(picture, param, caller=caller)

    async def check_links(self) -> None:
        await self._keeper.check()

    async def keep(self, picture: bytes, output_format: OutputFormat, base_url: str, owner: str) -> str:
        expires = math.ceil(time.time()) + self._config.images.lifetime_seconds
        signer = await self._keeper.signer()
        name = await self._keeper.put(picture, output_format, expires)
        return link(signer, base_url, name, expires, owner if self.settings().private_pictures else None)

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
            return await self._readiness.of(settings)
        except Exception as error:  # of Serve and Ray, which have no nearer class in common
            logger.warning("The Serve controller does not answer:\n%s", without_text(error))
            raise ModelUnavailable("The service cannot tell the state of its models now.") from error

    def request_ended(self, record: RequestRecord) -> None:
        self._metrics.ended(record)

    async def sweep_pictures(self) -> None:
        """Deletes expired pictures from time to time, until cancelled."""
        await sweep_forever(self._store, self._config.images.sweep_seconds)
