"""The way to where quotas are counted, with a stand-in for the handle."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from ray.exceptions import RayActorError

from deployments.errors import QuotaExceeded
from deployments.quotas import Quota, Quotas
from serve_app import permits
from serve_app.permits import Permits

pytestmark = pytest.mark.anyio

SECONDS = 30  # for what takes milliseconds: only a hang takes longer
QUOTA = Quota(caller="otter", max_concurrent=1, gpu_seconds_per_hour=3600.0)
request_of = contextvars.ContextVar("request_of", default="nobody")


class Response:
    """As that of a handle's call, which begins at once."""

    def __init__(self, work: Any) -> None:
        self.task = asyncio.ensure_future(work)

    def __await__(self) -> Any:
        return self.task.__await__()

    def cancel(self) -> None:
        self.task.cancel()


class Method:
    def __init__(self, call: Callable[..., Any], calls: list[tuple[Any, ...]], cannot_ask: Exception | None) -> None:
        self._call, self._calls, self._cannot_ask = call, calls, cannot_ask

    def remote(self, *arguments: Any) -> Response:
        self._calls.append((self._call.__name__, request_of.get(), *arguments))
        if self._cannot_ask:
            raise self._cannot_ask
        return Response(self._call(*arguments))


class Handle:
    """Of a real Quotas; a test sets `failure`, of the answer or of asking at all, or closes the way there or back."""

    def __init__(self) -> None:
        self.quotas = Quotas()
        self.calls: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None
        self.cannot_ask: Exception | None = None
        self.there, self.back = asyncio.Event(), asyncio.Event()
        self.there.set()
        self.back.set()

    def __getattr__(self, name: str) -> Method:
        async def call(*arguments: Any) -> Any:
            if self.failure:
                raise self.failure
            await self.there.wait()
            answer = await getattr(self.quotas, name)(*arguments)
            await self.back.wait()
            return answer

        call.__name__ = name
        return Method(call, self.calls, self.cannot_ask)

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.calls]


@pytest.fixture
async def handle(anyio_backend: str) -> Handle:
    return Handle()


@pytest.fixture
def held(handle: Handle) -> Permits:
    return Permits(handle)  # type: ignore[arg-type]


def deadline() -> float:
    return time.time() + SECONDS


async def is_free(handle: Handle) -> bool:
    return await handle.quotas.take("probe", QUOTA, 1, 0.0) is True


async def test_a_permit_is_held_for_the_block_and_charged_at_its_end(held: Permits, handle: Handle) -> None:
    async with held.permit(QUOTA, 1, deadline()) as spending:
        assert not await is_free(handle)
        spending[0], spending[1] = 1.5, 2.0
        assert handle.names == ["take"]
    assert await is_free(handle)
    (_, _, permit, quota, pictures, seconds), (_, _, settled, whose, charged) = handle.calls
    assert (quota, pictures, whose, charged) == (QUOTA, 1, QUOTA, 3.5)
    assert permit == settled
    assert SECONDS - 5 < seconds <= SECONDS


async def test_each_permit_is_another(held: Permits, handle: Handle) -> None:
    for _ in range(2):
        async with held.permit(QUOTA, 1, deadline()):
            pass
    assert len({permit for _, _, permit, *_ in handle.calls}) == 2


async def test_a_refusal_is_raised_and_leaves_nothing_to_give_back(held: Permits, handle: Handle) -> None:
    with pytest.raises(QuotaExceeded, match="max_concurrent"):
        async with held.permit(QUOTA, 2, deadline()):
            pytest.fail("it was let in")
    assert handle.names == ["take"]


@pytest.mark.parametrize("error", [ValueError("the block's own"), QuotaExceeded("the block's own")])
async def test_a_block_that_fails_gives_its_permit_back(error: Exception, held: Permits, handle: Handle) -> None:
    async def fail() -> None:
        async with held.permit(QUOTA, 1, deadline()) as spending:
            spending[0] = 0.5
            raise error

    with pytest.raises(type(error), match="the block's own"):
        await fail()
    assert await is_free(handle)
    assert handle.calls[-1][-1] == 0.5


async def hold(held: Permits, inside: asyncio.Event) -> None:
    async with held.permit(QUOTA, 1, deadline()) as spending:
        spending[0] = 0.5
        inside.set()
        await asyncio.sleep(SECONDS)


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_block_that_is_cancelled_gives_its_permit_back(held: Permits, handle: Handle) -> None:
    inside = asyncio.Event()
    task = asyncio.create_task(hold(held, inside))
    await inside.wait()
    await cancelled(task)
    assert await is_free(handle)
    assert handle.calls[-1][-1] == 0.5


async def test_who_is_cancelled_again_and_again_gives_it_back(held: Permits, handle: Handle) -> None:
    """As a task within a cancelled scope of anyio is."""
    inside = asyncio.Event()
    task = asyncio.create_task(hold(held, inside))
    await inside.wait()
    handle.there.clear()
    task.cancel()
    while handle.names != ["take", "settle"]:
        await asyncio.sleep(0)
    await cancelled(task)
    handle.there.set()
    await asyncio.gather(*held._settling)
    assert await is_free(handle)


async def test_who_is_cancelled_while_it_asks_gives_back_what_it_may_have(held: Permits, handle: Handle) -> None:
    handle.back.clear()
    task = asyncio.create_task(hold(held, asyncio.Event()))
    while await is_free(handle):
        await asyncio.sleep(0)
    handle.back.set()
    await cancelled(task)
    assert await is_free(handle)


async def test_it_is_given_back_apart_from_the_request_whose_end_cancels_its_calls(
    held: Permits, handle: Handle
) -> None:
    request_of.set("the request")
    async with held.permit(QUOTA, 1, deadline()):
        pass
    assert [whose for _, whose, *_ in handle.calls] == ["the request", "nobody"]


@pytest.mark.parametrize("reason", ["slow", "dead", "never there"])
async def test_without_an_answer_requests_pass_and_it_is_logged(
    reason: str, held: Permits, handle: Handle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if reason == "slow":
        monkeypatch.setattr(permits, "ANSWER_SECONDS", 0.05)
        handle.there.clear()
    elif reason == "never there":
        handle.cannot_ask = RuntimeError("Router is not initialized")
    else:
        handle.failure = RayActorError()
    passed = False
    async with held.permit(QUOTA, 5, deadline()):
        passed = True
    assert passed
    assert handle.names == ["take"]  # nobody waits for it once more
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "The quotas do not answer, so this request is not counted: " in record.getMessage()
    assert "otter" not in caplog.text


async def test_who_keeps_the_ingress_busy_does_not_pass(
    held: Permits, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is over when the answer could first be heard, which takes a few turns of the event loop."""
    monkeypatch.setattr(permits, "ANSWER_SECONDS", 0.2)
    assert await handle.quotas.take("held", QUOTA, 1, SECONDS) is True

    async def ask() -> None:
        async with held.permit(QUOTA, 1, deadline()):
            pytest.fail("it was let in")

    task = asyncio.create_task(ask())
    while not handle.names:
        await asyncio.sleep(0)
    time.sleep(0.3)
    with pytest.raises(QuotaExceeded):
        await task


async def test_a_permit_that_cannot_be_given_back_fails_no_request(held: Permits, handle: Handle) -> None:
    async with held.permit(QUOTA, 1, deadline()):
        handle.failure = RayActorError()
    assert handle.names == ["take", "settle"]


async def test_a_permit_whose_answer_comes_too_late_is_given_back(
    held: Permits, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permits, "ANSWER_SECONDS", 0.05)
    handle.back.clear()
    async with held.permit(QUOTA, 1, deadline()):
        assert not await is_free(handle)  # it was taken, though nobody was told
    handle.back.set()
    while not await is_free(handle):
        await asyncio.sleep(0.005)
