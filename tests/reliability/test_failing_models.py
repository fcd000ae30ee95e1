"""A model that fails on one request: that request has its answer in time, and no other notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.reliability.conftest import WATCHDOG_SECONDS, FakeService, has_lost_one, wait_until
from tests.reliability.ledger import Ledger, Outcome, share_of_pictures

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("fault", "code"), [("!raise=4", "generation_failed"), ("!memory=4", "out_of_memory"), ("!nan", "invalid_output")]
)
async def test_one_member_of_a_batch_that_fails_fails_alone(
    ledger: Ledger, fault: str, code: str, repeats: Callable[[int], int]
) -> None:
    for _ in range(repeats(20)):
        others = asyncio.create_task(ledger.ask_many(6, "!slow=0.02"))
        failed = await ledger.ask(f"!slow=0.02 {fault}")
        assert (failed.outcome, failed.status, failed.code) == (Outcome.FAILED, 500, code)
        assert failed.headers["x-should-retry"] == "false"
        assert share_of_pictures(await others) == 1
    assert share_of_pictures(await ledger.ask_many(4)) == 1


async def test_a_step_that_hangs_is_answered_by_the_watchdog_and_hangs_nobody_else(
    service: FakeService, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    for _ in range(repeats(5)):
        replicas = service.replicas("sdxl")
        others = asyncio.create_task(ledger.ask_many(12, "!slow=0.05"))
        await asyncio.sleep(0.2)
        entry = await ledger.ask("!hang=2")
        assert (entry.outcome, entry.status, entry.code) == (Outcome.REFUSED, 503, "replica_lost")
        assert "stopped answering" in entry.detail  # by the watchdog, and not since a second replica was lost
        assert entry.seconds < WATCHDOG_SECONDS + 10
        assert share_of_pictures(await ledger.ask_many(8)) == 1  # also those sent to the replica that is about to leave
        for other in await others:  # who was in the forward that hung may be the reason, too
            assert other.outcome is Outcome.PICTURE or other.code == "replica_lost", other
        await asyncio.to_thread(wait_until, lambda lost=replicas: has_lost_one(lost))
        await asyncio.to_thread(wait_until, service.is_whole)
        assert [replica.is_running() for replica in replicas].count(False) == 1
    ledger.assert_nothing_lost(Outcome.REFUSED)


@pytest.mark.long("waits for health checks")
async def test_a_replica_that_is_stopped_like_a_dead_one_is_replaced(service: FakeService, ledger: Ledger) -> None:
    """Not even its watchdog runs. Serve's health checks find it, and what it held is made elsewhere."""
    asked = asyncio.create_task(ledger.ask_many(8, "!slow=0.1"))
    await asyncio.sleep(0.4)
    stopped = service.replicas("sdxl")[0]
    stopped.suspend()
    began = time.monotonic()
    entries = await asked
    assert share_of_pictures(entries) == 1, entries
    await asyncio.to_thread(wait_until, lambda: not stopped.is_running())
    assert time.monotonic() - began > WATCHDOG_SECONDS
