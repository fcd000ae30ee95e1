"""Step-level continuous batching in one sentence: admit, schedule, run, settle, on one thread.

    admit     new jobs start and run to their first module call; cancelled and late ones are thrown out
    schedule  waiting calls -> those to run now: one batch key, up to the cap on rows
    run       merge -> one forward -> split
    settle    resume the members in turn; whoever returns is finished, whoever raises has failed, alone

Invariants: one thread runs every pipeline and every forward, so that only what other threads hand in needs a lock;
nothing that one job does can fail another; a job ends in exactly one way. A merged forward that raises is tried again
in halves until the culprit stands alone; out of memory also lowers the cap of that shape for good. An error of the
device itself, after which nothing on it can be trusted, ends the engine.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from deployments.engine.collate import ModuleCall, run_merged
from deployments.engine.cost import CostModel
from deployments.engine.job import Job, JobState
from deployments.engine.scheduler import WaitingCall, choose
from deployments.engine.statistics import EngineStatistics, StatisticsRecorder
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
)
from deployments.types import StepCallback

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_MOST_MEMORY_CAPS = 1024  # callers choose sizes, and so how many shapes there are


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
        self._busy_since: float | None = None  # when the thread took up what it does now; None while it waits
        self._seconds_to_a_free_place = 1.0  # of the running jobs' remaining steps, the least, at their measured cost
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

    def submit(self, function: Callable[[StepCallback], Result], seconds: float = math.inf) -> Job[Result]:
        """Queues `function`, which is given a callback to report its denoising steps to. Callable from any thread.

        It has `seconds` to finish; then it ends with DeadlineExceeded, whether it waits or runs. Raises Overloaded when
        the queue is full, ModelUnavailable when the engine has died or is stopping.
        """
        with self._wake:
            if self._dead or self._stopping:
                raise self._dead or ModelUnavailable("The model is shutting down.", retry_after_seconds=5)
            if len(self._arrived) + len(self._running) >= self.limits.max_running + self.limits.max_queued:
                raise Overloaded("This model's queue is full.", retry_after_seconds=self._seconds_to_a_free_place)
            job = Job(next(self._tickets), function, seconds, self._notify, self._statistics.ended)
            self._arrived.append(job)
            self._wake.notify()
        return job

    def statistics(self) -> EngineStatistics:
        """A snapshot of the counters; callable from any thread."""
        return self._statistics.snapshot(waiting=len(self._arrived), running=len(self._running))

    def check(self, watchdog_seconds: float) -> None:
        """Raises ModelUnavailable if the engine has died, or is busy with one thing for longer than the watchdog lets.

        In both cases everybody who waits is answered first. Callable from any thread.
        """
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > watchdog_seconds:
            self._dead = self._dead or ModelUnavailable("The model has stopped answering.", retry_after_seconds=15)
        if self._dead:
            self._fail_everybody(self._dead)
            raise self._dead

    # ------------------------------------------------------------------------------------------- the engine's thread

    def _loop(self) -> None:
        try:
            with torch.no_grad():  # grad mode is per thread, and coroutines interleave: it is set once, here
                while self._wait_for_work():
                    self._admit()
                    if members := self._schedule():
                        self._settle(members, self._run(members))
        except BaseException as error:  # of the device, or a mistake of ours: loud, and nobody is left waiting
            logger.exception("The diffusion engine has died")
            self._busy_since = None
            self._dead = ModelUnavailable("The model's engine has failed.", retry_after_seconds=15)
            self._fail_everybody(self._dead)
            if not isinstance(error, Exception):
                raise

    def _wait_for_work(self) -> bool:
        self._busy_since = None
        with self._wake:
            self._wake.wait_for(lambda: self._arrived or self._running or self._stopping)
            return not self._stopping

    def _admit(self) -> None:
        now = time.monotonic()
        for job in [job for job in self._running if job.cancel_requested or now >= job.expires_at]:
            self._throw_out(job)
        with self._wake:
            late = [job for job in self._arrived if job.cancel_requested or now >= job.expires_at]
            for job in late:
                self._arrived.remove(job)
            free = max(0, self.limits.max_running - len(self._running))
            admitted = [self._arrived.popleft() for _ in range(min(free, len(self._arrived)))]
            self._running += late + admitted
        for job in late:
            self._throw_out(job)
        for job in admitted:
            job.begin()
            self._resume(job, job.coroutine.resume)

    def _schedule(self) -> list[tuple[Job[Any], ModuleCall]]:
        now = time.monotonic()
        paused = {job.ticket: (job, job.paused_at) for job in self._running if job.paused_at is not None}
        waiting = [
            WaitingCall(
                ticket,
                call.key,
                call.rows,
                self._row_cap(call),
                call.denoises,
                age_seconds=now - job.submitted_at,
                remaining_seconds=(job.steps - job.steps_done) * self._cost.seconds(call.shape, call.rows),
            )
            for ticket, (job, call) in paused.items()
        ]
        self._seconds_to_a_free_place = max(1.0, min((call.remaining_seconds for call in waiting), default=1.0))
        return [paused[call.ticket] for call in choose(waiting)]

    def _row_cap(self, call: ModuleCall) -> int:
        worthwhile = self.limits.max_rows or self._cost.row_cap(call.shape, call.rows)
        bounds = [worthwhile, call.most_rows, self._memory_caps.get(call.shape)]
        return min(bound for bound in bounds if bound is not None)

    def _run(self, members: Sequence[tuple[Job[Any], ModuleCall]]) -> list[Any]:
        """The output of each call, or the exception that it alone is to blame for."""
        calls = [call for _, call in members]
        rows = sum(call.rows for call in calls)
        self._busy_since = started_at = time.monotonic()
        for job, _ in members:
            job.started_at = job.started_at or started_at
        try:
            outputs = run_merged(calls)
            _synchronize(calls[0])
        except Exception as error:
            out_of_memory = _is_out_of_memory(error)
            if _is_of_the_device(error):
                raise
            if len(calls) == 1:
                return [_too_large_alone() if out_of_memory else error]
            logger.warning("A forward of %d calls failed (%s); trying halves", len(calls), type(error).__name__)
        else:
            seconds = time.monotonic() - started_at
            self._cost.observe(calls[0].shape, rows, seconds)
            self._statistics.forward(calls[0].label, len(calls), rows, seconds)
            return outputs
        half = len(members) // 2
        if out_of_memory:
            torch.cuda.empty_cache()  # does nothing without CUDA
            self._remember_memory_cap(calls[0], sum(call.rows for call in calls[half:]))
        return self._run(members[:half]) + self._run(members[half:])

    def _remember_memory_cap(self, call: ModuleCall, rows: int) -> None:
        self._memory_caps[call.shape] = min(rows, self._memory_caps.pop(call.shape, rows))
        if len(self._memory_caps) > _MOST_MEMORY_CAPS:
            del self._memory_caps[next(iter(self._memory_caps))]

    def _settle(self, members: Sequence[tuple[Job[Any], ModuleCall]], outputs: Sequence[Any]) -> None:
        for (job, _), output in zip(members, outputs, strict=True):
            self._resume(job, job.coroutine.throw if isinstance(output, Exception) else job.coroutine.resume, output)

    def _resume(self, job: Job[Any], step: Callable[..., ModuleCall | None], *output: Any) -> None:
        self._busy_since = time.monotonic()
        job.paused_at = step(*output)
        if job.settled:  # from outside, while it ran
            job.coroutine.close()
            self._remove(job)
        elif job.paused_at is None:
            result, error = job.coroutine.result, job.coroutine.error
            if error is not None and _is_of_the_device(error):
                raise error
            answer = None if error is None else _as_easel_error(error)
            self._remove(job)
            if answer is None:
                job.finish(result)
            else:
                job.fail(answer)

    def _throw_out(self, job: Job[Any]) -> None:
        self._busy_since = time.monotonic()
        job.coroutine.close()
        self._remove(job)
        if job.cancel_requested:
            job.fail(EaselError("The request was cancelled.", code="cancelled"), JobState.CANCELLED)
        else:
            job.fail(DeadlineExceeded("The model did not finish in the time that is allowed."))

    def _remove(self, job: Job[Any]) -> None:
        self._running.remove(job)
        job.paused_at = None
        job.coroutine.forget()

    # ------------------------------------------------------------------------------------------------ from any thread

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _fail_everybody(self, error: EaselError) -> None:
        with self._wake:
            everybody = [*self._arrived, *self._running]
            self._arrived.clear()
        for job in everybody:
            job.fail(error)


def _synchronize(call: ModuleCall) -> None:
    """Kernels run behind: their time, and their errors, belong to the forward that started them."""
    device = next((value.device for value in call.arguments.values() if isinstance(value, torch.Tensor)), None)
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device is not None and device.type == "mps":
        torch.mps.synchronize()


def _is_out_of_memory(error: BaseException) -> bool:
    """Not every allocator has a type of its own for it: some are told by their text alone."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(words in str(error) for words in ("out of memory", "DefaultCPUAllocator"))


def _is_of_the_device(error: BaseException) -> bool:
    """After it nothing on the device can be trusted, and every further call fails."""
    return isinstance(error, torch.AcceleratorError) and not _is_out_of_memory(error)


def _as_easel_error(error: BaseException) -> EaselError:
    """What the caller may know of an error inside a pipeline: never its text, which can hold anything.

    Nor does the log: an error's text may quote the prompt.
    """
    if isinstance(error, EaselError):
        return error
    if _is_out_of_memory(error):  # between module calls, where there is nothing to halve
        return _too_large_alone()
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("A request failed in the model: %s at\n%s", type(error).__name__, where)
    return GenerationFailed(f"The model failed on this request ({type(error).__name__}).")


def _too_large_alone() -> OutOfMemory:
    return OutOfMemory("This request does not fit into the device's memory, even alone; ask for a smaller size.")
