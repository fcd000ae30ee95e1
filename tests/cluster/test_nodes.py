"""Several nodes serve as one; one that dies costs what hung on its sockets, and another takes its place."""

from __future__ import annotations

import asyncio
from collections import Counter
from urllib.parse import urlsplit

import httpx
import pytest
from openai import AsyncOpenAI

from tests.cluster.conftest import SECONDS, Cluster
from tests.reliability.conftest import steady_load, wait_until
from tests.reliability.ledger import Ledger, Outcome, share_of_pictures

pytestmark = pytest.mark.anyio

SLOW = "!slow=0.1"  # 0.8 s a picture
RETRYABLE = {"ingress_unavailable", "replica_lost", "model_loading", "server_is_overloaded"}


async def test_the_head_has_no_replicas_and_both_workers_have_all(cluster: Cluster, ledger: Ledger) -> None:
    assert cluster.replicas("ingress").keys() == cluster.replicas("sdxl").keys()
    entries = await ledger.ask_many(40, SLOW)
    assert share_of_pictures(entries) == 1


async def test_every_node_serves_the_pictures_of_all(cluster: Cluster, client: httpx.AsyncClient) -> None:
    """Each link is asked for often enough that both ingress replicas have answered."""
    body = {"prompt": "otter", "size": "64x64", "num_steps": 2, "response_format": "url"}
    answers = [await client.post("/v1/images/generations", json=body) for _ in range(4)]
    links = [urlsplit(answer.json()["data"][0]["url"]) for answer in answers]
    for link in links:
        fetched = [await client.get(f"{link.path}?{link.query}") for _ in range(8)]
        assert Counter(answer.status_code for answer in fetched) == {200: 8}
        assert len({answer.content for answer in fetched}) == 1


async def test_a_node_that_dies_takes_along_what_its_sockets_held_and_no_more(cluster: Cluster, ledger: Ledger) -> None:
    before = set(cluster.replicas("sdxl"))
    async with AsyncOpenAI(base_url=f"{cluster.url}/openai/v1", api_key="none", max_retries=8) as sdk:

        async def paint(number: int) -> bool:
            answer = await sdk.images.generate(
                prompt=f"badger {number} {SLOW}", size="auto", response_format="b64_json"
            )
            return bool(answer.data and answer.data[0].b64_json)

        asked = asyncio.create_task(ledger.ask_many(24, SLOW))
        retrying = [asyncio.create_task(paint(number)) for number in range(8)]
        await asyncio.sleep(0.5)
        await asyncio.to_thread(cluster.lose_worker)
        for entry in await asked:
            assert entry.outcome in (Outcome.PICTURE, Outcome.CUT) or entry.code in RETRYABLE, entry
        assert all(await asyncio.gather(*retrying))  # OpenAI's client asks again, and everybody has a picture
    assert share_of_pictures(await ledger.ask_many(8)) == 1  # the other node serves
    assert not cluster.is_spread()

    await asyncio.to_thread(cluster.add_worker)
    async with steady_load(ledger, per_second=4):
        await asyncio.to_thread(wait_until, cluster.is_spread, SECONDS)
        assert set(cluster.replicas("sdxl")) - before, "the new node has the replica that was lost"
    ledger.assert_nothing_lost(Outcome.CUT, Outcome.REFUSED)
    assert share_of_pictures(ledger.entries[-8:]) == 1
