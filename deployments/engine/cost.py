"""Measured seconds of module calls by batch key and rows, and the knee: the rows beyond which a row costs no less.

Learns from every forward that runs. Up to the knee a bigger batch serves everybody sooner; beyond it more rows only
make everybody late. Standard library only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

# A newer measurement counts this much against the mean of the older ones: an outlier fades within a few forwards.
_NEWEST = 0.2
# Rows must get this much cheaper for a bigger batch to be worth the wait.
_WORTHWHILE = 0.95


class CostModel:
    """Seconds per forward, by batch key and rows."""

    def __init__(self) -> None:
        self._seconds: defaultdict[Hashable, dict[int, float]] = defaultdict(dict)

    def observe(self, key: Hashable, rows: int, seconds: float) -> None:
        """A forward of `rows` rows took `seconds`."""
        measured = self._seconds[key]
        measured[rows] = seconds if rows not in measured else measured[rows] + _NEWEST * (seconds - measured[rows])

    def seconds(self, key: Hashable, rows: int) -> float:
        """Predicted seconds of a forward of `rows` rows; 0 where nothing of this key was measured yet.

        Between and beyond measured row counts a row is taken to cost what it does in the nearest measured one.
        """
        measured = self._seconds.get(key)
        if not measured:
            return 0.0
        nearest = min(measured, key=lambda known: (abs(known - rows), known))
        return measured[nearest] * (1 if rows <= nearest else rows / nearest)

    def row_cap(self, key: Hashable) -> int | None:
        """The most rows worth running together; None where nothing was measured yet.

        It is the knee once that was seen, and until then twice what was tried: the next backlog tells more.
        """
        measured = self._seconds.get(key)
        if not measured:
            return None
        per_row = {rows: seconds / rows for rows, seconds in measured.items()}
        cheapest = min(per_row.values())
        knee = min(rows for rows, cost in per_row.items() if cost * _WORTHWHILE <= cheapest)
        return knee if knee < max(measured) else 2 * knee
