"""Threads that hang: whoever waits is answered in time, and they are never more than there are places."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import anyio
import pytest

from serve_app.threads import LimitedThreads, in_thread
from tests.unit.clock import Clock

pytestmark = pytest.mark.anyio

PLACES = 3
SHORT = 0.02  # for what never ends by itself: when it is given up makes no difference
LONG = 60.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def hang(threads: LimitedThreads, work: Callable[[], object], calls: int) -> None:
    """Fill `calls` places with calls of `work` that are given up and go on."""
    threads._seconds = SHORT
    while len(threads._begun) < calls:  # on a busy machine one may be given up before it begins
        with pytest.raises(TimeoutError):
            await threads.run(work)
    threads._seconds = LONG


async def all_come_back(threads: LimitedThreads) -> None:
    with anyio.fail_after(LONG):
        while threads._begun:
            await asyncio.sleep(0.001)


async def test_an_answer_and_an_error_come_from_another_thread() -> None:
    threads = LimitedThreads(PLACES, LONG)
    assert await threads.run(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)


async def test_a_call_knows_what_its_caller_knows() -> None:
    request: ContextVar[str] = ContextVar("request")
    request.set("mine-7")
    assert await LimitedThreads(PLACES, LONG).run(request.get) == "mine-7"


async def test_no_more_run_at_once_than_there_are_places() -> None:
    threads = LimitedThreads(PLACES, LONG)
    together = threading.Barrier(PLACES)
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(LONG)  # and not fewer: else it would break
        with lock:
            running -= 1

    await asyncio.gather(*[threads.run(work) for _ in range(4 * PLACES)])
    assert most == PLACES


async def test_what_hangs_is_given_up_and_keeps_its_place(clock: Clock, released: threading.Event) -> None:
    threads = LimitedThreads(1, LONG, clock)
    await hang(threads, released.wait, 1)
    ran: list[bool] = []
    waiting = asyncio.create_task(threads.run(lambda: ran.append(True)))
    await asyncio.sleep(SHORT)
    assert ran == []
    released.set()
    await waiting
    assert ran == [True]


async def test_the_wait_for_a_place_counts_and_what_was_given_up_there_never_runs(
    clock: Clock, released: threading.Event
) -> None:
    threads = LimitedThreads(1, LONG, clock)
    await hang(threads, released.wait, 1)
    threads._seconds = SHORT
    ran: list[bool] = []
    with pytest.raises(TimeoutError):
        await threads.run(lambda: ran.append(True))
    released.set()
    await all_come_back(threads)
    assert ran == []


async def test_where_all_places_hang_the_next_is_given_up_at_once(clock: Clock, released: threading.Event) -> None:
    threads = LimitedThreads(PLACES, LONG, clock)
    await hang(threads, released.wait, PLACES)
    clock.now += LONG
    with pytest.raises(TimeoutError):
        threads.run(lambda: None).send(None)  # up to where it would wait for anything
    released.set()
    await all_come_back(threads)
    assert await threads.run(lambda: "again") == "again"


async def test_where_some_places_hang_the_others_serve(clock: Clock, released: threading.Event) -> None:
    threads = LimitedThreads(PLACES, LONG, clock)
    await hang(threads, released.wait, PLACES - 1)
    clock.now += LONG
    assert await asyncio.gather(*[threads.run(lambda: "served") for _ in range(20)]) == ["served"] * 20


async def test_whoever_is_cancelled_goes_at_once_and_the_place_stays_taken(released: threading.Event) -> None:
    threads = LimitedThreads(PLACES, LONG)
    waiting = [asyncio.create_task(threads.run(released.wait)) for _ in range(2 * PLACES)]
    while len(threads._begun) < PLACES:
        await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting, timeout=LONG)
    assert all(task.cancelled() for task in waiting)
    assert len(threads._begun) == PLACES
    released.set()
    await all_come_back(threads)
    assert await asyncio.gather(*[threads.run(lambda: 1) for _ in range(PLACES)]) == [1] * PLACES


@pytest.mark.usefixtures("no_garbage")
async def test_an_error_that_nobody_waits_for_is_not_logged(
    released: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_late() -> None:
        released.wait()
        raise OSError("s3://key:secret@bucket")

    threads = LimitedThreads(PLACES, LONG)
    await hang(threads, fail_late, 1)
    released.set()
    await all_come_back(threads)
    gc.collect()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_call_cannot_be_cancelled_but_those_who_wait_can(released: threading.Event) -> None:
    call = in_thread(released.wait)
    assert not call.cancel()
    waiting = asyncio.ensure_future(asyncio.wrap_future(call))
    waiting.cancel()
    released.set()
    assert call.result(LONG) is True


@pytest.mark.parametrize(
    "hang", ["in_thread(forever.wait)", "asyncio.run(asyncio.wait_for(LimitedThreads(1, 9).run(forever.wait), 0.1))"]
)
def test_a_thread_that_hangs_keeps_no_process_from_ending(hang: str) -> None:
    program = (
        "import asyncio, threading\n"
        "from serve_app.threads import LimitedThreads, in_thread\n"
        f"forever = threading.Event()\n{hang}\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=False)
    assert ("TimeoutError" in ended.stderr) == ("wait_for" in hang)


async def test_a_thread_that_cannot_be_started_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    limited = LimitedThreads(2, 5.0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await limited.run(lambda: 1)
    assert await asyncio.gather(*(limited.run(lambda: 1) for _ in range(3))) == [1, 1, 1]
