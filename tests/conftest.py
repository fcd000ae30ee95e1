"""The service as `make serve` starts it, once for all tests: the real command, a real socket, the small models."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["RAY_AUTH_MODE"] = "token"  # these are read when ray is imported
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # of the service too, which tests then may join
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a handle that outlives the service starts a cluster of its own

import httpx
import hypothesis
import psutil
import pytest
import yaml

if TYPE_CHECKING:
    from deployments.engine.statistics import EngineStatistics

ROOT = Path(__file__).resolve().parents[1]
CASES = 100  # that Hypothesis makes up of each property
START_SECONDS = 300  # an idle machine needs a quarter of it


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try more: faults more often, four times the made-up cases")


def pytest_configure(config: pytest.Config) -> None:
    # Derandomized: a run fails for what was changed, and not by chance.
    cases = 4 * CASES if config.getoption("long") else CASES
    hypothesis.settings.register_profile("easel", max_examples=cases, deadline=None, derandomize=True)
    hypothesis.settings.load_profile("easel")


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether more than the usual is to be tried: `--long`."""
    return bool(pytestconfig.getoption("long"))


@dataclass(frozen=True)
class LiveService:
    """Where the running service is and what its engine counts."""

    url: str
    launcher: int  # process id

    def replica(self, application: str) -> psutil.Process:
        """The process of an application's only replica."""
        title = f"ray::ServeReplica:{application}:"
        processes = psutil.Process(self.launcher).children(recursive=True)
        (replica,) = (process for process in processes if " ".join(process.cmdline()).startswith(title))
        return replica

    def engine(self) -> EngineStatistics:
        from ray import serve

        statistics: EngineStatistics = serve.get_app_handle("sdxl").statistics.remote().result(timeout_s=30)
        return statistics

    def denoising_calls(self) -> int:
        """Calls of the UNet since the start: one for each step of each request."""
        return sum(made.calls for label, made in self.engine().forwards.items() if label.startswith("unet"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    import ray  # seconds, which the tests without a service need not wait for

    folder = tmp_path_factory.mktemp("service")
    port = free_port()
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    config["http_options"]["port"] = port
    for application in config["applications"]:
        for deployment in application["deployments"]:
            deployment["autoscaling_config"]["max_replicas"] = 1  # so that all requests meet in one engine
        if application["name"] == "ingress":
            application["args"]["images"]["url"] = str(folder / "pictures")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "serve_app", str(folder / "config.yaml")],
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(lambda: "Easel is ready" in (folder / "log").read_text(errors="replace"), process)
            ray.init(address=_address_of_the_cluster(process), log_to_driver=False, logging_level="ERROR")
            yield LiveService(f"http://127.0.0.1:{port}", process.pid)
        except TimeoutError:
            pytest.fail("the service did not start:\n" + (folder / "log").read_text(errors="replace")[-8000:])
        finally:
            ray.shutdown()
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def client(service: LiveService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client


def _address_of_the_cluster(launcher: subprocess.Popen[bytes]) -> str:
    """Of the one that this service started, whatever else runs on the machine: as its raylet was told."""
    for process in psutil.Process(launcher.pid).children(recursive=True):
        for argument in process.cmdline():
            if argument.startswith("--gcs-address="):
                return argument.removeprefix("--gcs-address=")
    raise AssertionError("the service has no raylet")


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
