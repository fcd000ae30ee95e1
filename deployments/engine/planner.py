"""What the engine asks before it acts: which calls run next, when a request will be done, whether to take one more.

Brings together what is measured (`cost`), what requests of a kind call (`workload`), and the two that decide by it
(`scheduler`, `forecast`). Time comes in as an argument, so that the same planner runs under the engine's clock, in the
tests' and in `benchmarks/scheduling.py`'s. Standard library only. `choose`, `ran` and `finished` belong to the engine's
thread; the rest may be called from any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Protocol, TypeVar

from deployments.engine.cost import CostModel
from deployments.engine.forecast import Forecaster, Planned, in_fair_shares, unbounded
from deployments.engine.scheduler import AGING, Scheduler, WaitingCall
from deployments.engine.workload import CallKind, Recipes, Role
from deployments.errors import Overloaded

# Of the time that a request is allowed, what its forecast may fill: the rest is for what comes after it and overtakes.
_FILLED = 0.65
_PROMISED = 0.9  # and what all that was promised may fill, whoever's share it comes out of


class Call(Protocol):
    """A module call that waits."""

    @property
    def key(self) -> Hashable: ...

    @property
    def shape(self) -> Hashable: ...

    @property
    def rows(self) -> int: ...

    @property
    def role(self) -> Role: ...


class Request(Planned, Protocol):
    """A request in the engine; times are of one clock, in seconds."""

    @property
    def number(self) -> int: ...

    @property
    def submitted_at(self) -> float: ...

    @property
    def due_at(self) -> float: ...


AnyRequest = TypeVar("AnyRequest", bound=Request)
AnyCall = TypeVar("AnyCall", bound=Call)


class Planner:
    """See the module's docstring. `most_rows` bounds a forward of a shape, whatever they cost."""

    def __init__(self, most_rows: Callable[[Hashable], int | None] = unbounded) -> None:
        self.cost = CostModel()
        self._recipes = Recipes()
        self._forecaster = Forecaster(self.cost, self._recipes, most_rows)
        self._scheduler = Scheduler()
        self._chosen: list[WaitingCall] = []

    def choose(
        self, paused: Sequence[tuple[AnyRequest, AnyCall]], row_cap: Callable[[AnyCall], int], now: float
    ) -> list[tuple[AnyRequest, AnyCall]]:
        """Those of `paused` to run in one forward, of at most `row_cap` rows; at least one if there is any."""
        by_number = {request.number: (request, call) for request, call in paused}
        self._chosen = self._scheduler.choose(
            [
                WaitingCall(
                    request.number,
                    call.key,
                    call.rows,
                    row_cap(call),
                    call.role,
                    seconds=self.cost.seconds(call.shape, call.rows),
                    age_seconds=now - request.submitted_at,
                    remaining_seconds=self._remaining_seconds(request, call),
                    seconds_to_deadline=request.due_at - now,
                    caller=request.workload.caller,
                    weight=request.workload.weight,
                    priority=request.workload.priority,
                )
                for request, call in paused
            ]
        )
        return [by_number[call.number] for call in self._chosen]

    def ran(self, members: Sequence[tuple[Request, Call]], seconds: float, seconds_between: float = 0.0) -> None:
        """The calls of `members`, of those chosen last, were one forward of `seconds`, so long after the one before."""
        shape, rows = members[0][1].shape, sum(call.rows for _, call in members)
        expected = self.cost.seconds(shape, rows)
        if expected and self.cost.is_measured(shape, rows):  # the first of its kind may have been compiled or tuned
            self._forecaster.ran(expected, seconds_between + seconds)
        self.cost.observe(shape, rows, seconds)
        for request, call in members:
            request.log.add(CallKind(call.shape, call.rows), call.role)
        numbers = {request.number for request, _ in members}
        self._scheduler.ran([call for call in self._chosen if call.number in numbers], seconds)

    def finished(self, request: Planned) -> None:
        """`request` ended with its result."""
        self._recipes.learn(request.workload, request.log)

    def next_to_start(
        self, waiting: Sequence[AnyRequest], running: Collection[Request], now: float
    ) -> list[AnyRequest]:
        """Those of `waiting` in the order in which to start them: as the scheduler would run them.

        Turns are taken here by places: the caller with the fewest requests started, for its weight, has the next one.
        """
        started = Counter(request.workload.caller for request in running)
        calls = {request.number: self._waiting_call(request, now) for request in waiting}
        left, order = sorted(waiting, key=lambda request: calls[request.number].urgency), []
        while left:

            def rank(request: AnyRequest) -> tuple[float, ...]:
                call, workload = calls[request.number], request.workload
                places = started[workload.caller] / workload.weight
                return (not call.is_endangered, call.is_hopeless, -workload.priority, places)

            first = min(left, key=rank)  # of equals the most urgent
            left.remove(first)
            started[first.workload.caller] += 1
            order.append(first)
        return order

    def seconds_until_done(self, request: Request, others: Collection[Request], now: float) -> float | None:
        """When `request` is expected to be finished, if nobody comes who overtakes it; None where nothing is known."""
        return self._in_fair_shares(request, [request, *self.ahead_of(request, others, now)], others) or None

    def ahead_of(self, request: Request, others: Collection[Request], now: float) -> list[Request]:
        """Those of `others` that are more urgent than `request`, or as urgent."""
        rank = self._rank(request, now)
        return [other for other in others if other is not request and self._rank(other, now) <= rank]

    def backlog_seconds(self, requests: Collection[Planned]) -> float:
        """When the last of `requests` will be finished, if nobody comes."""
        return self._forecaster.seconds(requests)

    def require_time(self, request: Request, others: Collection[Request], now: float) -> None:
        """Raises Overloaded where `request` is not sure to be finished in time.

        Everybody in the engine may have to go first, but for those of lower priority and for a caller's fair share; and
        whatever its share, all that was promised must be kept. One that comes to an engine which is idle but for others
        of its order is always taken, so that a wrong measurement is corrected and not kept.
        """
        if all(request.workload.is_with(other.workload) for other in others):
            return
        allowed = request.due_at - now
        everybody = self._forecaster.seconds((request, *others))
        if everybody <= _FILLED * allowed:  # then nobody's share or priority matters, and this is asked for every one
            return
        rivals = [other for other in others if other.workload.priority >= request.workload.priority]
        seconds = self._in_fair_shares(request, (request, *rivals), rivals)
        late = max(seconds - _FILLED * allowed, everybody - _PROMISED * allowed)
        if late > 0:
            raise Overloaded(
                "The model has too much to do to be sure that this request would be finished in the time that is "
                "allowed.",
                retry_after_seconds=late,
            )

    def _in_fair_shares(self, request: Request, ahead: Collection[Request], others: Collection[Request]) -> float:
        """Seconds until all of `ahead` are done, or the caller's own among them while it shares with `others`."""
        workload = request.workload
        weights = {other.workload.caller: other.workload.weight for other in others}
        weights[workload.caller] = workload.weight
        everybody = self._forecaster.seconds(ahead)
        if len(weights) == 1:
            return everybody
        own = self._forecaster.seconds(other for other in ahead if other.workload.caller == workload.caller)
        return in_fair_shares(everybody, own, workload.weight / sum(weights.values()))

    def _waiting_call(self, request: Request, now: float) -> WaitingCall:
        """`request` before its first call, as the scheduler sees those who wait."""
        return WaitingCall(
            request.number,
            key=None,
            rows=1,
            row_cap=1,
            role=Role.SURROUNDS,
            seconds=0.0,
            age_seconds=now - request.submitted_at,
            remaining_seconds=self._forecaster.seconds_alone(request),
            seconds_to_deadline=request.due_at - now,
        )

    def _remaining_seconds(self, request: Request, call: Call) -> float:
        """Of `request` alone. Before any request has finished, as if all its steps were like `call`."""
        steps = request.workload.steps - request.log.denoised
        return self._forecaster.seconds_alone(request) or steps * self.cost.seconds(call.shape, call.rows)

    def _rank(self, request: Request, now: float) -> tuple[float, float]:
        urgency = self._forecaster.seconds_alone(request) - AGING * (now - request.submitted_at)
        return -request.workload.priority, urgency
