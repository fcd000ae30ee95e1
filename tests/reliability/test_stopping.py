"""SIGTERM to the service that `make serve` runs: what is in flight is answered, and then it ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from tests.conftest import free_port
from tests.reliability.conftest import SECONDS, FakeService, configuration, wait_until
from tests.reliability.ledger import Ledger, Outcome

pytestmark = pytest.mark.anyio


@pytest.fixture
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    """One of its own, since it ends."""
    folder, port = tmp_path_factory.mktemp("stopping"), free_port()
    config = configuration(folder, port)
    config["applications"] = [one for one in config["applications"] if one["name"] in ("ingress", "sdxl")]
    ingress, sdxl = config["applications"]
    for application in (ingress, sdxl):
        application["deployments"][0]["num_replicas"] = 1
    settings = ingress["deployments"][0]["user_config"]
    settings["models"] = [route for route in settings["models"] if route["application"] == "sdxl"]
    del settings["pose"]
    service = FakeService(folder, port, config)
    try:
        wait_until(service.is_whole, 180)
        yield service
    finally:
        service.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_is_in_flight_is_answered(service: FakeService, ledger: Ledger, number: signal.Signals) -> None:
    asked = asyncio.create_task(ledger.ask_many(20, "!slow=1"))  # 8 s a picture, of which 16 run at a time
    await asyncio.sleep(1)
    service.launcher.send_signal(number)
    await asyncio.sleep(3)
    late = await ledger.ask()
    assert late.outcome is Outcome.REFUSED, late
    assert [entry.outcome for entry in await asked] == [Outcome.PICTURE] * 20, ledger.outcomes()
    await asyncio.to_thread(service.launcher.wait, SECONDS)
    log = (service.folder / "log").read_text(errors="replace")
    assert "Finishing what is in flight" in log
