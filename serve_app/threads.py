"""Calls that block and may hang: in a few threads of their own, and given up after a time limit.

Invariants: a thread cannot be stopped, so a call that was given up keeps its place until it returns, and however long
they hang there are never more threads than places; where calls that are over their time hold all of them, the next is
given up at once. No thread keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, TypeVar

import anyio

Answer = TypeVar("Answer")


class LimitedThreads:
    """`places` calls at once, each for `seconds` at most; `clock` tells seconds. Belongs to one event loop."""

    def __init__(self, places: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._seconds = seconds
        self._clock = clock
        self._free = anyio.Semaphore(places)
        self._begun: dict[asyncio.Future[Any], float] = {}  # when each call that holds a place was started

    async def run(self, work: Callable[[], Answer]) -> Answer:
        """What `work` returns or raises; TimeoutError where it takes too long, its wait for a place included, or
        cannot be begun."""
        if self._all_hang():
            raise TimeoutError
        with anyio.fail_after(self._seconds):
            await self._free.acquire()
            try:
                call = asyncio.wrap_future(in_thread(work))
            except RuntimeError:  # no thread can be started now
                self._free.release()
                raise TimeoutError from None
            self._begun[call] = self._clock()
            call.add_done_callback(self._end)
            await asyncio.wait([call])  # which leaves the call alone where it is itself cancelled
        return call.result()

    def _all_hang(self) -> bool:
        latest = self._clock() - self._seconds
        return sum(begun <= latest for begun in self._begun.values()) == self._places

    def _end(self, call: asyncio.Future[Any]) -> None:
        del self._begun[call]
        self._free.release()
        call.exception()  # else asyncio logs one that nobody waited for any more, with all that its text holds


def in_thread(work: Callable[[], Answer]) -> Future[Answer]:
    """Starts `work` in a thread of its own, which may outlive whoever waits for it, with the caller's contextvars."""
    call: Future[Answer] = Future()
    call.set_running_or_notify_cancel()  # it cannot be cancelled
    context = copy_context()

    def run() -> None:
        try:
            answer = context.run(work)
        except BaseException as error:
            call.set_exception(error)
        else:
            call.set_result(answer)

    threading.Thread(target=run, name="limited-call", daemon=True).start()
    return call
