from __future__ import annotations

import dataclasses

import pytest

from config.schema import IngressSettings, Limits, ModelRoute
from deployments.errors import InvalidRequest, NotFound
from deployments.models.registry import FAMILIES
from serve_app.routing import check_size, check_steps, require_capability, resolve

LIMITS = Limits(min_side=64, max_side=1024, max_pixels=512 * 1024, max_aspect=4, max_steps=50)
FIRST = ModelRoute(name="Owner/First", aliases=("be-first", "f"), application="first", family="sdxl", limits=LIMITS)
SECOND = ModelRoute(name="owner/second", application="second", family="sdxl")
SETTINGS = IngressSettings(models=(FIRST, SECOND), default_model="F")


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("Owner/First", FIRST),
        ("owner/FIRST", FIRST),
        ("BE-first", FIRST),
        ("owner/second", SECOND),
        (None, FIRST),
    ],
)
def test_name_or_alias_in_any_case_finds_the_route(name: str | None, route: ModelRoute) -> None:
    assert resolve(name, SETTINGS) is route


@pytest.mark.parametrize("name", ["", "first", "owner/first ", "\ud800", "x" * 10**6, "a\r\nb\x1b[31m"])
def test_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        resolve(name, SETTINGS)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "Owner/First, be-first, f, owner/second" in caught.value.message
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


def test_capability_of_the_family_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    require_capability(FIRST, "text-to-image")
    monkeypatch.setitem(FAMILIES, "sdxl", dataclasses.replace(FAMILIES["sdxl"], capabilities=("inpainting",)))
    with pytest.raises(InvalidRequest, match=r"Owner/First does not do text-to-image; it does inpainting\.") as caught:
        require_capability(FIRST, "text-to-image")
    assert caught.value.param == "model"


@pytest.mark.parametrize("size", [(64, 64), (1024, 512), (512, 1024), (1024, 256), (256, 1024), (520, 512)])
def test_size_within_all_limits_passes(size: tuple[int, int]) -> None:
    check_size(FIRST, *size)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((56, 64), id="side too short"),
        pytest.param((0, 0), id="nothing"),
        pytest.param((1032, 504), id="side too long"),
        pytest.param((513, 512), id="width no multiple"),
        pytest.param((512, 513), id="height no multiple"),
        pytest.param((1024, 520), id="too many pixels"),
        pytest.param((1024, 248), id="too wide"),
        pytest.param((248, 1024), id="too tall"),
        pytest.param((1000000, 8), id="far out"),
    ],
)
def test_size_outside_a_limit_is_refused_with_all_limits(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_size(FIRST, *size)
    assert caught.value.param == "size"
    for part in ("Owner/First", "64 to 1024", "multiples of 8", "524288 pixels", "4:1", f"{size[0]}x{size[1]}"):
        assert part in caught.value.message


def test_steps_are_limited_by_the_model() -> None:
    check_steps(FIRST, 1)
    check_steps(FIRST, 50)
    for steps in (0, 51):
        with pytest.raises(InvalidRequest, match="1 to 50") as caught:
            check_steps(FIRST, steps)
        assert caught.value.param == "num_steps"
