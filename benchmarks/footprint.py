"""What the whole local service costs: seconds until all of it is ready, and memory of all its processes.

    python -m benchmarks.footprint

Starts `python -m serve_app` as `make serve` does, waits until /readyz says that every model and the pose estimator is
there, makes a picture by each model and one from a pose, then twenty of the largest size at once by all models, and
adds up the proportional memory (PSS: shared pages counted once) of every process it started, at rest and at its peak.
Needs Linux and port 8000 free.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import URLError

from PIL import Image

URL = "http://localhost:8000"
MODELS = (
    "stabilityai/stable-diffusion-xl-base-1.0",
    "black-forest-labs/FLUX.1-schnell",
    "black-forest-labs/FLUX.1-Fill-dev",
    "easel/stable-diffusion-xl-pose",
)


def is_ready() -> bool:
    try:
        with urllib.request.urlopen(f"{URL}/readyz", timeout=30):
            return True
    except (URLError, OSError):
        return False


def generate(model: str, side: int) -> None:
    """A picture by `model`, in a hole of a given one where it needs that, and from a pose where it takes one."""
    body: dict[str, Any] = {"model": model, "prompt": "a red circle", "size": f"{side}x{side}"}
    route = "generations"
    if model.endswith("Fill-dev"):
        route, file = "edits", io.BytesIO()
        Image.new("RGBA", (side, side)).save(file, "PNG")
        body["image"] = base64.b64encode(file.getvalue()).decode()
    elif model.endswith("pose"):
        joints = [coordinate for joint in range(18) for coordinate in (0.3 + joint / 40, 0.2 + joint / 30, 1.0)]
        body["keypoints"] = {"people": [{"pose_keypoints_2d": joints}]}
    request = urllib.request.Request(
        f"{URL}/v1/images/{route}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=300).read()


def memory_of(service: int) -> int:
    """Bytes of PSS of the launcher and of the session of `serve run`, its child, which all of Ray's processes share."""
    children = Path(f"/proc/{service}/task/{service}/children").read_text().split()
    sessions = {os.getsid(int(process)) for process in (service, *children)}
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) in sessions:
                rollup = (process / "smaps_rollup").read_text()
                total += int(rollup.split("Pss:")[1].split()[0]) * 1024
        except (OSError, IndexError):
            continue  # it has ended meanwhile
    return total


def main() -> None:
    started = time.monotonic()
    service = subprocess.Popen(
        [sys.executable, "-m", "serve_app"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not is_ready():
            if service.poll() is not None or time.monotonic() - started > 300:
                raise SystemExit("the service did not start")
            time.sleep(0.2)
        ready = time.monotonic() - started
        print(f"ready after {ready:.1f} s on {os.cpu_count()} cores")
        for model in MODELS:
            for side in (256, 1024):
                before = time.monotonic()
                generate(model, side)
                print(f"{model} {side}x{side}: {time.monotonic() - before:.2f} s")
        rest = peak = memory_of(service.pid)
        with ThreadPoolExecutor(20) as pool:
            pictures = [pool.submit(generate, model, 1024) for model in MODELS * 5]
            while not all(picture.done() for picture in pictures):
                peak = max(peak, memory_of(service.pid))
                time.sleep(0.5)
        for picture in pictures:
            picture.result()
        print(f"memory: {rest / 2**30:.2f} GiB at rest, {peak / 2**30:.2f} GiB at the peak of 20 requests at once")
        figures = {"seconds_to_ready": ready, "gibibytes": rest / 2**30, "peak_gibibytes": peak / 2**30}
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)


if __name__ == "__main__":
    main()
