"""Load: what is asked for, when, and what the answers amount to. Everything is fixed by a seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from typing import Any, Literal, get_args

import numpy as np

Order = dict[str, Any]  # the JSON that asks for one picture
Send = Callable[[Order], Awaitable[object]]
Mix = Literal["alike", "mixed", "large"]
MIXES: tuple[Mix, ...] = get_args(Mix)
_SIZES: dict[Mix, tuple[str, ...]] = {"alike": ("64x64",), "mixed": ("64x64", "128x128"), "large": ("256x256",)}
_TIMES = count()


def orders(mix: Mix, number: int, seed: int = 0) -> list[Order]:
    """`alike` and `large`: one size, 12 steps, guidance. `mixed`: two sizes, 4 to 20 steps, four in five with guidance.

    Every one has a prompt of its own.
    """
    chance = random.Random(seed)
    return [
        {
            "prompt": f"a red circle on a blue background, number {index}",
            "size": chance.choice(_SIZES[mix]),
            "num_steps": chance.choice((4, 8, 12, 16, 20)) if mix == "mixed" else 12,
            "guidance_scale": 1.0 if mix == "mixed" and chance.random() < 0.2 else 5.0,
            "seed": index,
            "response_format": "b64_json",
        }
        for index in range(number)
    ]


def arrivals(number: int, rate: float, seed: int = 0) -> list[float]:
    """Seconds after the start at which `number` requests of a Poisson process of `rate` a second arrive."""
    chance = random.Random(seed)
    return list(accumulate(chance.expovariate(rate) for _ in range(number)))


@dataclass(frozen=True)
class Measured:
    """Of one or several runs of a load."""

    latencies: tuple[float, ...]  # seconds, of each picture
    seconds: float  # from the first request to the last answer

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.latencies + other.latencies, self.seconds + other.seconds)

    @property
    def throughput(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def mean(self) -> float:
        return float(np.mean(self.latencies))

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.latencies, percent))


def never_asked_before(asked: Sequence[Order]) -> list[Order]:
    """The same orders, of prompts that no text encoder has seen: the next time is no cheaper than the first."""
    number = next(_TIMES)
    return [order | {"prompt": f"{order['prompt']}, time {number}"} for order in asked]


async def closed_loop(send: Send, asked: Sequence[Order], clients: int) -> Measured:
    """Every client asks for the next picture when it has its last one."""
    waiting = iter(asked)
    latencies: list[float] = []

    async def client() -> None:
        for order in waiting:
            before = time.perf_counter()
            await send(order)
            latencies.append(time.perf_counter() - before)

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Measured(tuple(latencies), time.perf_counter() - started)


async def open_loop(send: Send, asked: Sequence[Order], times: Sequence[float]) -> Measured:
    """Requests come at their `times`, whatever became of earlier ones; latency counts from then."""
    started = time.perf_counter()

    async def one(order: Order, at: float) -> float:
        await asyncio.sleep(started + at - time.perf_counter())
        await send(order)
        return time.perf_counter() - started - at

    latencies = await asyncio.gather(*(one(order, at) for order, at in zip(asked, times, strict=True)))
    return Measured(tuple(latencies), time.perf_counter() - started - times[0])
