"""What Serve says of an application, in our words."""

from __future__ import annotations

import pytest
from ray import serve
from ray.serve._private.common import ReplicaState
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ServeStatus,
)

from config.schema import IngressSettings, ModelRoute, PoseRoute
from serve_app.backend import ModelState
from serve_app.readiness import _state, readiness


def application(status: str, *deployments: dict[str, int]) -> ApplicationStatusOverview:
    """`deployments`: how many replicas each has in which state."""
    return ApplicationStatusOverview(
        status=ApplicationStatus(status),
        message="",
        last_deployed_time_s=0,
        deployments={
            str(index): DeploymentStatusOverview(
                status=DeploymentStatus.HEALTHY,
                status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
                replica_states={ReplicaState(state): number for state, number in states.items()},
                message="",
            )
            for index, states in enumerate(deployments)
        },
    )


ON_DEMAND = "scaled to zero, starts on demand"


@pytest.mark.parametrize(
    ("overview", "ready", "description"),
    [
        pytest.param(None, False, "not deployed", id="not deployed"),
        pytest.param(application("NOT_STARTED"), False, "not started", id="not started"),
        pytest.param(application("DEPLOYING"), False, "deploying", id="no deployment yet"),
        pytest.param(application("DEPLOYING", {"STARTING": 1}), False, "deploying", id="starting"),
        pytest.param(application("RUNNING", {"RUNNING": 1}), True, "running (1 replica)", id="one"),
        pytest.param(application("RUNNING", {"RUNNING": 2}), True, "running (2 replicas)", id="two"),
        pytest.param(application("RUNNING", {"RUNNING": 1, "STARTING": 3}), True, "running (1 replica)", id="scaling"),
        pytest.param(application("DEPLOYING", {"RUNNING": 1, "UPDATING": 1}), True, "running (1 replica)", id="update"),
        pytest.param(application("UNHEALTHY", {"RUNNING": 1, "STARTING": 1}), True, "running (1 replica)", id="half"),
        pytest.param(application("RUNNING", {}), True, ON_DEMAND, id="scaled to zero"),
        pytest.param(application("RUNNING", {"STARTING": 0}), True, ON_DEMAND, id="zeros are none"),
        pytest.param(application("RUNNING", {"STARTING": 1}), True, ON_DEMAND, id="leaving zero"),
        pytest.param(application("RUNNING", {"STOPPING": 1}), True, ON_DEMAND, id="going to zero"),
        pytest.param(application("UNHEALTHY", {"STARTING": 1}), False, "unhealthy", id="unhealthy"),
        pytest.param(application("UNHEALTHY", {}), False, "unhealthy", id="unhealthy without replicas"),
        pytest.param(application("DEPLOY_FAILED", {"STARTING": 1}), False, "deploy failed", id="failed"),
        pytest.param(application("DEPLOY_FAILED", {}), False, "deploy failed", id="failed without replicas"),
        pytest.param(application("DELETING", {"STOPPING": 1}), False, "deleting", id="deleting"),
        pytest.param(
            application("RUNNING", {"RUNNING": 3}, {"RUNNING": 2}), True, "running (2 replicas)", id="weakest counts"
        ),
        pytest.param(
            application("DEPLOYING", {"RUNNING": 3}, {"STARTING": 1}), False, "deploying", id="one of two is missing"
        ),
    ],
)
def test_state(overview: ApplicationStatusOverview | None, ready: bool, description: str) -> None:
    assert _state(overview) == ModelState(ready, description)


def test_each_route_is_told_by_its_name_and_looked_up_by_its_application(monkeypatch: pytest.MonkeyPatch) -> None:
    status = ServeStatus(applications={"a": application("RUNNING", {"RUNNING": 1}), "stranger": application("RUNNING")})
    monkeypatch.setattr(serve, "status", lambda: status)
    settings = IngressSettings(
        models=(
            ModelRoute(name="first", application="a", family="sdxl"),
            ModelRoute(name="second", application="a", family="sdxl"),
            ModelRoute(name="third", application="c", family="sdxl-pose"),
        ),
        default_model="first",
        pose=PoseRoute(model="third", application="finder"),
    )
    assert {name: state.description for name, state in readiness(settings).items()} == {
        "first": "running (1 replica)",
        "second": "running (1 replica)",
        "third": "not deployed",
        "finder": "not deployed",
    }
