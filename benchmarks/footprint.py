"""What the local service costs: seconds from the command to the first picture, and memory of all its processes.

    python -m benchmarks.footprint

Starts `python -m serve_app` as `make serve` does, waits for the first 200 of a picture, makes a few more, and adds up
the proportional memory (PSS: shared pages counted once) of every process it started. Needs Linux and port 8000 free.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

URL = "http://localhost:8000/v1/images/generations"


def generate(size: str) -> None:
    body = json.dumps({"prompt": "a red circle on a blue background", "size": size}).encode()
    request = urllib.request.Request(URL, body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=120).read()  # noqa: S310


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
        memory = memory_of(service.pid)
        print(f"first picture after {first:.1f} s, {memory / 2**30:.2f} GiB on {os.cpu_count()} cores")
        print(json.dumps({"seconds_to_first_picture": round(first, 1), "gibibytes": round(memory / 2**30, 2)}))
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(60)


if __name__ == "__main__":
    main()
