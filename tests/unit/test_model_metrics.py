"""What the metrics of a model replica are told, in company of a real engine and with a list in the place of Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from deployments import model_metrics
from deployments.engine.collate import MergeRules
from deployments.engine.engine import DiffusionEngine
from deployments.engine.job import Job, JobState
from deployments.engine.shared_module import share
from deployments.engine.statistics import EngineStatistics
from deployments.engine.workload import Role, Workload
from deployments.metrics import OF_MODEL, OTHER, key_label
from deployments.model_metrics import ModelMetrics
from deployments.models.protocol import CacheUse
from tests.unit.gated import GatedNetwork
from tests.unit.told import Told, told_instead_of_ray

SECONDS = 30  # for what takes milliseconds: only a hang takes longer


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return told_instead_of_ray(monkeypatch, model_metrics, OF_MODEL)


@pytest.fixture
def network() -> Iterator[GatedNetwork]:
    network = GatedNetwork()
    yield network
    network.gate.set()


@pytest.fixture
def engine(network: GatedNetwork) -> Iterator[DiffusionEngine]:
    engine = DiffusionEngine()
    engine.start()
    yield engine
    network.gate.set()
    engine.stop()


def submit(engine: DiffusionEngine, network: GatedNetwork, *, role: Role = Role.DENOISES, **known: Any) -> Job[Any]:
    """Three calls, of two rows each."""
    shared = share(network, "toy", {"forward": MergeRules()}, role=role)

    def paint() -> Tensor:
        sample = torch.zeros(2, 4, 8)
        for _ in range(3):
            sample = shared(sample)
        return sample

    return engine.submit(paint, Workload(kind="toy", steps=3, **known))


class TestOfAnEngine:
    @pytest.fixture
    def metrics(self, engine: DiffusionEngine, told: Told) -> ModelMetrics:
        metrics = ModelMetrics([], {})
        engine.observe(metrics)
        return metrics

    @pytest.mark.usefixtures("metrics")
    def test_every_forward_is_counted_by_module_and_shape(
        self, engine: DiffusionEngine, network: GatedNetwork, told: Told
    ) -> None:
        submit(engine, network).future.result(SECONDS)
        of_this = {"module": "toy.forward", "shape": "4x8"}
        assert told.total("forwards_total", **of_this) == 3
        assert told.total("forward_calls_total", **of_this) == 3
        assert told.total("forward_rows_total", **of_this) == 6
        assert told.values["easel_step_rows"] == [(2, {"shape": "4x8"})] * 3
        seconds = [value for value, _ in told.values["easel_step_seconds"]]
        assert told.total("forward_seconds_total") == sum(seconds) > 0

    @pytest.mark.usefixtures("metrics")
    def test_only_what_denoises_is_a_step(self, engine: DiffusionEngine, network: GatedNetwork, told: Told) -> None:
        submit(engine, network, role=Role.SURROUNDS).future.result(SECONDS)
        assert told.total("forwards_total") == 3
        assert not told.values["easel_step_rows"]
        assert not told.values["easel_step_seconds"]

    @pytest.mark.usefixtures("metrics")
    def test_a_finished_job_is_counted_with_what_it_took(
        self, engine: DiffusionEngine, network: GatedNetwork, told: Told
    ) -> None:
        job = submit(engine, network, caller="otter")
        job.future.result(SECONDS)
        assert told.total("jobs_total", outcome="finished") == told.total("jobs_total") == 1
        assert told.values["easel_device_seconds_total"] == [(job.device_seconds, {"key": key_label("otter")})]
        assert job.device_seconds > 0

    @pytest.mark.usefixtures("metrics")
    def test_a_cancelled_job_is_told_as_such_with_what_it_took(
        self, engine: DiffusionEngine, network: GatedNetwork, told: Told
    ) -> None:
        network.gate.clear()
        job = submit(engine, network)
        assert network.entered.wait(SECONDS)
        job.cancel()
        network.gate.set()
        assert job.future.exception(SECONDS) is not None
        assert told.total("jobs_total", outcome="cancelled") == told.total("jobs_total") == 1
        assert told.total("device_seconds_total", key="none") == job.device_seconds > 0
        assert not told.values["easel_forecast_ratio"]

    @pytest.mark.usefixtures("metrics")
    def test_a_forecast_is_compared_with_what_came(
        self, engine: DiffusionEngine, network: GatedNetwork, told: Told
    ) -> None:
        first = submit(engine, network)
        first.future.result(SECONDS)
        assert first.foretold_seconds is None  # nothing is known of its kind yet
        assert not told.values["easel_forecast_ratio"]
        second = submit(engine, network)
        second.future.result(SECONDS)
        assert second.foretold_seconds is not None
        assert second.foretold_seconds > 0
        ((ratio, _),) = told.values["easel_forecast_ratio"]
        ((error, _),) = told.values["easel_forecast_error_seconds"]
        assert error == pytest.approx(abs(ratio - 1) * second.foretold_seconds)

    @pytest.mark.usefixtures("metrics")
    def test_a_forecast_counts_who_is_there_already(self, engine: DiffusionEngine, network: GatedNetwork) -> None:
        submit(engine, network).future.result(SECONDS)
        network.gate.clear()
        jobs = [submit(engine, network, pixels=pixels) for pixels in (1, 1, 1)]
        network.gate.set()
        foretold = [job.foretold_seconds or 0.0 for job in jobs]
        for job in jobs:
            job.future.result(SECONDS)
        assert foretold[2] >= foretold[0] > 0

    def test_shapes_are_bounded_and_those_of_warm_up_come_first(
        self, engine: DiffusionEngine, network: GatedNetwork, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_metrics, "_MOST_SHAPES", 1)
        engine.observe(ModelMetrics(["toy.forward 16x16"], {}))
        submit(engine, network).future.result(SECONDS)
        assert {tuple(labels.items()) for _, labels in told.values["easel_forwards_total"]} == {
            (("module", "toy.forward"), ("shape", OTHER))
        }
        engine.observe(ModelMetrics(["toy.forward 4x8"], {}))
        told.values.clear()
        submit(engine, network).future.result(SECONDS)
        assert told.total("forwards_total", shape="4x8") == 3

    def test_keys_are_bounded(
        self, engine: DiffusionEngine, network: GatedNetwork, told: Told, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_metrics, "_MOST_KEYS", 1)
        engine.observe(ModelMetrics([], {}))
        for caller in ("otter", "vole", "otter"):
            submit(engine, network, caller=caller).future.result(SECONDS)
        keys = [labels["key"] for _, labels in told.values["easel_device_seconds_total"]]
        assert keys == [key_label("otter"), OTHER, key_label("otter")]


class TestReport:
    def report(self, metrics: ModelMetrics, hits: int = 0, misses: int = 0) -> None:
        statistics = EngineStatistics(waiting=3, running=2, finished=0, failed=0, cancelled=0)
        metrics.report(statistics, 12.5, {"held": 10, "free": 0}, {"prompts": CacheUse(hits, misses)})

    def test_tells_what_is_so_now(self, told: Told) -> None:
        self.report(ModelMetrics([], {"load": 4.0, "warm_up": 2.0}))
        assert told.values["easel_jobs"] == [(3, {"state": "waiting"}), (2, {"state": "running"})]
        assert told.values["easel_backlog_seconds"] == [(12.5, {})]
        assert told.values["easel_device_memory_bytes"] == [(10, {"use": "held"}), (0, {"use": "free"})]
        assert told.values["easel_replica_start_seconds"] == [(4.0, {"phase": "load"}), (2.0, {"phase": "warm_up"})]

    def test_counts_the_lookups_since_the_last_one(self, told: Told) -> None:
        metrics = ModelMetrics([], {})
        for hits, misses in ((1, 2), (1, 2), (5, 3)):
            self.report(metrics, hits, misses)
            assert told.total("cache_lookups_total", cache="prompts", result="hit") == hits
            assert told.total("cache_lookups_total", cache="prompts", result="miss") == misses

    def test_a_job_that_was_there_is_a_hit(self, told: Told) -> None:
        metrics = ModelMetrics([], {})
        metrics.asked_for_a_job(was_there=False)
        metrics.asked_for_a_job(was_there=True)
        metrics.asked_for_a_job(was_there=True)
        assert told.total("cache_lookups_total", cache="jobs", result="miss") == 1
        assert told.total("cache_lookups_total", cache="jobs", result="hit") == 2


def test_every_way_that_a_job_ends_has_a_name() -> None:
    ended = {state.name.lower() for state in JobState} - {"waiting", "running"}
    assert ended == {"finished", "failed", "cancelled"}  # as the documentation has them
