"""The renderer draws what controlnet_aux draws, pixel for pixel, and places people and drawings alike."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deployments.pose.skeleton import JOINTS, draw, fit, fit_drawing, is_recognisable
from deployments.types import Person, Point
from tests.unit.pose.figures import RIGHT_ARM_UP, STANDING, body

NOWHERE = (None,) * 18
COLOURS = {"nose": (255, 0, 0), "right elbow": (255, 255, 0), "left elbow": (0, 255, 0), "left ear": (255, 0, 85)}


class Keypoint(NamedTuple):
    x: float
    y: float


@pytest.fixture(scope="module")
def canon() -> ModuleType:
    """controlnet_aux's `open_pose/util.py` and nothing else of it: the rest asks for much that is not installed."""
    installed = importlib.util.find_spec("controlnet_aux")
    assert installed is not None
    assert installed.origin is not None
    package, people = ModuleType("canon"), ModuleType("canon.body")
    package.__path__ = [str(Path(installed.origin).parent / "open_pose")]
    vars(people).update(Keypoint=Keypoint, BodyResult=object)
    sys.modules.update({"canon": package, "canon.body": people})
    return importlib.import_module("canon.util")


def drawn_by(canon: ModuleType, people: list[Person], width: int, height: int) -> Any:
    pixels = np.zeros((height, width, 3), np.uint8)
    for person in people:
        canon.draw_bodypose(pixels, [joint and Keypoint(*joint) for joint in person.body])
        for hand in (person.left_hand, person.right_hand):
            canon.draw_handpose(pixels, [Keypoint(*joint) if joint else Keypoint(-1, -1) for joint in hand])
    return pixels


# Not in the first column or row, where controlnet_aux takes a hand's joint for one that was not found.
coordinates = st.floats(0.02, 1.0)
joints = st.none() | st.tuples(coordinates, coordinates)


def joints_of(count: int) -> st.SearchStrategy[tuple[Point | None, ...]]:
    return st.lists(joints, min_size=count, max_size=count).map(tuple)


hands = st.just(()) | joints_of(21)
people = st.builds(Person, body=joints_of(18), left_hand=hands, right_hand=hands)
sides = st.integers(64, 300)


@settings(deadline=None)  # the first one imports matplotlib
@given(st.lists(people, max_size=2), sides, sides)
def test_any_people_are_drawn_as_controlnet_aux_draws_them(
    canon: ModuleType, crowd: list[Person], width: int, height: int
) -> None:
    assert np.array_equal(draw(crowd, width, height), drawn_by(canon, crowd, width, height))


def test_the_order_of_joints_is_that_of_their_colours() -> None:
    pixels = draw([Person(body=body(STANDING))], 512, 512)
    for joint, colour in COLOURS.items():
        x, y = STANDING[joint]
        assert tuple(pixels[int(y * 512), int(x * 512)]) == colour


@pytest.mark.parametrize(("width", "height"), [(512, 512), (1024, 768), (64, 2048)])
def test_a_drawing_has_the_size_asked_for_and_no_colour_of_its_own(width: int, height: int) -> None:
    hand = tuple((0.1 + 0.01 * place, 0.1 + 0.02 * place) for place in range(21))
    pixels = draw([Person(body=body(STANDING)), Person(body=NOWHERE, left_hand=hand)], width, height)
    assert pixels.shape == (height, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) <= 1 + 18 + 17 + 20


@pytest.mark.parametrize(("side", "half_width"), [(499, 4), (500, 8), (999, 8), (1000, 12), (2048, 16), (9000, 28)])
def test_wide_limbs_grow_with_the_picture(side: int, half_width: int) -> None:
    joints = [None] * 18
    joints[0], joints[1] = (0.5, 0.1), (0.5, 0.9)  # nose and neck
    across = draw([Person(body=tuple(joints))], 64, side, wide=True)[side // 2].any(axis=-1).sum()
    assert across == 2 * half_width + 1
    assert draw([Person(body=tuple(joints))], 64, side)[side // 2].any(axis=-1).sum() == 9


def test_of_nobody_there_is_black() -> None:
    assert not draw([], 64, 96).any()
    assert not draw([Person(body=NOWHERE)], 64, 96).any()


class TestFit:
    def one(self, joint: Point, canvas: tuple[int, int], width: int, height: int) -> Point | None:
        (person,) = fit([Person(body=(joint, *NOWHERE[1:]), left_hand=(joint,))], canvas, width, height)
        assert person.left_hand == person.body[:1]
        return person.body[0]

    @pytest.mark.parametrize("size", [(512, 512), (300, 900), (1024, 64)])
    def test_a_canvas_of_the_same_shape_changes_nothing(self, size: tuple[int, int]) -> None:
        assert self.one((0.25, 0.9), (size[0] * 2, size[1] * 2), *size) == pytest.approx((0.25, 0.9))

    def test_a_wide_canvas_has_borders_above_and_below(self) -> None:
        assert self.one((0.0, 0.0), (200, 100), 512, 512) == pytest.approx((0.0, 0.25))
        assert self.one((1.0, 1.0), (200, 100), 512, 512) == pytest.approx((1.0, 0.75))

    def test_a_tall_canvas_has_borders_beside_it(self) -> None:
        assert self.one((0.0, 0.5), (100, 400), 800, 800) == pytest.approx((0.375, 0.5))
        assert self.one((1.0, 1.0), (100, 400), 800, 800) == pytest.approx((0.625, 1.0))

    @given(st.tuples(sides, sides), sides, sides)
    def test_proportions_are_kept(self, canvas: tuple[int, int], width: int, height: int) -> None:
        corners = self.one((0.0, 0.0), canvas, width, height), self.one((1.0, 1.0), canvas, width, height)
        (left, top), (right, bottom) = (corner or (0, 0) for corner in corners)
        shape = (right - left) * width / ((bottom - top) * height)
        assert shape == pytest.approx(canvas[0] / canvas[1])
        assert max(right - left, bottom - top) == pytest.approx(1)

    @pytest.mark.parametrize("outside", [(-0.1, 0.5), (0.5, 1.1), (float("nan"), 0.5), (0.5, float("inf"))])
    def test_a_joint_outside_of_the_canvas_is_none(self, outside: Point) -> None:
        assert self.one(outside, (100, 100), 64, 64) is None


class TestFitDrawing:
    def test_one_of_the_right_size_is_as_it_was(self) -> None:
        pixels = draw([Person(body=body(STANDING))], 320, 200)
        assert np.array_equal(fit_drawing(Image.fromarray(pixels), 320, 200), pixels)

    @pytest.mark.parametrize(
        ("size", "box"),
        [
            ((100, 100), (100, 0, 300, 200)),
            ((800, 200), (0, 50, 400, 150)),
            ((4000, 1), (0, 99, 400, 100)),
            ((1, 4000), (199, 0, 200, 200)),
        ],
    )
    def test_it_is_centred_on_black(self, size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
        picture = fit_drawing(Image.new("RGB", size, "white"), 400, 200)
        assert picture.size == (400, 200)
        assert picture.getbbox() == box

    def test_it_is_where_joints_of_the_same_canvas_are(self) -> None:
        person = Person(body=body(RIGHT_ARM_UP))
        drawing = Image.fromarray(draw([person], 600, 300))
        ours = np.asarray(fit_drawing(drawing, 600, 800)).any(axis=2)
        expected = draw(fit([person], (600, 300), 600, 800), 600, 800).any(axis=2)
        assert (ours & expected).sum() / (ours | expected).sum() > 0.95

    @pytest.mark.parametrize("side", [100, 200])
    def test_what_is_transparent_is_black(self, side: int) -> None:
        drawing = Image.new("RGBA", (100, 100), (255, 255, 255, 0))
        drawing.paste((255, 0, 0, 255), (40, 40, 60, 60))
        picture = fit_drawing(drawing, side, side)
        assert picture.mode == "RGB"
        assert picture.getpixel((side // 2, side // 2)) == (255, 0, 0)
        assert picture.getpixel((5, 5)) == (0, 0, 0)


def some(*names: str) -> Person:
    return Person(body=tuple(STANDING[joint] if joint in names else None for joint in JOINTS))


@pytest.mark.parametrize(
    ("person", "enough"),
    [
        (some(*JOINTS), True),
        (some("nose", "left eye", "right eye"), True),
        (some("right hip", "right knee", "right ankle"), True),
        (some("nose", "neck"), False),
        (some("left wrist", "right ankle", "left ear"), False),
        (some(), False),
    ],
)
def test_who_is_recognisable(person: Person, enough: bool) -> None:
    assert is_recognisable(person) == enough


def test_importing_it_imports_no_opencv(imports: Callable[[str], set[str]]) -> None:
    assert "cv2" not in imports("deployments.pose.skeleton")
