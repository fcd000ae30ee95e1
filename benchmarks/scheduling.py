"""The real planner under a virtual clock against how others batch: same requests, same device, same run.

    python -m benchmarks.scheduling [--device a100] [--load 1.2] [--requests 2000] [--streams 5]

Poisson arrivals at 0.5 to 2 times the rate that the device serves one by one; SDXL at 256x256 and 512x512, 4 to 30
steps, four in five with guidance. At each load figures are of several streams of arrivals together: the 95th percentile
of one differs by a twentieth from that of another. Deterministic: a run can be repeated to the last digit. Prints a
table for each load, then what happens at and beyond saturation when a deadline is set, what a flood of one caller does
to another, and last one line of JSON with the ratios.

The devices. A forward takes the longer of launching it and computing it:

    seconds = max(floor, TFLOP of a row × rows / TFLOP/s reached)

TFLOP of a row (SDXL's UNet): counted with torch's FlopCounterMode on the real configuration: 0.43 at 256x256, 1.59 at
512x512. TFLOP/s reached: A100 eager 114, from 8.43 steps/s of SDXL with guidance at 1024x1024 (fal.ai); H100 eager 300
and compiled 440, in proportion to FLUX.1 [dev] at 28 steps in 6.7 s and 4.5 s (PyTorch's blog, May 2026). The floors
(45, 40 and 12 ms) are assumed, not published. `h200` is a published curve itself: Qwen-Image at 512x512 on one H200
with 1 to 16 rows (SGLang's documentation of dynamic batching); its 256x256 is assumed to cost what one row at 512x512
does.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from benchmarks import policies
from benchmarks.virtual_engine import Cost, VirtualEngine, VirtualRequest

SIZES = (256, 512)
STEPS = (4, 8, 12, 20, 30)
SHORT = 8  # steps, of the requests that must not wait for long ones
TERAFLOP = {256: 0.43, 512: 1.59}
QWEN_ON_H200 = {1: 0.167, 2: 0.183, 3: 0.186, 4: 0.240, 8: 0.425, 16: 0.832}  # seconds by rows


@dataclass(frozen=True)
class Device:
    """What the parts of a request take on it, in seconds."""

    floor: float
    teraflops: float
    text: float  # for one request; 15 % of it for each one more
    decoding: float  # for a megapixel

    def __call__(self, module: str, size: int, rows: int) -> float:
        if module == "denoiser":
            return self.denoising(size, rows)
        if module == "vae":
            return self.decoding * rows * size**2 / 2**20
        return self.text * (1 + 0.15 * max(0, rows / 2 - 1))

    def denoising(self, size: int, rows: int) -> float:
        return max(self.floor, TERAFLOP[size] * rows / self.teraflops)


class PublishedCurve(Device):
    """On the lines that join the published points; beyond the last a row costs what it does there."""

    def denoising(self, size: int, rows: int) -> float:
        if size == SIZES[0]:
            return QWEN_ON_H200[1] * max(1.0, rows / 16)
        for (below, least), (above, most) in pairwise(QWEN_ON_H200.items()):
            if below <= rows <= above:
                return least + (most - least) * (rows - below) / (above - below)
        return QWEN_ON_H200[16] * rows / 16


DEVICES: dict[str, Device] = {
    "a100": Device(floor=0.045, teraflops=114, text=0.015, decoding=0.15),
    "h100": Device(floor=0.040, teraflops=300, text=0.012, decoding=0.07),
    "h100-compiled": Device(floor=0.012, teraflops=440, text=0.008, decoding=0.05),
    "h200": PublishedCurve(floor=0.0, teraflops=1.0, text=0.030, decoding=0.07),
}


def step_level(cost: Cost, requests: Sequence[VirtualRequest]) -> None:
    """Easel's, after the warm-up that every replica does."""
    engine = VirtualEngine(cost)
    engine.warm_up(SIZES)
    engine.serve(requests)


Policy = Callable[[Cost, Sequence[VirtualRequest]], None]
EASEL, FIRST_COME = "Easel, step by step", "Ray @serve.batch, LitServe: first come"
COMPLETION = {
    "to completion, one pipeline call": partial(policies.same_group, group=policies.by_call),
    "to completion, same size": policies.same_group,
    "to completion, same size, up to 16": partial(policies.same_group, most=16),
}
POLICIES: dict[str, Policy] = {
    "one by one": policies.one_by_one,
    FIRST_COME: policies.first_come,
    "BentoML, adaptive": policies.adaptive,
    **COMPLETION,
    EASEL: step_level,
}


def arrivals(count: int, rate: float, seed: int = 1) -> list[VirtualRequest]:
    """`count` requests, `rate` of them a second."""
    draw, now, requests = random.Random(seed), 0.0, []
    for number in range(count):
        now += draw.expovariate(rate)
        rows = 2 if draw.random() < 0.8 else 1
        requests.append(VirtualRequest(number, now, draw.choice(SIZES), draw.choice(STEPS), rows))
    return requests


def rate_one_by_one(cost: Cost) -> float:
    """Requests a second that a device serves which never shares a forward."""
    return 1 / statistics.mean(policies.run_to_completion(cost, [each], 0.0) for each in arrivals(4000, 1.0, seed=9))


@dataclass(frozen=True)
class Outcome:
    """Of one policy at one load; seconds from arrival to answer."""

    mean: float
    p95: float
    short_p95: float
    longest: float
    throughput: float  # requests a second, until the last is done

    @staticmethod
    def of(*streams: Sequence[VirtualRequest]) -> Outcome:
        requests = [each for stream in streams for each in stream]
        took = [_latency(each) for each in requests]
        seconds = sum(max(each.done_at or math.inf for each in stream) for stream in streams)
        return Outcome(
            mean=statistics.mean(took),
            p95=percentile(took, 0.95),
            short_p95=percentile([_latency(each) for each in requests if each.steps <= SHORT], 0.95),
            longest=max(took),
            throughput=len(requests) / seconds,
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def compare(device: str, load: float, count: int, streams: int) -> dict[str, Outcome]:
    """Every policy on the same requests, `count` in each of `streams`."""
    cost, outcomes = DEVICES[device], {}
    rate = load * rate_one_by_one(cost)
    for name, policy in POLICIES.items():
        served = [arrivals(count, rate, seed) for seed in range(1, streams + 1)]
        for requests in served:
            policy(cost, requests)
        outcomes[name] = Outcome.of(*served)
    return outcomes


def ratios(outcomes: dict[str, Outcome]) -> dict[str, float]:
    """Easel's figures as shares of the best run-to-completion policy's, and of first come, first served."""
    easel, first = outcomes[EASEL], outcomes[FIRST_COME]
    rivals = [outcomes[name] for name in COMPLETION]
    return {
        "mean": easel.mean / min(each.mean for each in rivals),
        "p95": easel.p95 / min(each.p95 for each in rivals),
        "throughput": easel.throughput / max(each.throughput for each in rivals),
        "short_p95_of_first_come": easel.short_p95 / first.short_p95,
        "longest": easel.longest / min(each.longest for each in rivals),
    }


def under_overload(device: str, overload: float, count: int, seconds_allowed: float) -> dict[str, float]:
    """With a deadline, at a multiple of the rate that Easel itself reaches; costs are up to 20 % uneven."""
    noise, cost = random.Random(3), DEVICES[device]
    saturated = arrivals(400, 1e9)
    step_level(cost, saturated)
    rate = overload * Outcome.of(saturated).throughput
    requests = [replace(each, seconds_allowed=seconds_allowed) for each in arrivals(count, rate)]
    step_level(lambda *call: cost(*call) * noise.uniform(1.0, 1.2), requests)
    admitted = [each for each in requests if each.refused is None]
    done = [each for each in admitted if each.done_at is not None]
    return {
        "admitted": len(admitted) / len(requests),
        "in_time": len(done) / len(admitted),
        "p99_of_allowed": percentile([_latency(each) for each in done], 0.99) / seconds_allowed,
    }


def beside_a_flood(device: str) -> dict[str, float]:
    """The 95th percentile of a caller with a request now and then, while another sends 300 at once."""
    figures = {}
    for name, caller in (("keys apart", "flood"), ("one key", "polite")):
        flood = [VirtualRequest(number, 0.0, 512, 20, 2, caller=caller) for number in range(300)]
        polite = [VirtualRequest(1000 + each, 0.5 + each, 512, 20, 2, caller="polite") for each in range(20)]
        step_level(DEVICES[device], [*flood, *polite])
        figures[name] = percentile([_latency(each) for each in polite], 0.95)
    return figures


def _latency(request: VirtualRequest) -> float:
    return math.inf if request.done_at is None else request.done_at - request.submitted_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", choices=DEVICES, action="append", help="default: all")
    parser.add_argument("--load", type=float, action="append", help="default: 0.5, 0.8, 1.2 and 2")
    parser.add_argument("--requests", type=int, default=2000, help="of each stream of arrivals")
    parser.add_argument("--streams", type=int, default=5, help="of arrivals, at each load")
    options = parser.parse_args()
    summary: dict[str, dict[str, float]] = {}
    for device in options.device or DEVICES:
        for load in options.load or (0.5, 0.8, 1.2, 2.0):
            outcomes = compare(device, load, options.requests, options.streams)
            print(f"\n{device}, {load} times the rate of one by one ({rate_one_by_one(DEVICES[device]):.2f}/s)")
            print(f"{'':40}{'mean s':>9}{'p95 s':>9}{'short p95':>11}{'longest':>9}{'per s':>8}")
            for name, each in outcomes.items():
                print(
                    f"{name:40}{each.mean:9.2f}{each.p95:9.2f}{each.short_p95:11.2f}{each.longest:9.1f}"
                    f"{each.throughput:8.2f}"
                )
            summary[f"{device} x{load:g}"] = {name: round(value, 3) for name, value in ratios(outcomes).items()}
        print(f"\n{device}, 15 s allowed{'':20}{'admitted':>10}{'in time':>9}{'p99 of allowed':>16}")
        for overload in (1.2, 2.0, 10.0):
            told = under_overload(device, overload, options.requests, seconds_allowed=15.0)
            print(f"{overload:4g} times saturation{'':20}" + "".join(f"{value:12.3f}" for value in told.values()))
            summary[f"{device} overload x{overload:g}"] = {name: round(value, 3) for name, value in told.items()}
        flood = beside_a_flood(device)
        print(f"\n{device}, p95 beside a flood of 300: " + ", ".join(f"{k} {v:.2f} s" for k, v in flood.items()))
        summary[f"{device} flood"] = {"p95": round(flood["keys apart"] / flood["one key"], 3)}
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
