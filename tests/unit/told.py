"""What the metrics were told, in the place of what tells Ray."""

from __future__ import annotations

from collections import defaultdict
from types import ModuleType

import pytest

from deployments.metrics import Metric


class Told:
    """See deployments.metrics.Exporter."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self.values: dict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)
        self._names = {metric.name for metric in metrics}

    def tell(self, metric: Metric, value: float = 1.0, /, **labels: str) -> None:
        assert metric.name in self._names
        assert set(labels) == set(metric.labels)
        self.values[metric.name].append((value, labels))

    def total(self, name: str, **labels: str) -> float:
        return sum(value for value, given in self.values[f"easel_{name}"] if labels.items() <= given.items())


def told_instead_of_ray(monkeypatch: pytest.MonkeyPatch, module: ModuleType, metrics: tuple[Metric, ...]) -> Told:
    """What the module's own exporter of these metrics would tell Ray."""
    told = Told(metrics)
    monkeypatch.setattr(module, "Exporter", lambda metrics: told)
    return told
