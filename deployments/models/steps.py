"""Tells a request's progress from inside a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deployments.types import StepCallback

StepEndCallback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def step_reporter(on_step: StepCallback) -> StepEndCallback:
    """A pipeline's `callback_on_step_end`. The pipeline says how many steps there are: strength leaves some out."""

    def report(pipeline: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        on_step(index + 1, pipeline.num_timesteps)
        return tensors

    return report
