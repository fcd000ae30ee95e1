"""One request inside the engine.

    WAITING ──> RUNNING ──> FINISHED | FAILED | CANCELLED     (RUNNING starts over where memory was short)
       └────────────────────────────> FAILED | CANCELLED

Invariant: the future is settled exactly once, whoever comes first of the engine, a cancellation and a failure of all.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any, Generic, TypeVar

from deployments.engine.collate import ModuleCall
from deployments.engine.coroutine import Coroutine
from deployments.engine.workload import CallLog, Workload

Result = TypeVar("Result")


class JobState(enum.Enum):
    """See the drawing above."""

    WAITING = enum.auto()
    RUNNING = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()
    CANCELLED = enum.auto()


class Job(Generic[Result]):
    """A pipeline call on its way through the engine; made by `DiffusionEngine.submit`."""

    def __init__(
        self,
        number: int,
        function: Callable[[], Result],
        workload: Workload,
        seconds: float,
        on_cancel: Callable[[], None],
        on_end: Callable[[Job[Any]], None],
    ) -> None:
        self.number = number
        self.workload = workload
        self.future: Future[Result] = Future()
        self.future.set_running_or_notify_cancel()  # only `cancel` below ends it early, never the future's own
        self.state = JobState.WAITING
        self.cancel_requested = False
        self.submitted_at = time.monotonic()
        self._deadlines = [self.submitted_at + seconds]  # of all who wait for it
        self.foretold_seconds: float | None = None  # when it was taken, from then to its end; None: nobody knew
        self.started_at: float | None = None
        self.device_seconds = 0.0  # of the forwards that it was in, divided among all who were by their rows
        # Owned by the engine's thread:
        self._function = function
        self.coroutine = Coroutine(function)
        self.paused_at: ModuleCall | None = None
        self.log = CallLog()
        self.parked_among: int | None = None  # jobs that ran when its call did not fit: it waits for fewer
        self.runs_alone = False  # since it did not fit otherwise
        self._on_cancel = on_cancel
        self._on_end = on_end
        self._settling = Lock()

    @property
    def settled(self) -> bool:
        """Whether it has ended, one way or another."""
        return self.state not in (JobState.WAITING, JobState.RUNNING)

    def cancel(self) -> None:
        """Asks the engine to end it; it does so within the forward that runs now. Callable from any thread."""
        self.cancel_requested = True
        self._on_cancel()

    def is_parked(self, running: int) -> bool:
        """Whether its call waits for fewer jobs than the `running` ones."""
        return self.parked_among is not None and running >= self.parked_among

    @property
    def expires_at(self) -> float:
        """When nobody waits for it any more."""
        return max(self._deadlines)

    @property
    def due_at(self) -> float:
        """When the next of those who still wait for it does so no more."""
        now = time.monotonic()
        return min((deadline for deadline in self._deadlines if deadline > now), default=self.expires_at)

    def also_for(self, seconds: float) -> None:
        """Somebody else waits for it too, for `seconds` from now."""
        self._deadlines = [*self._deadlines, time.monotonic() + seconds]

    def begin(self) -> None:
        """It runs now, unless it has ended before."""
        with self._settling:
            if not self.settled:
                self.state = JobState.RUNNING

    def start_over(self) -> None:
        """Ends what it did so far, to begin anew when nothing else runs. Its seed makes the same picture."""
        self.coroutine.close()
        self.coroutine = Coroutine(self._function)
        self.paused_at, self.parked_among, self.log = None, None, CallLog()
        self.device_seconds = 0.0  # what is lost is nobody's charge
        self.runs_alone = True

    def finish(self, result: Result) -> None:
        """Settles it with its result, unless it had ended before."""
        if self._settle(JobState.FINISHED):
            self.future.set_result(result)

    def fail(self, error: BaseException, state: JobState = JobState.FAILED) -> None:
        """Settles it with an error, unless it had ended before."""
        if self._settle(state):
            self.future.set_exception(error)

    def _settle(self, state: JobState) -> bool:
        with self._settling:
            if self.settled:
                return False
            self.state = state
        self._on_end(self)  # first: whoever has the answer finds it counted
        return True
