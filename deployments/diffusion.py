"""The Serve deployment of one model: loads it, runs its engine, answers requests. One instance is one replica.

    LOADING (constructor) ──> READY ──> DRAINING (Serve sends no more; what runs is finished) ──> gone
                                └─────> FAILED (engine dead or hung) ──> gone by itself, and replaced by Serve

Invariants: the engine's thread alone touches the modules; the event loop never waits for it; a request whose caller has
gone is cancelled within the forward that runs. A replica that has failed answers those whose request may be the reason,
and then nobody: refusing is quick, and Serve sends more to whoever is quick. A moment later it ends its process, which
sends all others elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ray import serve
from ray.serve import Application

from config.schema import ModelConfig, ModelSettings
from deployments.autoscaling import BACKLOG
from deployments.engine.workload import Workload
from deployments.errors import ModelUnavailable, Overloaded
from deployments.failed_replica import end_process_soon, unanswered_when_lost
from deployments.imaging.sandbox import Sandbox
from deployments.logs import join_serves_log, nothing_but_own_errors
from deployments.model_metrics import ModelMetrics
from deployments.models.assembly import load_model
from deployments.preparation import Preparation, canvas_for, expected_workload, identity, prepare, warm_up_inputs
from deployments.shared_jobs import SharedJobs
from deployments.types import ImageRequest, ImageResult, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.engine.job import Job
    from deployments.engine.statistics import EngineStatistics
    from deployments.models.protocol import DiffusionModel, GenerationInputs, StepListener

logger = logging.getLogger(__name__)

MOST_ONGOING = 2048  # more than any engine takes, with all who join what runs there; see config.schema.Batching
_SECONDS_OF_SILENCE = 1.0  # after which a stream tells anew how long it will take
_SECONDS_A_FORECAST_HOLDS = 0.5  # at least, and
_SECONDS_FOR_EACH_LISTENER = 0.02  # since it looks at all of their jobs, and they shall not fill the event loop with it
_MOST_AT_WARM_UP = 16


class Diffusion:
    """One model on one replica."""

    def __init__(self, config: ModelConfig, load: Callable[[ModelConfig], DiffusionModel] = load_model) -> None:
        import torch  # a replica needs it, the process that builds the application does not

        from deployments.engine.engine import DiffusionEngine
        from deployments.engine.memory import memory_of
        from deployments.models.loading import device_of

        join_serves_log()
        if config.torch_threads is not None:
            torch.set_num_threads(config.torch_threads)
        started_at = time.monotonic()
        self._settings: ModelSettings | None = None
        self._family = config.family
        self._memory = memory_of(device_of(config.device))
        self._engine = DiffusionEngine(memory=self._memory, on_death=end_process_soon)
        self._jobs = SharedJobs()
        self._sandbox = Sandbox()
        self._model = load(config)
        self._engine.start()
        loaded_at = time.monotonic()
        logger.info("Loaded %s in %.1f s", config.weights.source, loaded_at - started_at)
        self._warm_up(config.warm_up_sizes)
        start_seconds = {"load": loaded_at - started_at, "warm_up": time.monotonic() - loaded_at}
        self._metrics = ModelMetrics(self._engine.statistics().forwards, start_seconds)
        self._engine.observe(self._metrics)  # only now: nobody asked for what warmed it up

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Applies presets and caps in place; requests that run keep what they started with."""
        from deployments.engine.engine import EngineLimits

        self._settings = ModelSettings.model_validate(user_config)
        batching = self._settings.batching
        self._engine.limits = EngineLimits(batching.max_rows, batching.max_running, batching.max_queued)

    async def generate(self, request: ImageRequest) -> ImageResult:
        """The picture. Raises an EaselError; cancelling the call stops the work."""
        arrived_at = time.monotonic()
        async with unanswered_when_lost():
            prepared = await self._prepare(request)
            with self._running(prepared, _ignore) as job:
                return await _result_of(job, prepared, arrived_at)

    async def stream(self, request: ImageRequest) -> AsyncIterator[Progress | ImageResult]:
        """Progress at once, with every denoising step and at least every second, and last the result.

        Otherwise as `generate`.
        """
        arrived_at = time.monotonic()
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[tuple[int, int, Tensor | None] | None] = asyncio.Queue()

        def tell(*event: Any) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event or None)

        async with unanswered_when_lost():
            prepared = await self._prepare(request)
            with self._running(prepared, tell) as job:
                job.future.add_done_callback(lambda _: tell())
                event: tuple[int, int, Tensor | None] | None = (0, prepared.workload.steps, None)
                foretold_at, ends_at, waiting_ahead = -math.inf, None, 0
                while event is not None:
                    step, steps, preview = event
                    now, listeners = time.monotonic(), self._jobs.listening_now
                    if now - foretold_at > max(_SECONDS_A_FORECAST_HOLDS, listeners * _SECONDS_FOR_EACH_LISTENER):
                        foretold_at, seconds_left = now, self._engine.seconds_until_done(job)
                        ends_at = None if seconds_left is None else now + seconds_left
                        waiting_ahead = self._engine.waiting_ahead_of(job)
                    yield Progress(
                        step=step,
                        steps=steps,
                        is_waiting=job.started_at is None,
                        waiting_ahead=waiting_ahead if job.started_at is None else 0,
                        seconds_left=None if ends_at is None else max(0.0, ends_at - now),
                        device_seconds=job.device_seconds,
                        preview=None if preview is None else await asyncio.to_thread(prepared.finish, preview),
                    )
                    # Not by `wait_for`, which before Python 3.12 can swallow a cancellation.
                    silence = loop.call_later(_SECONDS_OF_SILENCE, events.put_nowait, (step, steps, None))
                    event = await events.get()
                    silence.cancel()
                yield await _result_of(job, prepared, arrived_at)

    async def statistics(self) -> EngineStatistics:
        """The engine's counters since this replica started."""
        return self._engine.statistics()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's controller is told every now and then; see deployments.autoscaling."""
        if self._settings is None:  # Serve asks before it has configured the replica, where nothing is taken yet
            return {BACKLOG: 0.0}
        return {BACKLOG: self._engine.backlog_seconds() / self._settings.target_backlog_seconds}

    async def check_health(self) -> None:
        """Raises when the engine is dead or hung, so that Serve replaces this replica.

        Serve asks every few seconds, which is when the metrics are told of what is so now.
        """
        self._engine.check(self._current_settings().watchdog_seconds)
        # In a thread: a driver may take its time.
        memory = {} if self._memory is None else await asyncio.to_thread(self._memory.by_use)
        self._metrics.report(
            self._engine.statistics(), self._engine.backlog_seconds(), memory, self._model.cache_uses()
        )

    def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._engine.stop()
        if hasattr(self, "_sandbox"):
            self._sandbox.close()

    async def _prepare(self, request: ImageRequest) -> Preparation:
        with nothing_but_own_errors():
            settings = self._current_settings()
            if not request.has_pictures:  # a thread would cost more than it saves
                return prepare(request, settings, self._family)
            if not self._jobs.has(identity(request, settings)):  # what there is no time for is refused at once
                seconds = request.standing.deadline - time.time()
                self._engine.require_time(expected_workload(request, settings), seconds)
            canvas = await canvas_for(request, self._family, self._sandbox)
            return await asyncio.to_thread(prepare, request, settings, self._family, canvas)

    @contextmanager
    def _running(self, prepared: Preparation, listener: StepListener) -> Iterator[Job[Tensor]]:
        """The job that makes it, which may be that of an equal request; both end with the last who listens."""
        seconds = prepared.request.standing.deadline - time.time()

        def start(tell: StepListener) -> Job[Tensor]:
            return self._engine.submit(self._generation(prepared.inputs, tell), prepared.workload, seconds)

        def join(job: Job[Tensor]) -> None:
            if self._jobs.listening_now >= self._engine.limits.most:
                seconds_left = self._engine.seconds_until_done(job)
                raise Overloaded("Too many wait for this very picture.", retry_after_seconds=seconds_left)
            job.also_for(seconds)

        was_there = self._jobs.has(prepared.identity)
        with nothing_but_own_errors(), self._jobs.listening(prepared.identity, listener, start, join) as job:
            self._metrics.asked_for_a_job(was_there=was_there)
            yield job

    def _generation(self, inputs: GenerationInputs, listener: StepListener) -> Callable[[], Tensor]:
        """What the engine runs."""
        return lambda: self._model.generate(inputs, listener)

    def _current_settings(self) -> ModelSettings:
        if self._settings is None:
            raise ModelUnavailable("The deployment has no user_config: its presets are required.")
        return self._settings

    def _warm_up(self, sizes: tuple[str, ...]) -> None:
        """A few steps at each size, alone and together: the first user need not wait for it, and the knee is known.

        Once without guidance, then with it, twice as many at a time until a forward takes no more of them.
        """
        for size in sizes:
            self._paint(size, range(1))
            together, runs_together = 1, True
            while together <= _MOST_AT_WARM_UP and runs_together:
                runs_together = self._paint(size, range(together, 2 * together)) >= together
                together *= 2
        logger.info("Warmed up at %s", ", ".join(sizes) or "no size")

    def _paint(self, size: str, numbers: range) -> int:
        """Runs `warm_up_inputs` of these numbers together; returns how many calls a forward took at most."""
        before = self._engine.statistics().forwards
        jobs = []
        for number in numbers:
            inputs = warm_up_inputs(size, self._family, number)
            workload = Workload(kind="warm-up", pixels=inputs.width * inputs.height, steps=inputs.steps)
            jobs.append(self._engine.submit(self._generation(inputs, _ignore), workload))
        for job in jobs:
            job.future.result()
        after = self._engine.statistics().forwards.items()
        return max((made.largest_batch for label, made in after if made != before.get(label)), default=0)


def build(args: dict[str, Any]) -> Application:
    """The Serve application of one model; `args` is a ModelConfig, as the Serve config file has it."""
    return application(ModelConfig.model_validate(args))


def application(config: ModelConfig, load: Callable[[ModelConfig], DiffusionModel] = load_model) -> Application:
    """The same of a checked configuration; `load` makes the model on each replica."""
    deployment = serve.deployment(
        Diffusion,
        name="Diffusion",
        max_ongoing_requests=MOST_ONGOING,  # the engine queues and refuses; Serve's router knows less
        max_queued_requests=MOST_ONGOING,  # while no replica runs
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=300,  # longer than the longest request
        max_surge_percent=100,  # an update that fails, or takes long, must not take the model away
    )
    return deployment.bind(config, load)


def _ignore(_step: int, _steps: int, _preview: Tensor | None) -> None:
    """A listener for whom the picture is enough."""


async def _result_of(job: Job[Tensor], prepared: Preparation, arrived_at: float) -> ImageResult:
    painted = await asyncio.wrap_future(job.future)
    ended_at = time.monotonic()
    request, inputs = prepared.request, prepared.inputs
    started_at = max(arrived_at, ended_at if job.started_at is None else job.started_at)
    return ImageResult(
        image=await asyncio.to_thread(prepared.finish, painted),
        output_format=request.output_format,
        width=request.width,
        height=request.height,
        seed=inputs.seed,
        steps=inputs.steps,
        guidance_scale=inputs.guidance_scale,
        queue_seconds=started_at - arrived_at,
        inference_seconds=ended_at - started_at,
        device_seconds=job.device_seconds,
    )
