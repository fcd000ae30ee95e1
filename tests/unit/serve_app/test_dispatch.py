"""A request's way to its model, over handles that fail as Ray's do. That Ray fails so is tested in tests/serve."""

from __future__ import annotations

import asyncio
import copy
import threading
import time
from collections.abc import Callable, Generator
from contextlib import aclosing
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
from deployments.types import ImageRequest, ImageResult, PoseSource, Progress, Skeleton, Standing
from serve_app.dispatch import Dispatcher
from tests.unit.serve_app.samples import read_into

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
    device_seconds=0.05,
)
NEVER = object()


def request(seconds: float = SECONDS) -> ImageRequest:
    return ImageRequest(
        request_id="r",
        model="paint",
        prompt="otter",
        width=64,
        height=64,
        seed=7,
        standing=Standing(deadline=time.time() + seconds),
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

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(3600 if self._outcome is NEVER else 0).__await__()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def cancel(self) -> None:
        self.cancelled = True


class Stream:
    """What `.remote()` returns of a handle that streams: its events in turn, cancellable."""

    def __init__(self, events: list[object]) -> None:
        self._events = list(events)
        self.cancelled = False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> object:
        await asyncio.sleep(3600 if self._events[:1] == [NEVER] else 0)
        if not self._events:
            raise StopAsyncIteration
        event = self._events.pop(0)
        if isinstance(event, Exception):
            raise event
        return event

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Answers with `outcomes` in turn; its methods have a `.remote`, as a DeploymentHandle's do."""

    def __init__(self, outcomes: list[object]) -> None:
        self._outcomes = outcomes
        self._response: Callable[[Any], Response | Stream] = Response
        self.generate = self.draw = self
        self.requests: list[object] = []
        self.responses: list[Response | Stream] = []

    def options(self, *, stream: bool) -> Handle:
        assert stream
        streaming = copy.copy(self)  # of the same lists
        streaming.stream, streaming._response = streaming, Stream
        return streaming

    def remote(self, *request: object) -> Response | Stream:
        self.requests.append(request if len(request) > 1 else request[0])
        self.responses.append(self._response(self._outcomes.pop(0)))
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
    def requests(self) -> list[object]:
        return [request for handle in self.handles for request in handle.requests]

    @property
    def responses(self) -> list[Response | Stream]:
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
        await dispatcher.generate(ROUTE, request(seconds=0.5))
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
        await dispatcher.generate(ROUTE, request(seconds=0.5))
    assert 0.3 < time.monotonic() - started < SECONDS
    assert cluster.responses[0].cancelled


@pytest.mark.parametrize("seconds", [0, -5])
async def test_after_the_deadline_nothing_is_sent(seconds: float, cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.outcomes = [RESULT, RESULT]
    await dispatcher.generate(ROUTE, request())  # so that the application's handle is known
    with pytest.raises(DeadlineExceeded):
        await dispatcher.generate(ROUTE, request(seconds))
    assert len(cluster.requests) == 1


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


def steps(*numbers: int) -> list[object]:
    return [Progress(step=number, steps=3) for number in numbers]


class TestStream:
    @staticmethod
    async def events(dispatcher: Dispatcher, seconds: float = SECONDS) -> list[object]:
        async with aclosing(dispatcher.stream(ROUTE, request(seconds))) as events:
            return [event async for event in events]

    async def test_tells_what_the_replica_tells(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[*steps(0, 1, 2, 3), RESULT]]
        assert await self.events(dispatcher) == [*steps(0, 1, 2, 3), RESULT]
        assert cluster.searches == ["sdxl"]
        assert len(cluster.requests) == 1

    async def test_tells_each_event_before_the_next_is_there(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[*steps(0), NEVER]]
        async with aclosing(dispatcher.stream(ROUTE, request())) as events:
            assert [await anext(events)] == steps(0)

    @pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
    async def test_is_begun_again_once_and_shows_no_preview_twice(
        self, lost: Exception, cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        first, second = (Progress(step=step, steps=3, preview=b"preview") for step in (1, 2))
        waits = Progress(step=0, steps=3, is_waiting=True, seconds_left=9.0)
        cluster.outcomes = [[*steps(0), first, lost], [waits, *steps(0), first, second, *steps(3), RESULT]]
        told = await self.events(dispatcher)
        assert told == [*steps(0), first, waits, *steps(0, 1), second, *steps(3), RESULT]
        one, other = cluster.requests
        assert one is other
        assert cluster.responses[0].cancelled

    async def test_has_one_answer_whatever_becomes_of_the_replica(
        self, cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [[*steps(0), RESULT, ActorDiedError()], [*steps(0), RESULT]]
        assert await self.events(dispatcher) == [*steps(0), RESULT]
        assert len(cluster.requests) == 1

    @pytest.mark.parametrize("told", [[], [0, 1]])
    async def test_is_begun_no_third_time(self, told: list[int], cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[*steps(*told), ActorDiedError()], [ActorDiedError()], [RESULT]]
        seen: list[object] = []
        with pytest.raises(ReplicaLost):
            await read_into(seen, dispatcher.stream(ROUTE, request()))
        assert seen == steps(*told)
        assert len(cluster.requests) == 2

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (remote(InvalidRequest("Not so.", param="mask")), InvalidRequest),
            (remote(OutOfMemory("Too large.")), OutOfMemory),
            (remote(ValueError("otter")), GenerationFailed),
            (BackPressureError(10, 10), Overloaded),
            (DeploymentUnavailableError(DeploymentID("Diffusion", "sdxl")), ModelUnavailable),
        ],
        ids=lambda value: getattr(value, "__name__", type(value).__name__),
    )
    @pytest.mark.parametrize("told", [[], [0, 1]])
    async def test_fails_in_our_own_words(
        self, told: list[int], error: Exception, expected: type[EaselError], cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [[*steps(*told), error]]
        seen: list[object] = []
        with pytest.raises(EaselError) as raised:
            await read_into(seen, dispatcher.stream(ROUTE, request()))
        assert type(raised.value) is expected
        assert "otter" not in raised.value.message
        assert seen == steps(*told)
        assert len(cluster.requests) == 1

    async def test_that_merely_stops_is_a_lost_one(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [steps(0, 1), [*steps(0, 1), RESULT], steps(0), []]
        assert (await self.events(dispatcher))[-1] == RESULT
        with pytest.raises(ReplicaLost):
            await self.events(dispatcher)

    async def test_of_an_unavailable_deployment_looks_it_up_anew(
        self, cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [[RayServeException("gone")], [RESULT]]
        with pytest.raises(ModelUnavailable):
            await self.events(dispatcher)
        assert await self.events(dispatcher) == [RESULT]
        assert cluster.searches == ["sdxl", "sdxl"]

    @pytest.mark.parametrize("told", [[], [0, 1]])
    async def test_ends_at_the_deadline_and_cancels_the_work(
        self, told: list[int], cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [[*steps(*told), NEVER]]
        with pytest.raises(DeadlineExceeded, match="paint did not answer"):
            await self.events(dispatcher, seconds=0.5)
        assert cluster.responses[0].cancelled
        assert len(cluster.requests) == 1

    async def test_shares_one_deadline_between_both_tries(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[ActorDiedError()], [NEVER]]
        with pytest.raises(DeadlineExceeded):
            await self.events(dispatcher, seconds=0.5)
        assert cluster.responses[1].cancelled

    async def test_is_not_begun_after_the_deadline(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[RESULT]]
        with pytest.raises(DeadlineExceeded):
            await self.events(dispatcher, seconds=-1)
        assert cluster.requests == []

    async def test_that_is_closed_cancels_the_work(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[*steps(0, 1), RESULT]]
        async with aclosing(dispatcher.stream(ROUTE, request())) as events:
            await anext(events)
            assert not cluster.responses[0].cancelled
        assert cluster.responses[0].cancelled

    async def test_whose_reader_is_cancelled_cancels_the_work(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [[*steps(0), NEVER]]
        reader = asyncio.create_task(self.events(dispatcher))
        await until(lambda: cluster.responses != [])
        await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert cluster.responses[0].cancelled


class TestSkeleton:
    SOURCE = PoseSource(photo=b"photo")
    SKELETON = Skeleton(picture=b"skeleton", width=64, height=32)

    async def drawn(self, dispatcher: Dispatcher, seconds: float = SECONDS) -> Skeleton:
        return await dispatcher.draw_skeleton("pose", self.SOURCE, 64, 32, time.time() + seconds, "otter")

    async def test_is_drawn_by_the_application(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [self.SKELETON]
        assert await self.drawn(dispatcher) is self.SKELETON
        assert (cluster.searches, cluster.requests) == (["pose"], [(self.SOURCE, 64, 32, "otter")])

    async def test_is_drawn_again_once(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [ActorDiedError(), self.SKELETON, ActorDiedError(), ActorDiedError()]
        assert await self.drawn(dispatcher) is self.SKELETON
        with pytest.raises(ReplicaLost, match="The replica of The pose estimator was lost"):
            await self.drawn(dispatcher)
        assert len(cluster.requests) == 4

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (remote(InvalidRequest("No person.", code="no_pose_found", param="image")), InvalidRequest),
            (remote(ValueError("otter")), GenerationFailed),
            (BackPressureError(10, 10), Overloaded),
            (RayServeException("no such application"), ModelUnavailable),
        ],
        ids=lambda value: getattr(value, "__name__", type(value).__name__),
    )
    async def test_fails_in_our_own_words(
        self, error: Exception, expected: type[EaselError], cluster: Cluster, dispatcher: Dispatcher
    ) -> None:
        cluster.outcomes = [error]
        with pytest.raises(EaselError) as raised:
            await self.drawn(dispatcher)
        assert type(raised.value) is expected
        assert (raised.value.code == "no_pose_found") == (expected is InvalidRequest)
        assert len(cluster.requests) == 1

    async def test_takes_no_longer_than_allowed(self, cluster: Cluster, dispatcher: Dispatcher) -> None:
        cluster.outcomes = [NEVER]
        with pytest.raises(DeadlineExceeded, match="The pose estimator did not answer"):
            await self.drawn(dispatcher, seconds=0.5)
        assert cluster.responses[0].cancelled
