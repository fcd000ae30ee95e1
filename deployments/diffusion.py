"""The Serve deployment of one model: loads it, runs its engine, answers requests. One instance is one replica.

    LOADING (constructor) ──> READY ──> DRAINING (Serve sends no more; what runs is finished) ──> gone
                                └─────> UNHEALTHY (engine dead or hung: everybody answered; Serve replaces the replica)

Invariants: the engine's thread alone touches the modules; the event loop never waits for it; a request whose caller has
gone is cancelled within the forward that runs.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from PIL import Image
from ray import serve
from ray.serve import Application

from config.schema import ModelConfig, ModelSettings, Preset
from deployments.errors import DeadlineExceeded, InvalidRequest, ModelUnavailable
from deployments.imaging.decode import decode
from deployments.imaging.encode import encode
from deployments.imaging.masks import mask_of
from deployments.models.protocol import GenerationInputs
from deployments.models.registry import load_factory
from deployments.types import ImageRequest, ImageResult, Progress, StepCallback

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.engine.job import Job
    from deployments.engine.statistics import EngineStatistics

logger = logging.getLogger("ray.serve")

# How much of a picture is redrawn where the request does not say: image-to-image keeps the composition, a mask's inside
# is new.
_IMAGE_TO_IMAGE_STRENGTH = 0.6
_INPAINTING_STRENGTH = 1.0


class Diffusion:
    """One model on one replica."""

    def __init__(self, config: ModelConfig) -> None:
        import torch  # a replica needs it, the process that builds the application does not

        from deployments.engine.engine import DiffusionEngine

        if config.torch_threads is not None:
            torch.set_num_threads(config.torch_threads)
        started_at = time.monotonic()
        self._settings: ModelSettings | None = None
        self._engine = DiffusionEngine()
        self._model = load_factory(config.family)(config)
        self._engine.start()
        logger.info("Loaded %s in %.1f s", config.weights.source, time.monotonic() - started_at)
        self._warm_up(config.warm_up_sizes)

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Applies presets and caps in place; requests that run keep what they started with."""
        from deployments.engine.engine import EngineLimits

        self._settings = ModelSettings.model_validate(user_config)
        batching = self._settings.batching
        self._engine.limits = EngineLimits(batching.max_rows, batching.max_running, batching.max_queued)

    async def generate(self, request: ImageRequest) -> ImageResult:
        """The picture. Raises an EaselError; cancelling the call stops the work."""
        inputs = await asyncio.to_thread(self._inputs_of, request)
        with self._running(request, inputs, lambda _step, _steps: None) as job:
            return await _result_of(job, request, inputs)

    async def stream(self, request: ImageRequest) -> AsyncIterator[Progress | ImageResult]:
        """Progress after every denoising step, and last the result; otherwise as `generate`."""
        inputs = await asyncio.to_thread(self._inputs_of, request)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Progress | None]()

        def tell(event: Progress | None) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        with self._running(request, inputs, lambda *at: tell(Progress(step=at[0], steps=at[1]))) as job:
            job.future.add_done_callback(lambda _: tell(None))
            while (event := await events.get()) is not None:
                yield event
            yield await _result_of(job, request, inputs)

    async def statistics(self) -> EngineStatistics:
        """The engine's counters since this replica started."""
        return self._engine.statistics()

    async def check_health(self) -> None:
        """Raises when the engine is dead or hung, so that Serve replaces this replica."""
        self._engine.check(self._current_settings().watchdog_seconds)

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.stop()

    @contextmanager
    def _running(self, request: ImageRequest, inputs: GenerationInputs, on_step: StepCallback) -> Iterator[Job[Tensor]]:
        def generate(report: StepCallback) -> Tensor:
            def report_and_tell(step: int, steps: int) -> None:
                report(step, steps)
                on_step(step, steps)

            return self._model.generate(inputs, report_and_tell)

        job = self._engine.submit(generate, seconds=request.deadline - time.time())
        try:
            yield job
        finally:
            job.cancel()  # does nothing to a job that has ended

    def _inputs_of(self, request: ImageRequest) -> GenerationInputs:
        if time.time() >= request.deadline:
            raise DeadlineExceeded("The request's time was up before it reached the model.")
        preset = _preset(self._current_settings(), request)
        image, mask = _pictures(request)
        steps = preset.steps if request.steps is None else request.steps
        usual_strength = _IMAGE_TO_IMAGE_STRENGTH if mask is None else _INPAINTING_STRENGTH
        strength = usual_strength if request.strength is None else request.strength
        if image is not None and int(steps * strength) < 1:
            raise InvalidRequest(
                f"strength: {strength:g} of {steps} steps leaves none; at least {1 / steps:.2g} is needed.",
                param="strength",
            )
        return GenerationInputs(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=request.width,
            height=request.height,
            seed=request.seed,
            steps=steps,
            guidance_scale=preset.guidance_scale if request.guidance_scale is None else request.guidance_scale,
            scheduler=preset.scheduler,
            image=image,
            mask=mask,
            strength=strength,
        )

    def _current_settings(self) -> ModelSettings:
        if self._settings is None:
            raise ModelUnavailable("The deployment has no user_config: its presets are required.")
        return self._settings

    def _warm_up(self, sizes: tuple[str, ...]) -> None:
        """One step at each size, alone and together: the first user need not wait for it, and the knee is known."""
        for size in sizes:
            width, height = map(int, size.split("x"))
            inputs = GenerationInputs(
                prompt="warm up",
                negative_prompt="",
                width=width,
                height=height,
                seed=0,
                steps=1,
                guidance_scale=5.0,
                scheduler="default",
            )
            generate = functools.partial(self._model.generate, inputs)
            for together in (1, 2, 4):
                for job in [self._engine.submit(generate) for _ in range(together)]:
                    job.future.result()
        logger.info("Warmed up at %s", ", ".join(sizes) or "no size")


def build(args: dict[str, Any]) -> Application:
    """The Serve application of one model; `args` is a ModelConfig, as the Serve config file has it."""
    deployment = serve.deployment(
        Diffusion,
        name="Diffusion",
        max_ongoing_requests=128,  # the engine queues and refuses; Serve's router would be slower at it
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=300,  # longer than the longest request
    )
    return deployment.bind(ModelConfig.model_validate(args))


def _preset(settings: ModelSettings, request: ImageRequest) -> Preset:
    quality = "smooth" if request.quality == "auto" else request.quality
    preset: Preset = getattr(settings.presets, quality)
    return preset


def _pictures(request: ImageRequest) -> tuple[Image.Image | None, Image.Image | None]:
    """The request's picture and mask as GenerationInputs wants them."""
    if request.image is None:
        return None, None
    size = (request.width, request.height)
    image = decode(request.image, param="image")
    mask = mask_of(image, None if request.mask is None else decode(request.mask, param="mask"))
    return (
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS),
        None if mask is None else mask.resize(size, Image.Resampling.NEAREST),
    )


async def _result_of(job: Job[Tensor], request: ImageRequest, inputs: GenerationInputs) -> ImageResult:
    picture = await asyncio.wrap_future(job.future)
    ended_at = time.monotonic()
    _, _, height, width = picture.shape
    started_at = job.started_at if job.started_at is not None else ended_at
    return ImageResult(
        image=await asyncio.to_thread(_encoded, picture, request),
        output_format=request.output_format,
        width=width,
        height=height,
        seed=inputs.seed,
        steps=inputs.steps,
        guidance_scale=inputs.guidance_scale,
        queue_seconds=started_at - job.submitted_at,
        inference_seconds=ended_at - started_at,
    )


def _encoded(picture: Tensor, request: ImageRequest) -> bytes:
    from deployments.models.pixels import to_pixels  # as above: only a replica needs it

    return encode(to_pixels(picture), request.output_format, request.output_compression)
