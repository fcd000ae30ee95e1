"""Easel over HTTP against what else one would serve pictures with: the same requests, the same weights, in one run.

    make install-peers && python -m benchmarks.serving [--quick] [--requests 48] [--rounds 2] [--clients 8]

The peers are FastAPI with a lock around a diffusers pipeline, Ray Serve's `@serve.batch`, LitServe's and BentoML's
batching (see benchmarks/peers), each with one CPU thread for torch, at most 16 requests in a batch, as Easel denoises
of one size, the same answers and the same PNG encoder. No prompt comes twice, so that nobody's text is known. They run
one at a time on loopback; the order is reversed in every other round. Easel is the service of config/local.yaml with
the SDXL model alone. Every side must paint the same pictures before it is measured.

Requests are `alike` (64x64, 12 steps, where whole requests batch best), `mixed` (two sizes, 4 to 20 steps, a fifth
without guidance) or `large` (256x256, 12 steps, where nobody gains by batching on a CPU: a third as many, all at once,
for the efficiency at a size that this model is made for). They come from clients that ask for the next picture when
they have one (`closed`), all at once (`at once`), or as Poisson arrivals at 0.8 and 1.6 of what the unbatched server
answers (`open`). Prints tables and, last, one line of JSON: by load, Easel's throughput and 95th percentile of latency
divided by each peer's, and `efficiency`, its throughput when all come at once divided by that of its engine with
nothing around it. Up to 128x128 a small model is bound by launches on a CPU, as a full-size one is on a large GPU.
Other work on the machine makes the figures worthless: look at the load average.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import platform
import sys
from collections import defaultdict
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from benchmarks.load import (
    MIXES,
    Measured,
    Mix,
    Order,
    Send,
    arrivals,
    closed_loop,
    never_asked_before,
    open_loop,
    orders,
)
from benchmarks.offline import OfflineEngine
from benchmarks.services import EASEL, PEERS, Service

SHARES = (0.8, 1.6)  # of the unbatched server's throughput
LARGEST_DIFFERENCE = 2  # of 255, between pictures of one seed: a batch rounds otherwise
ENGINE = "engine alone"
Picture = np.ndarray[Any, Any]
Results = dict[tuple[Mix, str], dict[str, Measured]]  # by load, then by side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=48, help="of each load and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8, help="of the closed loop")
    parser.add_argument("--quick", action="store_true", help="one round of 16 mixed requests a load")
    options = parser.parse_args()
    mixes = MIXES
    if options.quick:
        options.requests, options.rounds, mixes = 16, 1, ("mixed",)
    print(
        f"{options.rounds} x {options.requests} requests a load on {os.cpu_count()} cores with a load average of "
        f"{os.getloadavg()[0]:.1f}, {platform.processor() or platform.machine()}, torch {torch.__version__}",
        flush=True,
    )
    counts = {"large": 1 + options.requests // 3}
    session = Session({mix: orders(mix, counts.get(mix, options.requests)) for mix in mixes}, options.clients)
    asyncio.run(session.measure_engine())
    for turn in range(options.rounds):
        sides = [PEERS[0], EASEL, *PEERS[1:]]  # the unbatched one first: the open loops go by its throughput
        for side in sides if turn % 2 == 0 else reversed(sides):
            print(f"round {turn + 1}: {side.name}", file=sys.stderr, flush=True)
            asyncio.run(session.measure(side))
    asyncio.run(session.measure_engine())
    for (mix, load), by_side in session.results.items():
        print_table(f"{mix}, {load}", by_side)
    print(json.dumps(ratios(session.results)))


class Session:
    """One run of the benchmark: what is asked for, and what was measured so far."""

    def __init__(self, asked: dict[Mix, list[Order]], clients: int) -> None:
        self.results: Results = defaultdict(dict)
        self._asked = asked
        self._clients = clients
        self._unbatched: dict[Mix, float] = {}  # throughput of the first service measured
        self._pictures: list[Picture] = []  # that it made

    async def measure_engine(self) -> None:
        """Adds Easel's engine, without a service, to the loads that come all at once."""
        engine = OfflineEngine()
        try:
            for mix, asked in self._asked.items():
                await closed_loop(engine.paint, asked, self._clients)  # it learns what calls cost
                measured = await closed_loop(engine.paint, never_asked_before(asked), len(asked))
                self._note(mix, "at once", ENGINE, measured)
        finally:
            engine.stop()

    async def measure(self, service: Service) -> None:
        """Starts it, checks its pictures and adds its figures."""
        (first, *_), *_ = self._asked.values()
        with service.running(first) as running:
            async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
                send = over_http(service, running.url, client)
                await self._check_pictures(service, send)
                for mix, asked in self._asked.items():
                    await self._measure(service.name, mix, asked, send)

    async def _measure(self, side: str, mix: Mix, asked: list[Order], send: Send) -> None:
        await closed_loop(send, asked[:16], self._clients)  # batchers that adapt have to see some load first
        closed = await closed_loop(send, never_asked_before(asked), self._clients)
        self._note(mix, "at once", side, await closed_loop(send, never_asked_before(asked), len(asked)))
        if mix == "large":  # the closed loop has only made the side as warm as the engine alone was
            return
        self._note(mix, f"closed, {self._clients} clients", side, closed)
        unbatched = self._unbatched.setdefault(mix, closed.throughput)
        for share in SHARES:
            times = arrivals(len(asked), share * unbatched)
            self._note(
                mix, f"open, {share} of unbatched", side, await open_loop(send, never_asked_before(asked), times)
            )

    async def _check_pictures(self, service: Service, send: Send) -> None:
        """The same seed must make the same picture, one at a time and in a batch."""
        few = [order for asked in self._asked.values() for order in asked[:4]]
        pictures = [decoded(await send(order)) for order in few]
        together = map(decoded, await asyncio.gather(*map(send, few)))
        self._pictures = self._pictures or pictures
        for picture, expected in zip([*pictures, *together], [*self._pictures, *self._pictures], strict=True):
            if (apart := difference(picture, expected)) > LARGEST_DIFFERENCE:
                raise SystemExit(f"{service.name} paints another picture: {apart} of 255 apart")

    def _note(self, mix: Mix, load: str, side: str, measured: Measured) -> None:
        by_side = self.results[mix, load]
        by_side[side] = by_side[side] + measured if side in by_side else measured


def over_http(service: Service, url: str, client: httpx.AsyncClient) -> Send:
    """Sends an order and returns the file of its picture in base64."""

    async def send(order: Order) -> str:
        response = await client.post(url, json=service.body(order))
        if not response.is_success:
            raise SystemExit(f"{service.name} answered {response.status_code}: {response.text[:500]}")
        file: str = service.answer(response.json())["data"][0]["b64_json"]
        return file

    return send


def decoded(file: str) -> Picture:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(file))))


def difference(picture: Picture, other: Picture) -> int:
    """The largest, over all pixels and colours."""
    return int(np.abs(picture.astype(int) - other).max())


def print_table(title: str, by_side: dict[str, Measured]) -> None:
    print(f"\n{title:28}{'pictures/s':>12}{'mean s':>9}{'p50 s':>9}{'p95 s':>9}")
    for side, measured in by_side.items():
        latency = f"{measured.mean:9.2f}{measured.percentile(50):9.2f}{measured.percentile(95):9.2f}"
        print(f"  {side:26}{measured.throughput:12.2f}{latency}")


def ratios(results: Results) -> dict[str, dict[str, Any]]:
    """Easel's figures divided by each peer's, by load."""
    compared: dict[str, dict[str, Any]] = {}
    for (mix, load), by_side in results.items():
        easel = by_side[EASEL.name]
        compared[f"{mix}, {load}"] = ratio = {
            side: {
                "throughput": round(easel.throughput / measured.throughput, 2),
                "p95": round(easel.percentile(95) / measured.percentile(95), 2),
            }
            for side, measured in by_side.items()
            if side not in (EASEL.name, ENGINE)
        }
        if ENGINE in by_side:
            ratio["efficiency"] = round(easel.throughput / by_side[ENGINE].throughput, 2)
    return compared


if __name__ == "__main__":
    main()
