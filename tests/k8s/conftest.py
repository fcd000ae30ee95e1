"""Each overlay in turn."""

from __future__ import annotations

import pytest

from tests.k8s.built import OVERLAYS, Manifest, cluster


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def manifests(overlay: str) -> list[Manifest]:
    return cluster(overlay)
