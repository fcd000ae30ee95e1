"""The dashboard and the alerts: they ask for metrics that exist, and each alert fires for what it is for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.metrics import OF_INGRESS, OF_MODEL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "k8s" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
RULES: dict[str, Any] = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]
METRICS = {metric.name: metric for metric in (*OF_INGRESS, *OF_MODEL)}
# What Ray, Serve and Prometheus add.
LABELS = {"application", "deployment", "replica", "le"}


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def alerts() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


PANELS = {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels() for target in panel["targets"]}
ALERTS = {rule["alert"]: rule["expr"] for rule in alerts()}
SIZING = (ROOT / "docs" / "sizing.md").read_text()
DOCUMENTED = {expression: expression for expression in re.findall(r"`(sum by[^`]+)`", SIZING)}
VARIABLES = {each["name"]: each["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"}


def metrics_in(expression: str) -> set[str]:
    """The metrics that it asks for, by our names; of histograms the buckets."""
    asked = re.findall(r"\b\w*easel_\w+", expression)
    assert asked
    names = set()
    for each in asked:
        assert each.startswith("ray_easel_"), each
        name = each.removeprefix("ray_")
        is_bucket = name.endswith("_bucket")
        name = name.removesuffix("_bucket")
        assert name in METRICS, each
        assert is_bucket == (METRICS[name].kind == "histogram"), each
        names.add(name)
    return names


def labels_in(expression: str) -> set[str]:
    grouped = re.findall(r"\b(?:by|without|on) \(([^)]*)\)", expression)
    return set(re.findall(r"(\w+)\s*[=!][=~]?\s*\"", expression)) | {
        label.strip() for group in grouped for label in group.split(",")
    }


@pytest.mark.parametrize("name", [*PANELS, *ALERTS, *DOCUMENTED])
def test_only_what_is_exported_is_asked_for(name: str) -> None:
    expression = (PANELS | ALERTS | DOCUMENTED)[name]
    known = {label for metric in metrics_in(expression) for label in METRICS[metric].labels}
    assert labels_in(expression) <= known | LABELS


@pytest.mark.parametrize("name", VARIABLES)
def test_the_dashboards_variables_are_labels(name: str) -> None:
    asked = re.fullmatch(r"label_values\((.+), (\w+)\)", VARIABLES[name])
    assert asked
    (metric,) = metrics_in(asked[1])
    assert asked[2] in {*METRICS[metric].labels, *LABELS}


def test_the_dashboard_shows_every_metric() -> None:
    assert set().union(*map(metrics_in, PANELS.values())) == set(METRICS)


def test_panels_are_side_by_side_and_have_a_source() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in DASHBOARD["panels"]})
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels())


def test_error_codes_of_alerts_exist() -> None:
    codes = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "api.md").read_text().split("\n## Errors\n")[1]))
    asked = [each for expression in ALERTS.values() for each in re.findall(r'code=~?"([^"]+)"', expression)]
    assert asked
    assert {code for each in asked for code in each.split("|")} <= codes


def test_the_kustomization_has_every_file() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    named = {*kustomization["resources"], *kustomization["configMapGenerator"][0]["files"], "kustomization.yaml"}
    assert named == {path.name for path in FOLDER.iterdir()}


class TestPromtool:
    @pytest.fixture
    def promtool(self) -> str:
        path = shutil.which("promtool")
        if path is None:
            pytest.skip("promtool is not installed (Debian: prometheus)")
        return path

    def run(self, *command: str | Path) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_each_alert_fires_for_what_it_is_for(self, promtool: str, tmp_path: Path) -> None:
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES))
        self.run(promtool, "check", "rules", tmp_path / "rules.yaml")
        shutil.copy(Path(__file__).with_name("alerts_test.yaml"), tmp_path)
        self.run(promtool, "test", "rules", tmp_path / "alerts_test.yaml")

    def test_each_panel_and_what_is_documented_can_be_asked(self, promtool: str, tmp_path: Path) -> None:
        assert len(DOCUMENTED) == 3
        rules = [
            {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m")}
            for number, expression in enumerate([*PANELS.values(), *DOCUMENTED])
        ]
        (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        self.run(promtool, "check", "rules", tmp_path / "panels.yaml")


def test_each_alert_is_tested() -> None:
    cases = yaml.safe_load(Path(__file__).with_name("alerts_test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in cases for case in test["alert_rule_test"] if case.get("exp_alerts")}
    quiet = {case["alertname"] for test in cases for case in test["alert_rule_test"] if not case.get("exp_alerts")}
    assert fired == quiet == set(ALERTS)
