from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import IngressSettings, Limits, ModelRoute
from deployments.errors import InvalidRequest, NotFound
from deployments.models.registry import FAMILIES
from serve_app.routing import check_steps, output_size, require_capability, resolve

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
    assert output_size(FIRST, size, None) == size
    assert output_size(FIRST, size, (999, 1)) == size


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
        output_size(FIRST, size, None)
    assert caught.value.param == "size"
    for part in ("Owner/First", "64 to 1024", "multiples of 8", "524288 pixels", "4:1", f"{size[0]}x{size[1]}"):
        assert part in caught.value.message


def test_without_a_size_it_is_the_models_default() -> None:
    route = FIRST.model_copy(update={"limits": Limits(default_size="512x256")})
    assert output_size(route, None, None) == (512, 256)


@pytest.mark.parametrize(
    ("given", "kept", "cut"),
    [
        pytest.param((512, 512), (512, 512), (512, 512), id="fits"),
        pytest.param((333, 517), (333, 517), (328, 512), id="no multiple"),
        pytest.param((2048, 1024), (1024, 512), (1024, 512), id="too long"),
        pytest.param((1500, 1499), (724, 723), (720, 720), id="too many pixels"),
        pytest.param((30, 60), (64, 128), (64, 128), id="too short"),
        pytest.param((33, 60), (64, 117), (64, 120), id="too short, no multiple"),
        pytest.param((4000, 1000), (1024, 256), (1024, 256), id="as wide as may be"),
    ],
)
def test_without_a_size_it_is_the_given_pictures_scaled_into_the_limits(
    given: tuple[int, int], kept: tuple[int, int], cut: tuple[int, int]
) -> None:
    assert output_size(FIRST, None, given, any_multiple=True) == kept
    assert output_size(FIRST, None, given) == cut


@pytest.mark.parametrize("given", [(4000, 900), (1, 5000), (65535, 1)])
def test_a_picture_too_elongated_is_refused(given: tuple[int, int]) -> None:
    with pytest.raises(InvalidRequest, match="4:1") as caught:
        output_size(FIRST, None, given, any_multiple=True)
    assert caught.value.param == "image"


@given(st.integers(1, 5000), st.integers(1, 5000), st.booleans())
def test_whatever_is_given_the_size_is_within_the_limits_or_refused(
    width: int, height: int, any_multiple: bool
) -> None:
    try:
        size = output_size(FIRST, None, (width, height), any_multiple=any_multiple)
    except InvalidRequest:
        assert max(width, height) > 3.5 * min(width, height)  # rounding makes the limit of 4 a little blurred
    else:
        assert min(size) >= 64
        assert max(size) <= 1024
        assert size[0] * size[1] <= LIMITS.max_pixels
        assert any_multiple or size[0] % 8 == size[1] % 8 == 0


def test_a_model_that_rounds_does_so_downwards() -> None:
    fill = ModelRoute(name="fill", application="fill", family="flux-fill", limits=LIMITS)
    assert output_size(fill, (527, 512), None) == (512, 512)
    with pytest.raises(InvalidRequest):
        output_size(fill, (1040, 256), None)


def test_steps_are_limited_by_the_model() -> None:
    check_steps(FIRST, 1)
    check_steps(FIRST, 50)
    for steps in (0, 51):
        with pytest.raises(InvalidRequest, match="1 to 50") as caught:
            check_steps(FIRST, steps)
        assert caught.value.param == "num_steps"
