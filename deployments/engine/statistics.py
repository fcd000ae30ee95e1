"""The engine's counters: what ran together, and how jobs ended. Read by any thread; an observer is told as well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol

from deployments.engine.collate import ModuleCall
from deployments.engine.job import Job, JobState

_MOST_LABELS = 1024  # the one not seen for longest is forgotten: callers choose sizes, and so how many shapes there are


@dataclass(frozen=True, slots=True)
class ForwardStatistics:
    """Forwards of one module method at one shape."""

    forwards: int = 0
    calls: int = 0  # pipeline calls that these forwards answered; more than forwards: they were merged
    rows: int = 0
    largest_batch: int = 0  # the most calls in one forward
    seconds: float = 0.0

    def plus(self, calls: int, rows: int, seconds: float) -> ForwardStatistics:
        """With one forward more."""
        return ForwardStatistics(
            self.forwards + 1,
            self.calls + calls,
            self.rows + rows,
            max(self.largest_batch, calls),
            self.seconds + seconds,
        )


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """A snapshot. Since the engine started, but for `waiting` and `running`, which are of now."""

    waiting: int
    running: int
    finished: int
    failed: int
    cancelled: int
    forwards: dict[str, ForwardStatistics] = field(default_factory=dict)  # by "module.method shape"


class EngineObserver(Protocol):
    """Whoever wants to know at once. It must be quick and raise nothing: it is told amid the work."""

    def forward(self, call: ModuleCall, calls: int, rows: int, seconds: float) -> None:
        """One forward of `rows` rows answered `calls` calls like `call`. From the engine's thread."""

    def ended(self, job: Job[Any]) -> None:
        """From any thread."""


class StatisticsRecorder:
    """Counts; `snapshot` may be called from any thread."""

    def __init__(self) -> None:
        self.observer: EngineObserver | None = None
        self._forwards: dict[str, ForwardStatistics] = {}
        self._ended: Counter[JobState] = Counter()
        self._counting = Lock()

    def forward(self, call: ModuleCall, calls: int, rows: int, seconds: float) -> None:
        """One forward answered `calls` pipeline calls like `call`."""
        label = call.label
        # Taken out and put in again, so that the first is the one not seen for longest.
        self._forwards[label] = self._forwards.pop(label, ForwardStatistics()).plus(calls, rows, seconds)
        if len(self._forwards) > _MOST_LABELS:
            del self._forwards[next(iter(self._forwards))]
        if self.observer is not None:
            self.observer.forward(call, calls, rows, seconds)

    def ended(self, job: Job[Any]) -> None:
        """`job` ended in its state. Callable from any thread."""
        with self._counting:
            self._ended[job.state] += 1
        if self.observer is not None:
            self.observer.ended(job)

    def snapshot(self, *, waiting: int, running: int) -> EngineStatistics:
        """The counters as they are now."""
        return EngineStatistics(
            waiting=waiting,
            running=running,
            finished=self._ended[JobState.FINISHED],
            failed=self._ended[JobState.FAILED],
            cancelled=self._ended[JobState.CANCELLED],
            forwards=dict(self._forwards),
        )
