"""mediapipe's model, made from a wheel: once, whole, and always the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from config.schema import PoseEstimatorConfig
from deployments.pose import landmarker
from deployments.pose.detector import DetectorUnavailable
from deployments.pose.landmarker import landmarker_model
from deployments.pose.mediapipe import MediaPipeDetector


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_it_is_made_as_it_was_made_before(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = MediaPipeDetector(PoseEstimatorConfig())
    (astronaut,) = detector.detect(Image.fromarray(skimage.data.astronaut()))
    detector.close()
    assert astronaut.body[0] == pytest.approx((222.7 / 512, 128 / 512), abs=0.02)  # the nose
    made = landmarker_model()
    assert made.is_relative_to(empty_cache)
    assert list(made.parent.iterdir()) == [made]
    monkeypatch.undo()
    assert made.read_bytes() == landmarker_model().read_bytes()


def test_networks_are_stored_where_they_can_be_read_in_place() -> None:
    model = landmarker_model()
    content = model.read_bytes()
    with zipfile.ZipFile(model) as bundle:
        assert bundle.namelist() == ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
        for name in bundle.namelist():
            network = bundle.read(name)
            assert network[4:8] == b"TFL3"
            assert b"TFLITE_METADATA" in network
            assert content.index(network) % 16 == 0


def test_what_is_there_is_not_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = landmarker_model()
    monkeypatch.delattr(landmarker, "_fetch_wheel")
    assert landmarker_model() == model


@pytest.mark.usefixtures("unreachable")
def test_an_index_that_cannot_be_reached_is_told(empty_cache: Path) -> None:
    with pytest.raises(DetectorUnavailable, match=r"mediapipe==0\.10\.21.*\n.*PIP_INDEX_URL.*landmarker"):
        landmarker_model()
    assert [path for path in empty_cache.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("empty_cache")
def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as wheel:
        wheel.writestr("mediapipe/modules/pose_detection/pose_detection.tflite", b"evil")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(DetectorUnavailable, match="HASHES"):
        landmarker_model()
