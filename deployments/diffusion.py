"""The Serve deployment of one model: loads it, runs its engine, answers requests. One instance is one replica.

    LOADING (constructor) ──> READY ──> DRAINING (Serve sends no more; what runs is finished) ──> gone
                                └─────> UNHEALTHY (engine dead or hung: everybody answered; Serve replaces the replica)

Invariants: the engine's thread alone touches the modules; the event loop never waits for it; a request whose caller has
gone is cancelled within the forward that runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve import Application

from config.schema import ModelConfig, ModelSettings
from deployments.errors import ModelUnavailable
from deployments.models.registry import load_model
from deployments.preparation import Preparation, prepare, warm_up_inputs
from deployments.types import ImageRequest, ImageResult, Progress, StepCallback

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.engine.job import Job
    from deployments.engine.statistics import EngineStatistics
    from deployments.models.protocol import GenerationInputs, StepListener

logger = logging.getLogger("ray.serve")


class Diffusion:
    """One model on one replica."""

    def __init__(self, config: ModelConfig) -> None:
        import torch  # a replica needs it, the process that builds the application does not

        from deployments.engine.engine import DiffusionEngine

        if config.torch_threads is not None:
            torch.set_num_threads(config.torch_threads)
        started_at = time.monotonic()
        self._settings: ModelSettings | None = None
        self._family = config.family
        self._engine = DiffusionEngine()
        self._model = load_model(config)
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
        prepared = await self._prepare(request)
        with self._running(prepared, lambda _step, _steps, _preview: None) as job:
            return await _result_of(job, prepared)

    async def stream(self, request: ImageRequest) -> AsyncIterator[Progress | ImageResult]:
        """Progress before the first denoising step and after each, and last the result; otherwise as `generate`."""
        prepared = await self._prepare(request)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[int, int, Tensor | None] | None] = asyncio.Queue()

        def tell(*event: Any) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event or None)

        with self._running(prepared, tell) as job:
            job.future.add_done_callback(lambda _: tell())
            while (event := await events.get()) is not None:
                step, steps, preview = event
                picture = None if preview is None else await asyncio.to_thread(prepared.finish, preview)
                yield Progress(step=step, steps=steps, preview=picture)
            yield await _result_of(job, prepared)

    async def statistics(self) -> EngineStatistics:
        """The engine's counters since this replica started."""
        return self._engine.statistics()

    async def check_health(self) -> None:
        """Raises when the engine is dead or hung, so that Serve replaces this replica."""
        self._engine.check(self._current_settings().watchdog_seconds)

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.stop()

    async def _prepare(self, request: ImageRequest) -> Preparation:
        return await asyncio.to_thread(prepare, request, self._current_settings(), self._family)

    @contextmanager
    def _running(self, prepared: Preparation, listener: StepListener) -> Iterator[Job[Tensor]]:
        job = self._engine.submit(
            self._generation(prepared.inputs, listener), seconds=prepared.request.deadline - time.time()
        )
        try:
            yield job
        finally:
            job.cancel()  # does nothing to a job that has ended

    def _generation(self, inputs: GenerationInputs, listener: StepListener) -> Callable[[StepCallback], Tensor]:
        """What the engine runs; both the engine and the listener are told of its steps."""

        def generate(report: StepCallback) -> Tensor:
            def report_and_tell(step: int, steps: int, preview: Tensor | None) -> None:
                report(step, steps)
                listener(step, steps, preview)

            return self._model.generate(inputs, report_and_tell)

        return generate

    def _current_settings(self) -> ModelSettings:
        if self._settings is None:
            raise ModelUnavailable("The deployment has no user_config: its presets are required.")
        return self._settings

    def _warm_up(self, sizes: tuple[str, ...]) -> None:
        """One step at each size, alone and together: the first user need not wait for it, and the knee is known."""
        for size in sizes:
            generate = self._generation(warm_up_inputs(size, self._family), lambda _step, _steps, _preview: None)
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


async def _result_of(job: Job[Tensor], prepared: Preparation) -> ImageResult:
    painted = await asyncio.wrap_future(job.future)
    ended_at = time.monotonic()
    request, inputs = prepared.request, prepared.inputs
    started_at = job.started_at if job.started_at is not None else ended_at
    return ImageResult(
        image=await asyncio.to_thread(prepared.finish, painted),
        output_format=request.output_format,
        width=request.width,
        height=request.height,
        seed=inputs.seed,
        steps=inputs.steps,
        guidance_scale=inputs.guidance_scale,
        queue_seconds=started_at - job.submitted_at,
        inference_seconds=ended_at - started_at,
    )
