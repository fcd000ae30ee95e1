"""What the service's own log says of requests, joined with what their clients saw; and what it never says."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

import httpx
import pytest

from tests.canaries import CANARIES, canary_picture, leaks, leaks_below
from tests.reliability.conftest import FakeService, has_lost_one, wait_until
from tests.reliability.ledger import PATH, Ledger, Outcome

pytestmark = pytest.mark.anyio

OUTCOMES = {
    Outcome.PICTURE: "answered",
    Outcome.REFUSED: "refused",
    Outcome.FAILED: "failed",
    Outcome.LEFT: "cancelled",
}


async def test_every_accepted_request_has_one_end_and_it_is_the_one_that_its_client_saw(
    service: FakeService, ledger: Ledger
) -> None:
    await asyncio.gather(
        *(ledger.ask("!slow=0.05") for _ in range(20)),
        *(ledger.ask("!slow=0.05 !raise=3") for _ in range(5)),
        *(ledger.ask("!slow=0.05 !nan") for _ in range(5)),
        *(ledger.ask("!slow=0.5", leave_after=3.0, stream=streamed) for streamed in (False, True) for _ in range(10)),
        *(ledger.ask(size="63x64") for _ in range(5)),  # which no model makes
    )
    ids = {f"ledger-{id(ledger)}-{entry.number}": entry for entry in ledger.entries}
    deadline = time.monotonic() + 30
    while True:
        told = [record for record in service.records() if record["request_id"] in ids]
        ended = {record["request_id"]: record for record in told if record["event"] == "ended"}
        if ended.keys() == ids.keys() or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    assert ended.keys() == ids.keys()
    assert max(Counter((record["request_id"], record["event"]) for record in told).values()) == 1
    accepted = {record["request_id"] for record in told if record["event"] == "accepted"}
    for identifier, entry in ids.items():
        record = ended[identifier]
        wrong_size = entry.status == 400
        assert record["outcome"] == ("refused" if wrong_size else OUTCOMES[entry.outcome]), (record, entry)
        assert record.get("error") == entry.code or entry.outcome is Outcome.LEFT
        assert (identifier in accepted) == (not wrong_size)
        if entry.outcome is Outcome.PICTURE:
            assert (record["size"], record["steps"], record["status"]) == ("64x64", 8, 200)
            assert record["compute_seconds"] > 0


async def test_nothing_that_a_caller_sends_is_in_any_file_of_the_cluster(
    service: FakeService, client: httpx.AsyncClient
) -> None:
    """Nor in an answer. All logs are looked through, with all that the tests before this one did."""
    picture = canary_picture()
    headers = {"authorization": f"Bearer {CANARIES['wrong-key']}", "x-canary": CANARIES["header"]}
    body = {
        "prompt": f"{CANARIES['prompt']} !raise=1",
        "negative_prompt": CANARIES["negative"],
        "user": CANARIES["user"],
        "unknown": CANARIES["field"],
        "size": "64x64",
    }
    answers = [await client.post(f"{PATH}?q={CANARIES['query']}", json=body, headers=headers, timeout=60)]
    answers.append(await client.post(PATH, json=body | {"size": CANARIES["field"]}, headers=headers))
    answers.append(await client.post(PATH, content=json.dumps(body)[:-1], headers=headers))
    for faulty in ("!die=1", "!hang=1", "!nan", ""):
        await asyncio.to_thread(wait_until, service.is_whole)
        replicas = service.replicas("sdxl")
        prompt = f"{CANARIES['prompt']} {faulty}"
        files = {"image": (CANARIES["file"], picture, "image/png")}
        edit = await client.post(
            "/v1/images/edits", data={"prompt": prompt, "size": "64x64"}, files=files, headers=headers, timeout=60
        )
        answers.append(edit)
        if "hang" in faulty:  # its replica ends only a moment after the answer: the next test finds none that will
            await asyncio.to_thread(wait_until, lambda lost=replicas: has_lost_one(lost))
    assert {answer.status_code for answer in answers} == {500, 400, 503, 200}
    assert not any(leaks(answer.text) for answer in answers)
    assert service.records()
    assert leaks_below(service.logs) == {}
    assert leaks(service.log()) == set()
