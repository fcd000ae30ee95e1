"""Answers in time: what is asked for is waited for until a request's deadline, and no longer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from deployments.errors import DeadlineExceeded

Answer = TypeVar("Answer")


async def by(deadline: float, name: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer that `name` gives, by `deadline` (unix seconds), when asking is cancelled. Raises DeadlineExceeded."""
    try:
        with anyio.fail_after(deadline - time.time()):  # asyncio's own loses cancellations before Python 3.12
            await checkpoint_if_cancelled()  # what is late already is not begun
            return await ask()
    except TimeoutError:
        raise DeadlineExceeded(f"{name} did not answer in the time that is allowed.") from None
