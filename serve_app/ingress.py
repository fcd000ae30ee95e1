"""The Serve deployment that HTTP enters: wiring only. What it answers is `create_app`, over the service made here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.logs import join_serves_log
from serve_app.asgi import create_app
from serve_app.disconnects import Disconnects
from serve_app.service import Service


@serve.ingress()
class Ingress:
    """One ingress replica."""

    def __init__(self, make_service: Callable[[DeploymentHandle], Service], quotas: DeploymentHandle) -> None:
        join_serves_log()
        self._service = make_service(quotas)
        loop = asyncio.get_running_loop()
        self._chores = [loop.create_task(self._service.sweep_pictures()), loop.create_task(self._service.follow_keys())]

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = create_app(self._service, behind_serve=True)
        app.add_middleware(Disconnects)  # around all others, each of which may be told; `create_app` knows no Ray
        return app

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Applies models, aliases, keys, limits and deadlines in place."""
        self._service.configure(user_config)

    async def check_health(self) -> None:
        """Raises while nobody has said which models there are, and when a chore has ended, as none should."""
        self._service.settings()
        if any(chore.done() for chore in self._chores):
            raise RuntimeError("expired pictures are not deleted any more, or changed keys not taken")
