"""The sweeping loop: it repeats, reports, survives a failing store and can be cancelled."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterator

import anyio
import pytest

from deployments.errors import StoreUnavailable
from serve_app.images.store import ImageStore
from serve_app.images.sweeper import sweep_forever
from tests.unit.images.faults import faulty_store

pytestmark = pytest.mark.anyio


class ScriptedStore(ImageStore):
    """Sweeps as told: a count is returned, an error raised; the last one for ever."""

    def __init__(self, *outcomes: int | StoreUnavailable) -> None:
        super().__init__(f"memory://{uuid.uuid4().hex}")
        self.outcomes = list(outcomes)
        self.times: list[float] = []
        self.threads: set[threading.Thread] = set()

    def sweep(self, now: float) -> int:
        self.times.append(now)
        self.threads.add(threading.current_thread())
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, StoreUnavailable):
            raise outcome
        return outcome


async def run_until_swept(store: ScriptedStore, times: int) -> None:
    task = asyncio.create_task(sweep_forever(store, 0.001))
    try:
        with anyio.fail_after(10):
            while len(store.times) < times:
                assert not task.done(), task.exception()
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


async def test_it_sweeps_again_and_again_in_a_thread_with_the_time_of_day() -> None:
    store = ScriptedStore(0)
    await run_until_swept(store, 3)

    assert all(abs(moment - time.time()) < 60 for moment in store.times)
    assert threading.current_thread() not in store.threads
    assert all(thread.daemon for thread in store.threads)  # one that hangs keeps no process from ending


async def test_it_logs_only_what_it_deleted(caplog: pytest.LogCaptureFixture) -> None:
    await run_until_swept(ScriptedStore(0, 7, 0), 4)

    assert [(record.levelname, record.getMessage()) for record in caplog.records if "sweeper" in record.name] == [
        ("INFO", "Deleted 7 expired pictures")
    ]


async def test_it_survives_a_store_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    await run_until_swept(ScriptedStore(StoreUnavailable("out"), StoreUnavailable("out"), 3, 0), 5)

    messages = [record.getMessage() for record in caplog.records if "sweeper" in record.name]
    assert messages == ["Expired pictures stay for now: out"] * 2 + ["Deleted 3 expired pictures"]


async def test_it_waits_for_its_interval() -> None:
    store = ScriptedStore(0)
    task = asyncio.create_task(sweep_forever(store, 3600))
    with anyio.fail_after(10):
        while not store.times:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    assert len(store.times) == 1
    assert not task.done()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_sweep_that_hangs_has_no_second_beside_it_and_can_be_left() -> None:
    store, files = faulty_store()
    files.answers.clear()
    task = asyncio.create_task(sweep_forever(store, 0.001))
    try:
        with anyio.fail_after(10):
            while not files.calls:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert files.calls == ["list"]
        task.cancel()
        with anyio.fail_after(10), pytest.raises(asyncio.CancelledError):
            await task
    finally:
        files.answers.set()


async def test_it_deletes_from_a_real_store() -> None:
    store = ImageStore(f"memory://{uuid.uuid4().hex}")
    old, live = store.put(b"old", "png", 1), store.put(b"live", "png", int(time.time()) + 1000)
    task = asyncio.create_task(sweep_forever(store, 3600))
    with anyio.fail_after(10):
        while old in str(store._files.ls(store._folder)):
            await asyncio.sleep(0.001)
    task.cancel()

    assert store.get(live) == b"live"
