"""A service of fake models on a Ray of its own, which these tests hurt, and the means to hurt it.

It is started by the command that `make serve` runs, with the same environment; ingress, proxy and pose estimator are
the real ones. After each test it must be whole again.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.__main__ import environment as environment_of_serve
from tests.reliability.ledger import Ledger
from tests.running import ROOT, RunningService, free_port, started

SECONDS = 90  # for what takes a few: only a hang takes longer
WATCHDOG_SECONDS = 3.0
SIGNING_SECRET = "the secret of these tests alone"
DEADLINE_SECONDS = 60.0
DASHBOARD_PORTS = range(8265, 8265 + 50)  # Ray's own, of which it takes the first that is free
APPLICATIONS = ("ingress", "sdxl", "sdxl-pose", "pose")
SDXL, POSE_MODEL = "stabilityai/stable-diffusion-xl-base-1.0", "easel/stable-diffusion-xl-pose"


class FakeService(RunningService):
    """The running service and its processes."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        secret = {"EASEL_SIGNING_SECRET": SIGNING_SECRET}  # else it would be in the store, which tests take away
        super().__init__(folder, "serve_app.run", config, environment_of_serve() | secret)

    @property
    def pictures(self) -> Path:
        """The folder that pictures are kept in."""
        return self.folder / "pictures"

    @property
    def logs(self) -> Path:
        """The folder that Ray keeps this service's logs in."""
        return Path(self.argument("--log_dir"))

    def records(self) -> list[dict[str, Any]]:
        """Of requests, as the replicas of the ingress wrote them."""
        files = self.logs.glob("serve/replica_ingress_Ingress_*.log")
        # A line that is being written has no end yet.
        lines = [line for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [record for line in lines if "event" in (record := json.loads(line))]

    def deploy(self, config: dict[str, Any]) -> None:
        """By `serve deploy`, as an operator would; returns when it is submitted."""
        dashboard = self.dashboard()
        command = [sys.executable, "-m", "ray.serve.scripts", "deploy", "--address", dashboard]
        done = subprocess.run(
            [*command, str(self.write(config))],
            cwd=ROOT,
            env=environment_of_serve(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr

    def dashboard(self) -> str:
        """The address that this service's Ray takes deploys at."""
        for process, command in self.processes():
            if any(argument.endswith("dashboard/dashboard.py") for argument in command):
                listening = [each.laddr.port for each in process.net_connections() if each.status == "LISTEN"]
                (port,) = (port for port in listening if port in DASHBOARD_PORTS)
                return f"http://127.0.0.1:{port}"
        raise LookupError("the service has no dashboard")

    def applications(self) -> dict[str, Any]:
        """What Serve tells of them."""
        headers = {"authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
        answer = httpx.get(f"{self.dashboard()}/api/serve/applications/", headers=headers, timeout=10)
        found: dict[str, Any] = answer.json()["applications"]
        return found

    def replicas(self, application: str) -> list[psutil.Process]:
        """Of the deployment that the config file has; an application may have others beside."""
        (wanted,) = (one["deployments"][0] for one in self.config["applications"] if one["name"] == application)
        return self.actors(f"ServeReplica:{application}:{wanted['name']}")

    def is_whole(self) -> bool:
        """Whether every replica that there shall be runs, and none too many."""
        try:
            applications = self.applications()
        except (httpx.HTTPError, LookupError, ValueError):
            return False
        for application in self.config["applications"]:
            found = applications.get(application["name"])
            if found is None or found["status"] != "RUNNING":
                return False
            wanted = application["deployments"][0]
            replicas = found["deployments"][wanted["name"]]["replicas"]
            if [replica["state"] for replica in replicas] != ["RUNNING"] * wanted["num_replicas"]:
                return False
            if len(self.replicas(application["name"])) != wanted["num_replicas"]:  # Serve may not know it yet
                return False
        return True


def has_lost_one(replicas: Collection[psutil.Process]) -> bool:
    """Whether one of these has ended. One whose model hung ends only a moment after that is answered."""
    return not all(replica.is_running() for replica in replicas)


def configuration(folder: Path, applications: Collection[str] = APPLICATIONS, replicas: int = 2) -> dict[str, Any]:
    """A Serve config file like config/local.yaml: models of the fake family, and what is around them.

    `replicas` are those of the ingress and of the model without poses.
    """
    local = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    # Each copied by itself: in the file some share their deployment.
    kept = [copy.deepcopy(one) for name in applications for one in local["applications"] if one["name"] == name]
    for application in kept:
        (deployment,) = application["deployments"]
        deployment.pop("autoscaling_config", None)
        deployment |= {"num_replicas": 1, "health_check_period_s": 1, "health_check_timeout_s": 5}
        deployment["ray_actor_options"]["num_cpus"] = 0.1
        if application["name"] in ("ingress", "sdxl"):
            deployment["num_replicas"] = replicas
        if application["name"].startswith("sdxl"):
            application["import_path"] = "tests.reliability.fake_family:build"
            application["args"]["warm_up_sizes"] = []
            deployment["user_config"] |= {"watchdog_seconds": WATCHDOG_SECONDS}
    ingress = kept[0]
    settings = ingress["deployments"][0]["user_config"]
    settings["deadline_seconds"] = DEADLINE_SECONDS
    settings["models"] = [
        route
        for route in settings["models"]
        if route["name"] in (SDXL, POSE_MODEL) and route["application"] in applications
    ]
    if "pose" not in applications:
        del settings["pose"]
    ingress["args"]["images"]["url"] = str(folder / "pictures")
    ingress["args"] |= {"body_timeout_seconds": 3.0}
    local["http_options"]["port"] = free_port()
    local["logging_config"]["encoding"] = "JSON"
    return local | {"applications": kept}


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> float:
    """Returns how long it took. A service that cannot be asked just then has not come to that yet."""
    began = time.monotonic()
    while True:
        unknown: Exception | None = None
        try:
            if condition():
                return time.monotonic() - began
        except (httpx.HTTPError, psutil.Error, LookupError, ValueError) as error:
            unknown = error
        if time.monotonic() - began > seconds:
            raise AssertionError("it did not come to that") from unknown
        time.sleep(0.1)


@pytest.fixture(scope="session")
def unhurt_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeService]:
    folder = tmp_path_factory.mktemp("reliability")
    service = FakeService(folder, configuration(folder))
    with started(service, service.is_whole):
        yield service


@pytest.fixture
def service(unhurt_service: FakeService) -> Iterator[FakeService]:
    """It is whole before the test and must be so again after it."""
    yield unhurt_service
    wait_until(unhurt_service.is_whole)
    wait_until(lambda: httpx.get(f"{unhurt_service.url}/readyz", timeout=10).is_success)


@pytest.fixture
def config(service: FakeService) -> Iterator[dict[str, Any]]:
    """To be changed and deployed; afterwards that of the service is in force again."""
    yield copy.deepcopy(service.config)
    service.deploy(service.config)


def application(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The part of a config file that is about it."""
    found: dict[str, Any] = next(one for one in config["applications"] if one["name"] == name)
    return found


@pytest.fixture
async def client(service: FakeService, anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=60) as opened:
        yield opened


@pytest.fixture
def ledger(client: httpx.AsyncClient, record_property: Callable[[str, object], None]) -> Iterator[Ledger]:
    kept = Ledger(client)
    yield kept
    record_property("answers", dict(kept.outcomes()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of each test, for docs/reliability.md."""
    terminalreporter.section("figures")
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports(""):
        if report.when == "teardown" and report.user_properties:
            figures = ", ".join(f"{name}: {value}" for name, value in report.user_properties)
            terminalreporter.line(f"{report.nodeid.rpartition('/')[2]}: {figures}")


@pytest.fixture
def repeats(long: bool) -> Callable[[int], int]:
    """How often a fault is repeated: so often with `--long`, else twice."""
    return lambda times: times if long else min(2, times)


@asynccontextmanager
async def steady_load(ledger: Ledger, per_second: float, commands: str = "!slow=0.02") -> AsyncIterator[None]:
    """Requests at that rate, whatever becomes of them; all are answered at the end of the block."""
    asked: list[asyncio.Task[Any]] = []

    async def ask_on() -> None:
        while True:
            asked.append(asyncio.create_task(ledger.ask(commands)))
            await asyncio.sleep(1 / per_second)

    asking = asyncio.create_task(ask_on())
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(*asked)
