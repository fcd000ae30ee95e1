"""More requests than the models can paint: as many are answered as ever, in time; the others are refused at once."""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import APIStatusError, AsyncOpenAI

from tests.reliability.conftest import FakeService, wait_until
from tests.reliability.ledger import Entry, Ledger, Outcome, share_of_pictures

pytestmark = pytest.mark.anyio

SLOW = "!slow=0.05"  # 0.4 s a picture, one at a time on each of two replicas
PER_SECOND = 5.0  # pictures that both paint at most
DEADLINE_SECONDS = 10.0


@pytest.fixture
async def narrow(service: FakeService) -> AsyncIterator[FakeService]:
    """With one row in a forward and little time: a deploy that applies in place, and is taken back."""
    config = copy.deepcopy(service.config)
    ingress, sdxl = (one["deployments"][0]["user_config"] for one in config["applications"][:2])
    ingress["deadline_seconds"] = DEADLINE_SECONDS
    sdxl["batching"] = {"max_rows": 1, "max_running": 4, "max_queued": 60}
    before = {replica.pid for name in ("ingress", "sdxl") for replica in service.replicas(name)}
    await asyncio.to_thread(service.deploy, config)
    await asyncio.to_thread(wait_until, service.is_whole)
    await asyncio.sleep(1)  # the ingress is told last
    yield service
    assert before == {replica.pid for name in ("ingress", "sdxl") for replica in service.replicas(name)}
    await asyncio.to_thread(service.deploy, service.config)


async def open_loop(ledger: Ledger, per_second: float, seconds: float) -> list[Entry]:
    """Requests come at that rate, whatever becomes of earlier ones."""
    asked = []
    began = time.monotonic()
    for number in itertools.takewhile(lambda number: number < per_second * seconds, itertools.count()):
        await asyncio.sleep(began + number / per_second - time.monotonic())
        asked.append(asyncio.create_task(ledger.ask(SLOW)))
    return list(await asyncio.gather(*asked))


async def peak(ledger: Ledger, seconds: float) -> float:
    """Pictures a second, where there are always enough to paint and never too many."""
    ends = time.monotonic() + seconds
    made = 0

    async def client() -> None:
        nonlocal made
        while time.monotonic() < ends:
            entry = await ledger.ask(SLOW)
            made += entry.outcome is Outcome.PICTURE

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(8)))
    return made / (time.monotonic() - began)


@pytest.mark.parametrize(
    "times", [2, pytest.param(10, marks=pytest.mark.long("a small machine has enough to do with asking so often"))]
)
async def test_what_is_accepted_is_answered_in_time_and_the_rest_refused_at_once(
    narrow: FakeService, ledger: Ledger, times: int, long: bool, record_property: Any
) -> None:
    seconds = 20.0 if long else 15.0
    await open_loop(ledger, PER_SECOND / 2, 4)  # the engines learn what a picture costs
    best = await peak(ledger, seconds / 3)
    entries = await open_loop(ledger, times * PER_SECOND, seconds)
    pictures = [entry for entry in entries if entry.outcome is Outcome.PICTURE]
    refused = [entry for entry in entries if entry.outcome is Outcome.REFUSED]
    assert len(pictures) + len(refused) == len(entries), ledger.outcomes()
    assert {entry.code for entry in refused} == {"server_is_overloaded"}
    assert max(entry.seconds for entry in pictures) < DEADLINE_SECONDS + 1
    after = await ledger.ask_many(2, SLOW)  # what was accepted has ended, so that nothing waits
    assert share_of_pictures(after) == 1, after
    times_to_refuse = sorted(entry.seconds for entry in refused)
    goodput = len(pictures) / (seconds + max(entry.seconds for entry in pictures[-8:]))
    figures = {
        "goodput of peak": round(goodput / best, 3),
        "median seconds to refuse": round(times_to_refuse[len(refused) // 2], 3),
        "99th percentile of seconds to refuse": round(times_to_refuse[len(refused) * 99 // 100], 3),
        "most seconds to answer": round(max(entry.seconds for entry in pictures), 2),
        "seconds of a request afterwards": round(max(entry.seconds for entry in after), 2),
    }
    for name, value in figures.items():
        record_property(name, value)
    assert goodput > best / 2  # what it is exactly stands in docs/reliability.md; here it must not collapse
    ledger.assert_nothing_lost(Outcome.REFUSED)


@pytest.mark.long("overload is tried anyway")
async def test_openais_clients_with_their_own_retries_make_it_no_worse(
    narrow: FakeService, ledger: Ledger, record_property: Any
) -> None:
    """They obey Retry-After: the models paint all the time, and nobody is answered in any other way."""
    best = await peak(ledger, 4)
    async with AsyncOpenAI(base_url=f"{narrow.url}/openai/v1", api_key="none") as sdk:

        async def ask(number: int) -> Any:
            return await sdk.images.generate(
                prompt=f"badger {number} {SLOW}",
                size="64x64",  # type: ignore[arg-type]
                response_format="b64_json",
            )

        began = time.monotonic()
        answers = await asyncio.gather(*(ask(number) for number in range(80)), return_exceptions=True)
        seconds = time.monotonic() - began
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(each, APIStatusError) and each.status_code == 503 for each in refused)
    goodput = (len(answers) - len(refused)) / seconds
    record_property("goodput of peak", round(goodput / best, 3))
    assert goodput > best / 2  # as above
