"""What a model family offers to the deployment that runs it.

`generate` runs inside a coroutine of the engine: it may call an ordinary diffusers pipeline, whose module calls then
pause and are merged with those of other requests. It runs on the engine's thread, so it must wait for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from config.schema import ModelConfig, SchedulerName
    from deployments.types import StepCallback


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationInputs:
    """One request with everything decided: presets resolved, picture and mask decoded to the output size."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    seed: int
    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    image: Image.Image | None = None  # RGB, width × height
    mask: Image.Image | None = None  # L, width × height, 255 = repaint; only with an image
    strength: float = 1.0  # 0 < strength <= 1; int(steps * strength) >= 1


class DiffusionModel(Protocol):
    """A loaded model whose modules are shared."""

    def generate(self, inputs: GenerationInputs, on_step: StepCallback) -> Tensor:
        """The picture: shape (1, 3, height, width), 0 … 1, on the model's device. See deployments.models.pixels."""
        ...


class DiffusionModelFactory(Protocol):
    """Loads the weights."""

    def __call__(self, config: ModelConfig) -> DiffusionModel: ...
