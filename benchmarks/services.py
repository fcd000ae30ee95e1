"""Easel and its peers as programs on loopback: started, waited for and stopped, one at a time.

Invariants: each is a session of its own, and every process that it started has ended before the next one starts; all
have one CPU thread for torch and one process that paints.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
PATH = "/v1/images/generations"
START_SECONDS = 180
STOP_SECONDS = 5  # that others have to follow the process that was started
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "token",  # as `make serve` has it
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # Ray's own default lets its processes yield to all else on the machine
    "BENTOML_DO_NOT_TRACK": "True",
}


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    process: int  # that was started; others descend from it


@dataclass(frozen=True)
class Service:
    """How to start one, and how it is talked to where that differs."""

    name: str
    command: Callable[[int, Path], list[str]]  # of a port and a folder for what it writes
    body: Callable[[dict[str, Any]], Any] = lambda order: order
    answer: Callable[[Any], Any] = lambda answer: answer

    @contextmanager
    def running(self, check: dict[str, Any], environment: dict[str, str] | None = None) -> Iterator[Running]:
        """Starts it and waits until `check`, the body of a request, is answered."""
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # else it would outlive us
        port = _free_port()
        with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("w") as log:
            process = subprocess.Popen(
                self.command(port, Path(folder)),
                cwd=ROOT,
                env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
                | ENVIRONMENT
                | (environment or {}),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                url = f"http://127.0.0.1:{port}{PATH}"
                if not _answers(url, self.body(check), process):
                    said = Path(folder, "log").read_text(errors="replace")[-4000:]
                    raise SystemExit(f"{self.name} did not start:\n{said}")
                yield Running(url, process.pid)
            finally:
                _stop(process)
                signal.signal(signal.SIGTERM, before)


def easel_config(port: int, pictures: str) -> dict[str, Any]:
    """A Serve config file: the ingress and the SDXL model of config/local.yaml, with one replica each."""
    file: dict[str, Any] = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    applications = {application["name"]: application for application in file["applications"]}
    ingress, model = applications["ingress"], applications["sdxl"]
    for (deployment,) in (ingress["deployments"], model["deployments"]):
        del deployment["autoscaling_config"]
        deployment["num_replicas"] = 1
    file["http_options"]["port"] = port
    ingress["args"]["images"]["url"] = pictures
    routes = ingress["deployments"][0]["user_config"]
    routes["models"] = [route for route in routes["models"] if route["application"] == "sdxl"]
    del routes["pose"]
    model["args"] |= {"torch_threads": 1, "warm_up_sizes": ["64x64", "128x128", "256x256"]}
    return file | {"applications": [ingress, model]}


def _easel(port: int, folder: Path) -> list[str]:
    file = folder / "easel.yaml"
    file.write_text(yaml.safe_dump(easel_config(port, str(folder / "pictures")), sort_keys=False))
    return [sys.executable, "-m", "serve_app", str(file)]


EASEL = Service("Easel", _easel)


def _module(python: str, name: str) -> Callable[[int, Path], list[str]]:
    return lambda port, _: [python, "-m", f"benchmarks.peers.{name}", str(port)]


_PEERS_PYTHON = str(ROOT / ".venv-peers" / "bin" / "python")

PEERS = (
    Service("FastAPI, lock", _module(sys.executable, "fastapi_lock")),
    Service("Ray Serve, batch", _module(sys.executable, "ray_serve_batch")),
    Service("LitServe, batch", _module(_PEERS_PYTHON, "litserve_batch")),
    Service(
        "BentoML, adaptive",
        lambda port, _: (
            f"{_PEERS_PYTHON} -m bentoml serve benchmarks.peers.bentoml_batch:Images --host 127.0.0.1 --port {port}"
        ).split(),
        body=lambda order: {"orders": [order]},
        answer=lambda answers: answers[0],
    ),
)


def _answers(url: str, body: Any, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.post(url, json=body, timeout=60).is_success:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does; then by force whatever is left of what it started."""
    try:
        everything = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        everything = []
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, left = psutil.wait_procs(everything, timeout=STOP_SECONDS)
    for child in left:
        child.kill()
    psutil.wait_procs(left)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
