"""The internal vocabulary: frozen, small, and silent about what people wrote and drew."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from deployments.types import ImageRequest, ImageResult, Progress, Standing

REQUEST = ImageRequest(
    request_id="r1",
    model="stabilityai/stable-diffusion-xl-base-1.0",
    prompt="SECRET prompt",
    negative_prompt="SECRET negative",
    width=64,
    height=32,
    seed=7,
    quality="hd",
    steps=3,
    guidance_scale=2.5,
    image=b"SECRET image",
    mask=b"SECRET mask",
    strength=0.5,
    output_format="webp",
    output_compression=80,
    standing=Standing(deadline=1e9),
)
RESULT = ImageResult(
    image=b"SECRET image",
    output_format="webp",
    width=64,
    height=32,
    seed=7,
    steps=3,
    guidance_scale=2.5,
    queue_seconds=0.1,
    inference_seconds=0.2,
    device_seconds=0.05,
)
ALL = [REQUEST, RESULT, Progress(step=1, steps=3)]


@pytest.mark.parametrize("value", ALL, ids=lambda value: type(value).__name__)
class TestEach:
    def test_is_frozen_and_takes_no_other_attribute(self, value: Any) -> None:
        for name in [field.name for field in dataclasses.fields(value)]:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(value, name, None)
        assert not hasattr(value, "__dict__")

    def test_shows_nothing_that_a_person_wrote_or_drew(self, value: Any) -> None:
        for text in (repr(value), str(value), f"{value}", repr([value])):
            assert "SECRET" not in text
            assert str(getattr(value, "seed", "steps")) in text

    def test_has_at_most_twenty_fields(self, value: Any) -> None:
        assert len(dataclasses.fields(value)) <= 20

    def test_crosses_a_process_border(self, value: Any) -> None:
        copy = pickle.loads(pickle.dumps(value))
        assert copy == value
        assert type(copy) is type(value)

    def test_is_made_by_name_only(self, value: Any) -> None:
        with pytest.raises(TypeError, match="positional"):
            type(value)(*dataclasses.astuple(value))


def test_only_what_a_dialect_may_leave_out_has_a_default() -> None:
    fields = dataclasses.fields(ImageRequest)
    required = {field.name for field in fields if field.default is dataclasses.MISSING}
    assert required == {"request_id", "model", "prompt", "width", "height", "seed", "standing"}


def test_every_field_that_holds_text_or_bytes_of_a_person_is_silent() -> None:
    """A new field of such a type must be looked at: it is either named here or silent."""
    spoken = {"request_id", "model", "quality", "output_format"}
    for kind in (ImageRequest, ImageResult, Progress):
        for field in dataclasses.fields(kind):
            if field.name not in spoken and any(word in str(field.type) for word in ("str", "bytes")):
                assert not field.repr, field.name
