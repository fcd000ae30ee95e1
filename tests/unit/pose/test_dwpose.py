"""What is around DWPose's networks: boxes, crops, joints, hands. Networks of known answers stand for the real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from config.schema import PoseEstimatorConfig
from deployments.pose.detector import DetectorUnavailable
from deployments.pose.dwpose import DWPoseDetector
from deployments.types import Person, Point
from tests.unit.pose.networks import COLOURS, SIDE, Box, save_joints, save_people

PERSON, DOG = 0, 16
# Where COCO-WholeBody has each joint of COCO-18, by COCO's own definition; the neck is between 5 and 6.
BODY = [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
LEFT_HAND, RIGHT_HAND = range(91, 112), range(112, 133)
TOLERANCE = 4  # pixels; the middle of a dot is meant, its corner is found

Detect = Callable[..., tuple[Person, ...]]


def places(box: Box, shown: set[int]) -> dict[int, Point]:
    """A grid within `box` with a place for each joint."""
    left, top, right, bottom = box
    across, down = (right - left) / 13, (bottom - top) / 13
    grid = {joint: (left + across * (joint % 12 + 1), top + down * (joint // 12 + 1)) for joint in range(133)}
    return {joint: at for joint, at in grid.items() if joint in shown}


def picture_of(people: list[dict[int, Point]], width: int, height: int) -> Image.Image:
    """Each joint a dot of its colour."""
    picture = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(picture)
    for person in people:
        for joint, (x, y) in person.items():
            pen.rectangle((round(x) - 2, round(y) - 2, round(x) + 2, round(y) + 2), fill=COLOURS[joint])
    return picture


@pytest.fixture
def detector(tmp_path: Path) -> Callable[..., DWPoseDetector]:
    """Makes detectors that find the boxes given, in pixels of their picture, which has `side` pixels at most."""

    def make(*boxes: tuple[Box, int, float], side: int = SIDE, max_people: int = 8) -> DWPoseDetector:
        ratio = SIDE / side
        seen = [((b[0] * ratio, b[1] * ratio, b[2] * ratio, b[3] * ratio), kind, score) for b, kind, score in boxes]
        save_people(tmp_path / "yolox_l.onnx", seen)
        save_joints(tmp_path / "dw-ll_ucoco_384.onnx")
        config = {"detector": "dwpose", "weights": {"source": str(tmp_path)}, "max_people": max_people}
        return DWPoseDetector(PoseEstimatorConfig.model_validate(config))

    return make


def assert_joints(
    found: tuple[Point | None, ...], expected: list[Point | None], picture: Image.Image, tolerance: float = TOLERANCE
) -> None:
    assert len(found) == len(expected)
    for place, (joint, at) in enumerate(zip(found, expected, strict=True)):
        assert (joint is None) == (at is None), place
        if joint is not None and at is not None:
            assert math.dist((joint[0] * picture.width, joint[1] * picture.height), at) < tolerance, place


def body_of(shown: dict[int, Point]) -> list[Point | None]:
    body = [None if joint is None else shown.get(joint) for joint in BODY]
    if 5 in shown and 6 in shown:
        body[1] = (shown[5][0] + shown[6][0]) / 2, (shown[5][1] + shown[6][1]) / 2
    return body


@pytest.mark.parametrize(
    ("size", "box"),
    [((640, 640), (40, 30, 600, 610)), ((1280, 720), (700, 20, 1230, 700)), ((600, 1200), (30, 500, 570, 1180))],
)
def test_a_whole_person(
    detector: Callable[..., DWPoseDetector], size: tuple[int, int], box: tuple[float, float, float, float]
) -> None:
    shown = places(box, set(range(133)))
    picture = picture_of([shown], *size)
    (person,) = detector((box, PERSON, 0.9), side=max(size)).detect(picture)
    assert_joints(person.body, body_of(shown), picture, tolerance=7)
    assert_joints(person.left_hand, [shown[joint] for joint in LEFT_HAND], picture, tolerance=7)
    assert_joints(person.right_hand, [shown[joint] for joint in RIGHT_HAND], picture, tolerance=7)


def test_people_are_looked_at_one_by_one(detector: Callable[..., DWPoseDetector]) -> None:
    left: Box = (20, 20, 220, 280)  # far enough from the other: a crop is larger than its box
    right: Box = (380, 300, 600, 600)
    shown = places(left, set(range(17))), places(right, {0, 5, 6, 8, 10, *LEFT_HAND})
    picture = picture_of(list(shown), 640, 640)
    people = detector((left, PERSON, 0.8), (right, PERSON, 0.9)).detect(picture)
    assert len(people) == 2
    for person, expected in zip(people, reversed(shown), strict=True):  # the clearest first
        assert_joints(person.body, body_of(expected), picture)
    assert [len(person.left_hand) for person in people] == [21, 0]
    assert [len(person.right_hand) for person in people] == [0, 0]


@pytest.mark.parametrize("lacking", [5, 6])
def test_no_neck_without_both_shoulders(detector: Callable[..., DWPoseDetector], lacking: int) -> None:
    box: Box = (50, 50, 590, 590)
    picture = picture_of([places(box, set(range(17)) - {lacking})], 640, 640)
    (person,) = detector((box, PERSON, 0.9)).detect(picture)
    assert person.body[1] is None
    assert sum(joint is None for joint in person.body) == 2


def test_a_hand_may_be_seen_in_part(detector: Callable[..., DWPoseDetector]) -> None:
    box: Box = (50, 50, 590, 590)
    picture = picture_of([places(box, {0, 112, 120, 132})], 640, 640)
    (person,) = detector((box, PERSON, 0.9)).detect(picture)
    assert person.left_hand == ()
    assert [place for place, joint in enumerate(person.right_hand) if joint] == [0, 8, 20]


def test_only_people_are_people(detector: Callable[..., DWPoseDetector]) -> None:
    person: Box = (300, 50, 600, 600)
    dog: Box = (20, 300, 250, 600)
    picture = picture_of([places(person, {0, 5, 6}), places(dog, {0, 5, 6})], 640, 640)
    assert len(detector((dog, DOG, 0.9), (person, PERSON, 0.8)).detect(picture)) == 1
    assert detector((dog, DOG, 0.9)).detect(picture) == ()


def test_a_person_boxed_twice_is_one(detector: Callable[..., DWPoseDetector]) -> None:
    box: Box = (100, 50, 400, 600)
    nearly: Box = (110, 60, 405, 590)
    people = detector((box, PERSON, 0.9), (nearly, PERSON, 0.7)).detect(picture_of([places(box, {0})], 640, 640))
    assert len(people) == 1


def test_what_is_hardly_a_person_is_none(detector: Callable[..., DWPoseDetector]) -> None:
    assert detector(((100, 50, 400, 600), PERSON, 0.2)).detect(Image.new("RGB", (640, 640), "white")) == ()


def test_nobody(detector: Callable[..., DWPoseDetector]) -> None:
    assert detector().detect(Image.new("RGB", (640, 480))) == ()


def test_no_more_people_than_allowed(detector: Callable[..., DWPoseDetector]) -> None:
    boxes: list[Box] = [(20, 20, 180, 220), (400, 20, 560, 220), (20, 400, 180, 600)]
    scores = (0.5, 0.9, 0.7)
    picture = picture_of([places(box, {joint}) for joint, box in enumerate(boxes)], 640, 640)
    found = detector(*((box, PERSON, score) for box, score in zip(boxes, scores, strict=True)), max_people=2)
    people = found.detect(picture)
    assert [[place for place, joint in enumerate(person.body) if joint] for person in people] == [[15], [14]]


def test_threads_may_share_it(detector: Callable[..., DWPoseDetector]) -> None:
    box: Box = (50, 50, 590, 590)
    shared = detector((box, PERSON, 0.9))
    pictures = [picture_of([places(box, set(range(first, 17)))], 640, 640) for first in (0, 5, 9)]
    alone = [shared.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(shared.detect, pictures * 3)) == alone * 3


def test_a_file_that_is_no_network_is_told(tmp_path: Path) -> None:
    config = PoseEstimatorConfig.model_validate({"detector": "dwpose", "weights": {"source": str(tmp_path)}})
    (tmp_path / "yolox_l.onnx").write_bytes(b"version https://git-lfs")
    with pytest.raises(DetectorUnavailable, match=r"yolox_l\.onnx' is not a network"):
        DWPoseDetector(config)


def test_loading_prints_nothing(detector: Callable[..., DWPoseDetector], capfd: pytest.CaptureFixture[str]) -> None:
    detector()
    assert capfd.readouterr() == ("", "")
