"""The metrics of one model replica: what its engine tells as it happens, and what is so now, asked for now and then.

The engine knows this as an `EngineObserver` and nothing of Ray. What is told for a forward takes some 30 µs.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from deployments.engine.workload import Role
from deployments.metrics import (
    BACKLOG_SECONDS,
    CACHE_LOOKUPS,
    DEVICE_MEMORY_BYTES,
    DEVICE_SECONDS,
    FORECAST_ERROR_SECONDS,
    FORECAST_RATIO,
    FORWARD_CALLS,
    FORWARD_ROWS,
    FORWARD_SECONDS,
    FORWARDS,
    JOBS,
    JOBS_ENDED,
    OF_MODEL,
    OTHER,
    START_SECONDS,
    STEP_ROWS,
    STEP_SECONDS,
    Bounded,
    Exporter,
    key_label,
)

if TYPE_CHECKING:
    from deployments.engine.collate import ModuleCall
    from deployments.engine.job import Job
    from deployments.engine.statistics import EngineStatistics
    from deployments.models.protocol import CacheUse

_MOST_SHAPES = 64  # those of warm-up come first
_MOST_KEYS = 256


class ModelMetrics:
    """See deployments.engine.statistics.EngineObserver.

    `known_labels` are those of forwards ("module.method shape") that ran before, at sizes that the operator chose.
    `start_seconds` is what the replica took to start, by phase.
    """

    def __init__(self, known_labels: Iterable[str], start_seconds: Mapping[str, float]) -> None:
        self._exporter = Exporter(OF_MODEL)
        self._labels = Bounded(_MOST_SHAPES, known_labels)
        self._keys = Bounded(_MOST_KEYS)
        self._start_seconds = start_seconds
        self._lookups_told: dict[tuple[str, str], int] = {}

    def forward(self, call: ModuleCall, calls: int, rows: int, seconds: float) -> None:
        """One forward of `rows` rows answered `calls` calls like `call`."""
        tell = self._exporter.tell
        shape = OTHER
        if self._labels.of(call.label) != OTHER:
            shape = call.label.removeprefix(call.name).strip()
        of_this = {"module": call.name, "shape": shape}
        tell(FORWARDS, **of_this)
        tell(FORWARD_CALLS, calls, **of_this)
        tell(FORWARD_ROWS, rows, **of_this)
        tell(FORWARD_SECONDS, seconds, **of_this)
        if call.role is Role.DENOISES:
            tell(STEP_ROWS, rows, shape=shape)
            tell(STEP_SECONDS, seconds, shape=shape)

    def ended(self, job: Job[Any]) -> None:
        """From any thread."""
        tell = self._exporter.tell
        outcome = job.state.name.lower()
        tell(JOBS_ENDED, outcome=outcome)
        tell(DEVICE_SECONDS, job.device_seconds, key=self._keys.of(key_label(job.workload.caller)))
        if outcome == "finished" and job.foretold_seconds is not None:
            taken = time.monotonic() - job.submitted_at
            tell(FORECAST_RATIO, taken / job.foretold_seconds)
            tell(FORECAST_ERROR_SECONDS, abs(taken - job.foretold_seconds))

    def asked_for_a_job(self, *, was_there: bool) -> None:
        """A request wanted a picture; `was_there`: an identical one was being made."""
        self._exporter.tell(CACHE_LOOKUPS, cache="jobs", result="hit" if was_there else "miss")

    def report(
        self,
        statistics: EngineStatistics,
        backlog_seconds: float,
        memory: Mapping[str, int],
        caches: Mapping[str, CacheUse],
    ) -> None:
        """What is so now. `memory` is in bytes, by use; `caches` are those of the model."""
        tell = self._exporter.tell
        tell(JOBS, statistics.waiting, state="waiting")
        tell(JOBS, statistics.running, state="running")
        tell(BACKLOG_SECONDS, backlog_seconds)
        for use, held in memory.items():
            tell(DEVICE_MEMORY_BYTES, held, use=use)
        for phase, seconds in self._start_seconds.items():
            tell(START_SECONDS, seconds, phase=phase)
        for cache, counted in caches.items():
            for result, lookups in (("hit", counted.hits), ("miss", counted.misses)):
                tell(CACHE_LOOKUPS, lookups - self._lookups_told.get((cache, result), 0), cache=cache, result=result)
                self._lookups_told[cache, result] = lookups
