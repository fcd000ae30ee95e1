"""A Ray cluster of several nodes on one machine, as an operator starts one: `ray start`, then `serve deploy`.

The head has no CPUs, as in production; each worker has a GPU, by its word, which the fake models do not use. All nodes'
proxies listen on one port, among which the kernel shares out connections as a load balancer would.
"""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from serve_app.__main__ import environment as environment_of_serve
from tests.object_storage import ObjectStorage
from tests.reliability.conftest import APPLICATIONS, configuration, ledger, wait_until  # noqa: F401 (ledger is a fixture)
from tests.running import ROOT, free_port

SECONDS = 120  # for what takes ten: only a hang takes longer
LOOPBACK = "127.0.0.1"


class Node:
    """`ray start` that stays in front of its processes."""

    def __init__(self, folder: Path, name: str, environment: dict[str, str], *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
        ports = [f"--dashboard-agent-{kind}-port={free_port()}" for kind in ("listen", "grpc")]
        memory = ["--object-store-memory", str(100 * 2**20)]
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._launcher = subprocess.Popen(
                [*command, *ports, *memory, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )

    def processes(self) -> list[psutil.Process]:
        """All of this node, the launcher first."""
        if not self.is_alive():
            return []
        launcher = psutil.Process(self._launcher.pid)
        return [launcher, *launcher.children(recursive=True)]

    def has_started(self) -> bool:
        assert self.is_alive(), "a node did not start"
        return "Ray runtime started" in self._log.read_text(errors="replace")

    def is_alive(self) -> bool:
        return self._launcher.poll() is None

    def die(self) -> None:
        """As a machine that loses its power."""
        for send in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none sees another end
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(send)
        self._launcher.wait()


class Cluster:
    """A head, workers that come and go, and what is deployed there."""

    def __init__(self, folder: Path, storage: ObjectStorage) -> None:
        self.folder = folder
        self.config = _configuration(folder, storage)
        self.workers: list[Node] = []
        self._started = 0
        self._environment = environment_of_serve() | storage.environment
        self._environment.pop("RAY_ADDRESS", None)
        self._port, self._dashboard_port = free_port(), free_port()
        self._ray_folder = tempfile.TemporaryDirectory(prefix="easel-")  # the paths of Ray's sockets must be short
        self._head = self._start(
            "head",
            "--head",
            f"--port={self._port}",
            f"--dashboard-port={self._dashboard_port}",
            f"--ray-client-server-port={free_port()}",
            "--num-cpus=0",
            f"--temp-dir={self._ray_folder.name}",
        )

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.config['http_options']['port']}"

    def add_worker(self) -> None:
        """Another machine, which has joined when this returns."""
        self._started += 1
        worker = self._start(
            f"worker-{self._started}", f"--address={LOOPBACK}:{self._port}", "--num-cpus=4", "--num-gpus=1"
        )
        self.workers.append(worker)
        wait_until(worker.has_started, SECONDS)  # two that start at one time on one machine get into each other's way

    def lose_worker(self) -> None:
        """The one that was added last."""
        self.workers.pop().die()

    def deploy(self) -> None:
        """By `serve deploy`, as an operator would; returns when it is submitted."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        command = [sys.executable, "-m", "ray.serve.scripts", "deploy", "--address", self._dashboard, str(path)]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr

    def answers(self) -> bool:
        """Whether its head can take a deploy."""
        with suppress(httpx.TransportError):
            return self._head.has_started() and self._get("/api/version").is_success
        return False

    def replicas(self, application: str) -> dict[str, str]:
        """The state of each replica of the application's deployment in the config, by its node, if it has one yet."""
        (wanted,) = (one for one in self.config["applications"] if one["name"] == application)
        found = self._get("/api/serve/applications/").json()["applications"].get(application, {"deployments": {}})
        deployment = found["deployments"].get(wanted["deployments"][0]["name"], {"replicas": []})
        return {replica.get("node_id", replica["replica_id"]): replica["state"] for replica in deployment["replicas"]}

    def is_spread(self) -> bool:
        """Whether two nodes each run a replica of ingress and model, and all else runs."""
        with suppress(httpx.HTTPError, KeyError, ValueError):
            states = {name: self.replicas(name) for name in APPLICATIONS}
            running = all(set(each.values()) == {"RUNNING"} for each in states.values())
            return running and all(len(states[name]) == 2 for name in ("ingress", "sdxl"))
        return False

    def stop(self) -> None:
        """All nodes."""
        for node in [*self.workers, self._head]:
            node.die()
        self._ray_folder.cleanup()

    @property
    def _dashboard(self) -> str:
        return f"http://{LOOPBACK}:{self._dashboard_port}"

    def _get(self, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self._environment['RAY_AUTH_TOKEN']}"}
        return httpx.get(self._dashboard + path, headers=headers, timeout=10)

    def _start(self, name: str, *arguments: str) -> Node:
        return Node(self.folder, name, self._environment, *arguments)


def _configuration(folder: Path, storage: ObjectStorage) -> dict[str, Any]:
    """The production shape with models of the fake family: no two replicas of one deployment on a node."""
    config = copy.deepcopy(configuration(folder))
    config["proxy_location"] = "EveryNode"
    for application in config["applications"]:
        (deployment,) = application["deployments"]
        if application["name"] == "ingress":
            application["args"]["images"]["url"] = f"{storage.new_bucket()}/pictures"
            deployment["max_replicas_per_node"] = 1
        if application["name"] == "sdxl":
            deployment["ray_actor_options"]["num_gpus"] = 1
    return config


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, storage: ObjectStorage) -> Iterator[Cluster]:
    """Of a head and two workers, on which everything runs."""
    folder = tmp_path_factory.mktemp("cluster")
    running = Cluster(folder, storage)
    try:
        wait_until(running.answers, SECONDS)
        for _ in range(2):
            running.add_worker()
        running.deploy()
        wait_until(running.is_spread, SECONDS)
        wait_until(lambda: httpx.get(f"{running.url}/readyz").status_code == 200, SECONDS)
        yield running
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(f"== {log.name}\n{log.read_text(errors='replace')[-4000:]}")
        raise
    finally:
        running.stop()


@pytest.fixture
async def client(cluster: Cluster, anyio_backend: str) -> Any:
    """Each request has a connection of its own, and so any node's proxy."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=cluster.url, limits=limits, timeout=60) as opened:
        yield opened
