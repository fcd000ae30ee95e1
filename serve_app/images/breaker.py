"""What is known of a place that may fail: whether it can be counted on, and when to look at it again.

    unsure --success--> good --after GOOD_SECONDS--> unsure
    any    --failure--> failing --success--> good

While it fails it is looked at again after as long as it has been failing by then, within two bounds, so that neither a
short failure is made long nor a long one asked about all the time. Pure: it holds what it is told and a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable

GOOD_SECONDS = 2.0  # after a success, that nothing needs to be looked at
SHORTEST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 10.0


class Breaker:
    """`clock` tells seconds, and never goes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._good_until = -math.inf
        self._failing_since: float | None = None
        self._next_look = -math.inf

    def is_good(self) -> bool:
        """It worked a moment ago."""
        return self._clock() < self._good_until

    def is_failing(self) -> bool:
        """It failed when it was last asked."""
        return self._failing_since is not None

    def seconds_to_next_look(self) -> float:
        """0: now."""
        return max(0.0, self._next_look - self._clock())

    def looking(self, seconds: float) -> None:
        """A look begins, which ends within `seconds`: it is the only one until then."""
        self._next_look = self._clock() + seconds

    def succeeded(self) -> None:
        """It did what was asked of it."""
        self._good_until = self._clock() + GOOD_SECONDS
        self._failing_since = None

    def failed(self) -> None:
        """It did not."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        self._good_until = -math.inf
        self._next_look = now + min(LONGEST_WAIT_SECONDS, max(SHORTEST_WAIT_SECONDS, now - self._failing_since))
