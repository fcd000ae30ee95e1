"""Which models can answer now, by Serve's own word."""

from __future__ import annotations

from collections.abc import Iterable

from ray import serve
from ray.serve.schema import ApplicationStatusOverview, ServeStatus

from config.schema import ModelRoute
from serve_app.backend import ModelState


def readiness(routes: Iterable[ModelRoute]) -> dict[str, ModelState]:
    """The state of each route's model, by its name. Asks the Serve controller; blocks for some milliseconds."""
    status: ServeStatus = serve.status()
    return {route.name: _state(status.applications.get(route.application)) for route in routes}


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
