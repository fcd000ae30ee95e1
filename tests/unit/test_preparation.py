"""From a request to a model's inputs. What a model sees in the end, and what leaves, is in test_diffusion.py."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import math
import time
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config.schema import Family, ModelSettings, Preset, Presets
from deployments.errors import DeadlineExceeded, ImageRejected, InvalidRequest
from deployments.imaging.canvas import REPAINT, Canvas
from deployments.imaging.sandbox import Sandbox
from deployments.models.registry import FAMILIES
from deployments.preparation import Preparation, canvas_for, expected_workload, identity, prepare, warm_up_inputs
from deployments.types import ImageRequest, PoseGuidance, Standing
from tests.unit.imaging import corpus

NAMES = ("smooth", "standard", "hd", "low", "medium", "high")
SETTINGS = ModelSettings(presets=Presets(**dict.fromkeys(NAMES, Preset(steps=20, guidance_scale=5.0))))

SANDBOX = Sandbox()


@pytest.fixture(autouse=True, scope="session")  # a worker of several may come to this module twice
def _sandbox_is_closed() -> Iterator[None]:
    yield
    SANDBOX.close()


def png(mode: str = "RGB", size: tuple[int, int] = (32, 16), colour: Any = 0) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def prepared(family: Family = "sdxl", **changed: Any) -> Preparation:
    values = {"request_id": "r", "model": "toy", "prompt": "otter", "width": 32, "height": 16, "seed": 7}
    request = ImageRequest(**{**values, "standing": Standing(deadline=time.time() + 30), **changed})
    return prepare(request, SETTINGS, family, asyncio.run(canvas_for(request, family, SANDBOX)))


HALF_TRANSPARENT = png("RGBA", colour=(255, 0, 0, 128))


class TestStrength:
    @pytest.mark.parametrize(
        ("changed", "strength"),
        [
            ({"image": png()}, 0.6),
            ({"image": png(), "mask": png("L")}, 1.0),
            ({"image": HALF_TRANSPARENT}, 1.0),
            ({"image": png("RGBA", colour=(0, 0, 0, 255))}, 0.6),
            ({"image": png(), "strength": 0.25}, 0.25),
            ({"image": png(), "mask": png("L"), "strength": 0.25}, 0.25),
        ],
    )
    def test_is_all_of_a_mask_and_some_of_a_picture(self, changed: dict[str, Any], strength: float) -> None:
        assert prepared(**changed).inputs.strength == strength

    @pytest.mark.parametrize("steps", range(1, 101))
    def test_that_is_told_to_be_the_least_is_enough_and_less_is_not(self, steps: int) -> None:
        with pytest.raises(InvalidRequest, match=f"of {steps} steps leaves none") as refused:
            prepared(image=png(), steps=steps, strength=0.99 / steps)
        assert refused.value.param == "strength"
        least = float(refused.value.message.split("at least ")[1].split()[0])
        inputs = prepared(image=png(), steps=steps, strength=least).inputs
        assert int(inputs.steps * inputs.strength) >= 1

    def test_must_leave_a_step_of_the_preset_and_by_default_too(self) -> None:
        with pytest.raises(InvalidRequest, match=r"0\.04 of 20 steps leaves none; at least 0\.05"):
            prepared(image=png(), strength=0.04)
        with pytest.raises(InvalidRequest, match=r"0\.6 of 1 steps leaves none"):
            prepared(image=png(), steps=1)

    def test_of_nothing_is_no_matter(self) -> None:
        assert prepared(strength=0.001).inputs.image is None


class TestFill:
    @pytest.mark.parametrize("image", [png(), png("RGBA", colour=(255, 0, 0, 255)), png("L")])
    def test_without_anything_to_repaint_is_refused(self, image: bytes) -> None:
        with pytest.raises(
            InvalidRequest, match=r"^mask: toy does inpainting; send a mask, or an image with"
        ) as refused:
            prepared("flux-fill", image=image)
        assert (refused.value.code, refused.value.param) == ("unsupported_capability", "mask")

    @pytest.mark.parametrize("changed", [{"image": png(), "mask": png("L", colour=255)}, {"image": HALF_TRANSPARENT}])
    def test_with_a_mask_has_it(self, changed: dict[str, Any]) -> None:
        inputs = prepared("flux-fill", **changed).inputs
        assert inputs.mask is not None
        assert (inputs.strength, inputs.mask.size) == (1.0, (32, 16))

    def test_of_any_size_works_on_sixteens(self) -> None:
        result = prepared("flux-fill", image=png(size=(33, 17)), mask=png("L", (33, 17)), width=33, height=17)
        assert (result.inputs.width, result.inputs.height) == (48, 32)
        assert result.canvas is not None
        assert (result.canvas.width, result.canvas.height) == (33, 17)


def test_a_mask_is_read_as_the_request_says() -> None:
    mask = png("RGBA", colour=(255, 255, 255, 255))
    read = [prepared(image=png(), mask=mask, mask_reads=reading).inputs.mask for reading in ("alpha", "white")]
    # decode() takes an alpha channel that hides nothing for none, so that both readings see white.
    assert [np.unique(np.asarray(each)).tolist() for each in read] == [[255], [255]]
    mask = png("RGBA", colour=(255, 255, 255, 0))
    read = [prepared(image=png(), mask=mask, mask_reads=reading).inputs.mask for reading in ("alpha", "white")]
    assert [np.unique(np.asarray(each)).tolist() for each in read] == [[255], [0]]


def test_a_skeleton_that_is_no_picture_is_refused() -> None:
    with pytest.raises(ImageRejected) as refused:
        prepared("sdxl-pose", pose=PoseGuidance(skeleton=b"no picture"))
    assert refused.value.param == "pose_image"


@pytest.mark.parametrize("given", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("wanted", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("has_mask", [True, False])
def test_nothing_but_pixels_of_a_picture_leaves(given: str, wanted: str, has_mask: bool) -> None:
    mask = {"mask": corpus.told("PNG")} if has_mask else {}
    preparation = prepared(image=corpus.told(given), strength=0.5, output_format=wanted, **mask)
    answer = preparation.finish(torch.zeros(1, 3, 16, 32))
    assert corpus.CANARY in corpus.told(given)
    assert corpus.CANARY not in answer
    with Image.open(io.BytesIO(answer)) as picture:
        picture.load()
        assert not {"exif", "xmp", "icc_profile", "comment", "Comment", "Title", "dpi"} & set(picture.info)
        assert not picture.getexif()


def test_previews_are_told_to_the_model() -> None:
    assert prepared(partial_images=3).inputs.previews == 3


def test_pictures_are_decoded_in_the_name_of_their_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async def canvas(*_: object, caller: str) -> Canvas:
        callers.append(caller)
        return Canvas(Image.new("RGB", (32, 16)), None, 32, 16)

    callers: list[str] = []
    monkeypatch.setattr(SANDBOX, "canvas", canvas)
    prepared(image=png(), standing=Standing(deadline=time.time() + 30, caller="otter"))
    assert callers == ["otter"]


def test_nothing_is_decoded_after_the_deadline() -> None:
    with pytest.raises(DeadlineExceeded):
        prepared(standing=Standing(deadline=time.time() - 1), image=b"no picture")


@pytest.mark.parametrize(
    ("family", "given"),
    [("sdxl", set()), ("sdxl-pose", {"skeleton"}), ("flux-schnell", set()), ("flux-fill", {"image", "mask"})],
)
def test_warming_up_gives_each_family_what_it_needs(family: Family, given: set[str]) -> None:
    inputs = warm_up_inputs("48x32", family)
    pictures = {name: getattr(inputs, name) for name in ("image", "mask", "skeleton")}
    assert {name for name, picture in pictures.items() if picture is not None} == given
    assert {(picture.mode, picture.size) for name, picture in pictures.items() if name in given} <= {
        ("RGB", (48, 32)),
        ("L", (48, 32)),
    }
    assert (inputs.width, inputs.height, inputs.steps, inputs.strength) == (48, 32, 3, 1.0)
    if inputs.mask is not None:
        assert inputs.mask.getextrema() == (REPAINT, REPAINT)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"steps": 7, "guidance_scale": 1.0},
        {"image": png(), "strength": 0.3},
        {"image": png(), "mask": png("L")},
        {"standing": Standing(deadline=math.inf, caller="otter", weight=2.0, priority=1)},
        {"pose": PoseGuidance(skeleton=png(), strength=1.0, end=0.42)},
    ],
)
def test_the_workload_is_known_before_pictures_are_decoded(changed: dict[str, Any]) -> None:
    preparation = prepared(**changed)
    assert expected_workload(preparation.request, SETTINGS) == preparation.workload


ASKED = {
    "request_id": "r",
    "model": "toy",
    "prompt": "otter",
    "width": 32,
    "height": 16,
    "seed": 7,
    "standing": Standing(deadline=1.0, order="a"),
}
OTHERWISE: dict[str, Any] = {
    "model": "other",
    "prompt": "badger",
    "negative_prompt": "fog",
    "width": 64,
    "height": 64,
    "seed": 8,
    "quality": "hd",
    "steps": 3,
    "guidance_scale": 2.0,
    "image": b"picture",
    "mask": b"mask",
    "mask_reads": "white",
    "strength": 0.5,
    "pose": PoseGuidance(skeleton=b"skeleton"),
    "partial_images": 1,
    "standing": Standing(deadline=1.0, caller="theirs"),
}
THE_SAME: dict[str, Any] = {
    "request_id": "s",
    "output_format": "webp",
    "output_compression": 50,
    "standing": Standing(deadline=2.0, order="b"),
}


class TestIdentity:
    def of(self, **changed: Any) -> Hashable:
        presets = SETTINGS.presets.model_copy(
            update={"hd": SETTINGS.presets.hd.model_copy(update={"scheduler": "ddim"})}
        )
        return identity(ImageRequest(**{**ASKED, **changed}), ModelSettings(presets=presets))

    def test_every_field_is_looked_at(self) -> None:
        assert {field.name for field in dataclasses.fields(ImageRequest)} == {*OTHERWISE, *THE_SAME}

    @pytest.mark.parametrize("name", OTHERWISE)
    def test_is_another_where_the_picture_may_be(self, name: str) -> None:
        assert self.of() != self.of(**{name: OTHERWISE[name]})

    @pytest.mark.parametrize("name", THE_SAME)
    def test_is_the_same_where_the_picture_is(self, name: str) -> None:
        assert self.of() == self.of(**{name: THE_SAME[name]})

    def test_is_of_what_a_preset_stands_for(self) -> None:
        assert self.of() == self.of(quality="standard") == self.of(quality="auto", steps=20, guidance_scale=5.0)


def test_warming_up_runs_with_guidance_and_once_without() -> None:
    asked = [warm_up_inputs("64x64", "sdxl", number) for number in range(3)]
    assert [inputs.guidance_scale > 1 for inputs in asked] == [False, True, True]
    assert len({inputs.prompt for inputs in asked}) == 3


def test_every_family_can_be_warmed_up() -> None:
    for family in FAMILIES:
        assert warm_up_inputs("64x64", family).prompt
