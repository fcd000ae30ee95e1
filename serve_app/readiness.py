"""Which models can answer now, by Serve's own word.

Invariants: however many ask, the controller is asked once a second at most; nobody waits for it longer than
CONTROLLER_SECONDS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from ray import serve
from ray.serve.schema import ApplicationStatusOverview, ServeStatus

from config.schema import IngressSettings
from serve_app.backend import ModelState
from serve_app.threads import LimitedThreads

CONTROLLER_SECONDS = 5.0
FRESH_SECONDS = 1.0


class Readiness:
    """For one event loop. `clock` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._threads = LimitedThreads(1, CONTROLLER_SECONDS, clock)
        self._look: asyncio.Task[ServeStatus] | None = None
        self._looked_at = 0.0

    async def of(self, settings: IngressSettings) -> dict[str, ModelState]:
        """The state of each model, by its name, and of the pose estimator, by its application's.

        Raises TimeoutError and what Ray and Serve do where the controller does not answer.
        """
        if self._look is None or (self._look.done() and self._clock() - self._looked_at >= FRESH_SECONDS):
            self._looked_at = self._clock()
            self._look = asyncio.create_task(self._threads.run(serve.status))
            # Else asyncio logs one that failed when nobody waited for it any more.
            self._look.add_done_callback(lambda done: done.cancelled() or done.exception())
        look = self._look  # who comes when it has just ended may begin another
        await asyncio.wait([look])  # not cancelled with whoever asked first
        return states(settings, look.result())


def states(settings: IngressSettings, status: ServeStatus) -> dict[str, ModelState]:
    """What `status` says of each, by the names of `Readiness.of`."""
    applications = {route.name: route.application for route in settings.models}
    if settings.pose:
        applications[settings.pose.application] = settings.pose.application
    return {name: _state(status.applications.get(application)) for name, application in applications.items()}


def _state(application: ApplicationStatusOverview | None) -> ModelState:
    if application is None:
        return ModelState(ready=False, description="not deployed")
    replicas = [deployment.replica_states for deployment in application.deployments.values()]
    running = min((states.get("RUNNING", 0) for states in replicas), default=0)
    if running:
        return ModelState(ready=True, description=f"running ({running} replica{'s' if running > 1 else ''})")
    if application.status == "RUNNING":  # healthy without a running replica: it scales to or from zero
        return ModelState(ready=True, description="scaled to zero, starts on demand")
    return ModelState(ready=False, description=application.status.lower().replace("_", " "))
