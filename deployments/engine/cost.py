"""Measured seconds of module calls by shape and rows, and the knee: the rows beyond which a row costs no less.

Learns from every forward that runs. Up to the knee a bigger batch serves everybody sooner; beyond it more rows only
make everybody late. The knee is read off the least of the last few measurements, since whatever else the machine does
only adds to it; what a forward is expected to take is their median. Now and then a batch above the knee is allowed, so
that one slow measurement does not hold batches down for good. Written by one thread, read by any. Standard library
only.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from statistics import median_low

_REMEMBERED = 8  # measurements of one shape and rows
_EXPLORED_EVERY = 16  # forwards of a shape: the share of time risked on a batch above the knee
_WORTHWHILE = 0.9  # rows must get this much cheaper for up to twice as many to be worth the wait
_MOST_SHAPES = 1024  # the one not seen for longest is forgotten: callers choose sizes, and so how many shapes there are


@dataclass(frozen=True, slots=True)
class _Measured:
    """Seconds of forwards of one shape and one number of rows."""

    rows: int
    least: float
    usual: float

    @property
    def of_a_row(self) -> float:
        return self.least / self.rows


@dataclass
class _Shape:
    """What was measured of one shape."""

    recent: dict[int, deque[float]] = field(default_factory=dict)  # seconds, by rows
    curve: tuple[_Measured, ...] = ()  # by rising rows; replaced as a whole, so that other threads may read it
    knee: int = 1
    forwards: int = 0


class CostModel:
    """Seconds per forward, by shape and rows."""

    def __init__(self) -> None:
        self._shapes: OrderedDict[Hashable, _Shape] = OrderedDict()  # seen last, last

    def observe(self, shape: Hashable, rows: int, seconds: float) -> None:
        """A forward of `rows` rows took `seconds`."""
        known = self._shapes.setdefault(shape, _Shape())
        known.recent.setdefault(rows, deque(maxlen=_REMEMBERED)).append(seconds)
        known.curve = tuple(
            _Measured(tried, min(recent), median_low(recent)) for tried, recent in sorted(known.recent.items())
        )
        known.knee = _knee(known.curve)
        known.forwards += 1
        self._shapes.move_to_end(shape)
        if len(self._shapes) > _MOST_SHAPES:
            del self._shapes[next(iter(self._shapes))]

    def seconds(self, shape: Hashable, rows: float) -> float:
        """What a forward of `rows` rows is expected to take; 0 where nothing of this shape was measured yet.

        Between two measured row counts it is on the line that joins them. Fewer rows than ever measured cost as much as
        the fewest, and beyond the most a row is taken to cost what it does there.
        """
        known = self._shapes.get(shape)
        if known is None or not known.curve:
            return 0.0
        curve = known.curve
        for below, above in pairwise(curve):
            if below.rows <= rows <= above.rows:
                return below.usual + (above.usual - below.usual) * (rows - below.rows) / (above.rows - below.rows)
        nearest = curve[0] if rows < curve[0].rows else curve[-1]
        return nearest.usual * max(1.0, rows / nearest.rows)

    def knee(self, shape: Hashable, rows: int = 1) -> int:
        """The fewest rows of which a row costs about the least, in whole calls of `rows` rows.

        One call where nothing was measured yet.
        """
        known = self._shapes.get(shape)
        return rows if known is None else rows * ceil(known.knee / rows)

    def is_measured(self, shape: Hashable, rows: int) -> bool:
        """Whether such a forward has run before."""
        known = self._shapes.get(shape)
        return known is not None and rows in known.recent

    def row_cap(self, shape: Hashable, rows: int = 1) -> int:
        """The most rows worth running together, for calls of `rows` rows; one call where nothing was measured yet.

        It is the knee once that was seen, and twice what was tried until then, or when it is time to look again.
        """
        known, knee = self._shapes.get(shape), self.knee(shape, rows)
        if known is None or not known.curve:
            return rows
        unexplored = known.knee == known.curve[-1].rows or known.forwards % _EXPLORED_EVERY == 0
        return 2 * knee if unexplored else knee


def _knee(curve: Sequence[_Measured]) -> int:
    """The fewest rows of which up to twice as many make none much cheaper.

    Looking no further keeps one lucky measurement of many rows from drawing all batches there.
    """
    for index, point in enumerate(curve):
        beyond = curve[index + 1 :]
        rivals = [other for other in beyond if other.rows <= 2 * point.rows] or beyond[:1]
        if all(point.of_a_row * _WORTHWHILE <= other.of_a_row for other in rivals):
            return point.rows
    raise AssertionError("the last point has no rivals")
