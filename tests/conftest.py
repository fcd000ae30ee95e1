"""The service as `make serve` starts it, once for all tests: the real command, a real socket, the small models."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

os.environ["RAY_AUTH_MODE"] = "token"  # these are read when ray is imported
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # of the service too, which tests then may join
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a handle that outlives the service starts a cluster of its own

import httpx
import hypothesis
import psutil
import pytest
import yaml

from tests.collector import Collector, collecting
from tests.object_storage import ObjectStorage, object_storage
from tests.running import ROOT, RunningService, free_port, started

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

    from deployments.engine.statistics import EngineStatistics

CASES = 100  # that Hypothesis makes up of each property


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try more: faults more often, four times the made-up cases")


def pytest_configure(config: pytest.Config) -> None:
    # Derandomized: a run fails for what was changed, and not by chance.
    cases = 4 * CASES if config.getoption("long") else CASES
    hypothesis.settings.register_profile("easel", max_examples=cases, deadline=None, derandomize=True)
    hypothesis.settings.load_profile("easel")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if (mark := item.get_closest_marker("long")) and not config.getoption("long"):
            item.add_marker(pytest.mark.skip(reason=f"with --long: {mark.args[0]}"))


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether more than the usual is to be tried: `--long`."""
    return bool(pytestconfig.getoption("long"))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def storage() -> Iterator[ObjectStorage]:
    """Which speaks S3."""
    with object_storage() as running:
        yield running


class LiveService(RunningService):
    """The running service and what its engine counts."""

    def replica(self, application: str) -> psutil.Process:
        """The process of an application's only replica."""
        (replica,) = self.actors(f"ServeReplica:{application}:")
        return replica

    def engine(self) -> EngineStatistics:
        statistics: EngineStatistics = self._handle().statistics.remote().result(timeout_s=30)
        return statistics

    def leave(self) -> None:
        """Ends the handle: a thread of it would go on, and log in the middle of what else this process does."""
        self._handle().shutdown()

    @staticmethod
    def _handle() -> DeploymentHandle:
        from ray import serve

        return serve.get_app_handle("sdxl")  # always the same one

    def denoising_calls(self) -> int:
        """Calls of the UNet since the start: one for each step of each request."""
        return sum(made.calls for label, made in self.engine().forwards.items() if label.startswith("unet"))


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Which is told the service's traces."""
    with collecting() as running:
        yield running


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[LiveService]:
    import ray  # seconds, which the tests without a service need not wait for

    folder = tmp_path_factory.mktemp("service")
    config = yaml.safe_load((ROOT / "config" / "local.yaml").read_text())
    config["http_options"]["port"] = free_port()
    for application in config["applications"]:
        for deployment in application["deployments"]:
            deployment["autoscaling_config"]["max_replicas"] = 1  # so that all requests meet in one engine
        if application["name"] == "ingress":
            application["args"]["images"]["url"] = str(folder / "pictures")
    service = LiveService(folder, "serve_app", config, {**os.environ, **collector.environment})
    with started(service, lambda: "Easel is ready" in service.log()):
        ray.init(address=service.argument("--gcs-address"), log_to_driver=False, logging_level="ERROR")
        try:
            yield service
        finally:
            service.leave()
            ray.shutdown()


@pytest.fixture
def client(service: LiveService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=120) as client:
        yield client
