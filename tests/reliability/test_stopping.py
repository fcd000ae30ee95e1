"""SIGTERM to the service that `make serve` runs: what is in flight is answered, and then it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import anyio
import pytest

from tests.reliability.conftest import SECONDS, FakeService, configuration, wait_until
from tests.reliability.ledger import Ledger, Outcome
from tests.running import started

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    """One of its own, since it ends."""
    folder = tmp_path_factory.mktemp("stopping")
    service = FakeService(folder, configuration(folder, ("ingress", "sdxl"), replicas=1))
    with started(service, service.is_whole):
        yield service


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long("the other one is enough for most runs"))],
)
async def test_what_is_in_flight_is_answered(service: FakeService, ledger: Ledger, number: signal.Signals) -> None:
    asked = asyncio.create_task(ledger.ask_many(20, "!slow=1"))  # 8 s a picture, of which 16 run at a time
    await asyncio.to_thread(wait_until, lambda: sum(each["event"] == "accepted" for each in service.records()) == 20)
    service.launcher.send_signal(number)
    with anyio.fail_after(SECONDS):
        # No model makes this size: as long as there is an ingress it says so at once.
        while (late := await ledger.ask(size="63x64")).outcome is Outcome.FAILED:
            await asyncio.sleep(0.1)
    assert late.outcome is Outcome.REFUSED, late
    assert not asked.done()
    assert [entry.outcome for entry in await asked] == [Outcome.PICTURE] * 20, ledger.outcomes()
    await asyncio.to_thread(service.launcher.wait, SECONDS)
    assert "Finishing what is in flight" in service.log()
