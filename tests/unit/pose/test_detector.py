"""The registry of detectors, what they share, and where their weights come from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from config.schema import DetectorName, PoseEstimatorConfig, Weights
from deployments.pose import weights
from deployments.pose.detector import DETECTORS, DetectorUnavailable, from_coco17, load_detector
from deployments.pose.skeleton import JOINTS
from deployments.pose.weights import weights_file

REVISION = "0123456789" * 4
COCO17 = [
    "nose",
    *[f"{side} {joint}" for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
      for side in ("left", "right")],
]  # fmt: skip


def test_every_detector_that_a_config_may_name_exists() -> None:
    assert set(DETECTORS) == set(get_args(DetectorName))
    for place in DETECTORS.values():
        module, _, name = place.partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), type)


def test_the_detector_of_that_name_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    from deployments.pose import mediapipe

    loaded: list[Any] = []
    monkeypatch.setattr(mediapipe, "MediaPipeDetector", loaded.append)
    config = PoseEstimatorConfig()
    load_detector(config)
    assert loaded == [config]


def test_the_registry_imports_none_of_them(imports: Callable[[str], set[str]]) -> None:
    assert not imports("deployments.pose.detector") & {"cv2", "mediapipe", "onnxruntime", "rtmlib", "torch", "PIL"}


def test_cocos_17_joints_in_the_order_of_ours() -> None:
    places = {name: (index / 100, index / 50) for index, name in enumerate(COCO17)}
    body = dict(zip(JOINTS, from_coco17(list(places.values())), strict=True))
    neck = body.pop("neck")
    assert body == places
    left, right = places["left shoulder"], places["right shoulder"]
    assert neck == pytest.approx(((left[0] + right[0]) / 2, (left[1] + right[1]) / 2))


@pytest.mark.parametrize("lacking", [5, 6])
def test_no_neck_without_both_shoulders(lacking: int) -> None:
    joints: list[Any] = [(0.5, 0.5)] * 17
    joints[lacking] = None
    assert from_coco17(joints)[1] is None


class TestWeightsFile:
    def test_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "a.onnx").touch()
        assert weights_file(Weights(source=str(tmp_path)), "a.onnx") == tmp_path / "a.onnx"

    def test_what_a_folder_lacks_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(DetectorUnavailable, match=r"there is no '.*/a\.onnx'"):
            weights_file(Weights(source=str(tmp_path)), "a.onnx")

    def test_of_a_repository_at_its_commit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(repository: str, name: str, revision: str) -> str:
            return f"/hub/{repository}/{revision}/{name}"

        monkeypatch.setattr(weights, "hf_hub_download", download)
        file = weights_file(Weights(source="some/where", revision=REVISION), "a.onnx")
        assert file == Path(f"/hub/some/where/{REVISION}/a.onnx")

    def test_a_hub_that_cannot_be_reached_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(*_: str, revision: str) -> str:
            raise LocalEntryNotFoundError(f"no {revision} here.")

        monkeypatch.setattr(weights, "hf_hub_download", download)
        with pytest.raises(DetectorUnavailable, match=rf"a\.onnx from 'some/where'.*revision {REVISION}.*HF_HOME"):
            weights_file(Weights(source="some/where", revision=REVISION), "a.onnx")
