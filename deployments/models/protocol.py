"""What a model family offers to the deployment that runs it.

`generate` runs inside a coroutine of the engine: it may call an ordinary diffusers pipeline, whose module calls then
pause and are merged with those of other requests. It runs on the engine's thread, so it must wait for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from config.schema import SchedulerName

# Told of (denoising steps done, steps in all, preview); see DiffusionModel.generate.
StepListener: TypeAlias = "Callable[[int, int, Tensor | None], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationInputs:
    """One request with everything decided: presets resolved, picture and mask decoded to the output size."""

    prompt: str = field(repr=False)
    negative_prompt: str = field(repr=False)
    width: int
    height: int
    seed: int
    steps: int
    guidance_scale: float
    scheduler: SchedulerName
    image: Image.Image | None = None  # RGB, width × height
    mask: Image.Image | None = None  # L, width × height, 255 = repaint; only with an image
    strength: float = 1.0  # 0 < strength <= 1; int(steps * strength) >= 1
    skeleton: Image.Image | None = None  # RGB, width × height, a pose on black; only for a pose model
    pose_strength: float = 1.0  # 0 … 2, how strongly the skeleton guides
    pose_end: float = 1.0  # 0 … 1, the share of the steps that it guides
    previews: int = 0  # 0 … 3, spread over the steps

    @property
    def steps_that_run(self) -> int:
        """Of `steps`, those that `strength` leaves."""
        return self.steps if self.image is None else steps_that_run(self.steps, self.strength)


def steps_that_run(steps: int, strength: float) -> int:
    """Of `steps`, where a picture is redrawn by `strength`. FLUX Fill rounds up instead."""
    return max(1, int(steps * strength))


@dataclass(slots=True)
class CacheUse:
    """How often what was looked for was there. Written by the engine's thread, read by any."""

    hits: int = 0
    misses: int = 0


class DiffusionModel(Protocol):
    """A loaded model whose modules are shared."""

    pipeline_class: ClassVar[type[Any]]  # of diffusers, what its weights are loaded as

    def __init__(self, pipeline: Any, **options: Any) -> None:
        """Of a pipeline that `loading.load_pipeline` made. Options are the family's own; there need not be any."""

    def generate(self, inputs: GenerationInputs, on_step: StepListener) -> Tensor:
        """The picture: shape (1, 3, height, width), 0 … 1, on the model's device. See deployments.models.pixels.

        Calls `on_step` before the first denoising step and after each. Its third argument is the picture as it forms,
        float32 on the CPU of shape (1, 3, height / 8, width / 8), 0 … 1, where a preview is due, else None.
        """
        ...

    def cache_uses(self) -> Mapping[str, CacheUse]:
        """Of what it keeps between requests and steps, by name: `prompts`, and `steps` where it caches those."""
        ...
