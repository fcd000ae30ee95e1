"""How long waiting requests will take: the one number behind admission, `Retry-After`, a client's ETA and autoscaling.

Calls of one shape share forwards up to the knee, or as far as the operator and the device's memory allow, so that many
requests take far less than the sum of each. They need as many forwards as their rows fill, and no fewer than the
longest of them makes one after another:

    forwards = max(most calls of one request, rows of all calls / rows that run together)
    seconds  = forwards × seconds of a forward of rows / forwards rows

summed over shapes, since one device runs one forward at a time. What this leaves out (the work between forwards, other
users of the machine) is measured too: by how much a busy stretch took longer than its forwards were expected to.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

from deployments.engine.cost import CostModel
from deployments.engine.workload import CallLog, Recipes, Workload

_REMEMBERED_SECONDS = 10.0  # of work, that the correction is read off
_MOST_CORRECTION = 3.0  # that a single forward counts for: one that hung says little of the next


def unbounded(shape: Hashable) -> None:
    """Forwards of `shape` may have any number of rows."""


class Planned(Protocol):
    """A request as far as its future is concerned."""

    @property
    def workload(self) -> Workload: ...

    @property
    def log(self) -> CallLog: ...


@dataclass
class _Load:
    """Calls of one shape."""

    rows: float = 0.0
    longest: float = 0.0  # calls that one request makes, one after another
    rows_of_a_call: int = 1  # the most
    scale: float = 1.0


class Forecaster:
    """Foretells from measured costs and recipes. Callable from any thread, but for `ran`.

    `most_rows` tells what bounds a forward of a shape but its cost; None where nothing does. It may change at any time.
    """

    def __init__(
        self, cost: CostModel, recipes: Recipes, most_rows: Callable[[Hashable], int | None] = unbounded
    ) -> None:
        self._cost = cost
        self._recipes = recipes
        self._most_rows = most_rows
        self._expected_seconds = self._taken_seconds = 1e-9
        self._correction = 1.0

    def seconds_alone(self, request: Planned) -> float:
        """What `request` would still take if there were no other, uncorrected."""
        return sum(
            left.count * left.scale * self._cost.seconds(left.call.shape, left.call.rows)
            for left in self._recipes.remaining(request.workload, request.log)
        )

    def seconds(self, requests: Iterable[Planned]) -> float:
        """When the last of `requests` will be finished, if nothing else runs."""
        loads: dict[tuple[Hashable, float], _Load] = {}
        for request in requests:
            for left in self._recipes.remaining(request.workload, request.log):
                load = loads.setdefault((left.call.shape, left.scale), _Load(scale=left.scale))
                load.rows += left.count * left.call.rows
                load.longest = max(load.longest, left.count)
                load.rows_of_a_call = max(load.rows_of_a_call, left.call.rows)
        return self._correction * sum(self._of(shape, load) for (shape, _), load in loads.items())

    def _of(self, shape: Hashable, load: _Load) -> float:
        together = self._cost.knee(shape, load.rows_of_a_call)
        if (bound := self._most_rows(shape)) is not None:  # a call that is larger runs nevertheless
            together = max(load.rows_of_a_call, min(together, bound))
        forwards = max(load.longest, load.rows / together)
        return forwards * load.scale * self._cost.seconds(shape, load.rows / forwards) if forwards else 0.0

    def ran(self, expected_seconds: float, taken_seconds: float) -> None:
        """A forward of `expected_seconds` took, with all that was done since the one before, `taken_seconds`."""
        taken_seconds = min(taken_seconds, _MOST_CORRECTION * expected_seconds)
        fading = max(0.0, 1 - taken_seconds / _REMEMBERED_SECONDS)
        self._expected_seconds = self._expected_seconds * fading + expected_seconds
        self._taken_seconds = self._taken_seconds * fading + taken_seconds
        self._correction = max(1.0, self._taken_seconds / self._expected_seconds)


def in_fair_shares(everybody: float, own: float, share: float) -> float:
    """When a caller's requests of `own` seconds will be finished, who gets that share of the device while others wait.

    It is no later than when all requests will be, after `everybody` seconds.
    """
    return min(everybody, own / share)
