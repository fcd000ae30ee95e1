"""Deploys under steady load: a good one is noticed by nobody, and a bad one leaves the old version in service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.reliability.conftest import FakeService, application, steady_load, wait_until
from tests.reliability.ledger import Ledger, share_of_pictures

pytestmark = pytest.mark.anyio


def pids(service: FakeService, name: str) -> set[int]:
    return {replica.pid for replica in service.replicas(name)}


async def test_a_broken_version_leaves_the_old_one_in_service(
    service: FakeService, config: dict[str, Any], ledger: Ledger
) -> None:
    before = pids(service, "sdxl")
    application(config, "sdxl")["args"]["weights"]["source"] = "small:broken"
    async with steady_load(ledger, per_second=5):
        await asyncio.to_thread(service.deploy, config)
        await asyncio.to_thread(
            wait_until, lambda: "cannot be read" in str(service.applications()["sdxl"]["deployments"])
        )
        await asyncio.to_thread(wait_until, lambda: service.applications()["sdxl"]["status"] != "DEPLOYING")
    assert before <= pids(service, "sdxl")
    assert share_of_pictures(await ledger.ask_many(10)) == 1
    ledger.assert_nothing_lost()


@pytest.mark.parametrize(
    "name", ["ingress", pytest.param("sdxl", marks=pytest.mark.long("the other one is enough for most runs"))]
)
async def test_a_rolling_update_is_noticed_by_nobody(
    service: FakeService, config: dict[str, Any], ledger: Ledger, name: str, repeats: Callable[[int], int]
) -> None:
    for turn in range(repeats(6) // 2):
        before = pids(service, name)
        args = application(config, name)["args"]
        if name == "ingress":
            args["max_body_bytes"] = 2**24 + turn
        else:
            args["torch_threads"] = 2 + turn
        async with steady_load(ledger, per_second=5, commands="!slow=0.05"):
            await asyncio.to_thread(service.deploy, config)
            await asyncio.to_thread(
                wait_until, lambda before=before: not before & pids(service, name) and service.is_whole()
            )
    ledger.assert_nothing_lost()
