"""Tells a request's progress from inside a diffusers pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from deployments.models.previews import preview_steps

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.models.protocol import StepListener

StepEndCallback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]


def step_reporter(on_step: StepListener, previews: int, to_picture: Callable[[Tensor], Tensor]) -> StepEndCallback:
    """A pipeline's `callback_on_step_end`. The pipeline says how many steps there are: strength leaves some out.

    `to_picture` makes one of `previews` of the finished latents as the pipeline's scheduler, which must be watched (see
    deployments.models.previews) if there are any, estimates them at that step.
    """

    def report(pipeline: Any, index: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        done, steps = index + 1, pipeline.num_timesteps
        due = done in preview_steps(steps, previews)
        on_step(done, steps, to_picture(pipeline.scheduler.estimate) if due else None)
        return tensors

    return report
