"""What an answer's headers tell of time: how long its pictures waited and took, or how long the first will take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deployments.types import ImageResult

QUEUE_HEADER = "Easel-Queue-Seconds"
COMPUTE_HEADER = "Easel-Compute-Seconds"
ETA_HEADER = "Easel-Eta-Seconds"

_DESCRIPTIONS = {
    QUEUE_HEADER: "How long the picture waited at its replica; of several, the longest.",
    COMPUTE_HEADER: "How long the picture then took, beside those of others; of several, the longest.",
    ETA_HEADER: "Of a stream: how long the first picture is expected to take.",
}


def documented_timings(*names: str) -> dict[str, Any]:
    """The part of an OpenAPI response that describes these headers."""
    schema = {"type": "number", "minimum": 0}
    return {"headers": {name: {"description": _DESCRIPTIONS[name], "schema": schema} for name in names}}


def timings(results: Sequence[ImageResult]) -> dict[str, str]:
    """The headers of an answer with these pictures."""
    return {
        QUEUE_HEADER: seconds(max(result.queue_seconds for result in results)),
        COMPUTE_HEADER: seconds(max(result.inference_seconds for result in results)),
    }


def seconds(value: float) -> str:
    """As headers say it."""
    return f"{value:.3f}"
