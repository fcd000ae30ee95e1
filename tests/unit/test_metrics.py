"""The metrics' definitions, and what of them reaches Ray."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray.serve import metrics as serve_metrics

from deployments.metrics import OF_INGRESS, OF_MODEL, OTHER, REQUESTS, Bounded, Exporter, Metric, key_label

ALL = [*OF_INGRESS, *OF_MODEL]
MONITORING = (Path(__file__).resolve().parents[2] / "docs" / "monitoring.md").read_text()


class TestDefinitions:
    def test_names_are_unique_ours_and_end_as_prometheus_wants(self) -> None:
        assert len({metric.name for metric in ALL}) == len(ALL)
        for metric in ALL:
            assert re.fullmatch(r"easel(_[a-z]+)+", metric.name)
            assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name

    @pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
    def test_histograms_alone_have_buckets_in_order(self, metric: Metric) -> None:
        assert bool(metric.bounds) == (metric.kind == "histogram")
        assert list(metric.bounds) == sorted(set(metric.bounds))

    @pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
    def test_no_label_is_one_that_ray_or_serve_adds(self, metric: Metric) -> None:
        added = {"application", "deployment", "replica", "route", "NodeAddress", "WorkerId", "le", "job", "instance"}
        assert not added & set(metric.labels)

    def test_the_documentation_has_the_same_table(self) -> None:
        section = MONITORING.split("\n## Metrics\n")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith("| `easel_")]
        assert rows == [
            f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels) or 'none'} "
            f"| {metric.meaning} |"
            for metric in ALL
        ]


class Recorded:
    """In the place of one of Ray's metrics."""

    def __init__(self, name: str, **described: object) -> None:
        self.described = {"name": name, **described}
        self.told: list[tuple[float, dict[str, str]]] = []
        made[name] = self

    def record(self, value: float, tags: dict[str, str]) -> None:
        self.told.append((value, tags))

    inc = set = observe = record


made: dict[str, Recorded] = {}

COUNTER = Metric("easel_made_total", "counter", ("by",), "made")
GAUGE = Metric("easel_bytes", "gauge", (), "held")
HISTOGRAM = Metric("easel_seconds", "histogram", ("by",), "taken", (1.0, 2.0))


class TestExporter:
    @pytest.fixture(autouse=True)
    def _recorded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made.clear()
        for kind in ("Counter", "Gauge", "Histogram"):
            monkeypatch.setattr(serve_metrics, kind, Recorded)

    def test_describes_each_metric_to_ray(self) -> None:
        Exporter([COUNTER, HISTOGRAM])
        assert made["easel_made_total"].described == {
            "name": "easel_made_total",
            "description": "made",
            "tag_keys": ("by",),
        }
        assert made["easel_seconds"].described["boundaries"] == [1.0, 2.0]

    def test_tells_values_with_their_labels(self) -> None:
        exporter = Exporter([COUNTER, GAUGE, HISTOGRAM])
        exporter.tell(COUNTER, by="otter")
        exporter.tell(COUNTER, 2.5, by="otter")
        exporter.tell(GAUGE, 7)
        exporter.tell(HISTOGRAM, 0.0, by="vole")
        assert made["easel_made_total"].told == [(1.0, {"by": "otter"}), (2.5, {"by": "otter"})]
        assert made["easel_bytes"].told == [(7, {})]
        assert made["easel_seconds"].told == [(0.0, {"by": "vole"})]

    def test_a_counter_is_not_told_of_nothing_but_a_gauge_is(self) -> None:
        exporter = Exporter([COUNTER, GAUGE])
        exporter.tell(COUNTER, 0, by="otter")  # Ray would raise
        exporter.tell(GAUGE, 0)
        assert made["easel_made_total"].told == []
        assert made["easel_bytes"].told == [(0, {})]


def test_ray_takes_every_metric_with_its_labels() -> None:
    exporter = Exporter(ALL)
    for metric in ALL:
        exporter.tell(metric, 1.0, **dict.fromkeys(metric.labels, "x"))
    with pytest.raises(ValueError, match="Missing value for tag key"):
        exporter.tell(REQUESTS, model="x")


class TestBounded:
    def test_the_first_values_stay_and_all_others_are_one(self) -> None:
        bounded = Bounded(2)
        assert [bounded.of(value) for value in ("a", "b", "c", "a", "d")] == ["a", "b", OTHER, "a", OTHER]

    def test_known_values_come_first_and_are_bounded_too(self) -> None:
        bounded = Bounded(2, ["a", "b", "c"])
        assert [bounded.of(value) for value in ("a", "b", "c")] == ["a", "b", OTHER]


class TestKeyLabel:
    def test_is_a_hash_of_the_name(self) -> None:
        assert key_label("otter") == "914cb64a1bfa"
        assert key_label("vole") != key_label("otter")

    def test_of_no_key_is_none(self) -> None:
        assert key_label("") == "none"
