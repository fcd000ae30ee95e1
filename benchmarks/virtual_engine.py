"""The engine's planner under a virtual clock: requests that are only calls, forwards that only cost time.

Runs what `deployments.engine.engine` runs (the same planner, asked in the same order: admit, choose, run, settle, with
the same caps) and nothing of torch, so that a load of minutes takes seconds and a run can be repeated to the digit.
What is left out is the time that the engine itself takes, and that requests take between their calls.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from deployments.engine.planner import Planner
from deployments.engine.workload import CallLog, Role, Workload
from deployments.errors import Overloaded


@dataclass(frozen=True, slots=True)
class VirtualCall:
    """A module call of `rows` rows at `size` pixels a side."""

    module: str
    size: int
    rows: int
    role: Role

    @property
    def key(self) -> tuple[str, int]:
        return self.module, self.size

    shape = key


Cost = Callable[[str, int, int], float]  # module, size, rows -> seconds of one forward


@dataclass(eq=False)
class VirtualRequest:
    """One picture to make: texts, steps, picture."""

    number: int
    submitted_at: float
    size: int
    steps: int
    rows: int  # 2 with guidance
    seconds_allowed: float = math.inf
    caller: str = ""
    priority: int = 0
    order: str = ""
    done_at: float | None = None
    refused: Overloaded | None = None
    refused_at: float | None = None
    started_at: float | None = None
    log: CallLog = field(default_factory=CallLog)
    foretold_seconds: float = 0.0

    @property
    def due_at(self) -> float:
        return self.submitted_at + self.seconds_allowed

    @property
    def workload(self) -> Workload:
        return Workload(self.rows, self.size**2, self.steps, self.caller, priority=self.priority, order=self.order)

    @property
    def paused_at(self) -> VirtualCall | None:
        """The call that it makes next; None when it has made all."""
        if not self.log.before:
            return VirtualCall("text", 0, self.rows, Role.SURROUNDS)
        if self.log.denoised < self.steps:
            return VirtualCall("denoiser", self.size, self.rows, Role.DENOISES)
        if not self.log.after:
            return VirtualCall("vae", self.size, 1, Role.SURROUNDS)
        return None


class VirtualEngine:
    """Serves requests in virtual time. `most_rows` bounds the rows of a forward, as memory would."""

    def __init__(self, cost: Cost, most_rows: int = 32, max_running: int = 16) -> None:
        self.planner = Planner(lambda shape: self._most_rows)
        self._cost = cost
        self._most_rows = most_rows
        self._max_running = max_running  # of one size
        self._arrived: list[VirtualRequest] = []
        self.now = 0.0

    def warm_up(self, sizes: Sequence[int], rows: Sequence[int] = (1, 2)) -> None:
        """As a replica does before it is ready: single steps, alone and together."""
        number = -1
        for size in sizes:
            for guided in rows:
                together = 1
                while together * guided <= self._most_rows:
                    batch = [VirtualRequest(number - i, self.now, size, 1, guided) for i in range(together)]
                    number -= together
                    self.serve(batch)
                    together *= 2
        self.now = 0.0

    def serve(self, arriving: Sequence[VirtualRequest]) -> None:
        """Until all of them, in order of arrival, are done, refused or out of time."""
        waiting = list(reversed(arriving))
        running: list[VirtualRequest] = []
        while waiting or running:
            if not running:
                self.now = max(self.now, waiting[-1].submitted_at)
            while waiting and waiting[-1].submitted_at <= self.now:
                self._admit(waiting.pop(), running)
            for requests in (self._arrived, running):
                requests[:] = [request for request in requests if self.now < request.due_at]
            self._start(running)
            if running:
                self._step(running)

    def _admit(self, request: VirtualRequest, running: list[VirtualRequest]) -> None:
        others = [*self._arrived, *running]
        try:
            self.planner.require_time(request, others, self.now)
        except Overloaded as refusal:
            request.refused, request.refused_at = refusal, self.now
            return
        request.foretold_seconds = self.planner.seconds_until_done(request, others, self.now) or 0.0
        self._arrived.append(request)

    def _start(self, running: list[VirtualRequest]) -> None:
        sizes = Counter(request.size for request in running)
        if all(sizes[request.size] >= self._max_running for request in self._arrived):
            return
        for request in self.planner.next_to_start(self._arrived, running, self.now):
            if sizes[request.size] < self._max_running:
                sizes[request.size] += 1
                self._arrived.remove(request)
                running.append(request)

    def _step(self, running: list[VirtualRequest]) -> None:
        paused = [(request, call) for request in running if (call := request.paused_at) is not None]
        members = self.planner.choose(paused, self._row_cap, self.now)
        call, rows = members[0][1], sum(call.rows for _, call in members)
        seconds = self._cost(call.module, call.size, rows)
        self.now += seconds
        self.planner.ran(members, seconds)
        for request, _ in members:
            if request.paused_at is None:
                request.done_at = self.now
                running.remove(request)
                self.planner.finished(request)

    def _row_cap(self, call: VirtualCall) -> int:
        return min(self._most_rows, self.planner.cost.row_cap(call.shape, call.rows))
