"""What serving adds to a picture: HTTP, Ray and encoding against calling the engine directly.

    python -m benchmarks.overhead [--requests 30]
    unshare --net sh -c 'ip link set lo up && python -m benchmarks.overhead --haproxy'

Asks for each picture twice in turn: of the replica through a Serve handle, which tells how long its engine took, and of
the service over HTTP. The differences are what the hops cost; encoding is measured by itself. Then eight at a time, of
an engine in this process too. Last, how fast a busy service refuses what it has no time for. `--haproxy` puts Ray's
HAProxy in the place of Serve's proxy in Python; it listens on all interfaces, so that a network namespace of its own
(which root may make) keeps it in. Prints tables in milliseconds a picture and, last, one line of JSON: by size, the
milliseconds added and their share of all, alone and of eight; and those until a refusal arrives.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from benchmarks.services import EASEL, ENVIRONMENT, Running  # first: Ray reads the environment when it is imported

os.environ |= ENVIRONMENT | {"RAY_ENABLE_AUTO_CONNECT": "0", "RAY_SERVE_LOG_TO_STDERR": "0"}

import httpx
import psutil
import ray
from diffusers.image_processor import VaeImageProcessor
from PIL import Image
from ray import serve
from torch.utils.benchmark import Timer

from benchmarks.load import Order, Send, closed_loop
from benchmarks.offline import OfflineEngine, image_request
from deployments.imaging.encode import encode
from deployments.models.pixels import to_pixels
from deployments.types import ImageResult
from serve_app.dialects.image_answer_bodies import ImagesAnswer, Picture, TokensByKind, Usage
from serve_app.dialects.picture_data import to_base64

CLIENTS = 8
BUSY = {"size": "512x512", "num_steps": 100}  # a dozen of such are more than the time that a request is allowed
TOO_MUCH = {"size": "1024x1024", "num_steps": 100}  # beside those
STEPS = {"64x64": 8, "256x256": 2, "512x512": 1}  # few where a step takes long: what is added does not depend on them


@dataclass(frozen=True)
class Parts:
    """Milliseconds of one picture, one at a time."""

    engine: float
    png: float
    json: float
    hop: float  # from a handle to the replica and back
    http: float  # proxy, ingress and the way between them

    @property
    def added(self) -> float:
        return self.png + self.json + self.hop + self.http


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requests", type=int, default=30, help="of each size, one after another")
    parser.add_argument("--haproxy", action="store_true", help="use Ray's HAProxy, which listens on all interfaces")
    options = parser.parse_args()
    proxy, environment = ("HAProxy", {"RAY_SERVE_ENABLE_HA_PROXY": "1"}) if options.haproxy else ("Python proxy", {})
    print(f"{proxy} on {os.cpu_count()} cores with a load average of {os.getloadavg()[0]:.1f}")
    engine = OfflineEngine()
    with EASEL.running(order("64x64", 0), environment) as running:
        ray.init(address=cluster_of(running), log_to_driver=False, logging_level="ERROR")
        print(f"\n{'one at a time, ms':20}{'engine':>8}{'PNG':>8}{'JSON':>8}{'hop':>8}{'HTTP':>8}{'added':>8}")
        figures: dict[str, dict[str, float]] = {}
        for size in STEPS:
            parts = asyncio.run(one_at_a_time(running, size, options.requests))
            row = (parts.engine, parts.png, parts.json, parts.hop, parts.http, parts.added)
            print(f"  {size:18}" + "".join(f"{value:8.1f}" for value in row), flush=True)
            share = parts.added / (parts.added + parts.engine)
            figures[size] = {"added_ms": round(parts.added, 1), "share": round(share, 3)}
        print(f"\n{f'{CLIENTS} at a time, ms each':20}{'engine':>8}{'handle':>8}{'HTTP':>8}")
        for size in STEPS:
            each = asyncio.run(several_at_a_time(engine, running, size, options.requests))
            print(f"  {size:18}" + "".join(f"{value:8.1f}" for value in each.values()), flush=True)
            figures[size][f"share_of_{CLIENTS}"] = round(1 - each["engine"] / each["HTTP"], 3)
        refusals = asyncio.run(until_refused(running, options.requests))
        ray.shutdown()
    engine.stop()
    print(f"\n{'until refused, ms':20}{'median':>8}{'most':>8}")
    for asked, milliseconds in refusals.items():
        print(f"  {asked:18}{statistics.median(milliseconds):8.1f}{max(milliseconds):8.1f}")
    refused = {asked: round(statistics.median(milliseconds), 1) for asked, milliseconds in refusals.items()}
    print(json.dumps({proxy: figures | {"refused_ms": refused}}))


def order(size: str, seed: int) -> Order:
    return {
        "prompt": "a red circle on a blue background",
        "size": size,
        "num_steps": STEPS[size],
        "guidance_scale": 5.0,
        "seed": seed,
        "response_format": "b64_json",
    }


async def one_at_a_time(running: Running, size: str, count: int) -> Parts:
    """Medians over `count` pictures; both ways in turn, so that whatever else the machine does meets them alike."""
    milliseconds: defaultdict[str, list[float]] = defaultdict(list)
    async with httpx.AsyncClient(timeout=600) as client:
        ask, post = by_handle(), over_http(running, client)
        for seed in range(count + 2):
            before = time.perf_counter()
            result = await ask(order(size, seed))
            between = time.perf_counter()
            await post(order(size, seed))
            after = time.perf_counter()
            if seed >= 2:  # the first ones warm up
                milliseconds["engine"].append((result.queue_seconds + result.inference_seconds) * 1000)
                milliseconds["handle"].append((between - before) * 1000)
                milliseconds["HTTP"].append((after - between) * 1000)
    engine, handle, http = (statistics.median(values) for values in milliseconds.values())
    painted = VaeImageProcessor.pil_to_numpy(Image.open(io.BytesIO(result.image)))
    tensor = VaeImageProcessor.numpy_to_pt(painted)
    png = milliseconds_of(lambda: encode(to_pixels(tensor), "png", 100))
    to_json = milliseconds_of(lambda: answer(result.image, size).model_dump_json())
    return Parts(engine, png, to_json, hop=handle - engine - png, http=http - handle - to_json)


def by_handle() -> Callable[[Order], Awaitable[ImageResult]]:
    replica = serve.get_app_handle("sdxl")

    async def ask(asked: Order) -> ImageResult:
        result: ImageResult = await replica.generate.remote(image_request(asked))
        return result

    return ask


def over_http(running: Running, client: httpx.AsyncClient) -> Send:
    async def post(asked: Order) -> None:
        (await client.post(running.url, json=asked)).raise_for_status()

    return post


async def several_at_a_time(engine: OfflineEngine, running: Running, size: str, count: int) -> dict[str, float]:
    """Milliseconds a picture of each way, by the time that all pictures take."""
    async with httpx.AsyncClient(timeout=600) as client:
        asked = [order(size, seed) for seed in range(max(count, 2 * CLIENTS))]
        spent: dict[str, float] = {}
        for way, send in {"engine": engine.paint, "handle": by_handle(), "HTTP": over_http(running, client)}.items():
            await closed_loop(send, asked[:CLIENTS], CLIENTS)
            spent[way] = 1000 / (await closed_loop(send, asked, CLIENTS)).throughput
    return spent


async def until_refused(running: Running, count: int) -> dict[str, list[float]]:
    """Milliseconds of refusals, of orders and of edits of a large photo, by a service that has too much to do."""
    photo = io.BytesIO()
    Image.effect_noise((1600, 1600), 50).convert("RGB").save(photo, "JPEG", quality=80)
    files = {"image": ("photo.jpg", photo.getvalue(), "image/jpeg")}
    edit = {"prompt": "a red circle", "strength": "1", "response_format": "b64_json"} | TOO_MUCH
    milliseconds: dict[str, list[float]] = {"generation": [], "edit, 1600x1600": []}
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
        busy = [asyncio.create_task(client.post(running.url, json=order("512x512", each) | BUSY)) for each in range(24)]
        await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)  # the first to be refused
        for seed in range(count):
            before = time.perf_counter()
            answers = [await client.post(running.url, json=order("512x512", 100 + seed) | TOO_MUCH)]
            between = time.perf_counter()
            answers.append(await client.post(running.url.replace("generations", "edits"), data=edit, files=files))
            after = time.perf_counter()
            if any(answer.status_code != httpx.codes.SERVICE_UNAVAILABLE for answer in answers):
                raise SystemExit(f"not refused: {[answer.text[:500] for answer in answers]}")
            for taken, spent in zip(milliseconds.values(), (between - before, after - between), strict=True):
                taken.append(spent * 1000)
        for task in busy:
            task.cancel()  # which closes the connection, and so ends the work
        await asyncio.gather(*busy, return_exceptions=True)
    return milliseconds


def milliseconds_of(run: Callable[[], object]) -> float:
    return Timer("run()", globals={"run": run}).blocked_autorange(min_run_time=0.2).median * 1000


def answer(file: bytes, size: str) -> ImagesAnswer:
    """As the ingress answers; its figures do not matter."""
    return ImagesAnswer(
        created=0,
        data=[Picture(b64_json=to_base64(file), seed=0)],
        background="opaque",
        output_format="png",
        quality="smooth",
        size=size,
        usage=Usage(
            input_tokens=0,
            output_tokens=0,
            total_tokens=0,
            input_tokens_details=TokensByKind(text_tokens=0, image_tokens=0),
        ),
    )


def cluster_of(running: Running) -> str:
    """The address of the Ray cluster that a service started, as its raylet was told."""
    for process in psutil.Process(running.process).children(recursive=True):
        for argument in process.cmdline():
            if argument.startswith("--gcs-address="):
                return argument.removeprefix("--gcs-address=")
    raise SystemExit("the service has no raylet")


if __name__ == "__main__":
    main()
