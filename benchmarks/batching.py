"""Step-level batching against plain diffusers: the same requests, the same weights, in one run.

    python -m benchmarks.batching [--requests 24] [--size 64] [--threads 1]

Requests differ in steps, guidance and seed, and all wait at once. One side runs diffusers' pipeline call by call, as a
server with a lock does; the other runs them through the engine. Prints a table and, last, one line of JSON. At 64x64
the small model is bound by launches on a CPU, as full-size SDXL is on a large GPU at small sizes; at 256x256 and above
a CPU is bound by arithmetic and batching gains little.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from config.schema import ModelConfig, Weights
from deployments.engine.engine import DiffusionEngine, EngineLimits
from deployments.models.assembly import load_model
from deployments.models.loading import load_pipeline
from deployments.models.protocol import GenerationInputs

CONFIG = ModelConfig(family="sdxl", weights=Weights(source="small:sdxl"), device="cpu")


def requests(count: int, size: int) -> list[GenerationInputs]:
    """Steps 4 to 30, four in five with guidance: the mix of docs/decisions/0001."""
    return [
        GenerationInputs(
            prompt=f"a red circle on a blue background, number {index}",
            negative_prompt="",
            width=size,
            height=size,
            seed=index,
            steps=(4, 8, 15, 20, 30)[index % 5],
            guidance_scale=1.0 if index % 5 == 2 else 5.0,
            scheduler="default",
        )
        for index in range(count)
    ]


def one_by_one(asked: list[GenerationInputs]) -> list[float]:
    """Seconds after the start at which each request was answered by diffusers itself."""
    pipeline: Any = load_pipeline(StableDiffusionXLPipeline, CONFIG)
    answered: list[float] = []

    def run(inputs: GenerationInputs) -> None:
        pipeline(
            inputs.prompt,
            width=inputs.width,
            height=inputs.height,
            num_inference_steps=inputs.steps,
            guidance_scale=inputs.guidance_scale,
            generator=torch.Generator().manual_seed(inputs.seed),
            output_type="np",
        )

    run(asked[0])  # warm
    started = time.perf_counter()
    for inputs in asked:
        run(inputs)
        answered.append(time.perf_counter() - started)
    return answered


def through_the_engine(asked: list[GenerationInputs]) -> list[float]:
    """The same for the engine; its row caps are learned from a first round that does not count."""
    engine = DiffusionEngine(EngineLimits(max_running=len(asked), max_queued=len(asked)))
    model = load_model(CONFIG)
    engine.start()
    answered: list[float] = []
    learning = [replace(inputs, prompt=f"{inputs.prompt}, learning") for inputs in asked]  # so that no text is known
    for counts, ordered in ((False, learning), (True, asked)):
        started = time.perf_counter()

        def note(_: object, started: float = started, counts: bool = counts) -> None:
            if counts:
                answered.append(time.perf_counter() - started)

        jobs = []
        for inputs in ordered:
            job = engine.submit(lambda inputs=inputs: model.generate(inputs, lambda *_: None))  # type: ignore[misc]
            job.future.add_done_callback(note)
            jobs.append(job)
        for job in jobs:
            job.future.result()
    engine.stop()
    return answered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=24)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    asked = requests(options.requests, options.size)
    sides: dict[str, Callable[[list[GenerationInputs]], list[float]]] = {
        "diffusers, one by one": one_by_one,
        "engine, step-level": through_the_engine,
    }
    print(
        f"{options.requests} requests of {options.size}x{options.size}, {options.threads} thread(s), "
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}"
    )
    print(f"{'':24}{'pictures/s':>12}{'mean s':>10}{'p95 s':>10}")
    results = {}
    for name, run in sides.items():
        answered = sorted(run(asked))
        rate, mean = len(answered) / answered[-1], statistics.mean(answered)
        results[name] = (rate, mean)
        print(f"{name:24}{rate:12.2f}{mean:10.2f}{answered[int(0.95 * len(answered))]:10.2f}")
    (plain_rate, plain_mean), (engine_rate, engine_mean) = results.values()
    print(
        json.dumps(
            {
                "throughput_ratio": round(engine_rate / plain_rate, 2),
                "mean_latency_ratio": round(engine_mean / plain_mean, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
