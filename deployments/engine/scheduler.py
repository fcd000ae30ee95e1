"""Which waiting calls run next. No clock, no torch, the standard library only.

Requests stand in one order, the first leads the next forward, and calls of the same batch key join it in that order up
to the cap on rows. Batches form from backlog only, never by waiting. The order:

1. Promises. A request that must run now to end within its time goes first, the one nearest to its end before others.
2. Priority, which only trusted callers may raise.
3. Turns. Callers take turns by deficit round robin (Shreedhar and Varghese, 1995) over seconds of the device: each turn
   is worth a second times the caller's weight; whoever overdraws waits for longer.
4. Urgency: little remaining work, less credit for age, so that a 4-step request overtakes a 50-step one of another
   size, but never for ever: one with R seconds left is not overtaken for its urgency by any that arrives R / AGING
   seconds after it.

Calls that surround the steps (text encoders, VAE) go first, since they let a request join the batch, or end it, but
take no more of the time than denoising does while both wait. A ControlNet's calls run ahead of the denoising forward
that its owner would share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from deployments.engine.workload import Role

# From benchmarks/scheduling.py: higher is nearer to first come, first served, lower to shortest first.
AGING = 2.0
TURN_SECONDS = 1.0
# Less than these to spare: of the time that a request is allowed, and of what it would take alone: company slows it.
_SPARE_OF_ALLOWED = 0.25
_SPARE_OF_REMAINING = 0.5


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A paused request as the scheduler sees it."""

    number: int  # unique, in order of arrival
    key: Hashable  # equal: may share a forward
    rows: int
    row_cap: int  # the most rows worth running in one forward of this key
    role: Role
    seconds: float  # of this call alone
    age_seconds: float
    remaining_seconds: float  # of its request alone, this call included
    seconds_to_deadline: float = float("inf")
    caller: str = ""
    weight: float = 1.0
    priority: int = 0

    @property
    def urgency(self) -> float:
        """Smaller is more urgent."""
        return self.remaining_seconds - AGING * self.age_seconds

    @property
    def is_endangered(self) -> bool:
        """It ends in time if it runs now, and hardly if it does not."""
        spare = self.seconds_to_deadline - self.remaining_seconds
        allowed = self.age_seconds + self.seconds_to_deadline
        return 0 <= spare < _SPARE_OF_ALLOWED * allowed + _SPARE_OF_REMAINING * self.remaining_seconds

    @property
    def is_hopeless(self) -> bool:
        """It cannot end in time any more: it goes after all others."""
        return self.remaining_seconds > self.seconds_to_deadline


class Scheduler:
    """Chooses, and keeps account of what was run."""

    def __init__(self) -> None:
        self._turns = DeficitRoundRobin()
        self._surrounding_seconds = 0.0  # that were taken beyond those of denoising

    def choose(self, waiting: Sequence[WaitingCall]) -> list[WaitingCall]:
        """The calls to run in one forward: all of one key, at least one if any waits, the first in order leads.

        Their rows stay within the row cap of the first unless that one alone has more.
        """
        if not waiting:
            return []
        in_order = self._in_order(waiting)
        surrounding = [call for call in in_order if call.role is Role.SURROUNDS]
        in_steps = [call for call in in_order if call.role is not Role.SURROUNDS]
        if surrounding and (not in_steps or self._surrounding_seconds < in_steps[0].seconds):
            return _batch(surrounding)
        return _batch(_guides_first(in_steps))

    def ran(self, calls: Sequence[WaitingCall], seconds: float) -> None:
        """A forward of `calls` took `seconds`."""
        rows = sum(call.rows for call in calls)
        for call in calls:
            self._turns.charge(call.caller, seconds * call.rows / rows)
        if calls[0].role is Role.SURROUNDS:
            self._surrounding_seconds += seconds
        elif calls[0].role is Role.DENOISES:
            self._surrounding_seconds = max(0.0, self._surrounding_seconds - seconds)

    def _in_order(self, waiting: Sequence[WaitingCall]) -> list[WaitingCall]:
        highest = max(call.priority for call in waiting)
        turn = self._turns.turn(
            {call.caller: call.weight for call in waiting},
            among={call.caller for call in waiting if call.priority == highest},
        )

        def rank(call: WaitingCall) -> tuple[float, ...]:
            if call.is_endangered:
                return (0, call.seconds_to_deadline, call.number)
            return (2 if call.is_hopeless else 1, -call.priority, call.caller != turn, call.urgency, call.number)

        return sorted(waiting, key=rank)


def _batch(in_order: Sequence[WaitingCall]) -> list[WaitingCall]:
    """The first, and those that join it."""
    first, chosen, rows = in_order[0], [in_order[0]], in_order[0].rows
    for call in in_order[1:]:
        if call.key == first.key and rows + call.rows <= first.row_cap:
            chosen.append(call)
            rows += call.rows
    return chosen


def _guides_first(in_order: Sequence[WaitingCall]) -> Sequence[WaitingCall]:
    """The same, but guides of requests that the first forward has room for go before it."""
    rows = 0
    for index, call in enumerate(in_order):
        if call.role is Role.GUIDES:
            return [call, *in_order[:index], *in_order[index + 1 :]]
        rows += call.rows
        if rows >= in_order[0].row_cap:
            break
    return in_order


class DeficitRoundRobin:
    """Whose turn it is. A caller who has nothing waiting loses what it had saved, and what it owed."""

    def __init__(self) -> None:
        self._ring: deque[str] = deque()
        self._credit: dict[str, float] = {}

    def turn(self, weights: Mapping[str, float], among: Iterable[str]) -> str:
        """The caller whose turn it is of those `among` all who wait, whose weights are given."""
        for gone in [caller for caller in self._ring if caller not in weights]:
            self._ring.remove(gone)
            del self._credit[gone]
        for caller in weights:
            if caller not in self._credit:
                self._ring.append(caller)
                self._credit[caller] = 0.0
        eligible = set(among)
        while True:
            head = self._ring[0]
            if head in eligible and self._credit[head] > 0:
                return head
            if head in eligible:
                self._credit[head] += TURN_SECONDS * weights[head]
            self._ring.rotate(-1)

    def charge(self, caller: str, seconds: float) -> None:
        """The device worked `seconds` for `caller`."""
        if caller in self._credit:
            self._credit[caller] -= seconds
