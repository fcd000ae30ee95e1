"""The seam between HTTP and everything behind it: what `create_app` needs, and nothing more.

The ingress implements it with Ray, the tests with a few lines. Invariants: `settings` may change in place between two
requests, so a request reads it once; `generate` and `keep` raise nothing but the `EaselError` tree for what can go
wrong, and both may be cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter

from config.schema import IngressSettings, ModelRoute
from deployments.types import ImageRequest, ImageResult


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

    def settings(self) -> IngressSettings:
        """The configuration in force now."""

    async def generate(self, route: ModelRoute, request: ImageRequest) -> ImageResult:
        """Makes the picture on the application of `route`."""

    async def keep(self, result: ImageResult, base_url: str) -> str:
        """Stores the picture; its absolute signed URL under `base_url`, or `StoreUnavailable`."""

    async def readiness(self) -> Mapping[str, ModelState]:
        """The state of every configured model, by canonical name."""
