"""Which waiting calls run next. Pure: no clock, no torch, the standard library only.

Policy. Calls around a denoising step (text encoders, VAE, a ControlNet) go first, since they are short and either let
their owner join the running batch or finish it. Then the most urgent call leads, and calls of the same batch key join
it in order of urgency up to the cap on rows. Urgency is little remaining work, less credit for age:

    urgency = remaining_seconds - AGING * age_seconds        (smallest first)

So a 4-step request overtakes a 50-step one of another size, but never for ever: a request with R seconds left cannot
be overtaken by any that arrives more than R / AGING seconds after it. Batches form from backlog only, never by waiting.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

# From the queueing simulation behind docs/decisions/0002: at 0.5 mean and p95 stay near the best of both orders.
AGING = 0.5


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A paused request as the scheduler sees it."""

    ticket: int  # unique, in order of arrival
    key: Hashable
    rows: int
    row_cap: int  # the most rows worth running in one forward of this key
    denoises: bool
    age_seconds: float
    remaining_seconds: float

    @property
    def urgency(self) -> tuple[float, int]:
        """Smaller is more urgent."""
        return self.remaining_seconds - AGING * self.age_seconds, self.ticket


def choose(waiting: Sequence[WaitingCall]) -> list[WaitingCall]:
    """The calls to run in one forward: all of one key, at least one if any waits, most urgent first.

    Their rows stay within the row cap of the first unless that one alone has more.
    """
    candidates = [call for call in waiting if not call.denoises] or waiting
    by_urgency = sorted(candidates, key=lambda call: call.urgency)
    chosen: list[WaitingCall] = []
    rows = 0
    for call in by_urgency:
        if not chosen or (call.key == chosen[0].key and rows + call.rows <= chosen[0].row_cap):
            chosen.append(call)
            rows += call.rows
    return chosen
