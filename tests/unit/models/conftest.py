"""What the parity tests of all families share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.models.pixels import to_pixels
from deployments.models.protocol import GenerationInputs

if TYPE_CHECKING:
    from deployments.engine.job import Job
    from deployments.models.protocol import DiffusionModel, StepListener

SECONDS = 120  # only a hang takes longer
Picture = NDArray[np.uint8]


def inputs(**changes: Any) -> GenerationInputs:
    common: dict[str, Any] = {
        "prompt": "a red circle on a blue background",
        "negative_prompt": "",
        "width": 64,
        "height": 64,
        "seed": 0,
        "steps": 4,
        "guidance_scale": 2.0,
        "scheduler": "default",
    }
    return GenerationInputs(**(common | changes))


def drawing(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def window(width: int = 64, height: int = 64) -> Image.Image:
    """A mask of the middle."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return mask


class Parity:
    """Runs requests through an engine, alone or together, and compares them with diffusers' own pictures."""

    def __init__(self) -> None:
        self.engine = DiffusionEngine(EngineLimits(max_rows=64, max_running=32))
        self._started = False

    def alone(self, model: DiffusionModel, asked: GenerationInputs, on_step: StepListener | None = None) -> Picture:
        self._start()
        return self._picture(self.engine.submit(lambda: model.generate(asked, on_step or (lambda *_: None))))

    def together(self, model: DiffusionModel, asked: Sequence[GenerationInputs]) -> list[Picture]:
        """Half start side by side, the rest join one by one at the steps of the first."""
        rest = list(asked[len(asked) // 2 :])
        joined: list[Job[Tensor]] = []

        def submit(one: GenerationInputs) -> Job[Tensor]:
            return self.engine.submit(lambda: model.generate(one, lambda *_: None))

        def first() -> Tensor:
            def at_step(step: int, _steps: int, _preview: Tensor | None) -> None:
                if step and rest:
                    joined.append(submit(rest.pop(0)))

            return model.generate(asked[0], at_step)

        jobs = [self.engine.submit(first), *map(submit, asked[1 : len(asked) // 2])]
        self._start()
        first_half = [self._picture(job) for job in jobs]
        return first_half + [self._picture(job) for job in joined]

    def check(
        self,
        asked: Sequence[GenerationInputs],
        pictures: Sequence[Picture],
        diffusers_alone: Callable[[GenerationInputs], Picture],
    ) -> None:
        """Raises AssertionError unless each is the picture that diffusers makes, to one step of 255."""
        for one, picture in zip(asked, pictures, strict=True):
            assert difference(picture, diffusers_alone(one)) <= 1, one
            # The measure can tell: what should change the picture changes it by more.
            others: list[dict[str, object]] = [{"prompt": "a green star"}, {"seed": 99}]
            if one.guidance_scale > 1:
                others.append({"guidance_scale": one.guidance_scale + 1})
            for other in others:
                changed = dataclasses.replace(one, **other)  # type: ignore[arg-type]
                assert difference(picture, diffusers_alone(changed)) > 1, changed

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self.engine.start()

    @staticmethod
    def _picture(job: Job[Tensor]) -> Picture:
        return to_pixels(job.future.result(SECONDS))


def difference(one: Picture, other: Picture) -> int:
    """The largest of all pixels, in steps of 1/255."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def mean_difference(one: Picture, other: Picture) -> float:
    """Of all pixels, in steps of 1/255: for what may change a few at the edges of things, but not the things."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.fixture
def parity() -> Iterator[Parity]:
    parity = Parity()
    yield parity
    parity.engine.stop()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small pictures are faster on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
