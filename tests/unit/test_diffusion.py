"""The deployment of a model, without Ray and with a toy for a model: what reaches it, and what comes back."""

from __future__ import annotations

import asyncio
import io
import pickle
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from ray.serve import Application
from torch import Tensor

from config.schema import Batching, ModelConfig
from deployments import diffusion, failed_replica, model_metrics, preparation
from deployments.autoscaling import BACKLOG
from deployments.diffusion import Diffusion
from deployments.engine.collate import MergeRules
from deployments.engine.engine import EngineLimits
from deployments.engine.shared_module import share
from deployments.engine.workload import Role
from deployments.errors import (
    DeadlineExceeded,
    EaselError,
    GenerationFailed,
    ImageRejected,
    InvalidOutput,
    InvalidRequest,
    ModelUnavailable,
    Overloaded,
    ReplicaLost,
)
from deployments.metrics import OF_MODEL
from deployments.models.assembly import load_model
from deployments.models.protocol import CacheUse, GenerationInputs, StepListener
from deployments.types import ImageRequest, ImageResult, PoseGuidance, Progress, Standing
from tests.unit.gated import GatedNetwork
from tests.unit.told import Told, told_instead_of_ray

pytestmark = pytest.mark.anyio

SECONDS = 30  # for what takes milliseconds: only a hang takes longer
ARGUMENTS: dict[str, Any] = {"family": "sdxl", "weights": {"source": "small:sdxl"}, "device": "cpu"}


def settings(**changed: Any) -> dict[str, Any]:
    """A user_config whose presets differ from each other in everything."""
    presets = {
        "smooth": {"steps": 3, "guidance_scale": 1.0},
        "standard": {"steps": 4, "guidance_scale": 2.0, "scheduler": "ddim"},
        "hd": {"steps": 5, "guidance_scale": 3.0, "scheduler": "euler"},
        "low": {"steps": 6, "guidance_scale": 4.0, "scheduler": "dpm++"},
        "medium": {"steps": 7, "guidance_scale": 5.0, "scheduler": "unipc"},
        "high": {"steps": 8, "guidance_scale": 6.0, "scheduler": "euler_ancestral"},
    }
    return {"presets": presets, **changed}


def request(**changed: Any) -> ImageRequest:
    values = {"request_id": "r", "model": "toy", "prompt": "otter", "width": 16, "height": 8, "seed": 7}
    return ImageRequest(**{**values, "standing": Standing(deadline=time.time() + SECONDS), **changed})


class Toy:
    """A model whose picture is as bright as the number of its steps; a test sets `failure`."""

    def __init__(self) -> None:
        self.network = GatedNetwork()
        self.seen: list[GenerationInputs] = []
        self.configs: list[ModelConfig] = []
        self.failure: Exception | None = None
        self.log_joined = False
        self.prompts = CacheUse()
        self.preview = torch.full((1, 3, 1, 2), 0.5)
        self._shared = share(self.network, "toy", {"forward": MergeRules()}, role=Role.DENOISES)

    def join_serves_log(self) -> None:
        self.log_joined = True

    def load(self, config: ModelConfig) -> Toy:
        assert self.log_joined  # how it goes is told
        self.configs.append(config)
        return self

    def generate(self, inputs: GenerationInputs, on_step: StepListener) -> Tensor:
        self.seen.append(inputs)
        sample = torch.zeros(1, 3, inputs.height, inputs.width)
        on_step(0, inputs.steps, None)
        for step in range(inputs.steps):
            sample = self._shared(sample)
            on_step(step + 1, inputs.steps, self.preview if step + 1 == inputs.previews else None)
        if self.failure:
            raise self.failure
        return sample / 255

    def cache_uses(self) -> dict[str, CacheUse]:
        return {"prompts": self.prompts}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    toy = Toy()
    monkeypatch.setattr(diffusion, "join_serves_log", toy.join_serves_log)
    return toy


@pytest.fixture(autouse=True)
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Says so where the process would have ended."""
    said: list[str] = []
    monkeypatch.setattr(diffusion, "end_process_soon", lambda: said.append("left"))
    monkeypatch.setattr(failed_replica, "SECONDS_TO_ANSWER", 0.01)
    return said


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """What the metrics are told."""
    return told_instead_of_ray(monkeypatch, model_metrics, OF_MODEL)


@pytest.fixture
def make(toy: Toy) -> Iterator[Callable[..., Diffusion]]:
    """Makes deployments and stops their engines at the end."""
    made: list[Diffusion] = []

    def make_one(**arguments: Any) -> Diffusion:
        made.append(Diffusion(ModelConfig.model_validate(ARGUMENTS | arguments), toy.load))
        return made[-1]

    yield make_one
    toy.network.gate.set()
    for each in made:
        each._engine.stop()
        each._sandbox.close()


@pytest.fixture
def model(make: Callable[..., Diffusion]) -> Diffusion:
    model = make()
    model.reconfigure(settings())
    return model


async def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.005)


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


async def test_the_result_is_the_encoded_picture_and_what_made_it(model: Diffusion) -> None:
    result = await model.generate(request())
    with Image.open(io.BytesIO(result.image)) as image:
        assert (image.format, image.size) == ("PNG", (16, 8))
        assert np.asarray(image).min() == np.asarray(image).max() == 3
    assert (result.width, result.height, result.seed) == (16, 8, 7)
    assert (result.steps, result.guidance_scale, result.output_format) == (3, 1.0, "png")
    assert 0 <= result.queue_seconds < SECONDS
    assert 0 < result.inference_seconds < SECONDS
    assert 0 < result.device_seconds <= result.inference_seconds
    assert pickle.loads(pickle.dumps(result)) == result


@pytest.mark.parametrize(("output_format", "expected"), [("jpeg", "JPEG"), ("webp", "WEBP")])
async def test_the_format_is_the_one_asked_for(model: Diffusion, output_format: str, expected: str) -> None:
    result = await model.generate(request(output_format=output_format, output_compression=50))
    assert result.output_format == output_format
    with Image.open(io.BytesIO(result.image)) as image:
        assert image.format == expected


async def test_compression_reaches_the_encoder(model: Diffusion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "encode", lambda _picture, form, compression: f"{form} {compression}".encode())
    assert (await model.generate(request(output_format="webp", output_compression=42))).image == b"webp 42"


async def test_everything_that_was_asked_for_reaches_the_model(model: Diffusion, toy: Toy) -> None:
    await model.generate(request(negative_prompt="cat", seed=2**63 - 1, strength=0.25))
    assert toy.seen == [
        GenerationInputs(
            prompt="otter",
            negative_prompt="cat",
            width=16,
            height=8,
            seed=2**63 - 1,
            steps=3,
            guidance_scale=1.0,
            scheduler="default",
            image=None,
            mask=None,
            strength=0.25,
        )
    ]


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ("smooth", (3, 1.0, "default")),
        ("auto", (3, 1.0, "default")),
        ("standard", (4, 2.0, "ddim")),
        ("hd", (5, 3.0, "euler")),
        ("low", (6, 4.0, "dpm++")),
        ("medium", (7, 5.0, "unipc")),
        ("high", (8, 6.0, "euler_ancestral")),
    ],
)
async def test_quality_is_a_preset(model: Diffusion, toy: Toy, quality: str, expected: tuple[int, float, str]) -> None:
    result = await model.generate(request(quality=quality))
    (inputs,) = toy.seen
    assert (inputs.steps, inputs.guidance_scale, inputs.scheduler) == expected
    assert (result.steps, result.guidance_scale) == expected[:2]


@pytest.mark.parametrize("guidance_scale", [0, 7.5])
async def test_explicit_numbers_win_over_the_preset(model: Diffusion, toy: Toy, guidance_scale: float) -> None:
    result = await model.generate(request(quality="hd", steps=2, guidance_scale=guidance_scale))
    assert (result.steps, result.guidance_scale) == (2, guidance_scale)
    assert (toy.seen[0].steps, toy.seen[0].guidance_scale, toy.seen[0].scheduler) == (2, guidance_scale, "euler")


class TestImages:
    async def test_an_image_is_resized_and_keeps_its_composition(self, model: Diffusion, toy: Toy) -> None:
        await model.generate(request(image=png(Image.new("RGB", (64, 64), "red"))))
        (inputs,) = toy.seen
        assert inputs.image is not None
        assert (inputs.image.mode, inputs.image.size) == ("RGB", (16, 8))
        assert inputs.image.getpixel((3, 3)) == (255, 0, 0)
        assert (inputs.mask, inputs.strength) == (None, 0.6)

    async def test_a_mask_is_resized_and_repaints_all_inside(self, model: Diffusion, toy: Toy) -> None:
        mask = Image.new("L", (64, 32), 0)
        mask.paste(255, (0, 0, 32, 32))
        await model.generate(request(image=png(Image.new("RGB", (64, 32), "red")), mask=png(mask)))
        (inputs,) = toy.seen
        assert inputs.mask is not None
        assert (inputs.mask.mode, inputs.mask.size) == ("L", (16, 8))
        assert np.array_equal(np.asarray(inputs.mask), [[255] * 8 + [0] * 8] * 8)  # no grey where the two meet
        assert inputs.strength == 1.0

    async def test_what_is_kept_is_the_pictures_own(self, model: Diffusion, toy: Toy) -> None:
        image = Image.frombytes("RGB", (13, 7), np.random.default_rng(0).bytes(13 * 7 * 3))
        mask = Image.new("L", (13, 7), 0)
        mask.putpixel((12, 6), 255)
        result = await model.generate(request(image=png(image), mask=png(mask), width=13, height=7))
        assert toy.seen[0].image is not None
        assert toy.seen[0].image.size == (toy.seen[0].width, toy.seen[0].height) == (16, 8)  # what the model works on
        with Image.open(io.BytesIO(result.image)) as answer:
            image.putpixel((12, 6), (3, 3, 3))
            assert (result.width, result.height, answer.size) == (13, 7, (13, 7))
            assert np.array_equal(np.asarray(answer), np.asarray(image))

    async def test_a_mask_may_be_read_by_its_white_alone(self, model: Diffusion, toy: Toy) -> None:
        mask = Image.new("RGBA", (16, 8), (255, 255, 255, 0))
        mask.putpixel((2, 1), (255, 255, 255, 255))
        image = png(Image.new("RGB", (16, 8)))
        await model.generate(request(image=image, mask=png(mask), mask_reads="white"))
        await model.generate(request(image=image, mask=png(mask)))
        white, alpha = (np.argwhere(np.asarray(inputs.mask)).tolist() for inputs in toy.seen)
        assert white == [[1, 2]]
        assert len(alpha) == 16 * 8 - 1

    async def test_a_model_that_only_repaints_needs_a_mask(self, make: Callable[..., Diffusion], toy: Toy) -> None:
        fill = make(family="flux-fill")
        fill.reconfigure(settings())
        with pytest.raises(InvalidRequest, match="inpainting") as refused:
            await fill.generate(request(image=png(Image.new("RGB", (16, 16)))))
        assert refused.value.param == "mask"
        await fill.generate(request(image=png(Image.new("RGBA", (16, 16))), width=16, height=16))
        assert len(toy.seen) == 1

    async def test_a_skeleton_and_how_it_guides_reach_the_model(self, model: Diffusion, toy: Toy) -> None:
        skeleton = png(Image.new("RGB", (16, 8), "lime"))
        await model.generate(request(pose=PoseGuidance(skeleton=skeleton, strength=0.7, end=0.4)))
        (inputs,) = toy.seen
        assert inputs.skeleton is not None
        assert (inputs.skeleton.size, inputs.skeleton.getpixel((0, 0))) == ((16, 8), (0, 255, 0))
        assert (inputs.pose_strength, inputs.pose_end) == (0.7, 0.4)

    async def test_a_transparent_part_is_a_mask(self, model: Diffusion, toy: Toy) -> None:
        image = Image.new("RGBA", (16, 8), (255, 0, 0, 255))
        image.putpixel((2, 1), (255, 0, 0, 0))
        await model.generate(request(image=png(image)))
        (inputs,) = toy.seen
        assert inputs.image is not None
        assert inputs.image.mode == "RGB"
        assert inputs.mask is not None
        assert np.argwhere(np.asarray(inputs.mask)).tolist() == [[1, 2]]

    async def test_an_opaque_alpha_channel_is_none(self, model: Diffusion, toy: Toy) -> None:
        await model.generate(request(image=png(Image.new("RGBA", (16, 8), "red"))))
        assert (toy.seen[0].mask, toy.seen[0].strength) == (None, 0.6)

    async def test_a_strength_that_leaves_no_step_is_refused(self, model: Diffusion) -> None:
        with pytest.raises(InvalidRequest, match=r"at least 0\.25") as refused:
            await model.generate(request(image=png(Image.new("RGB", (8, 8))), steps=4, strength=0.2))
        assert refused.value.param == "strength"

    async def test_an_explicit_strength_wins(self, model: Diffusion, toy: Toy) -> None:
        image, mask = png(Image.new("RGB", (8, 8))), png(Image.new("L", (8, 8), 255))
        await model.generate(request(image=image, strength=0.9))
        await model.generate(request(image=image, mask=mask, strength=0.3, steps=10))
        assert [inputs.strength for inputs in toy.seen] == [0.9, 0.3]

    @pytest.mark.parametrize(
        ("image", "mask", "error", "param"),
        [
            (b"no picture", None, ImageRejected, "image"),
            (png(Image.new("RGB", (8, 8))), b"no picture", ImageRejected, "mask"),
            (png(Image.new("RGB", (8, 8))), png(Image.new("L", (8, 9))), InvalidRequest, "mask"),
        ],
    )
    async def test_what_is_wrong_with_them_is_told_before_any_work(
        self, model: Diffusion, toy: Toy, image: bytes, mask: bytes | None, error: type[EaselError], param: str
    ) -> None:
        with pytest.raises(error) as refused:
            await model.generate(request(image=image, mask=mask))
        assert refused.value.param == param
        assert toy.seen == []


async def test_after_the_deadline_no_work_is_done(model: Diffusion, toy: Toy) -> None:
    late = request(standing=Standing(deadline=time.time() - 0.001), image=b"never decoded")
    with pytest.raises(DeadlineExceeded):
        await model.generate(late)
    with pytest.raises(DeadlineExceeded):
        await anext(model.stream(late))
    assert toy.seen == []
    assert not toy.network.entered.is_set()


async def test_errors_of_ours_pass_unchanged(model: Diffusion, toy: Toy) -> None:
    toy.failure = InvalidOutput("Not finite.", code="own", param="steps")
    with pytest.raises(InvalidOutput) as failed:
        await model.generate(request())
    assert failed.value is toy.failure
    with pytest.raises(InvalidOutput):
        [event async for event in model.stream(request())]
    assert (await model.statistics()).failed == 2


@pytest.mark.parametrize("where", ["the preparation", "the model", "the end"])
async def test_other_errors_lose_their_text(
    where: str, model: Diffusion, toy: Toy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> NoReturn:
        raise toy_error

    toy_error = ZeroDivisionError("an otter")
    if where == "the preparation":
        monkeypatch.setattr(diffusion, "prepare", fail)
    elif where == "the end":
        monkeypatch.setattr(preparation, "encode", fail)
    else:
        toy.failure = toy_error
    with pytest.raises(GenerationFailed) as failed:
        await model.generate(request())
    with pytest.raises(GenerationFailed) as failed_amid:
        [event async for event in model.stream(request(seed=8))]
    assert caplog.text.count("ZeroDivisionError") == 2
    for each in (failed, failed_amid):  # as Serve logs it
        assert "ZeroDivisionError" in str(each.value)
        assert "otter" not in caplog.text + "".join(traceback.format_exception(each.value))


async def test_what_an_error_of_ours_came_from_is_not_shown(model: Diffusion) -> None:
    with pytest.raises(ImageRejected) as refused:
        await model.generate(request(image=b"an otter"))
    assert "PIL" not in "".join(traceback.format_exception(refused.value)).rpartition("ImageRejected")[0]


async def test_a_failed_request_leaves_the_next_one_alone(model: Diffusion, toy: Toy) -> None:
    toy.failure = InvalidOutput("Not finite.")
    with pytest.raises(InvalidOutput):
        await model.generate(request())
    toy.failure = None
    assert (await model.generate(request())).steps == 3


class TestStream:
    async def test_tells_each_step_and_last_the_result(
        self, model: Diffusion, toy: Toy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(diffusion, "_SECONDS_OF_SILENCE", SECONDS)
        toy.network.gate.clear()
        events: list[Progress | ImageResult] = []
        async for event in model.stream(request(steps=4)):
            events.append(event)
            toy.network.gate.set()  # not before it is listened to
        *progress, result = events
        assert [(each.step, each.steps) for each in progress] == [(0, 4), *[(step, 4) for step in range(5)]]
        assert isinstance(result, ImageResult)
        alone = await model.generate(request(steps=4))
        assert (result.image, result.seed, result.steps) == (alone.image, alone.seed, alone.steps)
        taken = [each.device_seconds for each in (*progress, result)]
        assert taken == sorted(taken)
        assert taken[-1] > 0

    async def test_tells_a_step_before_the_next_is_done(self, model: Diffusion, toy: Toy) -> None:
        toy.network.gate.clear()
        async with aclosing(model.stream(request(steps=4))) as events:
            while (progress := await anext(events)).is_waiting:
                pass
            assert (progress.step, progress.steps) == (0, 4)
            toy.network.gate.set()
            while (progress := await anext(events)).step == 0:
                pass
            assert (progress.step, progress.steps) == (1, 4)

    async def test_tells_at_once_and_every_second_how_long_it_takes(
        self, model: Diffusion, toy: Toy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(diffusion, "_SECONDS_OF_SILENCE", 0.01)
        await model.generate(request(steps=4, seed=1))  # from which the cost of such a request is known
        toy.network.gate.clear()
        async with aclosing(model.stream(request(steps=4))) as events:
            told = [await anext(events) for _ in range(5)]
            toy.network.gate.set()
        assert all(each.step == 0 for each in told)
        assert all(each.seconds_left is not None and 0 <= each.seconds_left < SECONDS for each in told)

    @pytest.mark.parametrize(("seconds", "forecasts"), [(0.0, 5), (1000.0, 1)])
    async def test_asks_less_often_how_long_it_takes_where_many_listen(
        self, model: Diffusion, toy: Toy, monkeypatch: pytest.MonkeyPatch, seconds: float, forecasts: int
    ) -> None:
        monkeypatch.setattr(diffusion, "_SECONDS_OF_SILENCE", 0.01)
        monkeypatch.setattr(diffusion, "_SECONDS_A_FORECAST_HOLDS", 0.0)
        monkeypatch.setattr(diffusion, "_SECONDS_FOR_EACH_LISTENER", seconds)
        asked: list[object] = []
        monkeypatch.setattr(model._engine, "seconds_until_done", asked.append)
        toy.network.gate.clear()
        async with aclosing(model.stream(request(steps=4))) as events:
            for _ in range(5):
                await anext(events)
            toy.network.gate.set()
        assert len(asked) == forecasts

    async def test_tells_how_many_wait_before_it(self, model: Diffusion, toy: Toy) -> None:
        model.reconfigure(settings(batching={"max_running": 1}))
        toy.network.gate.clear()
        others = []
        for seed in (1, 2):
            others.append(asyncio.create_task(model.generate(request(seed=seed))))
            await until(lambda: model._engine.statistics().running == 1 and model._jobs.listening_now == len(others))
        async with aclosing(model.stream(request(seed=3))) as events:
            progress = await anext(events)
        assert (progress.is_waiting, progress.waiting_ahead) == (True, 1)
        toy.network.gate.set()
        await asyncio.gather(*others)

    async def test_shows_previews_as_large_as_the_picture(self, model: Diffusion, toy: Toy) -> None:
        mask = Image.new("L", (16, 8), 0)
        mask.paste(255, (0, 0, 8, 8))
        image = png(Image.new("RGB", (16, 8), "red"))
        asked = request(partial_images=2, image=image, mask=png(mask), output_format="webp")
        events = [event async for event in model.stream(asked)]
        previews = {event.step: event.preview for event in events if isinstance(event, Progress) and event.preview}
        assert previews.keys() == {2}  # where the toy has one
        with Image.open(io.BytesIO(previews[2])) as preview:
            assert (preview.format, preview.size) == ("WEBP", (16, 8))
            painted, kept = preview.convert("RGB").getpixel((1, 1)), preview.convert("RGB").getpixel((14, 6))
        assert np.allclose(painted, 128, atol=8)
        assert np.allclose(kept, (255, 0, 0), atol=8)
        assert not any("preview" in repr(event) for event in events)

    async def test_leaving_it_early_cancels(self, model: Diffusion, toy: Toy) -> None:
        toy.network.gate.clear()
        async with aclosing(model.stream(request(steps=100))) as events:
            await anext(events)
        toy.network.gate.set()
        await until(lambda: model._engine.statistics().cancelled == 1)
        assert model._engine.statistics().running == 0

    async def test_cancelling_the_reader_cancels(self, model: Diffusion, toy: Toy) -> None:
        async def read() -> list[object]:
            return [event async for event in model.stream(request(steps=100))]

        toy.network.gate.clear()
        reader = asyncio.create_task(read())
        await until(toy.network.entered.is_set)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        toy.network.gate.set()
        await until(lambda: model._engine.statistics().cancelled == 1)


async def test_cancelling_the_caller_cancels_the_work(model: Diffusion, toy: Toy) -> None:
    toy.network.gate.clear()
    caller = asyncio.create_task(model.generate(request(steps=100)))
    await until(toy.network.entered.is_set)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    toy.network.gate.set()
    await until(lambda: model._engine.statistics().cancelled == 1)
    statistics = await model.statistics()
    assert (statistics.finished, statistics.failed, statistics.running, statistics.waiting) == (0, 0, 0, 0)
    assert sum(made.forwards for made in statistics.forwards.values()) == 1  # only the one that ran


async def test_the_event_loop_is_free_while_a_picture_is_made(model: Diffusion, toy: Toy) -> None:
    toy.network.gate.clear()
    caller = asyncio.create_task(model.generate(request()))
    await until(toy.network.entered.is_set)
    assert (await asyncio.wait_for(model.statistics(), 1)).running == 1
    toy.network.gate.set()
    assert (await caller).steps == 3


async def test_equal_requests_in_flight_are_computed_once(model: Diffusion, toy: Toy) -> None:
    toy.network.gate.clear()
    first = asyncio.create_task(model.generate(request()))
    await until(toy.network.entered.is_set)
    second = asyncio.create_task(model.generate(request(request_id="other", output_format="webp")))
    third = asyncio.create_task(model.generate(request(seed=8)))
    streamed = model.stream(request())
    await anext(streamed)
    await until(lambda: model._engine.statistics().waiting + model._engine.statistics().running == 2)
    first.cancel()  # the work goes on: others wait for it
    await asyncio.sleep(0)
    toy.network.gate.set()
    *_, last = [event async for event in streamed]
    one, other = await second, await third
    assert (one.output_format, one.seed, other.seed) == ("webp", 7, 8)
    assert isinstance(last, ImageResult)
    assert len(toy.seen) == 2
    assert not model._jobs._shared
    await model.generate(request())
    assert len(toy.seen) == 3  # nothing is kept of what has ended


async def test_work_that_nobody_waits_for_any_more_is_cancelled(model: Diffusion, toy: Toy) -> None:
    toy.network.gate.clear()
    callers = [asyncio.create_task(model.generate(request(steps=100))) for _ in range(3)]
    await until(toy.network.entered.is_set)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    toy.network.gate.set()
    await until(lambda: model._engine.statistics().cancelled == 1)


async def test_the_controller_is_told_how_long_the_work_here_takes(model: Diffusion, toy: Toy) -> None:
    assert await model.record_autoscaling_stats() == {BACKLOG: 0.0}
    await model.generate(request())
    toy.network.gate.clear()
    callers = [asyncio.create_task(model.generate(request(seed=seed, steps=50))) for seed in range(4)]
    await until(lambda: model._engine.statistics().waiting + model._engine.statistics().running == 4)
    assert (await model.record_autoscaling_stats())[BACKLOG] > 0
    toy.network.gate.set()
    await asyncio.gather(*callers)
    assert await model.record_autoscaling_stats() == {BACKLOG: 0.0}


async def test_before_it_is_configured_no_work_waits(make: Callable[..., Diffusion]) -> None:
    assert await make().record_autoscaling_stats() == {BACKLOG: 0.0}


async def test_the_metrics_are_told_of_work_and_of_what_is_so_now(
    make: Callable[..., Diffusion], toy: Toy, told: Told
) -> None:
    model = make(warm_up_sizes=["64x64"])
    model.reconfigure(settings())
    assert not told.values  # nobody asked for what warmed it up
    toy.prompts.hits = 2
    toy.network.gate.clear()
    callers = [asyncio.create_task(model.generate(request(seed=seed))) for seed in (7, 7, 8)]
    await until(lambda: model._jobs.listening_now == 3)
    await model.check_health()
    toy.network.gate.set()
    await asyncio.gather(*callers)
    assert told.total("jobs", state="waiting") + told.total("jobs", state="running") == 2
    assert told.total("replica_start_seconds", phase="load") >= 0
    assert told.total("replica_start_seconds", phase="warm_up") > 0
    assert told.total("cache_lookups_total", cache="jobs", result="miss") == 2
    assert told.total("cache_lookups_total", cache="jobs", result="hit") == 1
    assert told.total("cache_lookups_total", cache="prompts", result="hit") == 2
    assert told.total("jobs_total", outcome="finished") == 2
    assert "easel_device_memory_bytes" not in told.values  # a CPU does not tell


@asynccontextmanager
async def busy_for_long(model: Diffusion, toy: Toy) -> AsyncIterator[None]:
    """A model that knows what requests cost, and works on one that takes longer than any is allowed."""
    await model.generate(request(steps=50))
    toy.network.entered.clear()
    toy.network.gate.clear()
    long = asyncio.create_task(model.generate(request(seed=8, steps=10**7)))
    await until(toy.network.entered.is_set)
    yield
    long.cancel()
    await asyncio.gather(long, return_exceptions=True)


async def test_what_cannot_be_finished_in_time_is_refused_at_once(model: Diffusion, toy: Toy) -> None:
    async with busy_for_long(model, toy):
        with pytest.raises(Overloaded) as refused:
            await model.generate(request(seed=9, steps=50))
    assert refused.value.retry_after_seconds is not None
    assert refused.value.retry_after_seconds > 0


async def test_what_is_late_already_is_told_so_however_busy_the_model_is(model: Diffusion, toy: Toy) -> None:
    async with busy_for_long(model, toy):
        with pytest.raises(DeadlineExceeded):
            await model.generate(request(seed=9, steps=50, standing=Standing(deadline=time.time() - 0.001)))


async def test_an_edit_is_refused_before_its_picture_is_decoded(model: Diffusion, toy: Toy) -> None:
    async with busy_for_long(model, toy):
        with pytest.raises(Overloaded):
            await model.generate(request(steps=50, image=b"no picture"))


async def test_an_edit_is_decoded_in_another_process(
    model: Diffusion, toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = png(Image.new("RGB", (16, 8), "red"))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("must not be parsed here"))
    await model.generate(request(image=image, strength=1.0))
    assert toy.seen[-1].image is not None
    assert toy.seen[-1].image.getpixel((0, 0)) == (255, 0, 0)


async def test_who_leaves_while_a_picture_is_decoded_ends_that(
    model: Diffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def never_done(*_: object, **__: object) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(model._sandbox, "canvas", never_done)
    call = asyncio.create_task(model.generate(request(image=b"slow")))
    await began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended.is_set()


async def test_concurrent_requests_share_forwards(model: Diffusion, toy: Toy) -> None:
    model.reconfigure(settings(batching={"max_rows": 8}))
    toy.network.gate.clear()
    callers = [asyncio.create_task(model.generate(request(seed=seed, steps=6))) for seed in range(4)]
    await until(lambda: model._engine.statistics().waiting + model._engine.statistics().running == 4)
    toy.network.gate.set()
    assert [result.seed for result in await asyncio.gather(*callers)] == [0, 1, 2, 3]
    (made,) = (await model.statistics()).forwards.values()
    assert made.largest_batch >= 3
    assert made.calls == 24


class TestReconfiguring:
    async def test_amid_a_preparation_lets_nobody_share_what_was_prepared_otherwise(
        self, model: Diffusion, toy: Toy
    ) -> None:
        prepared = await model._prepare(request())
        changed = settings()
        changed["presets"]["smooth"] = {"steps": 9, "guidance_scale": 9.0}
        model.reconfigure(changed)
        toy.network.gate.clear()
        with model._running(prepared, lambda *_: None) as early:
            later = asyncio.create_task(model.generate(request()))
            await until(lambda: model._jobs.listening_now == 2)
            toy.network.gate.set()
            await asyncio.wrap_future(early.future)
            assert (await later).steps == 9
        assert [inputs.steps for inputs in toy.seen] == [3, 9]

    async def test_applies_to_later_requests_in_place(self, model: Diffusion, toy: Toy) -> None:
        toy.network.gate.clear()
        early = asyncio.create_task(model.generate(request()))
        await until(toy.network.entered.is_set)
        changed = settings()
        changed["presets"]["smooth"] = {"steps": 9, "guidance_scale": 9.0, "scheduler": "ddim"}
        model.reconfigure(changed)
        toy.network.gate.set()
        assert (await early).steps == 3
        assert (await model.generate(request())).steps == 9
        assert (toy.seen[1].guidance_scale, toy.seen[1].scheduler) == (9.0, "ddim")
        assert len(toy.configs) == 1  # nothing was loaded again

    async def test_applies_the_caps(self, model: Diffusion, toy: Toy) -> None:
        model.reconfigure(settings(batching={"max_rows": 5, "max_running": 1, "max_queued": 0}))
        limits = model._engine.limits
        assert (limits.max_rows, limits.max_running, limits.max_queued) == (5, 1, 0)
        toy.network.gate.clear()
        first = asyncio.create_task(model.generate(request()))
        await until(toy.network.entered.is_set)
        with pytest.raises(Overloaded):
            await model.generate(request(seed=8))
        toy.network.gate.set()
        await first

    @pytest.mark.parametrize(
        "wrong",
        [{}, settings(watchdog_seconds=0), settings(batching={"max_running": 0}), settings(presets={}), {"preset": 1}],
    )
    async def test_with_a_mistake_raises_and_keeps_the_old(self, model: Diffusion, wrong: dict[str, Any]) -> None:
        before = model._engine.limits
        with pytest.raises(ValidationError):
            model.reconfigure(wrong)
        assert model._engine.limits == before
        assert (await model.generate(request())).steps == 3
        await model.check_health()


class TestHealth:
    async def test_is_good(self, model: Diffusion) -> None:
        await model.check_health()

    async def test_is_bad_without_presets_and_requests_are_refused(self, make: Callable[..., Diffusion]) -> None:
        model = make()
        with pytest.raises(ModelUnavailable, match="user_config"):
            await model.check_health()
        with pytest.raises(ModelUnavailable):
            await model.generate(request())

    async def test_is_bad_when_a_forward_hangs_and_who_waits_is_answered(
        self, model: Diffusion, toy: Toy, left: list[str]
    ) -> None:
        model.reconfigure(settings(watchdog_seconds=0.05))
        toy.network.gate.clear()
        caller = asyncio.create_task(model.generate(request()))
        await until(toy.network.entered.is_set)
        other = asyncio.create_task(model.generate(request(width=24)))
        await until(lambda: model._jobs.listening_now == 2)
        await asyncio.sleep(0.1)
        with pytest.raises(ModelUnavailable):
            await model.check_health()
        with pytest.raises(ModelUnavailable):  # its request may be the reason
            await caller
        with pytest.raises(ReplicaLost):  # it may be tried elsewhere
            await other
        with pytest.raises(ReplicaLost):
            await model.generate(request())
        await until(lambda: left == ["left"])

    async def test_a_dead_replica_is_not_quick_to_refuse(
        self, model: Diffusion, toy: Toy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else Serve would send it whatever comes, as the least busy one."""
        monkeypatch.setattr(failed_replica, "SECONDS_TO_ANSWER", SECONDS)
        model._engine.stop()
        for asked in (model.generate(request()), anext(model.stream(request()))):
            caller = asyncio.ensure_future(asked)
            await asyncio.sleep(0.1)
            assert not caller.done()
            caller.cancel()

    async def test_is_good_while_a_forward_runs_within_the_watchdog(self, model: Diffusion, toy: Toy) -> None:
        toy.network.gate.clear()
        caller = asyncio.create_task(model.generate(request()))
        await until(toy.network.entered.is_set)
        await model.check_health()
        toy.network.gate.set()
        await caller

    async def test_is_bad_when_the_engine_is_gone(
        self, model: Diffusion, monkeypatch: pytest.MonkeyPatch, left: list[str]
    ) -> None:
        monkeypatch.setattr(model._engine, "_schedule", lambda: 1 / 0)
        with pytest.raises(ModelUnavailable):
            await model.generate(request())
        await until(lambda: left == ["left"])
        with pytest.raises(ModelUnavailable):
            await model.check_health()


class TestLoading:
    def test_hands_its_config_to_the_model(self, make: Callable[..., Diffusion], toy: Toy) -> None:
        make(dtype="float16")
        assert [config.dtype for config in toy.configs] == ["float16"]

    def test_sets_the_number_of_threads(self, make: Callable[..., Diffusion]) -> None:
        before = torch.get_num_threads()
        try:
            make(torch_threads=before + 1)
            assert torch.get_num_threads() == before + 1
        finally:
            torch.set_num_threads(before)

    def test_warms_up_every_size_alone_and_together(self, make: Callable[..., Diffusion], toy: Toy) -> None:
        model = make(warm_up_sizes=["16x8", "24x32"])
        sizes = [(inputs.width, inputs.height) for inputs in toy.seen]
        assert sizes == sorted(sizes)
        assert all(sizes.count(size) in (1 + 3, 1 + 7, 1 + 15, 1 + 31) for size in ((16, 8), (24, 32)))
        assert [inputs.guidance_scale > 1 for inputs in toy.seen].count(False) == 2  # once a size: a single row
        assert {inputs.steps for inputs in toy.seen} == {3}
        assert model._engine.statistics().finished == len(sizes)

    def test_warms_up_nothing_by_default(self, make: Callable[..., Diffusion], toy: Toy) -> None:
        make()
        assert toy.seen == []

    def test_fails_where_the_warm_up_fails(self, make: Callable[..., Diffusion], toy: Toy) -> None:
        toy.failure = InvalidOutput("Not finite.")
        with pytest.raises(InvalidOutput):
            make(warm_up_sizes=["16x8"])

    def test_fails_where_the_model_cannot_be_loaded(self, toy: Toy) -> None:
        def fail(config: ModelConfig) -> Toy:
            raise OSError("no such weights")

        with pytest.raises(OSError, match="no such weights"):
            Diffusion(ModelConfig.model_validate(ARGUMENTS), fail)


async def test_when_the_replica_goes_who_waits_is_answered(model: Diffusion, toy: Toy) -> None:
    toy.network.gate.clear()
    caller = asyncio.create_task(model.generate(request()))
    await until(toy.network.entered.is_set)
    going = asyncio.create_task(asyncio.to_thread(model.__del__))  # as Serve calls it
    await until(lambda: model._engine._stopping)
    toy.network.gate.set()
    await going
    with pytest.raises(ReplicaLost):
        await caller


class TestBuild:
    def test_makes_an_application_of_one_deployment(self) -> None:
        application = diffusion.build(ARGUMENTS)
        assert isinstance(application, Application)
        deployment = application._bound_deployment
        assert deployment.name == "Diffusion"
        assert deployment.init_args == (ModelConfig.model_validate(ARGUMENTS), load_model)
        # Serve's router must not queue: an engine takes no more, even where much is allowed, and as many may join.
        largest = Batching(max_running=100, max_queued=400)
        most = EngineLimits(None, largest.max_running, largest.max_queued).most
        assert deployment.max_ongoing_requests > 2 * most
        assert deployment._deployment_config.max_queued_requests > 0

    @pytest.mark.parametrize("changed", [{"family": "flux"}, {"famly": "sdxl"}, {"weights": "x"}, {"device": "gpu"}])
    def test_refuses_wrong_arguments(self, changed: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            diffusion.build(ARGUMENTS | changed)

    def test_refuses_no_arguments(self) -> None:
        with pytest.raises(ValidationError):
            diffusion.build({})


async def test_who_joins_a_job_lends_it_time_and_takes_none_away(model: Diffusion, toy: Toy) -> None:
    toy.network.gate.clear()
    short = asyncio.create_task(model.generate(request(standing=Standing(deadline=time.time() + SECONDS / 2))))
    await until(toy.network.entered.is_set)
    long = asyncio.create_task(model.generate(request(standing=Standing(deadline=time.time() + SECONDS))))
    await until(lambda: model._jobs.listening_now == 2)
    (shared,) = model._jobs._shared.values()
    assert shared.job.due_at <= time.monotonic() + SECONDS / 2
    assert shared.job.expires_at > time.monotonic() + SECONDS / 2
    toy.network.gate.set()
    assert (await short).image == (await long).image
    assert short.result().device_seconds == long.result().device_seconds > 0  # each is charged all of it


async def test_who_joins_is_not_refused_for_want_of_time_but_for_too_great_a_number(model: Diffusion, toy: Toy) -> None:
    model.reconfigure(settings(batching={"max_running": 1, "max_queued": 1}))
    toy.network.gate.clear()
    waiting = [asyncio.create_task(model.generate(request(seed=seed))) for seed in (1, 2, 1, 1)]
    await until(lambda: model._jobs.listening_now == 4)
    with pytest.raises(Overloaded, match="queue is full"):
        await model.generate(request(seed=3))
    with pytest.raises(Overloaded, match="this very picture"):
        await model.generate(request(seed=1))
    toy.network.gate.set()
    assert len(await asyncio.gather(*waiting)) == 4


@pytest.mark.parametrize("changed", [{"caller": "otter"}, {"priority": 1}])
async def test_callers_and_priorities_have_jobs_of_their_own(
    changed: dict[str, Any], model: Diffusion, toy: Toy
) -> None:
    toy.network.gate.clear()
    deadline = time.time() + SECONDS
    standings = (Standing(deadline=deadline), Standing(deadline=deadline, **changed))
    waiting = [asyncio.create_task(model.generate(request(standing=standing))) for standing in standings]
    await until(lambda: model._jobs.listening_now == 2)
    assert len(model._jobs._shared) == 2
    toy.network.gate.set()
    await asyncio.gather(*waiting)
