"""The picture store as the event loop meets it: every answer comes in time, also from a store that is full or hangs.

Invariants:
- No call waits longer than the time limit, and none uses threads that others need.
- Whether links can be made is known before pictures are: from what was just kept, else by a look at the store, one for
  all who ask meanwhile. While the store fails, whoever asks is refused at once, but for one who looks again when it is
  time (`breaker`). So nothing runs in the background, and a store that works again is found by the next who ask.
- Keeping and reading are always tried: a picture that was made is worth it, and a full store can still be read.
- The secret of the links is read once, when the store is first reached.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError  # before Python 3.11 a class of its own
from functools import partial
from typing import TypeVar

from deployments.errors import StoreUnavailable
from serve_app.images.breaker import Breaker
from serve_app.images.signing import LinkSigner
from serve_app.images.store import RETRY_AFTER_SECONDS, ImageStore, StoreRefused
from serve_app.threads import LimitedThreads, in_thread

Answer = TypeVar("Answer")

THREADS = 16
_logger = logging.getLogger(__name__)


class Keeper:
    """`store`, each of whose operations is given up after `seconds`; `clock` tells seconds.

    Every method but `open` is for one event loop, and raises StoreUnavailable.
    """

    def __init__(self, store: ImageStore, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._seconds = seconds
        self._threads = LimitedThreads(THREADS, seconds, clock)
        self._breaker = Breaker(clock)
        self._signer: LinkSigner | None = None
        self._look: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Look at the store when the process starts; blocks, for no longer than the time limit.

        What only a person can mend is raised, and fails the start: ValueError for a bad secret, StoreRefused for a
        folder or bucket that is not there or not ours to write. A store that does not answer, or is full, is not: it
        may be well again before anybody wants a link, and pictures in base64 need none.
        """
        try:
            in_thread(self._try_out).result(self._seconds)
        except StoreRefused:
            raise
        except (StoreUnavailable, FutureTimeoutError):
            self._breaker.failed()
            _logger.error("The image store cannot be used: pictures are answered in base64 alone until it can be")
        else:
            self._breaker.succeeded()

    async def check(self) -> None:
        """Return if pictures can be kept now, as far as one can know."""
        if self._breaker.is_good():
            return
        if not self._breaker.is_failing() or self._breaker.seconds_to_next_look() == 0:
            if self._look is None:
                self._breaker.looking(self._seconds)
                self._look = asyncio.create_task(self._look_at_store())
            await asyncio.wait([self._look])  # not cancelled with whoever asked first
        if self._breaker.is_failing():
            raise self._refusal()

    async def put(self, picture: bytes, extension: str, expires: int) -> str:
        """See ImageStore.put."""
        return await self._remembered(partial(self._store.put, picture, extension, expires))

    async def get(self, name: str) -> bytes:
        """See ImageStore.get."""
        return await self._in_time(partial(self._store.get, name))

    async def signer(self) -> LinkSigner:
        """What signs and verifies links."""
        if self._signer is None:
            await self.check()
        assert self._signer is not None, "a look that succeeds has read the secret"
        return self._signer

    async def _look_at_store(self) -> None:
        try:
            await self._remembered(self._try_out)
        except StoreUnavailable:
            pass  # the breaker knows
        finally:
            self._look = None

    def _try_out(self) -> None:
        """Read the secret and write a file; blocks."""
        if self._signer is None:
            self._signer = LinkSigner(self._store.secret())
        self._store.check_writable()

    async def _remembered(self, work: Callable[[], Answer]) -> Answer:
        """As `_in_time`, and what it says of the store is kept in mind."""
        try:
            answer = await self._in_time(work)
        except StoreUnavailable:
            if not self._breaker.is_failing():
                _logger.error("The image store fails: pictures by link are refused until it works again")
            self._breaker.failed()
            raise self._refusal() from None
        if self._breaker.is_failing():
            _logger.warning("The image store works again")
        self._breaker.succeeded()
        return answer

    async def _in_time(self, work: Callable[[], Answer]) -> Answer:
        try:
            return await self._threads.run(work)
        except TimeoutError:
            _logger.warning("The image store does not answer within %g seconds", self._seconds)
            raise StoreUnavailable(
                "The image store does not answer; try again later.", retry_after_seconds=RETRY_AFTER_SECONDS
            ) from None

    def _refusal(self) -> StoreUnavailable:
        return StoreUnavailable(
            "No links can be made now: the image store does not answer. Ask for base64, or try again later.",
            retry_after_seconds=self._breaker.seconds_to_next_look(),
        )
