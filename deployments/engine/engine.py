"""Step-level continuous batching in one sentence: admit, schedule, run, settle, on one thread.

    admit     new jobs start and run to their first module call; cancelled and late ones are thrown out
    schedule  waiting calls -> those to run now: one batch key, up to the cap on rows (see planner.py)
    run       merge -> one forward -> split
    settle    resume the members in turn; whoever returns is finished, whoever raises has failed, alone

Invariants: one thread runs every pipeline and every forward, so that only what other threads hand in needs a lock;
nothing that one job does can fail another; a job ends in exactly one way. A merged forward that raises is tried again
in halves until the culprit stands alone; out of memory also lowers the cap of that shape. A call that alone
does not fit while other jobs hold memory waits until fewer run, and where all wait so, the last one starts over
when the others have ended: only what cannot fit alone fails. An error of the device itself, after which nothing on it
can be trusted, ends the engine, and so does work that never ends: the jobs that it then worked for may be the reason,
and fail; all others, and all that come, are told that they may be tried elsewhere.
"""

from __future__ import annotations

import contextvars
import itertools
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from deployments.engine.collate import ModuleCall
from deployments.engine.execution import (
    DidNotFit,
    Executor,
    Member,
    free_unused_memory,
    is_of_the_device,
    is_out_of_memory,
)
from deployments.engine.job import Job, JobState
from deployments.engine.memory import DeviceMemory
from deployments.engine.planner import Planner
from deployments.engine.statistics import EngineObserver, EngineStatistics, StatisticsRecorder
from deployments.engine.workload import Workload
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    ModelUnavailable,
    OutOfMemory,
    Overloaded,
    ReplicaLost,
)
from deployments.logs import without_text

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


_LEAST_PATIENCE_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Caps on what runs together; see config.schema.Batching for their meaning."""

    max_rows: int | None = None
    max_running: int = 16  # of one size
    max_queued: int = 64

    @property
    def room(self) -> int:
        """Jobs that are taken from one caller, or from all of a few."""
        return self.max_running + self.max_queued

    @property
    def most(self) -> int:
        """Jobs that are taken at all: what is beyond the room is for callers who have little in it."""
        return 2 * self.room


class DiffusionEngine:
    """Runs pipeline calls as jobs whose shared-module calls are merged. Thread-safe where it says so.

    `memory` tells of the device that they run on, where it can. `on_death` is called once, from any thread, when the
    engine has failed and everybody is answered.
    """

    def __init__(
        self,
        limits: EngineLimits = EngineLimits(),
        memory: DeviceMemory | None = None,
        on_death: Callable[[], None] = lambda: None,
    ) -> None:
        self.limits = limits  # may be replaced at any time; read anew in every step
        self._numbers = itertools.count()
        self._arrived: list[Job[Any]] = []
        self._running: list[Job[Any]] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._on_death = on_death
        self._dead: EaselError | None = None
        self._busy_since: float | None = None  # when the thread took up what it does now; None while it waits
        self._works_for: Sequence[Job[Any]] = ()
        self._planner = Planner(self._most_rows)
        self._statistics = StatisticsRecorder()
        self._executor = Executor(self._planner, self._statistics, memory, self._note_activity)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the thread. What is submitted before waits until then.

        It goes on in the context of whoever starts it, where torch keeps the settings that loading a model has made.
        """
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=[self._loop], name="diffusion-engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fails what is left and ends the thread; callable from any thread but the engine's own."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)
        self._fail_everybody()

    def submit(
        self, function: Callable[[], Result], workload: Workload = Workload(), seconds: float = math.inf
    ) -> Job[Result]:
        """Queues `function`, of which `workload` is known in advance. Callable from any thread.

        It has `seconds` to finish; then it ends with DeadlineExceeded, whether it waits or runs. Raises Overloaded when
        the queue is full or holds so much work that it would not finish in time, ReplicaLost when the engine has died
        or is stopping.
        """
        with self._wake:
            job = self._acceptable(function, workload, seconds)
            job.foretold_seconds = self._planner.seconds_until_done(job, self._jobs(), job.submitted_at)
            self._arrived.append(job)
            self._wake.notify()
        return job

    def require_time(self, workload: Workload, seconds: float) -> None:
        """Raises what `submit` would, for whoever has to work before it can. Callable from any thread."""
        with self._wake:
            self._acceptable(lambda: None, workload, seconds)

    def statistics(self) -> EngineStatistics:
        """A snapshot of the counters; callable from any thread."""
        return self._statistics.snapshot(waiting=len(self._arrived), running=len(self._running))

    def observe(self, observer: EngineObserver) -> None:
        """Tells `observer` too, from now on."""
        self._statistics.observer = observer

    def seconds_until_done(self, job: Job[Any]) -> float | None:
        """When `job` is expected to end, as things stand; None where that is not known. Callable from any thread."""
        return self._planner.seconds_until_done(job, self._jobs(), time.monotonic())

    def waiting_ahead_of(self, job: Job[Any]) -> int:
        """How many wait that go before `job`, as things stand; 0 once it is taken up. Callable from any thread."""
        waiting = [*self._arrived]
        return len(self._planner.ahead_of(job, waiting, time.monotonic())) if job in waiting else 0

    def backlog_seconds(self) -> float:
        """How long the device is busy with what is here already; callable from any thread."""
        return self._planner.backlog_seconds(self._jobs())

    def check(self, watchdog_seconds: float) -> None:
        """Raises ModelUnavailable if the engine has died, or is busy with one thing for longer than the watchdog lets.

        In both cases everybody who waits is answered first. Callable from any thread.
        """
        busy_since = self._busy_since
        if busy_since is not None and time.monotonic() - busy_since > watchdog_seconds:
            self._die("The model has stopped answering.")
        if self._dead:
            raise self._dead

    # ------------------------------------------------------------------------------------------- the engine's thread

    def _loop(self) -> None:
        try:
            with torch.no_grad():  # grad mode is per thread, and coroutines interleave: it is set once, here
                while self._wait_for_work():
                    self._admit()
                    self._step()
        except BaseException as error:  # of the device, or a mistake of ours: loud, and nobody is left waiting
            reason = error if is_of_the_device(error) else type(error).__name__  # torch's own words quote nobody
            logger.error("The diffusion engine has died: %s\n%s", reason, without_text(error))
            self._busy_since = None
            self._die("The model's engine has failed.")
            if not isinstance(error, Exception):
                raise

    def _wait_for_work(self) -> bool:
        self._busy_since, self._works_for = None, ()
        with self._wake:
            if not self._arrived and not self._running:
                self._executor.pause()
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
            self._running += late
            waiting = list(self._arrived)
        for job in late:
            self._throw_out(job)
        if not waiting or any(job.parked_among or job.runs_alone for job in self._running):
            return
        running = Counter(job.workload.pixels for job in self._running)
        if any(running[job.workload.pixels] < self.limits.max_running for job in waiting):
            alone = [job for job in waiting if job.runs_alone][:1]
            self._start(alone or self._planner.next_to_start(waiting, self._running, now))

    def _start(self, waiting: Sequence[Job[Any]]) -> None:
        """Starts what there is room for, the most urgent first; who runs already waits no longer than for a forward.

        Each size has room of its own, so that many jobs of one never keep out those of another.
        """
        patience = max(self._executor.last_seconds, _LEAST_PATIENCE_SECONDS) if self._running else math.inf
        began_at = time.monotonic()
        running = Counter(job.workload.pixels for job in self._running)
        for job in waiting:
            if job.runs_alone and self._running:
                break
            if running[job.workload.pixels] >= self.limits.max_running:
                continue
            with self._wake:
                if job not in self._arrived:  # failed with everybody
                    continue
                self._arrived.remove(job)
                self._running.append(job)
            running[job.workload.pixels] += 1
            job.begin()
            self._resume(job, job.coroutine.resume)
            if time.monotonic() - began_at > patience:
                break

    def _step(self) -> None:
        """A forward. What it held is let go of at its end, also where nothing follows."""
        if members := self._schedule():
            self._works_for = [job for job, _ in members]
            self._settle(members, self._executor.run(members))

    def _schedule(self) -> list[Member]:
        paused = [
            (job, job.paused_at)
            for job in self._running
            if job.paused_at is not None and not job.is_parked(len(self._running))
        ]
        self._executor.look_at_memory()
        return self._planner.choose(paused, self._row_cap, time.monotonic())

    def _row_cap(self, call: ModuleCall) -> int:
        worthwhile = self.limits.max_rows or self._planner.cost.row_cap(call.shape, call.rows)
        bounds = (worthwhile, call.most_rows, self._most_rows(call.shape))
        return min(bound for bound in bounds if bound is not None)

    def _settle(self, members: Sequence[Member], outputs: Sequence[Any]) -> None:
        for (job, _), output in zip(members, outputs, strict=True):
            if isinstance(output, DidNotFit):
                self._park(job)
                continue
            job.parked_among = None
            self._resume(job, job.coroutine.throw if isinstance(output, Exception) else job.coroutine.resume, output)

    def _park(self, job: Job[Any]) -> None:
        """Its call did not fit, alone. Others may hold what it lacks: it is tried again when fewer run."""
        others = [other for other in self._running if other is not job]
        if not others:
            self._resume(job, job.coroutine.throw, _too_large_alone())
        elif all(other.is_parked(len(self._running)) for other in others):  # none can go on before one lets go
            self._running.remove(job)  # the last to be tried, so the least urgent
            job.start_over()
            with self._wake:
                self._arrived.append(job)
        else:
            job.parked_among = len(self._running)
        free_unused_memory()

    def _resume(self, job: Job[Any], step: Callable[..., ModuleCall | None], *output: Any) -> None:
        self._note_activity()
        self._works_for = [job]
        job.paused_at = step(*output)
        if job.settled:  # from outside, while it ran
            job.coroutine.close()
            self._remove(job)
        elif job.paused_at is None:
            result, error = job.coroutine.result, job.coroutine.error
            if error is not None and is_of_the_device(error):
                raise error
            answer = None if error is None else _as_easel_error(error)
            self._remove(job)
            if answer is None:
                self._planner.finished(job)
                job.finish(result)
            else:
                job.fail(answer)

    def _throw_out(self, job: Job[Any]) -> None:
        self._note_activity()
        job.coroutine.close()
        self._remove(job)
        if job.cancel_requested:
            job.fail(EaselError("The request was cancelled.", code="cancelled"), JobState.CANCELLED)
        else:
            job.fail(DeadlineExceeded("The model did not finish in the time that is allowed."))

    def _note_activity(self) -> None:
        """Something new is taken up: the watchdog counts from here."""
        self._busy_since = time.monotonic()

    def _remove(self, job: Job[Any]) -> None:
        self._running.remove(job)
        job.paused_at = None
        job.coroutine.forget()

    # ------------------------------------------------------------------------------------------------ from any thread

    def _acceptable(self, function: Callable[[], Result], workload: Workload, seconds: float) -> Job[Result]:
        if self._dead or self._stopping:
            raise _elsewhere()
        others = self._jobs()
        self._require_room(workload, [other for other in others if not workload.is_with(other.workload)])
        job = Job(next(self._numbers), function, workload, seconds, self._notify, self._statistics.ended)
        self._planner.require_time(job, others, job.submitted_at)
        return job

    def _most_rows(self, shape: Hashable) -> int | None:
        """That a forward may have, whatever they cost; forecasts count with it too."""
        bounds = (self.limits.max_rows, self._executor.most_rows(shape))
        return min((bound for bound in bounds if bound is not None), default=None)

    def _jobs(self) -> list[Job[Any]]:
        return [*self._arrived, *self._running]

    def _require_room(self, workload: Workload, others: Sequence[Job[Any]]) -> None:
        """Raises Overloaded where the queue is full, of everybody's requests or of the caller's share of it."""
        weights = {other.workload.caller: other.workload.weight for other in others} | {
            workload.caller: workload.weight
        }
        own = sum(other.workload.caller == workload.caller for other in others)
        share = self.limits.room * workload.weight / sum(weights.values())
        beyond_share = min(len(others) - self.limits.room, math.floor(own - share))
        beyond = max(beyond_share, len(others) - self.limits.most)
        if beyond >= 0:  # so many and one more must end first
            seconds = self._planner.backlog_seconds(others) * (beyond + 1) / len(others)
            raise Overloaded("This model's queue is full.", retry_after_seconds=seconds)

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _die(self, why: str) -> None:
        with self._wake:
            if self._dead:
                return
            self._dead = ModelUnavailable(why, code="replica_lost", retry_after_seconds=15)
        for job in self._works_for:
            job.fail(self._dead)
        self._fail_everybody()
        self._on_death()

    def _fail_everybody(self) -> None:
        with self._wake:
            everybody = self._jobs()
            self._arrived.clear()
        for job in everybody:
            job.fail(_elsewhere())


def _as_easel_error(error: BaseException) -> EaselError:
    """What the caller may know of an error inside a pipeline: never its text, which can hold anything.

    Nor does the log: an error's text may quote the prompt.
    """
    if isinstance(error, EaselError):
        return error
    if is_out_of_memory(error):  # between module calls, where there is nothing to halve
        return _too_large_alone()
    logger.error("A request failed in the model:\n%s", without_text(error))
    return GenerationFailed(f"The model failed on this request ({type(error).__name__}).")


def _elsewhere() -> ReplicaLost:
    return ReplicaLost("This replica of the model has ended.", retry_after_seconds=10)


def _too_large_alone() -> OutOfMemory:
    return OutOfMemory("This request does not fit into the device's memory, even alone; ask for a smaller size.")
