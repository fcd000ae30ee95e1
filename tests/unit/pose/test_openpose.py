"""The opt-in OpenPose: controlnet_aux's own code around networks that answer what a test says."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config.schema import PoseEstimatorConfig
from deployments.pose.detector import DetectorUnavailable
from deployments.pose.openpose import OpenPoseDetector
from deployments.types import Person
from tests.unit.pose.figures import RIGHT_ARM_UP, STANDING, body


def of(folder: Path, **changed: Any) -> PoseEstimatorConfig:
    arguments = {"detector": "openpose", "weights": {"source": str(folder)}, **changed}
    return PoseEstimatorConfig.model_validate(arguments)


class Networks:
    """What they find, in pixels, and what they were shown."""

    def __init__(self, folder: Path) -> None:
        self.config = of(folder)
        self.bodies: list[tuple[Person, float]] = []  # in fractions, with their scores
        self.hand = np.zeros((21, 2), int)
        self.seen: list[Any] = []
        self.files: list[Path] = []


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Networks:
    """Stands in for them in controlnet_aux, of which the module of poses alone is imported, without its faces."""
    networks = Networks(tmp_path)
    for part in ("body", "hand"):
        torch.save({"weight": torch.zeros(1)}, tmp_path / f"{part}_pose_model.pth")
    installed = importlib.util.find_spec("controlnet_aux")
    assert installed is not None
    assert installed.origin is not None
    package, faces = ModuleType("controlnet_aux"), ModuleType("controlnet_aux.open_pose.face")
    package.__path__ = [str(Path(installed.origin).parent)]
    vars(faces).update(Face=None)
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", "")  # it sets this
    for name, module in {"controlnet_aux": package, faces.__name__: faces}.items():
        monkeypatch.setitem(sys.modules, name, module)
    open_pose = importlib.import_module("controlnet_aux.open_pose")
    format_body_result = open_pose.Body.format_body_result

    class Body:
        def __init__(self, file: Path) -> None:
            networks.files.append(file)
            self.format_body_result = format_body_result

        def __call__(self, pixels: Any) -> tuple[Any, Any]:
            networks.seen.append(pixels)
            height, width, _ = pixels.shape
            candidates: list[Any] = []
            subset = []
            for person, score in networks.bodies:
                indices = []
                for joint in person.body:
                    indices.append(-1 if joint is None else len(candidates))
                    if joint:
                        candidates.append((joint[0] * width, joint[1] * height, 0.9, len(candidates)))
                subset.append([*indices, score, 18])
            return np.array(candidates), np.array(subset).reshape(-1, 20)

    class Hand:
        def __init__(self, file: Path) -> None:
            networks.files.append(file)

        def __call__(self, _pixels: Any) -> Any:
            return networks.hand.copy()

    monkeypatch.setattr(open_pose, "Body", Body)
    monkeypatch.setattr(open_pose, "Hand", Hand)
    return networks


scipy_moved = pytest.mark.filterwarnings("ignore:Please import `gaussian_filter`:DeprecationWarning")


@scipy_moved
def test_bodies(networks: Networks) -> None:
    networks.bodies = [(Person(body=body(STANDING)), 20.0), (Person(body=(None, *body(RIGHT_ARM_UP)[1:])), 30.0)]
    people = OpenPoseDetector(networks.config).detect(Image.new("RGB", (500, 400)))
    assert len(people) == 2
    for person, (expected, _) in zip(people, reversed(networks.bodies), strict=True):  # the clearest first
        for joint, at in zip(person.body, expected.body, strict=True):
            assert joint == (None if at is None else pytest.approx(at))


@scipy_moved
def test_hands_with_what_is_not_seen_of_them(networks: Networks) -> None:
    networks.bodies = [(Person(body=body(RIGHT_ARM_UP)), 20.0)]
    networks.hand[8] = 10, 12
    (person,) = OpenPoseDetector(networks.config).detect(Image.new("RGB", (500, 500)))
    for hand, wrist in ((person.left_hand, "left wrist"), (person.right_hand, "right wrist")):
        assert [place for place, joint in enumerate(hand) if joint] == [8]
        joint = hand[8]
        assert joint is not None
        assert joint == pytest.approx(RIGHT_ARM_UP[wrist], abs=0.2)


@scipy_moved
def test_a_hand_of_which_nothing_is_seen_is_none(networks: Networks) -> None:
    networks.bodies = [(Person(body=body(STANDING)), 20.0)]
    (person,) = OpenPoseDetector(networks.config).detect(Image.new("RGB", (500, 500)))
    assert (person.left_hand, person.right_hand) == ((), ())


@scipy_moved
def test_the_network_sees_a_smaller_picture_in_bgr(networks: Networks) -> None:
    assert OpenPoseDetector(networks.config).detect(Image.new("RGB", (3000, 1500), (255, 0, 0))) == ()
    assert networks.seen[0].shape == (384, 768, 3)
    assert tuple(networks.seen[0][0, 0]) == (0, 0, 255)


@scipy_moved
def test_no_more_people_than_allowed(networks: Networks) -> None:
    networks.bodies = [(Person(body=body(STANDING)), score) for score in (1.0, 3.0, 2.0)]
    config = networks.config.model_copy(update={"max_people": 2})
    assert len(OpenPoseDetector(config).detect(Image.new("RGB", (64, 64)))) == 2


@scipy_moved
def test_the_licence_is_told_and_the_weights_are_those_of_the_folder(
    networks: Networks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        OpenPoseDetector(networks.config)
    assert "non-commercial use only" in caplog.text
    assert networks.files == [tmp_path / "body_pose_model.pth", tmp_path / "hand_pose_model.pth"]


class Payload:
    """Runs what it is told when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("part", ["body", "hand"])
@pytest.mark.parametrize("torch_allows_code", [False, True])
def test_code_within_weights_does_not_run(
    networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, torch_allows_code: bool
) -> None:
    if torch_allows_code:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    ran, file = tmp_path / "ran", tmp_path / f"{part}_pose_model.pth"
    torch.save({"weight": Payload(f"touch '{ran}'")}, file)
    with pytest.raises(DetectorUnavailable, match=rf"{part}_pose_model\.pth' does not hold weights alone"):
        OpenPoseDetector(networks.config)
    assert not ran.exists()
    assert file not in networks.files
    torch.load(file, weights_only=False)
    assert ran.exists()  # where it may


def test_a_file_that_is_damaged_is_told(networks: Networks, tmp_path: Path) -> None:
    (tmp_path / "hand_pose_model.pth").write_bytes(b"version https://git-lfs")
    with pytest.raises(DetectorUnavailable, match=r"hand_pose_model\.pth' does not hold weights alone"):
        OpenPoseDetector(networks.config)


def test_how_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "controlnet_aux.open_pose", None)  # as if it were not there
    with pytest.raises(
        DetectorUnavailable, match=r"non-?commercial|commercial use.*pip install controlnet-aux==0\.0\.10"
    ):
        OpenPoseDetector(of(tmp_path))


@pytest.fixture(autouse=True)
def threads() -> Any:
    """The detector sets them for its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
