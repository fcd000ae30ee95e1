"""Processes that are killed amid their work: whoever was hit gets the picture all the same, and nobody else notices.

Where the killed process held the client's connection there is no picture, but a retryable answer, and OpenAI's client,
which tries again by itself, has its picture too.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from openai import AsyncOpenAI
from PIL import Image

from tests.reliability.conftest import POSE_MODEL, SECONDS, FakeService, steady_load, wait_until
from tests.reliability.ledger import Ledger, Outcome, share_of_pictures

pytestmark = pytest.mark.anyio

SLOW = "!slow=0.1"  # 0.8 s a picture
NODDING = [0.5, 0.2, 1, 0.5, 0.35, 1, *[0.0] * 48]  # a pose


async def test_a_killed_model_replica_loses_no_request(
    service: FakeService, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    for _ in range(repeats(20)):
        asked = asyncio.create_task(ledger.ask_many(8, SLOW))
        await asyncio.sleep(0.4)  # amid the steps of all
        service.replicas("sdxl")[0].kill()
        assert share_of_pictures(await asked) == 1, ledger.entries[-8:]
        await asyncio.to_thread(wait_until, service.is_whole)
    ledger.assert_nothing_lost()


async def test_killed_twice_it_is_a_retryable_answer(service: FakeService, ledger: Ledger) -> None:
    """A request that kills whatever works on it takes two replicas with it, and then it is refused."""
    entry = await ledger.ask("!die=2")
    assert (entry.outcome, entry.status, entry.code) == (Outcome.REFUSED, 503, "replica_lost")


async def test_a_killed_ingress_replica_costs_at_most_what_it_held(
    service: FakeService, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    for _ in range(repeats(20)):
        asked = asyncio.create_task(ledger.ask_many(8, SLOW))
        await asyncio.sleep(0.4)
        service.replicas("ingress")[0].kill()
        assert share_of_pictures(await ledger.ask_many(4)) == 1
        for entry in await asked:
            assert entry.outcome is Outcome.PICTURE or entry.code == "ingress_unavailable", entry
        await asyncio.to_thread(wait_until, service.is_whole)
    ledger.assert_nothing_lost(Outcome.REFUSED)


async def test_openais_client_has_its_picture_whatever_ingress_replica_dies(
    service: FakeService, repeats: Callable[[int], int]
) -> None:
    async with AsyncOpenAI(base_url=f"{service.url}/openai/v1", api_key="none") as sdk:

        async def ask(number: int) -> Any:
            return await sdk.images.generate(
                prompt=f"badger {number} {SLOW}",
                size="64x64",
                response_format="b64_json",  # type: ignore[arg-type]
            )

        for turn in range(repeats(5)):
            asked = asyncio.gather(*(ask(10 * turn + number) for number in range(6)))
            await asyncio.sleep(0.4)
            service.replicas("ingress")[0].kill()
            for answer in await asked:
                assert Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json))).size == (64, 64)
            await asyncio.to_thread(wait_until, service.is_whole)


async def test_a_killed_pose_replica_loses_no_request(
    service: FakeService, client: httpx.AsyncClient, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    posed = {"model": POSE_MODEL, "keypoints": {"people": [{"pose_keypoints_2d": NODDING}]}}
    for _ in range(repeats(10)):
        asked = asyncio.create_task(ledger.ask_many(8, **posed))
        await asyncio.sleep(0.05)
        service.replicas("pose")[0].kill()
        unposed = await ledger.ask_many(4)  # whoever needs no pose does not notice
        assert share_of_pictures(unposed) == 1
        assert share_of_pictures(await asked) == 1, ledger.entries[-12:]
        await asyncio.to_thread(wait_until, service.is_whole)
    ledger.assert_nothing_lost()


async def test_a_killed_controller_is_noticed_by_nobody(
    service: FakeService, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    await ledger.ask_many(8)  # so that each replica of the ingress has found its models: that takes a controller
    async with steady_load(ledger, per_second=5):
        for _ in range(repeats(20)):
            (controller,) = service.actors("ServeController")
            controller.kill()
            await asyncio.to_thread(wait_until, lambda dead=controller.pid: _is_back(service, dead))
    ledger.assert_nothing_lost()


async def test_a_killed_proxy_cuts_those_who_wait_and_is_back_within_seconds(
    service: FakeService, ledger: Ledger, repeats: Callable[[int], int]
) -> None:
    """There is one on each machine; a balancer in front of several sends clients to the others."""
    for _ in range(repeats(5)):
        asked = asyncio.create_task(ledger.ask_many(8, "!slow=0.2"))  # what is cut is painted nevertheless
        await asyncio.sleep(0.4)
        (proxy,) = service.actors("ProxyActor")
        proxy.kill()
        assert {entry.outcome for entry in await asked} == {Outcome.CUT}
        with anyio.fail_after(SECONDS):
            while (await ledger.ask()).outcome is not Outcome.PICTURE:  # it listens before it knows where to
                await asyncio.sleep(0.2)
        assert share_of_pictures(await ledger.ask_many(8)) == 1
    ledger.assert_nothing_lost(Outcome.CUT, Outcome.REFUSED)


def _is_back(service: FakeService, dead: int) -> bool:
    controllers = service.actors("ServeController")
    return len(controllers) == 1 and controllers[0].pid != dead and service.is_whole()
