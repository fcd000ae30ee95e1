"""Which models can answer now, by Serve's own word."""

from __future__ import annotations

from ray import serve
from ray.serve.schema import ApplicationStatusOverview, ServeStatus

from config.schema import IngressSettings
from serve_app.backend import ModelState


def readiness(settings: IngressSettings) -> dict[str, ModelState]:
    """The state of each model, by its name, and of the pose estimator, by its application's.

    Asks the Serve controller; blocks for some milliseconds.
    """
    status: ServeStatus = serve.status()
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
