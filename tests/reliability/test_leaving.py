"""Clients who hang up: their work ends, and whoever stays does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.reliability.conftest import FakeService, wait_until
from tests.reliability.ledger import Ledger, Outcome, share_of_pictures

pytestmark = pytest.mark.anyio

CLIENTS = 200
VERY_SLOW = "!slow=0.5"  # 4 s a picture


def open_files(service: FakeService) -> int:
    actors = [*service.actors("ProxyActor"), *service.replicas("ingress"), *service.replicas("sdxl")]
    return sum(actor.num_fds() for actor in actors)


async def test_two_hundred_clients_who_hang_up_at_once_leave_nothing_behind(
    service: FakeService, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    await ledger.ask_many(20)
    for _ in range(repeats(3)):
        before = open_files(service)
        staying = asyncio.create_task(ledger.ask_many(8, "!slow=0.3"))
        await asyncio.sleep(0.5)
        left = await asyncio.gather(*(ledger.ask(VERY_SLOW, leave_after=2.0) for _ in range(CLIENTS)))
        # Some were refused before they left: there are more than the queues take.
        assert {entry.outcome for entry in left} <= {Outcome.LEFT, Outcome.REFUSED}
        assert sum(entry.outcome is Outcome.LEFT for entry in left) >= 100
        assert share_of_pictures(await staying) == 1
        # Had their work not ended, the queues would be full of it for longer than this.
        await asyncio.sleep(3)
        after = await ledger.ask_many(40)
        assert share_of_pictures(after) == 1, after
        assert max(float(entry.headers["easel-queue-seconds"]) for entry in after) < 4
        await asyncio.to_thread(wait_until, lambda before=before: open_files(service) <= before + 20)
    ledger.assert_nothing_lost(Outcome.LEFT, Outcome.REFUSED)
