"""OpenPose's JSON to people and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from deployments.errors import InvalidRequest
from deployments.types import Person, Point, PoseSource
from serve_app.dialects.keypoints import Keypoints, KeypointsField
from tests.unit.serve_app.samples import joints

FIELD = TypeAdapter(KeypointsField)
UNSEEN: tuple[Point | None, ...] = (None,) * 18


def person(**changed: Any) -> dict[str, Any]:
    return {"pose_keypoints_2d": joints(), **changed}


def pose(*people: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {"people": list(people) or [person()], **changed}


def source(value: Any) -> PoseSource:
    return FIELD.validate_python(value).to_source()


@pytest.mark.parametrize("read", [lambda value: value, json.dumps], ids=["an object", "text"])
def test_what_pose_editors_write(read: Any) -> None:
    left, right = joints(21, x=128, y=0), joints(21, x=0, y=384)
    people = [
        person(
            pose_keypoints_2d=joints(x=256, y=192),
            hand_left_keypoints_2d=left,
            hand_right_keypoints_2d=right,
            face_keypoints_2d=[],
        ),
        person(pose_keypoints_2d=joints(x=512, y=768), hand_left_keypoints_2d=[], hand_right_keypoints_2d=None),
    ]
    given = pose(*people, canvas_width=512, canvas_height=768, version="ap10k")
    first, second = source(read(given)).people
    assert first.body == ((0.5, 0.25), *[None] * 17)
    assert first.left_hand == ((0.25, 0.0), *[None] * 20)
    assert first.right_hand == ((0.0, 0.5), *[None] * 20)
    assert (second.body[0], second.left_hand, second.right_hand) == ((1.0, 1.0), (), ())
    assert source(read(given)).canvas == (512, 768)


def test_without_a_canvas_they_are_fractions() -> None:
    assert source(pose()) == PoseSource(people=(Person(body=((0.5, 0.25), *UNSEEN[1:])),))


@pytest.mark.parametrize(
    "unseen", [[10, 20, 0], [10, 20, None], [None, 20, 1], [10, None, 1], [-0.5, 20, 1], [10, 101, 1], [201, 20, 1]]
)
def test_a_joint_that_is_unseen_or_outside_is_none(unseen: list[float | None]) -> None:
    body = [*unseen, 100, 50, 0.1, *[0] * 48]
    (only,) = source(pose(person(pose_keypoints_2d=body), canvas_width=200, canvas_height=100)).people
    assert only.body == (None, (0.5, 0.5), *[None] * 16)


@pytest.mark.parametrize(
    "given", [pose(person(pose_keypoints_2d=[0] * 54)), pose(person(pose_keypoints_2d=[300] * 54))]
)
def test_a_pose_of_which_nothing_is_seen_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="canvas_width") as refused:
        source(given)
    assert refused.value.param == "keypoints"


def test_a_hand_alone_is_a_pose() -> None:
    (only,) = source(pose(person(pose_keypoints_2d=[0] * 54, hand_left_keypoints_2d=joints(21)))).people
    assert only.left_hand[0] == (0.5, 0.25)


fractions = st.one_of(st.none(), st.tuples(st.floats(0, 1), st.floats(0, 1)))
hands = st.one_of(st.just(()), st.tuples(*[fractions] * 21))


@given(st.builds(Person, body=st.tuples(*[fractions] * 18), left_hand=hands, right_hand=hands), st.integers(64, 2048))
def test_what_is_answered_can_be_sent_again(given: Person, width: int) -> None:
    joint = Person(body=((0.5, 0.5), *UNSEEN[1:]))  # somebody is always seen
    answered = Keypoints.from_people([given, joint], width, 2 * width)
    again = source(json.loads(answered.model_dump_json()))
    assert again.canvas == (width, 2 * width)
    for before, after in zip((given, joint), again.people, strict=True):
        for side in ("body", "left_hand", "right_hand"):
            for old, new in zip(getattr(before, side), getattr(after, side), strict=True):
                assert new == (None if old is None else pytest.approx(old))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (pose(person(pose_keypoints_2d=[0.5] * 53)), ("people", 0, "pose_keypoints_2d")),
        (pose(person(pose_keypoints_2d=[0.5] * 75)), ("people", 0, "pose_keypoints_2d")),
        (pose(person(), person(hand_left_keypoints_2d=[0.5] * 62)), ("people", 1, "hand_left_keypoints_2d")),
        (pose(person(hand_right_keypoints_2d=[0.5] * 64)), ("people", 0, "hand_right_keypoints_2d")),
        (pose(person(pose_keypoints_2d=["0.5"] * 54)), ("people", 0, "pose_keypoints_2d", 0)),
        (pose(person(pose_keypoints_2d=[True] * 54)), ("people", 0, "pose_keypoints_2d", 0)),
        (pose(person(pose_keypoints_2d=[float("nan")] * 54)), ("people", 0, "pose_keypoints_2d", 0)),
        (pose(person(pose_keypoints_2d=[float("inf")] * 54)), ("people", 0, "pose_keypoints_2d", 0)),
        (pose({}), ("people", 0, "pose_keypoints_2d")),
        ({"people": []}, ("people",)),
        (pose(*[person()] * 33), ()),
        ({}, ("people",)),
        (pose(canvas_width=0, canvas_height=1), ("canvas_width",)),
        (pose(canvas_width=1, canvas_height=2**16 + 1), ("canvas_height",)),
        (pose(canvas_width="512", canvas_height=512), ("canvas_width",)),
        (pose(canvas_width=512), ()),
        (pose(canvas_height=512), ()),
        ([], ()),
        ("{", ()),
        ("[" * 100_000, ()),
        ("null", ()),
        (b"{}", ("people",)),
        (b"\xff", ()),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_what_is_wrong_is_named(value: Any, path: tuple[str | int, ...], as_text: bool) -> None:
    with pytest.raises(ValidationError) as refused:
        FIELD.validate_python(json.dumps(value) if as_text and not isinstance(value, str | bytes) else value)
    assert refused.value.errors()[0]["loc"] == path


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.floats(0, 1) | st.text(max_size=3)
any_json = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5
)
good = numbers.filter(lambda number: number is None or type(number) in (int, float))


def flat(joints: int) -> st.SearchStrategy[Any]:
    """The numbers of so many joints; or something else."""
    return st.lists(good, min_size=3 * joints, max_size=3 * joints) | st.lists(numbers, max_size=9) | any_json


any_person = st.fixed_dictionaries(
    {"pose_keypoints_2d": flat(18)},
    optional={"hand_left_keypoints_2d": flat(21), "hand_right_keypoints_2d": flat(21)},
)
any_pose = st.fixed_dictionaries(
    {"people": st.lists(any_person | any_json, max_size=2) | any_json},
    optional={"canvas_width": st.integers(1, 4096) | numbers, "canvas_height": st.integers(1, 4096) | numbers},
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(any_pose | any_json | st.text() | st.binary(), st.booleans())
def test_whatever_is_sent_is_a_pose_within_the_picture_or_refused(value: Any, as_text: bool) -> None:
    try:
        made = source(json.dumps(value) if as_text and not isinstance(value, str | bytes) else value)
    except (ValidationError, InvalidRequest):
        return
    seen = [point for person in made.people for point in (*person.body, *person.left_hand, *person.right_hand) if point]
    assert seen
    assert all(0 <= side <= 1 for point in seen for side in point)
    assert all(len(person.body) == 18 for person in made.people)
