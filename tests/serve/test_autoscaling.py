"""A model's replicas come and go with the seconds of work that wait for them."""

from __future__ import annotations

import io
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import pytest
import yaml
from PIL import Image
from ray import serve
from ray.serve.handle import DeploymentHandle

from config.schema import ModelConfig
from deployments.diffusion import Diffusion
from deployments.types import ImageRequest, Standing

if TYPE_CHECKING:
    from tests.conftest import LiveService

LOCAL = Path(__file__).resolve().parents[2] / "config" / "local.yaml"
SECONDS = 200  # for what takes a tenth of it on an idle machine
CLIENTS = 3
asking_for_status = Lock()  # Ray pickles policies meanwhile, and for that keeps a list that two threads spoil
SEEDS = itertools.count()  # equal requests would be one


@pytest.fixture
def model(service: LiveService) -> Iterator[DeploymentHandle]:
    """One more application of the small model, without a replica, and in a hurry in all it does about that."""
    application = next(one for one in yaml.safe_load(LOCAL.read_text())["applications"] if one["name"] == "sdxl")
    settings = application["deployments"][0]
    deployment = serve.deployment(
        Diffusion,
        name="Diffusion",
        ray_actor_options={"num_cpus": 0.1},
        user_config=settings["user_config"]
        | {"batching": {"max_running": 1}, "target_backlog_seconds": 0.2},  # so that the others' work waits, and counts
        max_ongoing_requests=64,
        graceful_shutdown_wait_loop_s=0.5,
        autoscaling_config={
            "min_replicas": 0,
            "max_replicas": 2,
            "metrics_interval_s": 0.2,
            "look_back_period_s": 1,
            "upscale_delay_s": 0,
            "downscale_delay_s": 1,
            "policy": settings["autoscaling_config"]["policy"],
        },
    )
    config = ModelConfig.model_validate(application["args"] | {"warm_up_sizes": []})
    handle = serve.run(deployment.bind(config), name="elastic", route_prefix=None)
    yield handle
    handle.shutdown()
    serve.delete("elastic")


def replicas() -> int:
    with asking_for_status:
        status = serve.status()
    deployment = status.applications["elastic"].deployments["Diffusion"]
    return int(deployment.replica_states.get("RUNNING", 0))


def until(met: Callable[[], bool], meanwhile: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline
        meanwhile()


def paint(model: DeploymentHandle) -> None:
    """One request, which must be answered with its picture."""
    request = ImageRequest(
        request_id="test",
        model="elastic",
        prompt="a red circle on a blue background",
        width=64,
        height=64,
        steps=50,
        seed=next(SEEDS),
        standing=Standing(deadline=time.time() + 10 * SECONDS),  # so that none is refused
    )
    result = model.generate.remote(request).result(timeout_s=SECONDS)
    assert result.seed == request.seed
    assert Image.open(io.BytesIO(result.image)).size == (64, 64)


@pytest.mark.filterwarnings("ignore:The `metrics_interval_s` field:DeprecationWarning")  # which nothing replaces yet
def test_replicas_come_with_the_backlog_and_go_with_it(model: DeploymentHandle) -> None:
    assert replicas() == 0
    paint(model)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(until, lambda: replicas() == 2, lambda: paint(model)) for _ in range(CLIENTS)]
    for client in clients:
        client.result()
    until(lambda: replicas() == 0, lambda: time.sleep(0.1))
