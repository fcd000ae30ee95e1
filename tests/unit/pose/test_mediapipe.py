"""The embedded detector on photos and figures whose joints are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.data
from PIL import Image

from config.schema import PoseEstimatorConfig
from deployments.pose import mediapipe
from deployments.pose.detector import DetectorUnavailable
from deployments.pose.mediapipe import MediaPipeDetector
from deployments.pose.skeleton import JOINTS
from deployments.types import Person
from tests.unit.pose.figures import LEFT_LEG_OUT, RIGHT_ARM_UP, STANDING, Pose, figure, mirrored, placed

# In pixels of scikit-image's astronaut, 512 × 512, as mediapipe 0.10.21 and 1.2.2 agree on them.
ASTRONAUT = {
    "nose": (222.7, 128.0),
    "left eye": (248.9, 112.5),
    "right eye": (205.0, 103.3),
    "left ear": (268.0, 122.8),
    "right ear": (190.4, 107.4),
    "left shoulder": (306.2, 256.6),
    "right shoulder": (112.7, 240.0),
    "neck": (209.4, 248.3),
    "right elbow": (64.6, 413.6),
}
UNSEEN = {"right hip", "left hip", "right knee", "left knee", "right ankle", "left ankle"}


@pytest.fixture(scope="module")
def detector() -> Iterator[MediaPipeDetector]:
    detector = MediaPipeDetector(PoseEstimatorConfig())
    yield detector
    detector.close()


def distances(person: Person, pose: Pose, size: tuple[int, int]) -> dict[str, float]:
    """Pixels from where each joint of `pose`, in fractions of the picture's height, was found."""
    found = dict(zip(JOINTS, person.body, strict=True))
    return {
        name: math.dist((at[0] * size[0], at[1] * size[1]), (pose[name][0] * size[1], pose[name][1] * size[1]))
        for name in pose
        if (at := found[name])
    }


def test_a_photo(detector: MediaPipeDetector) -> None:
    (person,) = detector.detect(Image.fromarray(skimage.data.astronaut()))
    found = dict(zip(JOINTS, person.body, strict=True))
    for name, expected in ASTRONAUT.items():
        joint = found[name]
        assert joint is not None, name
        assert math.dist((joint[0] * 512, joint[1] * 512), expected) < 15, name
    assert {name for name in UNSEEN if found[name]} == set()
    assert (person.left_hand, person.right_hand) == ((), ())


@pytest.mark.parametrize("side", [256, 1024])
def test_the_size_of_a_photo_does_not_matter(detector: MediaPipeDetector, side: int) -> None:
    (person,) = detector.detect(Image.fromarray(skimage.data.astronaut()).resize((side, side)))
    nose = person.body[0]
    assert nose is not None
    assert math.dist((nose[0] * 512, nose[1] * 512), ASTRONAUT["nose"]) < 15


@pytest.mark.parametrize(
    ("pose", "size"),
    [
        pytest.param(STANDING, (512, 512), id="standing"),
        pytest.param(RIGHT_ARM_UP, (512, 512), id="right arm up"),
        pytest.param(mirrored(RIGHT_ARM_UP), (512, 512), id="left arm up"),
        pytest.param(LEFT_LEG_OUT, (512, 512), id="left leg out"),
        pytest.param(placed(STANDING, 0.5, 0.25, 0.25), (512, 512), id="small"),
        pytest.param(placed(RIGHT_ARM_UP, 1.0, 0.3), (900, 512), id="in a wide picture"),
        pytest.param(placed(RIGHT_ARM_UP, 0.5, 0.0, 0.3), (256, 512), id="in a tall picture"),
    ],
)
def test_a_figure(detector: MediaPipeDetector, pose: Pose, size: tuple[int, int]) -> None:
    (person,) = detector.detect(figure(pose, width=size[0], height=size[1]))
    errors = distances(person, pose, size)
    assert set(errors) == set(JOINTS)
    assert sum(errors.values()) / len(errors) < 15
    assert max(errors.values()) < 30


@pytest.mark.parametrize(("pose", "raised"), [(RIGHT_ARM_UP, "right"), (mirrored(RIGHT_ARM_UP), "left")])
def test_left_and_right_are_the_persons_own(detector: MediaPipeDetector, pose: Pose, raised: str) -> None:
    (person,) = detector.detect(figure(pose))
    found = dict(zip(JOINTS, person.body, strict=True))
    above = {side for side in ("right", "left") if _height(found, f"{side} wrist") > _height(found, f"{side} shoulder")}
    assert above == {raised}


def _height(found: dict[str, tuple[float, float] | None], joint: str) -> float:
    at = found[joint]
    assert at is not None
    return 1 - at[1]


def test_two_figures(detector: MediaPipeDetector) -> None:
    poses = STANDING, placed(RIGHT_ARM_UP, x=1.0)
    people = detector.detect(figure(*poses, width=1024))
    assert len(people) == 2
    for person, pose in zip(sorted(people, key=lambda person: person.body[0] or (0, 0)), poses, strict=True):
        errors = distances(person, pose, (1024, 512))
        assert sum(errors.values()) / len(errors) < 15


def test_no_more_people_than_allowed() -> None:
    detector = MediaPipeDetector(PoseEstimatorConfig(max_people=1))
    try:
        assert len(detector.detect(figure(STANDING, placed(RIGHT_ARM_UP, x=1.0), width=1024))) == 1
    finally:
        detector.close()


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_a_photo_of_nobody(detector: MediaPipeDetector, name: str) -> None:
    assert detector.detect(Image.fromarray(getattr(skimage.data, name)())) == ()


@pytest.mark.parametrize("colour", ["black", "white", "grey"])
@pytest.mark.parametrize("size", [(512, 512), (1, 1), (2000, 3)])
def test_an_empty_picture(detector: MediaPipeDetector, colour: str, size: tuple[int, int]) -> None:
    assert detector.detect(Image.new("RGB", size, colour)) == ()


def test_noise(detector: MediaPipeDetector) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    assert detector.detect(Image.fromarray(noise)) == ()


def test_threads_may_share_it(detector: MediaPipeDetector) -> None:
    pictures = [figure(STANDING), figure(RIGHT_ARM_UP), Image.new("RGB", (64, 64))]
    alone = [detector.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(detector.detect, pictures * 8))
    assert together == alone * 8


def test_loading_it_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    MediaPipeDetector(PoseEstimatorConfig()).close()
    assert capfd.readouterr() == ("", "")


def test_missing_system_libraries_are_told_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise OSError("libGLESv2.so.2: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(mediapipe, "landmarker_model", missing)
    with pytest.raises(DetectorUnavailable, match=r"libGLESv2.so.2.*apt-get install libegl1 libgles2"):
        MediaPipeDetector(PoseEstimatorConfig())


def test_other_errors_of_the_system_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mediapipe, "landmarker_model", full)
    with pytest.raises(OSError, match="No space"):
        MediaPipeDetector(PoseEstimatorConfig())
