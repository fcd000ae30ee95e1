"""What the local service costs: seconds from the command to the first picture, and memory of all its processes.

    python -m benchmarks.footprint

Starts `python -m serve_app` as `make serve` does, waits for the first 200 of a picture, makes one of each size and then
twenty of the largest at once, and adds up the proportional memory (PSS: shared pages counted once) of every process it
started, at rest and at its peak. Needs Linux and port 8000 free.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import URLError

URL = "http://localhost:8000/v1/images/generations"


def generate(size: str) -> None:
    body = json.dumps({"prompt": "a red circle on a blue background", "size": size}).encode()
    request = urllib.request.Request(URL, body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=300).read()  # noqa: S310


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
        while True:
            try:
                generate("256x256")
                break
            except (URLError, OSError):
                if service.poll() is not None or time.monotonic() - started > 300:
                    raise SystemExit("the service did not start") from None
                time.sleep(0.2)
        first = time.monotonic() - started
        for size in ("256x256", "512x512", "1024x1024"):
            before = time.monotonic()
            generate(size)
            print(f"a picture of {size}: {time.monotonic() - before:.2f} s")
        rest = peak = memory_of(service.pid)
        with ThreadPoolExecutor(20) as pool:
            pictures = [pool.submit(generate, "1024x1024") for _ in range(20)]
            while not all(picture.done() for picture in pictures):
                peak = max(peak, memory_of(service.pid))
                time.sleep(0.5)
        for picture in pictures:
            picture.result()
        print(f"first picture after {first:.1f} s on {os.cpu_count()} cores")
        print(f"memory: {rest / 2**30:.2f} GiB at rest, {peak / 2**30:.2f} GiB at the peak of 20 requests at once")
        figures = {"seconds_to_first_picture": first, "gibibytes": rest / 2**30, "peak_gibibytes": peak / 2**30}
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)


if __name__ == "__main__":
    main()
