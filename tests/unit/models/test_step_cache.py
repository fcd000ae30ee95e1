"""Step caching against diffusers' FirstBlockCache, which a request alone must agree with, whatever batch it is in."""

from __future__ import annotations

import functools
import gc
import time
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest
import torch
from diffusers import FluxFillPipeline, FluxPipeline
from diffusers.hooks import FirstBlockCacheConfig
from torch import Tensor, nn

from config.schema import Acceleration, Family, ModelConfig, Weights
from deployments.engine.collate import RowObjects
from deployments.errors import EaselError
from deployments.models import step_cache
from deployments.models.flux import Flux, FluxSchnell
from deployments.models.flux_fill import FluxFill
from deployments.models.loading import load_pipeline
from deployments.models.protocol import CacheUse
from deployments.models.step_cache import StepCachedBlocks, StepMemory, cache_steps, memory_arguments, step_cache_uses
from tests.unit.models import conftest
from tests.unit.models.conftest import SECONDS, Parity, drawing, window

if TYPE_CHECKING:
    from deployments.engine.job import Job
    from deployments.models.protocol import GenerationInputs

schnell = functools.partial(conftest.inputs, guidance_scale=0.0)
fill = functools.partial(conftest.inputs, guidance_scale=30.0, image=drawing(0), mask=window())
WIDE = {"width": 128, "image": drawing(6, 128, 64), "mask": window(128, 64)}

MIXED = {
    FluxSchnell: [
        schnell(seed=1, steps=12),
        schnell(seed=2, steps=20, width=128),
        schnell(seed=3, steps=9),
        schnell(seed=4, steps=14, prompt="a cat in a forest"),
        schnell(seed=5, steps=5, width=128),
        schnell(seed=6, steps=16),
    ],
    FluxFill: [
        fill(seed=1, steps=12),
        fill(seed=2, steps=20, **WIDE),
        fill(seed=3, steps=9, guidance_scale=3.5),
        fill(seed=4, steps=14, strength=0.7),
        fill(seed=5, steps=5, **WIDE),
        fill(seed=6, steps=16, image=drawing(3)),
    ],
}
PIPELINES: dict[type[Flux], tuple[type[Any], Family]] = {
    FluxSchnell: (FluxPipeline, "flux-schnell"),
    FluxFill: (FluxFillPipeline, "flux-fill"),
}


def load(model_class: type[Flux], threshold: float | None = None) -> Any:
    pipeline_class, family = PIPELINES[model_class]
    acceleration = Acceleration(lossy_step_cache=threshold)
    config = ModelConfig(
        family=family, weights=Weights(source=f"small:{family}"), device="cpu", acceleration=acceleration
    )
    return load_pipeline(pipeline_class, config)


class Rows:
    """Counts the rows that the last block has run, and in how many forwards."""

    def __init__(self, last_block: nn.Module) -> None:
        self.forwards: list[int] = []
        last_block.register_forward_hook(self._count, with_kwargs=True)

    def _count(self, _module: nn.Module, _args: object, kwargs: dict[str, Any], _output: object) -> None:
        self.forwards.append(len(kwargs["hidden_states"]))


class ExactParity(Parity):
    """Has pictures as the model gives them, not rounded to pixels."""

    _picture = staticmethod(lambda job: job.future.result(SECONDS))


@pytest.fixture
def engine() -> Iterator[ExactParity]:
    parity = ExactParity()
    yield parity
    parity.engine.stop()


def diffusers_alone(
    model_class: type[Flux], asked: Sequence[GenerationInputs], threshold: float | None
) -> tuple[list[Tensor], int]:
    """The pictures, one after the other, and how many steps have run all blocks."""
    pipeline = load(model_class)
    rows = Rows(pipeline.transformer.single_transformer_blocks[-1].attn)
    if threshold is not None:
        pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold))
    pictures = []
    for one in asked:
        pipeline.transformer._reset_stateful_cache()
        edit = {"image": one.image, "mask_image": one.mask, "strength": one.strength} if one.image else {}
        with pipeline.transformer.cache_context("alone"):  # which diffusers' Fill pipeline lacks
            output = pipeline(
                one.prompt,
                width=one.width,
                height=one.height,
                num_inference_steps=one.steps,
                guidance_scale=one.guidance_scale,
                max_sequence_length=model_class.text_tokens,
                generator=torch.Generator().manual_seed(one.seed),
                output_type="pt",
                **edit,
            )
        pictures.append(output.images)
    return pictures, sum(rows.forwards)


def farthest(pictures: Sequence[Tensor], others: Sequence[Tensor]) -> list[float]:
    return [(one - other).abs().max().item() for one, other in zip(pictures, others, strict=True)]


@pytest.mark.parametrize("model_class", MIXED)
@pytest.mark.parametrize("threshold", [0.25, 0.4])
def test_in_a_changing_batch_each_request_is_what_it_is_alone(
    engine: ExactParity, model_class: type[Flux], threshold: float
) -> None:
    asked = MIXED[model_class]
    alone, steps_run = diffusers_alone(model_class, asked, threshold)
    uncached, steps = diffusers_alone(model_class, asked, None)
    pipeline = load(model_class, threshold)
    rows = Rows(pipeline.transformer.transformer_blocks[0].rest[-1].attn)
    model = model_class(pipeline)
    together = engine.together(model, asked)
    assert max(farthest(together, alone)) < 1e-5
    assert max(farthest(together, uncached)) > 1e-3  # it is lossy, and the measure can tell
    assert sum(rows.forwards) == steps_run < steps
    assert model.cache_uses()["steps"] == CacheUse(hits=steps - steps_run, misses=steps_run)
    assert max(rows.forwards) > 1  # what needs the other blocks shares them


def test_what_failed_half_way_is_tried_again_as_if_it_had_not_begun(engine: ExactParity) -> None:
    asked = [schnell(seed=seed, steps=10) for seed in range(4)]
    alone, _ = diffusers_alone(FluxSchnell, asked, 0.25)
    pipeline = load(FluxSchnell, 0.25)
    last = pipeline.transformer.transformer_blocks[0].rest[-1].attn
    rows, failed = Rows(last), []

    def fail(_module: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        if len(rows.forwards) > 4 and len(kwargs["hidden_states"]) > 1:  # all have something to remember by then
            failed.append(True)
            raise RuntimeError

    last.register_forward_pre_hook(fail, with_kwargs=True)
    assert max(farthest(engine.together(FluxSchnell(pipeline), asked), alone)) < 1e-5
    assert failed


def test_without_memories_nothing_is_reused() -> None:
    asked = schnell(steps=6)
    pipeline = load(FluxSchnell)
    arguments = {"num_inference_steps": 6, "width": 64, "height": 64, "output_type": "pt"}

    def run() -> Tensor:
        picture: Tensor = pipeline(asked.prompt, generator=torch.Generator().manual_seed(0), **arguments).images
        return picture

    before = run()
    assert memory_arguments(pipeline.transformer) == {}
    assert step_cache_uses(pipeline.transformer) == {}
    cache_steps(pipeline.transformer, 1e9)
    assert torch.equal(run(), before)
    assert memory_arguments(pipeline.transformer) != {}


@pytest.fixture
def memories(monkeypatch: pytest.MonkeyPatch) -> Iterator[weakref.WeakSet[StepMemory]]:
    """Those in use. Cycles are not collected meanwhile: memory of the device must not wait for that."""
    living: weakref.WeakSet[StepMemory] = weakref.WeakSet()

    def made() -> StepMemory:
        memory = StepMemory()
        living.add(memory)
        return memory

    monkeypatch.setattr(step_cache, "StepMemory", made)
    gc.disable()
    yield living
    gc.enable()


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled"])
def test_a_memory_is_freed_when_its_request_ends(
    engine: ExactParity, memories: weakref.WeakSet[StepMemory], end: str
) -> None:
    pipeline = load(FluxSchnell, 0.4)
    model = FluxSchnell(pipeline)
    jobs: list[Job[Tensor]] = []
    remembered: list[bool] = []

    def on_step(step: int, _steps: int, _preview: object) -> None:
        if step == 3:
            remembered.extend(memory.last is not None for memory in memories)
            if end == "failed":
                raise ValueError
            if end == "cancelled":
                jobs[0].cancel()

    jobs.append(engine.engine.submit(lambda: model.generate(schnell(steps=4), on_step)))
    engine.engine.start()
    engine._started = True
    if end == "finished":
        jobs[0].future.result(SECONDS)
    else:
        with pytest.raises(EaselError):
            jobs[0].future.result(SECONDS)
    engine.alone(model, schnell(steps=1))  # the engine lets go of what it ran last when it runs the next
    assert remembered == [True]
    wait_until_empty(memories)


def wait_until_empty(memories: weakref.WeakSet[StepMemory]) -> None:
    """An engine answers a request a moment before it lets go of it."""
    deadline = time.monotonic() + 10
    while memories and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not memories


class Growing(nn.Module):
    """A block that adds half of the picture to the text, and as much or more to the picture itself."""

    def __init__(self, factor: float = 1.5) -> None:
        super().__init__()
        self.factor = factor
        self.rows: list[int] = []
        self.fails = False

    def forward(
        self,
        *,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        image_rotary_emb: object,
        joint_attention_kwargs: dict[str, Any],
    ) -> tuple[Tensor, Tensor]:
        assert len(temb) == len(hidden_states)
        assert joint_attention_kwargs == {}  # an attention layer warns of what it does not know
        if self.fails:
            raise RuntimeError
        self.rows.append(len(hidden_states))
        return encoder_hidden_states + hidden_states.mean(1, keepdim=True) / 2, hidden_states * self.factor


def step(blocks: StepCachedBlocks, values: Sequence[float], memories: Sequence[StepMemory]) -> list[float]:
    """One of as many rows as there are values, which fill the picture; returns what fills it afterwards."""
    picture = torch.tensor(values)[:, None, None].expand(-1, 4, 2)
    _, out = blocks(
        picture,
        torch.zeros(len(values), 3, 2),
        torch.zeros(len(values), 5),
        (torch.zeros(7, 2), torch.zeros(7, 2)),
        {"step_memories": RowObjects(memories)},
    )
    filled: list[float] = out[:, 0, 0].tolist()
    return filled


def test_each_row_is_decided_alone() -> None:
    blocks = StepCachedBlocks([Growing(), Growing()], threshold=0.1)
    still, moving = StepMemory(), StepMemory()
    assert step(blocks, [8.0, 8.0], [still, moving]) == [18.0, 18.0]
    # 5 % more: 12.6 after the first block, and the 6 that the second one added before. 50 % more: run in full.
    assert step(blocks, [12.0, 8.4], [moving, still]) == pytest.approx([27.0, 18.6])
    # What is compared with is the last step that ran in full, so that small changes add up.
    assert step(blocks, [8.9, 12.0], [still, moving]) == pytest.approx([8.9 * 2.25, 27.0])
    assert blocks.rest[0].rows == [2, 1, 1]
    assert blocks.first.rows == [2, 2, 2]


def test_what_is_run_is_what_it_was_to_the_bit() -> None:
    blocks = StepCachedBlocks([Growing(), Growing(3.3)], threshold=0.1)  # added is not exact at such a factor
    picture, text, temb = torch.rand(4, 16, 8), torch.rand(4, 3, 8), torch.rand(4, 5)
    _, without = blocks(picture, text, temb, None, None)
    memories = RowObjects(StepMemory() for _ in range(4))
    _, remembered = blocks(picture, text, temb, None, {"step_memories": memories})
    assert torch.equal(remembered, without)


def test_what_failed_is_not_remembered() -> None:
    blocks = StepCachedBlocks([Growing(), Growing()], threshold=0.1)
    memory = StepMemory()
    step(blocks, [8.0], [memory])
    blocks.rest[0].fails = True
    with pytest.raises(RuntimeError):
        step(blocks, [12.0], [memory])
    blocks.rest[0].fails = False
    assert step(blocks, [12.0], [memory]) == [27.0]


@pytest.mark.parametrize("before", [0.0, float("nan"), float("inf")])
def test_what_cannot_be_compared_is_run(before: float) -> None:
    blocks = StepCachedBlocks([Growing(), Growing()], threshold=1e9)
    memory = StepMemory()
    step(blocks, [before], [memory])
    assert step(blocks, [before], [memory]) == pytest.approx([before * 2.25], nan_ok=True)
    assert blocks.rest[0].rows == [1, 1]


def test_a_memory_holds_no_rows_of_others() -> None:
    blocks = StepCachedBlocks([Growing(), Growing()], threshold=0.1)
    memories = [StepMemory() for _ in range(8)]
    step(blocks, [float(index) for index in range(8)], memories)
    for memory in memories:
        assert memory.last is not None
        for tensor in memory.last:
            assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_only_where_there_are_steps_to_reuse() -> None:
    weights = Weights(source="small:sdxl")
    with pytest.raises(ValueError, match=r"acceleration\.lossy_step_cache: not for the family 'sdxl'"):
        ModelConfig(family="sdxl", weights=weights, acceleration=Acceleration(lossy_step_cache=0.1))
    with pytest.raises(ValueError, match="lossy_step_cache: does not go with group_offload"):
        Acceleration(lossy_step_cache=0.1, group_offload=True)
    with pytest.raises(ValueError, match="lossy_step_cache"):
        Acceleration(lossy_step_cache=0.0)
