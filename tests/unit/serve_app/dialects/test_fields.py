from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.schema import dimensions
from serve_app.dialects.fields import (
    MAX_SEED,
    GuidanceScale,
    OrNull,
    OutputCompression,
    Prompt,
    Seed,
    Size,
    Steps,
    WireModel,
)

any_text = st.text(st.characters())  # surrogates included, unlike plain st.text()
any_json = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_text, st.lists(st.integers()))


class Body(WireModel):
    prompt: Prompt = "otter"
    seed: Seed | None = None
    size: OrNull[Size] = "auto"
    steps: Steps | None = None
    guidance: GuidanceScale | None = None
    compression: OrNull[OutputCompression] = 100
    unbounded: float = 0.0


def accepts(**fields: Any) -> bool:
    try:
        Body.model_validate(fields)
    except ValidationError:
        return False
    return True


@given(any_text)
@example("\ud800")
@example(" \t\n\u3000")
@example("  x" + " " * 5000)
@example("x" * 4000)
@example("x" * 4001)
def test_prompt_is_trimmed_bounded_encodable_text(text: str) -> None:
    encodable = not re.search("[\ud800-\udfff]", text)
    trimmed = text.strip()
    if accepts(prompt=text):
        kept = Body(prompt=text).prompt
        assert encodable
        assert 1 <= len(kept) <= 4000
        assert kept in text
        kept.encode()
    else:
        # Python strips four separators (U+001C … U+001F) that Unicode does not count as white space.
        assert not encodable or len(trimmed) > 4000 or not trimmed


@given(any_json)
@example(True)
@example(1.0)
@example("3")
@example(-1)
@example(MAX_SEED)
@example(MAX_SEED + 1)
def test_seed_is_an_integer_in_range(value: object) -> None:
    assert accepts(seed=value) == (value is None or (type(value) is int and 0 <= value <= MAX_SEED))


@given(any_json)
@example(float("nan"))
@example(float("inf"))
@example(True)
@example(30)
@example("5")
def test_guidance_is_a_finite_number_in_range(value: object) -> None:
    assert accepts(guidance=value) == (value is None or (type(value) in (int, float) and 0 <= value <= 30))  # type: ignore[operator]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_number_without_bounds_is_still_finite(value: float) -> None:
    assert not accepts(unbounded=value)
    assert accepts(unbounded=1e300)


@pytest.mark.parametrize(("field", "low", "high"), [("steps", 1, 100), ("compression", 0, 100)])
def test_ranges_end_where_they_say(field: str, low: int, high: int) -> None:
    for value, good in [(low - 1, False), (low, True), (high, True), (high + 1, False), (True, False), (5.0, False)]:
        assert accepts(**{field: value}) is good


@given(any_text)
@example("1024x1024\n")
@example("１０２４x1024")
@example("1０２４x1024")
@example("+1_024x1024")
@example(" 64x64")
@example("64X64")
@example("0x0")
@example("064x64")
@example("-1x8")
@example("64x64x64")
@example("9" * 5000 + "x8")
@example("auto")
def test_size_is_auto_or_two_plain_numbers(text: str) -> None:
    plain = re.fullmatch(r"[1-9]\d{0,6}x[1-9]\d{0,6}", text, re.ASCII)
    assert accepts(size=text) == (plain is not None or text == "auto")


@given(st.integers(1, 9_999_999), st.integers(1, 9_999_999))
def test_size_is_read_back(width: int, height: int) -> None:
    assert dimensions(Body(size=f"{width}x{height}").size) == (width, height)


def test_null_is_absent() -> None:
    body = Body.model_validate(dict.fromkeys(["seed", "size", "steps", "guidance", "compression", "unknown"]))
    assert body == Body()
    assert body.ignored_parameters() == ""


@given(st.dictionaries(st.text().filter(lambda name: name not in Body.model_fields), st.just(1)))
def test_ignored_parameters_always_fit_a_header(fields: dict[str, int]) -> None:
    names = Body.model_validate(fields).ignored_parameters()
    assert bool(names) == bool([name for name in fields if name])
    assert re.fullmatch(r"[A-Za-z0-9_.?, -]{0,1024}", names)


def test_ignored_parameters_are_named_and_bounded() -> None:
    assert Body.model_validate({"style": "vivid", "mode-ration": 1}).ignored_parameters() == "style, mode-ration"
    assert len(Body.model_validate({f"field{i:030}": 1 for i in range(256)}).ignored_parameters()) == 1024


def test_known_fields_without_meaning_for_the_model_are_named_too() -> None:
    body = Body.model_validate({"prompt": "a", "style": "vivid"})
    assert body.ignored_parameters(("prompt", "never_sent")) == "prompt, style"


def test_fields_are_not_without_number() -> None:
    with pytest.raises(ValidationError, match="at most 256 fields"):
        Body.model_validate({f"field{i}": 1 for i in range(257)})


def test_validation_error_does_not_show_the_prompt() -> None:
    with pytest.raises(ValidationError) as caught:
        Body(prompt="secret" * 1000)
    assert "secret" not in str(caught.value)
