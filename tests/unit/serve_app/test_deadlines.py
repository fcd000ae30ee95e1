"""Whoever is asked answers by the deadline, or the asker is told so and the asking is cancelled."""

from __future__ import annotations

import time

import anyio
import pytest

from deployments.errors import DeadlineExceeded
from serve_app.deadlines import by

pytestmark = pytest.mark.anyio

AN_HOUR = 3600.0


async def test_an_answer_in_time_is_the_answer() -> None:
    async def ask() -> str:
        await anyio.lowlevel.checkpoint()
        return "answer"

    assert await by(time.time() + AN_HOUR, "The model", ask) == "answer"


async def test_who_does_not_answer_is_named_and_asked_no_longer() -> None:
    cancelled = anyio.Event()

    async def ask() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    with pytest.raises(DeadlineExceeded, match="The model did not answer"):
        await by(time.time() + 0.5, "The model", ask)
    assert cancelled.is_set()


async def test_what_is_late_already_is_not_begun() -> None:
    begun: list[bool] = []

    async def ask() -> None:
        begun.append(True)

    with pytest.raises(DeadlineExceeded):
        await by(time.time() - 1, "The model", ask)
    assert not begun


async def test_an_error_is_passed_on() -> None:
    async def ask() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await by(time.time() + AN_HOUR, "The model", ask)
