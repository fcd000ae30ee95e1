"""A request's way to its model, over handles that fail as Ray's do. That Ray fails so is tested in tests/serve."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    NodeDiedError,
    OwnerDiedError,
    RayTaskError,
    TaskCancelledError,
)
from ray.serve._private.common import DeploymentID
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)

from config.schema import ModelRoute
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    InvalidRequest,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ReplicaLost,
)
from deployments.types import ImageRequest, ImageResult
from serve_app.dispatch import Dispatcher

pytestmark = pytest.mark.anyio

SECONDS = 30  # for what takes milliseconds: only a hang takes longer
ROUTE = ModelRoute(name="paint", application="sdxl", family="sdxl")
OTHER = ModelRoute(name="other", application="flux", family="sdxl")
RESULT = ImageResult(
    image=b"picture",
    output_format="png",
    width=64,
    height=64,
    seed=7,
    steps=4,
    guidance_scale=5.0,
    queue_seconds=0,
    inference_seconds=0.1,
)
NEVER = object()


def request(seconds: float = SECONDS) -> ImageRequest:
    return ImageRequest(
        request_id="r", model="paint", prompt="otter", width=64, height=64, seed=7, deadline=time.time() + seconds
    )


def remote(cause: Exception) -> RayTaskError:
    """As Ray raises what a replica's method raised: of both classes."""
    error = RayTaskError("generate", "Traceback of the replica", cause, proctitle="replica", pid=1, ip="127.0.0.1")
    raised: RayTaskError = error.as_instanceof_cause()
    return raised


class Response:
    """What `.remote()` returns: awaitable, cancellable."""

    def __init__(self, outcome: object) -> None:
        self._outcome = outcome
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, ImageResult]:
        yield from asyncio.sleep(3600 if self._outcome is NEVER else 0).__await__()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        assert isinstance(self._outcome, ImageResult)
        return self._outcome

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Answers with `outcomes` in turn; its `generate` is a method with `.remote`, as a DeploymentHandle's is."""

    def __init__(self, outcomes: list[object]) -> None:
        self._outcomes = outcomes
        self.generate = self
        self.requests: list[ImageRequest] = []
        self.responses: list[Response] = []

    def remote(self, request: ImageRequest) -> Response:
        self.requests.append(request)
        self.responses.append(Response(self._outcomes.pop(0)))
        return self.responses[-1]


class Cluster:
    """Finds handles by application, and keeps count."""

    def __init__(self) -> None:
        self.outcomes: list[object] = []
        self.handles: list[Handle] = []
        self.searches: list[str] = []
        self.failures: list[Exception] = []
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[int] = set()

    def find(self, application: str) -> Handle:
        self.searches.append(application)
        self.threads.add(threading.get_ident())
        assert self.gate.wait(SECONDS)
        if self.failures:
            raise self.failures.pop(0)
        self.handles.append(Handle(self.outcomes))
        return self.handles[-1]

    @property
    def requests(self) -> list[ImageRequest]:
        return [request for handle in self.handles for request in handle.requests]

    @property
    def responses(self) -> list[Response]:
        return [response for handle in self.handles for response in handle.responses]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def dispatcher(cluster: Cluster) -> Dispatcher:
    return Dispatcher(cluster.find)


async def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.005)


async def test_the_result_comes_back(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [RESULT]
    asked = request()
    assert await dispatcher.generate(ROUTE, asked) is RESULT
    assert cluster.requests == [asked]
    assert cluster.searches == ["sdxl"]
    assert not cluster.responses[0].cancelled


@pytest.mark.parametrize(
    "cause",
    [
        InvalidRequest("Not so.", code="own", param="size"),
        Overloaded("Full.", retry_after_seconds=7),
        OutOfMemory("Too large."),
        DeadlineExceeded("Too late."),
    ],
)
async def test_an_error_of_ours_arrives_as_the_replica_raised_it(
    cause: EaselError, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    cluster.outcomes = [remote(cause)]
    with pytest.raises(EaselError) as raised:
        await dispatcher.generate(ROUTE, request())
    assert type(raised.value) is type(cause)
    assert vars(raised.value) == vars(cause)
    assert len(cluster.requests) == 1


@pytest.mark.parametrize("cause", [ValueError("otter"), TimeoutError("otter"), KeyError("otter")])
async def test_another_error_is_a_failure_without_its_text(
    cause: Exception, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    cluster.outcomes = [remote(cause)]
    with pytest.raises(GenerationFailed) as raised:
        await dispatcher.generate(ROUTE, request())
    assert raised.value.message == "paint failed on this request."
    assert len(cluster.requests) == 1


LOST = [
    ActorDiedError(),
    ActorUnavailableError("gone", b"0" * 16),
    NodeDiedError("gone"),
    OwnerDiedError("00" * 28, "", "here"),
    GetTimeoutError("too long"),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
class TestLostReplica:
    async def test_is_tried_again_once_with_the_very_same_request(
        self, lost: Exception, cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [lost, RESULT]
        asked = request()
        assert await dispatcher.generate(ROUTE, asked) is RESULT
        first, second = cluster.requests
        assert first is asked
        assert second is asked
        assert len(cluster.searches) == 1  # a handle outlives its replicas

    async def test_is_told_when_it_happens_twice(
        self, lost: Exception, cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [lost, lost, RESULT]
        with pytest.raises(ReplicaLost) as raised:
            await dispatcher.generate(ROUTE, request())
        assert raised.value.retry_after_seconds == 10
        assert len(cluster.requests) == 2


async def test_the_second_try_may_fail_in_another_way(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [ActorDiedError(), remote(OutOfMemory("Too large."))]
    with pytest.raises(OutOfMemory):
        await dispatcher.generate(ROUTE, request())


async def test_both_tries_share_one_deadline(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [ActorDiedError(), NEVER]
    with pytest.raises(DeadlineExceeded):
        await dispatcher.generate(ROUTE, request(seconds=0.1))
    assert [response.cancelled for response in cluster.responses] == [False, True]


async def test_back_pressure_is_told_as_such(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [BackPressureError(10, 10)]
    with pytest.raises(Overloaded) as raised:
        await dispatcher.generate(ROUTE, request())
    assert raised.value.retry_after_seconds == 5
    assert len(cluster.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        DeploymentUnavailableError(DeploymentID("Diffusion", "sdxl")),
        ReplicaUnavailableError("replica"),
        RayServeException("somehow"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_after_an_unavailable_deployment_the_handle_is_looked_up_anew(
    error: Exception, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    cluster.outcomes = [error, RESULT]
    with pytest.raises(ModelUnavailable) as raised:
        await dispatcher.generate(ROUTE, request())
    assert raised.value.retry_after_seconds == 15
    assert len(cluster.requests) == 1
    assert await dispatcher.generate(ROUTE, request()) is RESULT
    assert cluster.searches == ["sdxl", "sdxl"]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(RayServeException("Application 'sdxl' does not exist."), ModelUnavailable), (ActorDiedError(), ReplicaLost)],
    ids=["no such application", "no controller"],
)
async def test_a_handle_that_is_not_found_is_looked_up_anew(
    failure: Exception, expected: type[EaselError], cluster: Cluster, dispatcher: Dispatcher
) -> None:
    cluster.failures, cluster.outcomes = [failure, failure], [RESULT]
    with pytest.raises(expected):
        await dispatcher.generate(ROUTE, request())
    cluster.failures.clear()
    assert await dispatcher.generate(ROUTE, request()) is RESULT


async def test_handles_are_kept_by_application(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [RESULT] * 4
    for route in (ROUTE, OTHER, ROUTE, OTHER):
        await dispatcher.generate(route, request())
    assert cluster.searches == ["sdxl", "flux"]


class TestSearch:
    """`serve.get_app_handle` asks the Serve controller and waits for its answer."""

    async def test_leaves_the_event_loop_free(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.gate.clear()
        cluster.outcomes = [RESULT]
        caller = asyncio.create_task(dispatcher.generate(ROUTE, request()))
        await until(lambda: cluster.searches == ["sdxl"])
        cluster.gate.set()
        assert await caller is RESULT
        assert threading.get_ident() not in cluster.threads

    async def test_is_made_once_for_all_who_wait(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.gate.clear()
        cluster.outcomes = [RESULT] * 5
        callers = [asyncio.create_task(dispatcher.generate(ROUTE, request())) for _ in range(5)]
        await until(lambda: cluster.searches != [])
        await asyncio.sleep(0.02)
        cluster.gate.set()
        assert await asyncio.gather(*callers) == [RESULT] * 5
        assert cluster.searches == ["sdxl"]

    async def test_goes_on_when_one_of_them_gives_up(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.gate.clear()
        cluster.outcomes = [RESULT]
        with pytest.raises(DeadlineExceeded):
            await dispatcher.generate(ROUTE, request(seconds=0.05))
        patient = asyncio.create_task(dispatcher.generate(ROUTE, request()))
        await asyncio.sleep(0.02)
        cluster.gate.set()
        assert await patient is RESULT
        assert cluster.searches == ["sdxl"]

    async def test_that_failed_after_all_gave_up_is_forgotten(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.gate.clear()
        cluster.failures, cluster.outcomes = [RayServeException("no such application")], [RESULT]
        with pytest.raises(DeadlineExceeded):
            await dispatcher.generate(ROUTE, request(seconds=0.05))
        cluster.gate.set()
        await until(lambda: cluster.failures == [])
        await until(lambda: "sdxl" not in dispatcher._handles)
        assert await dispatcher.generate(ROUTE, request()) is RESULT


async def test_the_deadline_ends_the_request_and_its_work(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [NEVER]
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="paint did not answer"):
        await dispatcher.generate(ROUTE, request(seconds=0.1))
    assert 0.05 < time.monotonic() - started < SECONDS
    assert cluster.responses[0].cancelled


@pytest.mark.parametrize("seconds", [0, -5])
async def test_after_the_deadline_nothing_is_sent(seconds: float, cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [RESULT]
    with pytest.raises(DeadlineExceeded):
        await dispatcher.generate(ROUTE, request(seconds))
    assert cluster.requests == []


async def test_cancelling_the_caller_cancels_the_work(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [NEVER]
    caller = asyncio.create_task(dispatcher.generate(ROUTE, request()))
    await until(lambda: cluster.responses != [])
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert cluster.responses[0].cancelled


async def test_whatever_else_ray_raises_is_an_error_of_ours(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [TaskCancelledError(), TaskCancelledError()]
    with pytest.raises(EaselError):
        await dispatcher.generate(ROUTE, request())
