"""Measured seconds of module calls by shape and rows, and the knee: the rows beyond which a row costs no less.

Learns from every forward that runs. Up to the knee a bigger batch serves everybody sooner; beyond it more rows only
make everybody late. Of the last few measurements the least counts: whatever else the machine does only adds to it. Now
and then a batch above the knee is allowed, so that one slow measurement does not hold batches down for good.
Standard library only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

_REMEMBERED = 8  # measurements of one shape and rows
_EXPLORED_EVERY = 16  # forwards of a shape: the share of time risked on a batch above the knee
_WORTHWHILE = 0.95  # rows must get this much cheaper for a bigger batch to be worth the wait
_MOST_SHAPES = 1024  # the one not seen for longest is forgotten: callers choose sizes, and so how many shapes there are


@dataclass
class _Shape:
    """What was measured of one shape."""

    measured: dict[int, deque[float]] = field(default_factory=dict)  # seconds, by rows
    least: dict[int, float] = field(default_factory=dict)  # of these, by rows: read far more often than it changes
    forwards: int = 0


class CostModel:
    """Seconds per forward, by shape and rows."""

    def __init__(self) -> None:
        self._shapes: dict[Hashable, _Shape] = {}

    def observe(self, shape: Hashable, rows: int, seconds: float) -> None:
        """A forward of `rows` rows took `seconds`."""
        known = self._shapes[shape] = self._shapes.pop(shape, _Shape())  # last in order: seen last
        measured = known.measured.setdefault(rows, deque(maxlen=_REMEMBERED))
        measured.append(seconds)
        known.least[rows] = min(measured)
        known.forwards += 1
        if len(self._shapes) > _MOST_SHAPES:
            del self._shapes[next(iter(self._shapes))]

    def seconds(self, shape: Hashable, rows: int) -> float:
        """Predicted seconds of a forward of `rows` rows; 0 where nothing of this shape was measured yet.

        Between and beyond measured row counts a row is taken to cost what it does in the nearest measured one.
        """
        known = self._shapes.get(shape)
        if known is None:
            return 0.0
        nearest = min(known.least, key=lambda measured: (abs(measured - rows), measured))
        return known.least[nearest] * (1 if rows <= nearest else rows / nearest)

    def row_cap(self, shape: Hashable, rows: int = 1) -> int:
        """The most rows worth running together, for calls of `rows` rows; 1 where nothing was measured yet.

        It is the knee once that was seen, and twice what was tried until then, or when it is time to look again.
        """
        known = self._shapes.get(shape)
        if known is None:
            return 1
        per_row = {tried: seconds / tried for tried, seconds in known.least.items()}
        cheapest = min(per_row.values())
        knee = min(tried for tried, cost in per_row.items() if cost * _WORTHWHILE <= cheapest)
        unexplored = knee == max(per_row) or known.forwards % _EXPLORED_EVERY == 0
        return 2 * max(knee, rows) if unexplored else knee
