"""A few places for what many callers have to do, given by turns: whoever sends much waits for it, and nobody else.

Invariants: never more places are held than there are; nobody waits while one is free; a place goes to the caller that
waits and holds the fewest, those with equally many take turns, and what one caller sent first goes first: everybody is
served. It belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """So many places; `async with places.taken_by(caller)` waits for one and holds it to the end of the block."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._held: Counter[str] = Counter()  # by caller
        self._waiting: dict[str, deque[asyncio.Event]] = {}  # by caller, whose turn is next first

    @asynccontextmanager
    async def taken_by(self, caller: str) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
            self._held[caller] += 1
        else:
            await self._turn_of(caller)
        try:
            yield
        finally:
            self._give_back(caller)

    async def _turn_of(self, caller: str) -> None:
        """Waits until a place was given to it."""
        turn = asyncio.Event()
        own = self._waiting.setdefault(caller, deque())
        own.append(turn)
        try:
            await turn.wait()
        except asyncio.CancelledError:
            if turn.is_set():  # at the very moment
                self._give_back(caller)
            else:
                own.remove(turn)
                if not own:
                    del self._waiting[caller]
            raise

    def _give_back(self, caller: str) -> None:
        self._held -= Counter([caller])
        if not self._waiting:
            self._free += 1
            return
        following = min(self._waiting, key=lambda waiting: self._held[waiting])
        own = self._waiting.pop(following)
        turn = own.popleft()
        if own:
            self._waiting[following] = own  # behind everybody else
        self._held[following] += 1
        turn.set()
