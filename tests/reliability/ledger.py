"""Keeps account of requests: each gets exactly one complete answer, and each picture is the one that was asked for.

Every request asks for a picture that nobody else asks for, of the fake family, which paints what it was asked for. An
answer is one of

    PICTURE    200, complete, and its own
    REFUSED    429 or 503 with a Retry-After of 1 to 60 seconds: it may be asked again
    FAILED     another error of the service, in its own shape
    CUT        the connection ended before the answer did
    LEFT       the client hung up, as told to
    HUNG       no answer within the client's patience
    WRONG      anything else: somebody else's picture, half a picture, an error of unknown shape
"""

from __future__ import annotations

import asyncio
import base64
import enum
import io
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from PIL import Image

from tests.reliability.fake_family import DIGEST_BYTES, digest_of

PATH = "/v1/images/generations"
SIDE, STEPS, GUIDANCE = 64, 8, 5.0


class Outcome(enum.Enum):
    """See the module's docstring."""

    PICTURE = enum.auto()
    REFUSED = enum.auto()
    FAILED = enum.auto()
    CUT = enum.auto()
    LEFT = enum.auto()
    HUNG = enum.auto()
    WRONG = enum.auto()


@dataclass(frozen=True)
class Entry:
    """A request and what became of it."""

    number: int
    outcome: Outcome
    seconds: float
    status: int | None = None
    code: str | None = None
    detail: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"#{self.number} {self.outcome.name} {self.status} {self.code} {self.seconds:.2f} s {self.detail}"


class Ledger:
    """Asks over HTTP and keeps account. `patience` is in seconds."""

    def __init__(self, client: httpx.AsyncClient, patience: float = 60.0) -> None:
        self.entries: list[Entry] = []
        self._client = client
        self._patience = patience
        self._numbers = itertools.count()

    async def ask(self, commands: str = "", *, leave_after: float | None = None, **fields: Any) -> Entry:
        """One picture, of a prompt that nobody else has, with `commands` to the fake family in it.

        `leave_after` is after how many seconds the client hangs up. Never raises.
        """
        number = next(self._numbers)
        body = {
            "prompt": f"otter {id(self)} {number} {commands}".strip(),
            "negative_prompt": "",
            "size": f"{SIDE}x{SIDE}",
            "seed": number,
            "num_steps": STEPS,
            "guidance_scale": GUIDANCE,
            "response_format": "b64_json",
        } | fields
        headers = {"x-request-id": f"ledger-{id(self)}-{number}"}
        began = time.monotonic()
        patience = self._patience if leave_after is None else leave_after
        try:
            with anyio.fail_after(patience):
                response = await self._client.post(PATH, json=body, headers=headers, timeout=None)
        except TimeoutError:
            entry = Entry(number, Outcome.HUNG if leave_after is None else Outcome.LEFT, time.monotonic() - began)
        except httpx.TransportError as error:
            entry = Entry(number, Outcome.CUT, time.monotonic() - began, detail=type(error).__name__)
        else:
            entry = judge(number, body, response, time.monotonic() - began)
        self.entries.append(entry)
        return entry

    async def ask_many(self, count: int, commands: str = "", **fields: Any) -> list[Entry]:
        """So many at once."""
        return list(await asyncio.gather(*(self.ask(commands, **fields) for _ in range(count))))

    def outcomes(self) -> Counter[str]:
        """How many of each."""
        return Counter(entry.outcome.name for entry in self.entries)

    def assert_nothing_lost(self, *allowed: Outcome) -> None:
        """Every request was answered, with its picture or in one of the `allowed` ways."""
        lost = [str(entry) for entry in self.entries if entry.outcome not in (Outcome.PICTURE, *allowed)]
        assert not lost, f"{len(lost)} of {len(self.entries)}:\n" + "\n".join(lost[:20])


def judge(number: int, body: dict[str, Any], response: httpx.Response, seconds: float) -> Entry:
    """What an answer is to the request of that body."""

    def entry(outcome: Outcome, code: str | None = None, detail: str = "") -> Entry:
        return Entry(number, outcome, seconds, response.status_code, code, detail, dict(response.headers))

    try:
        answer = response.json()
    except ValueError:
        return entry(Outcome.WRONG, detail=f"not JSON: {response.text[:200]}")
    if response.status_code == 200:
        problem = _problem_with(answer, body)
        return entry(Outcome.WRONG, detail=problem) if problem else entry(Outcome.PICTURE)
    error = answer.get("error")
    if not isinstance(error, dict) or error.keys() != {"message", "type", "param", "code"}:
        return entry(Outcome.WRONG, detail=f"no error of ours: {json.dumps(answer)[:200]}")
    if response.headers.get("x-request-id") is None:
        return entry(Outcome.WRONG, error["code"], "no request id")
    if response.status_code in (429, 503):
        wait = response.headers.get("retry-after", "")
        if not (wait.isdecimal() and 1 <= int(wait) <= 60):
            return entry(Outcome.WRONG, error["code"], f"Retry-After: {wait!r}")
        return entry(Outcome.REFUSED, error["code"], error["message"])
    return entry(Outcome.FAILED, error["code"], error["message"])


def _problem_with(answer: Any, body: dict[str, Any]) -> str:
    """Why the answer does not hold the picture that `body` asks for; empty if it does."""
    try:
        (item,) = answer["data"]
        picture = Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))
        picture.load()
    except Exception as error:
        return f"no whole picture: {type(error).__name__}"
    width, height = map(int, body["size"].split("x"))
    if picture.size != (width, height):
        return f"a picture of {picture.size}"
    wanted = digest_of(
        body["prompt"],
        body["negative_prompt"],
        width,
        height,
        body["seed"],
        body["num_steps"],
        body["guidance_scale"],
    )
    painted = bytes(picture.convert("RGB").crop((0, 0, DIGEST_BYTES, 1)).tobytes()[::3])
    return "" if painted == wanted else "another request's picture"


def share_of_pictures(entries: Sequence[Entry]) -> float:
    """0 … 1."""
    return sum(entry.outcome is Outcome.PICTURE for entry in entries) / len(entries)
