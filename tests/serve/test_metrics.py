"""Metrics on their way: from requests through Ray's port to a Prometheus server that is asked for them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from deployments.metrics import OF_INGRESS, OF_MODEL
from tests.running import ROOT, free_port

if TYPE_CHECKING:
    from tests.conftest import LiveService

MODEL = "stabilityai/stable-diffusion-xl-base-1.0"
URL = "/v1/images/generations"
SECONDS = 90  # Ray reports every 10
EMPTY_HERE = {"Device memory"}
NOT_HERE = {"easel_device_memory_bytes"}  # a CPU does not tell


@pytest.fixture(scope="module")
def prometheus(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that scrapes the service; a client of it."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed (Debian: prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    targets = Path(service.argument("--log-dir")).parent / "prom_metrics_service_discovery.json"  # as Ray's head tells
    scrape = {"job_name": "ray", "scrape_interval": "1s", "file_sd_configs": [{"files": [str(targets)]}]}
    (folder / "prometheus.yaml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    address = f"127.0.0.1:{free_port()}"
    command = [program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=10) as client:
            yield client
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def ask(prometheus: httpx.Client, query: str) -> list[dict[str, Any]]:
    """The samples that answer it now; none while the server starts."""
    try:
        answer = prometheus.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:
        return []
    if answer.status_code == 503:
        return []
    assert answer.status_code == 200, answer.text
    samples: list[dict[str, Any]] = answer.json()["data"]["result"]
    return samples


def value_of(prometheus: httpx.Client, query: str) -> float:
    return sum(float(sample["value"][1]) for sample in ask(prometheus, query))


def wait_for(prometheus: httpx.Client, query: str, least: float) -> None:
    ends = time.monotonic() + SECONDS
    while value_of(prometheus, query) < least:
        assert time.monotonic() < ends, f"{query} is {value_of(prometheus, query)}, and not {least}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def asked(service: LiveService, prometheus: httpx.Client) -> None:
    """Two pictures, one of them twice, and a refusal."""
    with httpx.Client(base_url=service.url, timeout=120) as client:
        for seed in (1, 2, 1):
            body = {"prompt": "a red circle", "size": "72x72", "seed": seed, "response_format": "b64_json"}
            assert client.post(URL, json=body).status_code == 200
        assert client.post(URL, json={"prompt": "a red circle", "model": "none"}).status_code == 404


@pytest.mark.usefixtures("asked")
def test_requests_are_counted_by_model_dialect_and_outcome(prometheus: httpx.Client) -> None:
    of_these = f'ray_easel_requests_total{{model="{MODEL}",dialect="block-entropy",outcome="answered",code="none"}}'
    wait_for(prometheus, of_these, 3)
    refused = 'ray_easel_requests_total{model="none",outcome="refused",code="model_not_found"}'
    wait_for(prometheus, refused, 1)


@pytest.mark.usefixtures("asked")
def test_the_engine_tells_of_its_forwards_and_of_what_is_so_now(prometheus: httpx.Client) -> None:
    of_these = '{application="sdxl",module="unet.forward",shape="4x9x9"}'
    wait_for(prometheus, f"ray_easel_forwards_total{of_these}", 3 * 8)  # steps of the preset
    assert value_of(prometheus, f"ray_easel_forward_rows_total{of_these}") >= 2 * 3 * 8  # guidance: two rows
    wait_for(prometheus, 'ray_easel_jobs_total{application="sdxl",outcome="finished"}', 3)
    wait_for(prometheus, 'count(ray_easel_backlog_seconds{application="sdxl"})', 1)
    wait_for(prometheus, 'ray_easel_cache_lookups_total{application="sdxl",cache="prompts",result="hit"}', 2)


@pytest.mark.usefixtures("asked")
def test_every_metric_arrives_with_serves_labels(prometheus: httpx.Client) -> None:
    wait_for(prometheus, 'count(ray_easel_forecast_ratio_count{application="sdxl"})', 1)
    for metric in (*OF_INGRESS, *OF_MODEL):
        if metric.name in NOT_HERE:
            continue
        query = f"ray_{metric.name}_count" if metric.kind == "histogram" else f"ray_{metric.name}"
        wait_for(prometheus, f"count({query})", 1)
        for sample in ask(prometheus, query):
            assert {"application", "deployment", "replica", *metric.labels} <= sample["metric"].keys(), metric.name


@pytest.mark.usefixtures("asked")
def test_the_dashboard_has_something_to_show(prometheus: httpx.Client) -> None:
    dashboard = json.loads((ROOT / "k8s" / "monitoring" / "dashboard.json").read_text())
    values = {"$model": ".*", "$application": ".*", "$__rate_interval": "5m"}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in values.items():
                expression = expression.replace(name, value)
            if panel["title"] not in EMPTY_HERE:
                wait_for(prometheus, f"count({expression})", 1)
