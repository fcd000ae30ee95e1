"""What an operator can measure: every metric's name, type, labels and meaning, and the way of each to Ray.

Ray exports them to Prometheus with `ray_` before the name, and Serve adds the labels `application`, `deployment` and
`replica`. docs/monitoring.md has the same table. Invariant: the values of a label are few, whatever callers send. They
are names of ours or of the configuration, or `Bounded`; a key's name goes out as a hash, and nothing that a caller
wrote goes out at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ray.serve import metrics as serve_metrics

Kind = Literal["counter", "gauge", "histogram"]

OTHER = "other"  # the value of a label that has too many
NONE = "none"  # of one that is not known, or does not apply

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0)
_FORWARD_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_ROWS = (1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0)
_RATIOS = (0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One that is exported; the unit is in its name."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    bounds: tuple[float, ...] = ()  # of a histogram's buckets


REQUESTS = Metric(
    "easel_requests_total",
    "counter",
    ("model", "dialect", "outcome", "code"),
    "requests for pictures, for poses or by links that have ended, as the log's `ended` has them; `code`: the error's",
)
REQUEST_SECONDS = Metric(
    "easel_request_seconds",
    "histogram",
    ("model", "dialect", "outcome"),
    "seconds from a request's arrival to the end of its answer",
    _SECONDS,
)
QUEUE_SECONDS = Metric(
    "easel_request_queue_seconds",
    "histogram",
    ("model",),
    "how long the picture of a request waited before its first step; of several the longest",
    _SECONDS,
)
JOBS_ENDED = Metric(
    "easel_jobs_total",
    "counter",
    ("outcome",),
    "pictures whose work has ended: `finished`, `failed`, `cancelled` (nobody waited for it any more)",
)
JOBS = Metric("easel_jobs", "gauge", ("state",), "pictures that are `waiting` or `running` now")
BACKLOG_SECONDS = Metric(
    "easel_backlog_seconds", "gauge", (), "seconds of work that the device has in what is here now"
)
FORECAST_RATIO = Metric(
    "easel_forecast_ratio",
    "histogram",
    (),
    "the seconds that a picture took by those that were foretold when it was taken: above 1 it was late",
    _RATIOS,
)
FORECAST_ERROR_SECONDS = Metric(
    "easel_forecast_error_seconds", "histogram", (), "by how many seconds that forecast was off, either way", _SECONDS
)
FORWARDS = Metric("easel_forwards_total", "counter", ("module", "shape"), "forwards of a module at a shape")
FORWARD_CALLS = Metric(
    "easel_forward_calls_total", "counter", ("module", "shape"), "calls of pipelines that these forwards answered"
)
FORWARD_ROWS = Metric(
    "easel_forward_rows_total", "counter", ("module", "shape"), "rows in these forwards; guidance makes a call two rows"
)
FORWARD_SECONDS = Metric(
    "easel_forward_seconds_total", "counter", ("module", "shape"), "seconds that these forwards took"
)
STEP_ROWS = Metric("easel_step_rows", "histogram", ("shape",), "rows in a forward that denoises", _ROWS)
STEP_SECONDS = Metric(
    "easel_step_seconds", "histogram", ("shape",), "seconds of a forward that denoises", _FORWARD_SECONDS
)
DEVICE_SECONDS = Metric(
    "easel_device_seconds_total",
    "counter",
    ("key",),
    "seconds of the device, also for pictures that failed or were cancelled. `key` is the first 12 digits of the "
    "SHA-256 of the key's name, `none` without one. Of requests that share a picture the first has them",
)
DEVICE_MEMORY_BYTES = Metric(
    "easel_device_memory_bytes",
    "gauge",
    ("use",),
    "of the device's memory: `held` by weights and requests, `kept` by the allocator for more, `foreign` (other "
    "processes and the driver), `free`; CUDA only",
)
CACHE_LOOKUPS = Metric(
    "easel_cache_lookups_total",
    "counter",
    ("cache", "result"),
    "each a `hit` or a `miss`: `prompts` that were encoded before, `steps` of the lossy step cache, `jobs` that an "
    "identical request in flight had already",
)
START_SECONDS = Metric(
    "easel_replica_start_seconds",
    "gauge",
    ("phase",),
    "seconds that this replica took to `load` the model and to `warm_up`",
)

OF_INGRESS = (REQUESTS, REQUEST_SECONDS, QUEUE_SECONDS)
OF_MODEL = (
    JOBS_ENDED,
    JOBS,
    BACKLOG_SECONDS,
    FORECAST_RATIO,
    FORECAST_ERROR_SECONDS,
    FORWARDS,
    FORWARD_CALLS,
    FORWARD_ROWS,
    FORWARD_SECONDS,
    STEP_ROWS,
    STEP_SECONDS,
    DEVICE_SECONDS,
    DEVICE_MEMORY_BYTES,
    CACHE_LOOKUPS,
    START_SECONDS,
)


class Exporter:
    """Tells Ray. Make it in the replica, which Serve's labels are of; `tell` may be called from any thread.

    Ray forgets a gauge that was not told for 20 s.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._records: Mapping[str, Callable[..., None]] = {metric.name: _recorder(metric) for metric in metrics}

    def tell(self, metric: Metric, value: float = 1.0, /, **labels: str) -> None:
        """Adds `value` to a counter, sets a gauge to it, or puts it into a histogram."""
        if value or metric.kind != "counter":  # Ray's counters take no zero
            self._records[metric.name](value, labels)


class Bounded:
    """Values of a label that callers may make up: the first `most`, and for all that come later `other`.

    `known` are the first.
    """

    def __init__(self, most: int, known: Iterable[str] = ()) -> None:
        self._most = most
        self._known = set(list(known)[:most])

    def of(self, value: str) -> str:
        """What to write for it."""
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


def key_label(name: str) -> str:
    """What stands for the key of that name; "" is no key."""
    return hashlib.sha256(name.encode()).hexdigest()[:12] if name else NONE


def _recorder(metric: Metric) -> Callable[..., None]:
    described: dict[str, Any] = {"description": metric.meaning, "tag_keys": metric.labels}
    if metric.kind == "counter":
        return serve_metrics.Counter(metric.name, **described).inc  # type: ignore[no-any-return]
    if metric.kind == "gauge":
        return serve_metrics.Gauge(metric.name, **described).set  # type: ignore[no-any-return]
    return serve_metrics.Histogram(metric.name, boundaries=[*metric.bounds], **described).observe  # type: ignore[no-any-return]
