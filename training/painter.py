"""Paints with a small model as the service does, in an engine of its own, for training.evaluate to measure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from config.mistakes import read_yaml
from config.schema import ModelConfig, ModelSettings, Preset, Weights
from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.engine.job import Job
from deployments.models.assembly import load_model
from deployments.models.pixels import to_pixels
from deployments.models.protocol import GenerationInputs

if TYPE_CHECKING:
    from training.measure import Pixels

LOCAL = Path(__file__).resolve().parent.parent / "config" / "local.yaml"
TOGETHER = 8


class Painter:
    """A small model in an engine of its own."""

    def __init__(self, name: str, weights: Path, size: tuple[int, int], preset: Preset, sheets: Path | None) -> None:
        """`weights` is what training.export wrote, `size` width and height; `sheets` is a folder for what was made, if
        it is to be kept."""
        torch.set_num_threads(2)
        family: Any = name
        is_pose = name == "sdxl-pose"
        self.model = load_model(
            ModelConfig(
                family=family,
                weights=Weights(source=str(weights / ("sdxl" if is_pose else name))),
                controlnet=Weights(source=str(weights / name)) if is_pose else None,
                device="cpu",
            )
        )
        self._engine = DiffusionEngine(EngineLimits(max_rows=2 * TOGETHER, max_running=TOGETHER))
        self._engine.start()
        self._name, self._sheets = name, sheets
        if sheets is not None:
            sheets.mkdir(parents=True, exist_ok=True)
        self.width, self.height = size
        self._preset = preset

    def close(self) -> None:
        self._engine.stop()

    def paint(self, what: str, prompts: Sequence[str], **each: Sequence[Any]) -> list[Pixels]:
        """A picture for each prompt, with seeds 0, 1, …; `each` has further fields of its inputs, one for each."""
        made: list[Pixels] = []
        for start in range(0, len(prompts), TOGETHER):
            running = [
                self._begin(prompt, start + index, **{field: values[start + index] for field, values in each.items()})
                for index, prompt in enumerate(prompts[start : start + TOGETHER])
            ]
            made += [to_pixels(job.future.result()) for job in running]
        if self._sheets is not None:
            _sheet(made).save(self._sheets / f"{self._name}-{what}.png")
        return made

    def seconds(self, **fields: Any) -> float:
        """For one picture, when nothing else runs; the second one, as the first is slow. `fields` are further ones of
        its inputs."""
        times = []
        for _ in range(2):
            began = time.monotonic()
            to_pixels(self._begin("a red circle on a blue background", 0, **fields).future.result())
            times.append(time.monotonic() - began)
        return times[-1]

    def _begin(self, prompt: str, seed: int, **fields: Any) -> Job[Tensor]:
        inputs = GenerationInputs(
            prompt=prompt,
            negative_prompt="",
            width=self.width,
            height=self.height,
            seed=seed,
            steps=self._preset.steps,
            guidance_scale=self._preset.guidance_scale,
            scheduler="default",
            **fields,
        )
        return self._engine.submit(lambda: self.model.generate(inputs, lambda *_: None))


def preset_of(name: str) -> Preset:
    """What `make serve` uses where a request does not say."""
    applications = read_yaml(LOCAL)["applications"]
    (deployment,) = next(one for one in applications if one["name"] == name)["deployments"]
    return ModelSettings.model_validate(deployment["user_config"]).presets.smooth


def _sheet(made: Sequence[Pixels], columns: int = 8, most: int = 48) -> Image.Image:
    height, width = (side // 2 for side in made[0].shape[:2])
    rows = -(-min(len(made), most) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for index, picture in enumerate(made[:most]):
        small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(small, (index % columns * width, index // columns * height))
    return sheet
