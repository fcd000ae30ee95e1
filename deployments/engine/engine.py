"""Step-level continuous batching in one sentence: admit, schedule, run, settle, on one thread.

    admit     new jobs start and run to their first module call; cancelled ones are thrown out
    schedule  waiting calls -> those to run now: one batch key, up to the cap on rows
    run       merge -> one forward -> split
    settle    resume the members in turn; whoever returns is finished, whoever raises has failed, alone

Invariants: one thread runs every pipeline and every forward, so that only what other threads hand in needs a lock;
nothing that one job does can fail another; a job ends in exactly one way. A merged forward that raises is tried again
in halves until the culprit stands alone; out of memory also lowers the cap of that shape for good.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from deployments.engine.collate import ModuleCall, UnknownOutput, run_merged
from deployments.engine.coroutine import Cancelled
from deployments.engine.cost import CostModel
from deployments.engine.job import Job, JobState
from deployments.engine.scheduler import WaitingCall, choose
from deployments.engine.statistics import EngineStatistics, StatisticsRecorder
from deployments.errors import EaselError, GenerationFailed, ModelUnavailable, OutOfMemory, Overloaded

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
StepCallback = Callable[[int, int], None]  # (steps done, steps in all)


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Caps on what runs together; see config.schema.Batching for their meaning."""

    max_rows: int | None = None
    max_running: int = 16
    max_queued: int = 64


class DiffusionEngine:
    """Runs pipeline calls as jobs whose shared-module calls are merged. Thread-safe where it says so."""

    def __init__(self, limits: EngineLimits = EngineLimits()) -> None:
        self.limits = limits  # may be replaced at any time; read anew in every step
        self._tickets = itertools.count()
        self._arrived: deque[Job[Any]] = deque()
        self._running: list[Job[Any]] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._dead: EaselError | None = None
        self._forward_started_at: float | None = None
        self._cost = CostModel()
        self._memory_caps: dict[Hashable, int] = {}
        self._statistics = StatisticsRecorder()
        self._thread = threading.Thread(target=self._loop, name="diffusion-engine", daemon=True)

    def start(self) -> None:
        """Starts the thread. What is submitted before waits until then."""
        self._thread.start()

    def stop(self) -> None:
        """Fails what is left and ends the thread; callable from any thread but the engine's own."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._fail_everybody(ModelUnavailable("The model is shutting down.", retry_after_seconds=5))

    def submit(self, function: Callable[[StepCallback], Result]) -> Job[Result]:
        """Queues `function`, which is given a callback to report its denoising steps to. Callable from any thread.

        Raises Overloaded when the queue is full, ModelUnavailable when the engine has died or is stopping.
        """
        with self._wake:
            if self._dead or self._stopping:
                raise self._dead or ModelUnavailable("The model is shutting down.", retry_after_seconds=5)
            if len(self._arrived) + len(self._running) >= self.limits.max_running + self.limits.max_queued:
                raise Overloaded("This model's queue is full.", retry_after_seconds=self._seconds_to_a_free_place())
            job: Job[Result] = Job(next(self._tickets), lambda: function(lambda *at: _report(job, *at)), self._notify)
            self._arrived.append(job)
            self._wake.notify()
        return job

    def statistics(self) -> EngineStatistics:
        """A snapshot of the counters; callable from any thread."""
        return self._statistics.snapshot(waiting=len(self._arrived), running=len(self._running))

    def check(self, watchdog_seconds: float) -> None:
        """Raises ModelUnavailable if the thread is dead or a forward runs longer than the watchdog allows.

        In both cases everybody who waits is answered first. Callable from any thread.
        """
        started_at = self._forward_started_at
        if started_at is not None and time.monotonic() - started_at > watchdog_seconds:
            self._dead = ModelUnavailable("The model has stopped answering.", retry_after_seconds=15)
        elif not self._thread.is_alive() and not self._stopping:
            self._dead = self._dead or ModelUnavailable("The model's engine has ended.", retry_after_seconds=15)
        if self._dead:
            self._fail_everybody(self._dead)
            raise self._dead

    # ------------------------------------------------------------------------------------------- the engine's thread

    def _loop(self) -> None:
        try:
            with torch.no_grad():  # grad mode is per thread, and coroutines interleave: it is set once, here
                while self._wait_for_work():
                    self._admit()
                    if calls := self._schedule():
                        self._settle(calls, self._run(calls))
        except BaseException as error:  # a mistake in the engine itself: loud, and nobody is left waiting
            logger.exception("The diffusion engine has died")
            self._dead = ModelUnavailable("The model's engine has failed.", retry_after_seconds=15)
            self._fail_everybody(self._dead)
            if not isinstance(error, Exception):
                raise

    def _wait_for_work(self) -> bool:
        with self._wake:
            self._wake.wait_for(lambda: self._arrived or self._running or self._stopping)
            return not self._stopping

    def _admit(self) -> None:
        for job in [job for job in self._running if job.cancel_requested]:
            self._resume(job, lambda coroutine: coroutine.throw(Cancelled()))
        while True:
            with self._wake:
                cancelled = next((job for job in self._arrived if job.cancel_requested), None)
                if cancelled is None and (not self._arrived or len(self._running) >= self.limits.max_running):
                    return
                job = cancelled or self._arrived[0]
                self._arrived.remove(job)
                self._running.append(job)
            if job.cancel_requested:
                self._resume(job, lambda coroutine: coroutine.throw(Cancelled()))
            else:
                job.state = JobState.RUNNING
                self._resume(job, lambda coroutine: coroutine.resume())

    def _schedule(self) -> list[tuple[Job[Any], ModuleCall]]:
        now = time.monotonic()
        paused = {job.ticket: (job, job.paused_at) for job in self._running if job.paused_at is not None}
        waiting = [
            WaitingCall(
                ticket,
                call.key,
                call.rows,
                call.denoises,
                age_seconds=now - job.submitted_at,
                remaining_seconds=(job.steps - job.steps_done) * self._cost.seconds(call.key, call.rows),
            )
            for ticket, (job, call) in paused.items()
        ]
        return [paused[call.ticket] for call in choose(waiting, self._row_cap)]

    def _row_cap(self, key: Hashable) -> int:
        learned = self.limits.max_rows or self._cost.row_cap(key) or 1
        return min(learned, self._memory_caps.get(key, learned))

    def _run(self, members: Sequence[tuple[Job[Any], ModuleCall]]) -> list[Any]:
        """The output of each call, or the exception that it alone is to blame for."""
        calls = [call for _, call in members]
        rows = sum(call.rows for call in calls)
        for job, _ in members:
            job.started_at = job.started_at or time.monotonic()
        self._forward_started_at = started_at = time.monotonic()
        try:
            outputs = run_merged(calls)
            if torch.cuda.is_available():
                torch.cuda.synchronize()  # kernels run behind: their time, and their errors, belong to this forward
        except UnknownOutput as error:
            return [error] * len(calls)
        except Exception as error:
            out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if len(calls) == 1:
                return [_too_large_alone() if out_of_memory else error]
            logger.warning("A forward of %d calls failed (%s); trying halves", len(calls), type(error).__name__)
            if out_of_memory:
                self._memory_caps[calls[0].key] = max(1, rows // 2)
        else:
            seconds = time.monotonic() - started_at
            self._cost.observe(calls[0].key, rows, seconds)
            self._statistics.forward(calls[0].label, len(calls), rows, seconds)
            return outputs
        finally:
            self._forward_started_at = None
        if out_of_memory and torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(members) // 2
        return self._run(members[:half]) + self._run(members[half:])

    def _settle(self, members: Sequence[tuple[Job[Any], ModuleCall]], outputs: Sequence[Any]) -> None:
        for (job, _), output in zip(members, outputs, strict=True):
            if isinstance(output, Exception):
                self._resume(job, lambda coroutine, error=output: coroutine.throw(error))  # type: ignore[misc]
            else:
                self._resume(job, lambda coroutine, value=output: coroutine.resume(value))  # type: ignore[misc]

    def _resume(self, job: Job[Any], step: Callable[[Any], ModuleCall | None]) -> None:
        job.paused_at = step(job.coroutine)
        if job.paused_at is not None and not job.settled:
            return
        self._running.remove(job)
        error = job.coroutine.error
        if isinstance(error, Cancelled):
            settled = job.fail(_cancelled(), JobState.CANCELLED)
        elif error is not None:
            settled = job.fail(_as_easel_error(error))
        elif job.paused_at is None:
            settled = job.finish(job.coroutine.result)
        else:
            settled = False  # settled from outside while it ran; its coroutine is dropped where it paused
        if settled:
            self._statistics.ended(job.state)

    # ------------------------------------------------------------------------------------------------ from any thread

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _fail_everybody(self, error: EaselError) -> None:
        with self._wake:
            everybody = [*self._arrived, *self._running]
            self._arrived.clear()
        for job in everybody:
            if job.fail(error):
                self._statistics.ended(job.state)

    def _seconds_to_a_free_place(self) -> float:
        """A rough guess, for Retry-After: the running jobs' remaining steps at the measured cost, shared among them."""
        left = [
            (job.steps - job.steps_done) * self._cost.seconds(job.paused_at.key, job.paused_at.rows)
            for job in list(self._running)
            if job.paused_at is not None
        ]
        return max(1.0, min(left, default=1.0))


def _report(job: Job[Any], steps_done: int, steps: int) -> None:
    job.steps_done, job.steps = steps_done, steps


def _as_easel_error(error: BaseException) -> EaselError:
    """What the caller may know of an error inside a pipeline: never its text, which can hold anything."""
    if isinstance(error, EaselError):
        return error
    logger.error("A request failed in the model", exc_info=error)
    return GenerationFailed(f"The model failed on this request ({type(error).__name__}).")


def _too_large_alone() -> OutOfMemory:
    return OutOfMemory("This request does not fit into the device's memory, even alone; ask for a smaller size.")


def _cancelled() -> EaselError:
    return EaselError("The request was cancelled.", code="cancelled")
