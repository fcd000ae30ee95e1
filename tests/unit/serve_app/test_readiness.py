"""What Serve says of an application, in our words."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
from ray import serve
from ray.serve._private.common import ReplicaState
from ray.serve.exceptions import RayServeException
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
    ServeStatus,
)

from config.schema import IngressSettings, ModelRoute, PoseRoute
from serve_app import readiness as readiness_module
from serve_app.backend import ModelState
from serve_app.readiness import FRESH_SECONDS, Readiness, _state, states


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


def test_each_route_is_told_by_its_name_and_looked_up_by_its_application() -> None:
    status = ServeStatus(applications={"a": application("RUNNING", {"RUNNING": 1}), "stranger": application("RUNNING")})
    settings = IngressSettings(
        models=(
            ModelRoute(name="first", application="a", family="sdxl"),
            ModelRoute(name="second", application="a", family="sdxl"),
            ModelRoute(name="third", application="c", family="sdxl-pose"),
        ),
        default_model="first",
        pose=PoseRoute(model="third", application="finder"),
    )
    assert {name: state.description for name, state in states(settings, status).items()} == {
        "first": "running (1 replica)",
        "second": "running (1 replica)",
        "third": "not deployed",
        "finder": "not deployed",
    }


SETTINGS = IngressSettings(models=(ModelRoute(name="a", application="a", family="sdxl"),), default_model="a")


@pytest.mark.anyio
async def test_however_many_ask_the_controller_is_asked_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, now = [], 100.0
    release = threading.Event()

    def status() -> ServeStatus:
        asked.append(now)
        assert release.wait(30)
        return ServeStatus(applications={"a": application("RUNNING", {"RUNNING": len(asked)})})

    monkeypatch.setattr(serve, "status", status)
    readiness = Readiness(lambda: now)
    first = asyncio.create_task(readiness.of(SETTINGS))
    others = [asyncio.create_task(readiness.of(SETTINGS)) for _ in range(9)]
    await asyncio.sleep(0)
    first.cancel()  # whoever asked first is nothing special
    release.set()
    answers = await asyncio.gather(*others)
    now += 0.9 * FRESH_SECONDS
    answers.append(await readiness.of(SETTINGS))
    assert asked == [100.0]
    assert {answer["a"].description for answer in answers} == {"running (1 replica)"}
    now += 0.1 * FRESH_SECONDS
    assert (await readiness.of(SETTINGS))["a"].description == "running (2 replicas)"


@pytest.mark.anyio
async def test_who_asks_as_a_long_look_ends_takes_nothing_from_those_who_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, now = 0, 100.0

    def status() -> ServeStatus:
        nonlocal asked, now
        asked += 1
        now += 2 * FRESH_SECONDS
        return ServeStatus(applications={"a": application("RUNNING", {"RUNNING": asked})})

    monkeypatch.setattr(serve, "status", status)
    readiness = Readiness(lambda: now)
    waiting = asyncio.create_task(readiness.of(SETTINGS))
    await asyncio.sleep(0)
    look = readiness._look
    assert look is not None
    while not look.done():
        await asyncio.sleep(0)
    assert not waiting.done()
    next_one = asyncio.create_task(readiness.of(SETTINGS))
    assert (await waiting)["a"].description == "running (1 replica)"
    assert (await next_one)["a"].description == "running (2 replicas)"


@pytest.mark.anyio
@pytest.mark.usefixtures("no_garbage")
async def test_a_look_that_nobody_waits_for_may_fail_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    def status() -> ServeStatus:
        assert release.wait(30)
        raise RayServeException("otter")

    monkeypatch.setattr(serve, "status", status)
    readiness = Readiness()
    waiting = asyncio.create_task(readiness.of(SETTINGS))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    look = readiness._look
    assert look is not None
    release.set()
    await asyncio.wait([look])
    readiness._look = look = None
    gc.collect()
    assert caplog.text == ""


@pytest.mark.anyio
async def test_nobody_waits_for_a_controller_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = threading.Event()
    monkeypatch.setattr(readiness_module, "CONTROLLER_SECONDS", 0.05)
    monkeypatch.setattr(serve, "status", lambda: hangs.wait(30))
    with pytest.raises(TimeoutError):
        await Readiness().of(SETTINGS)
    hangs.set()
