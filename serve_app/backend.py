"""The seam between HTTP and everything behind it: what `create_app` needs, and nothing more.

The ingress implements it with Ray, the tests with a few lines. Invariants: `settings` may change in place at
any time; what can go wrong is raised as the `EaselError` tree and as nothing else, and
every call may be cancelled.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fastapi import APIRouter

from config.schema import IngressSettings, ModelRoute, PoseRoute
from deployments.quotas import Quota
from deployments.types import ImageRequest, ImageResult, OutputFormat, PoseSource, Progress, Skeleton
from serve_app.request_log import RequestRecord

Spending: TypeAlias = dict[int, float]  # what each picture of an order has taken so far, in seconds of the device


@dataclass(frozen=True, slots=True)
class ModelState:
    """Whether a request for the model would be served, and why, in a few words for a person."""

    ready: bool  # it runs, or it starts on demand
    description: str  # "running (1 replica)", "starting", "scaled to zero, starts on demand"


class Backend(Protocol):
    """Models, picture store and configuration, as HTTP sees them."""

    @property
    def images_router(self) -> APIRouter:
        """The route that serves the kept pictures."""

    @property
    def max_body_bytes(self) -> int:
        """Request bodies above it are refused."""

    @property
    def body_timeout_seconds(self) -> float:
        """Request bodies that take longer are refused; see `middleware.BodyTimeout`."""

    def settings(self) -> IngressSettings:
        """The configuration in force now."""

    def permit(self, quota: Quota, pictures: int, deadline: float) -> AbstractAsyncContextManager[Spending]:
        """What a caller with a quota needs for an order of so many pictures, until the block ends; or QuotaExceeded.

        What the block writes into the spending is charged at its end, however it ends; `deadline` (unix seconds) ends a
        permit whose block nobody lives to end.
        """

    async def generate(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        """Makes the picture on the application of `route`."""

    def stream(self, route: ModelRoute, request: ImageRequest) -> AsyncGenerator[Progress | ImageResult, None]:
        """As `generate`, telling of every step before; closing it cancels the work."""

    async def draw_skeleton(
        self, pose: PoseRoute, source: PoseSource, width: int, height: int, deadline: float, caller: str
    ) -> Skeleton:
        """The pose of `source`, drawn width × height, by turns between callers."""

    async def measure(self, picture: bytes, param: str, caller: str) -> tuple[int, int]:
        """Width and height of an uploaded picture as it is seen; `ImageRejected` or `TooLarge` name `param`."""

    async def check_links(self) -> None:
        """`StoreUnavailable` where `keep` is known to fail now: asked before a picture that is to be kept is made."""

    async def keep(self, picture: bytes, output_format: OutputFormat, base_url: str, owner: str) -> str:
        """Stores the picture; its absolute signed URL under `base_url`, or `StoreUnavailable`.

        Where pictures are private, it answers only with the key of that name.
        """

    async def readiness(self) -> Mapping[str, ModelState]:
        """The state of every configured model, by canonical name."""

    def request_ended(self, record: RequestRecord) -> None:
        """Counts a request that the log tells of, when it has ended."""
