"""From configuration to the files of a detector's networks: those of a local folder, or fetched from the hub once."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import hf_hub_download

from config.schema import DetectorName, Weights
from deployments.pose.detector import DetectorUnavailable

WEIGHTS_FILES: dict[DetectorName, tuple[str, str]] = {  # of each detector that has some: people, then their parts
    "dwpose": ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"),
    "openpose": ("body_pose_model.pth", "hand_pose_model.pth"),
}


def weights_file(weights: Weights, name: str) -> Path:
    """The file `name` of a folder or hub repository. Raises DetectorUnavailable when it cannot be had."""
    folder = Path(weights.source).expanduser()
    if weights.revision is None or folder.is_dir():  # a repository always has a revision: the schema sees to it
        if not (folder / name).is_file():
            raise DetectorUnavailable(f"there is no '{folder / name}'; weights.source must be a folder that holds it")
        return folder / name
    try:
        return Path(hf_hub_download(weights.source, name, revision=weights.revision))
    except (OSError, ValueError) as error:
        raise DetectorUnavailable(
            f"cannot fetch {name} from '{weights.source}': {str(error).rstrip('. ')}. Check the name and revision "
            f"{weights.revision}, and that the hub can be reached; without network, or with HF_HUB_OFFLINE, the cache "
            "in HF_HOME must have it."
        ) from error
