"""How others decide what runs together, as their documentation and code say, for `benchmarks.scheduling`.

Each serves the same requests on the same device and writes `done_at` into them. Where a library batches whatever waits
and knows nothing of sizes, the handler groups by what one pipeline call can take (size, steps, guidance), as its users
must; all of a batch are answered when the whole batch is done, since that is when such a handler returns.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Sequence

from benchmarks.virtual_engine import Cost, VirtualRequest

MOST = 8  # requests in a batch, as the libraries' image examples set it
_WAIT_SECONDS = 0.01  # for a batch to fill: the default of @serve.batch

Group = Callable[[VirtualRequest], Hashable]


def by_call(request: VirtualRequest) -> Hashable:
    """What one call of a diffusers pipeline can take."""
    return request.size, request.steps, request.rows


def by_size(request: VirtualRequest) -> Hashable:
    """What a loop of one's own could take, if requests may leave when their steps are done."""
    return request.size


def run_to_completion(cost: Cost, group: Sequence[VirtualRequest], now: float) -> float:
    """When the last of a group is decoded; those with fewer steps cost no more than theirs."""
    now += cost("text", 0, sum(request.rows for request in group))
    for step in range(max(request.steps for request in group)):
        now += cost("denoiser", group[0].size, sum(request.rows for request in group if request.steps > step))
    return now + sum(cost("vae", request.size, 1) for request in group)


def one_by_one(cost: Cost, requests: Sequence[VirtualRequest]) -> None:
    """A server with a lock."""
    now = 0.0
    for request in requests:
        request.done_at = now = run_to_completion(cost, [request], max(now, request.submitted_at))


def first_come(cost: Cost, requests: Sequence[VirtualRequest], most: int = MOST, wait: float = _WAIT_SECONDS) -> None:
    """`@serve.batch` of Ray Serve, and LitServe's `max_batch_size` with `batch_timeout`: the first that came, in order.

    A batch is closed when it is full or the first in it has waited so long; meanwhile the next one fills.
    """
    waiting, now = deque(requests), 0.0
    while waiting:
        closes_at = max(now, waiting[0].submitted_at + wait)
        batch = [waiting.popleft()]
        while waiting and len(batch) < most and waiting[0].submitted_at <= closes_at:
            batch.append(waiting.popleft())
        now = max(now, batch[-1].submitted_at if len(batch) == most else closes_at)
        now = _run_batch(cost, batch, now)


def adaptive(cost: Cost, requests: Sequence[VirtualRequest], most: int = MOST, first_wait: float = 0.01) -> None:
    """BentoML's adaptive batching: waits for more while what waiting costs all is less than what a call costs once.

    Its dispatcher fits `seconds = a × requests + b` to the batches that it ran, and sends a batch when it is full, or
    when `n × (time since the last came + a) > b`. Its limit on latency, which drops requests, is off.
    """
    waiting, now, a, b = deque(requests), 0.0, 0.0, first_wait
    seen: deque[tuple[int, float]] = deque(maxlen=100)
    while waiting:
        now = max(now, waiting[0].submitted_at)
        count = sum(1 for request in _arrived(waiting, now, most))
        last = waiting[count - 1].submitted_at
        upcoming = waiting[count].submitted_at if count < len(waiting) else math.inf
        sends_at = max(now, last + b / count - a)
        if count < most and upcoming < sends_at:
            now = upcoming
            continue
        batch = [waiting.popleft() for _ in range(count)]
        began_at = now = sends_at if count < most else now
        now = _run_batch(cost, batch, now)
        seen.append((count, now - began_at))
        a, b = _line(seen)


def same_group(cost: Cost, requests: Sequence[VirtualRequest], group: Group = by_size, most: int = MOST) -> None:
    """Request-level batching in engines: the oldest, and up to `most` that wait and are of its group."""
    arriving, waiting, now = deque(requests), list[VirtualRequest](), 0.0
    while arriving or waiting:
        if not waiting:
            now = max(now, arriving[0].submitted_at)
        while arriving and arriving[0].submitted_at <= now:
            waiting.append(arriving.popleft())
        batch = [request for request in waiting if group(request) == group(waiting[0])][:most]
        now = run_to_completion(cost, batch, now)
        for request in batch:
            request.done_at = now
            waiting.remove(request)


def _arrived(waiting: deque[VirtualRequest], now: float, most: int) -> list[VirtualRequest]:
    return [request for request, _ in zip(waiting, range(most), strict=False) if request.submitted_at <= now]


def _run_batch(cost: Cost, batch: Sequence[VirtualRequest], now: float) -> float:
    groups: dict[Hashable, list[VirtualRequest]] = {}
    for request in batch:
        groups.setdefault(by_call(request), []).append(request)
    for group in groups.values():
        now = run_to_completion(cost, group, now)
    for request in batch:
        request.done_at = now
    return now


def _line(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """The least-squares line through them, neither coefficient below zero."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    slope = max(0.0, slope)
    return slope, max(0.0, mean_y - slope * mean_x)
