"""What was prefetched from a hub is enough to load without one, and little more is fetched."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployments import prefetch
from deployments.models.small import small_model
from tests.loopback import serving

ROOT = Path(__file__).parents[2]
COMMIT = "1234567890" * 4
LOAD = """
import sys, warnings
warnings.simplefilter("ignore")
from config.files import read_serve_file
from pathlib import Path
from deployments.models.assembly import load_model
from deployments.pose.weights import WEIGHTS_FILES, weights_file
file = read_serve_file(Path(sys.argv[1]))
load_model(file.models[0])
[weights_file(pose.weights, name) for pose in file.poses for name in WEIGHTS_FILES[pose.detector]]
"""


class Hub:
    """As much of a hub's HTTP as fetching needs. Its repositories are folders, each at one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.sent: set[str] = set()  # files, as owner/name/path

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        _, kind, *rest = path.partition("?")[0].split("/")
        if kind != "api":  # /owner/name/resolve/commit/path
            repository, file = f"{kind}/{rest[0]}", "/".join(rest[3:])
            return self._file(repository, file)
        repository = "/".join(rest[1:3])  # /api/models/owner/name, and maybe /tree/commit or /revision/commit
        folder = self.folder / repository
        files = {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        tree = [{"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in files.items()]
        about = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        return 200, {}, json.dumps(tree if rest[3:4] == ["tree"] else about).encode()

    def _file(self, repository: str, name: str) -> tuple[int, dict[str, str], bytes]:
        file = self.folder / repository / name
        if not file.is_file():
            return 404, {"x-error-code": "EntryNotFound"}, b""
        content = file.read_bytes()
        etag = hashlib.sha256(name.encode() + content).hexdigest()
        return 200, {"etag": f'"{etag}"', "x-repo-commit": COMMIT}, content


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path / "hub")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)
                if "/resolve/" in self.path:
                    hub.sent.add(self.path[1:].replace(f"/resolve/{COMMIT}", ""))

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    with serving(server):
        yield hub


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """SDXL with poses, all of it from the hub."""
    content = yaml.safe_load((ROOT / "config" / "serve.yaml").read_bytes())
    applications = {each["name"]: each for each in content["applications"]}
    model, pose = applications["sdxl-pose"]["args"], applications["pose"]["args"]
    for part, name in {"weights": "sdxl", "vae": "vae", "controlnet": "controlnet"}.items():
        model[part] = {"source": f"easel/{name}", "revision": COMMIT}
    model |= {"dtype": "float32", "device": "cpu"}
    pose["weights"] = {"source": "easel/poses", "revision": COMMIT}
    content["applications"] = [applications["sdxl-pose"], applications["pose"]]
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.long("loads models four times in processes of their own, a minute")
def test_what_was_fetched_is_enough_and_little_more(hub: Hub, config: Path, tmp_path: Path) -> None:
    shutil.copytree(small_model("sdxl"), hub.folder / "easel" / "sdxl")
    shutil.copytree(small_model("sdxl") / "vae", hub.folder / "easel" / "vae")
    shutil.copytree(small_model("sdxl-pose"), hub.folder / "easel" / "controlnet")
    useless = {"sdxl/unet/diffusion_pytorch_model.bin", "sdxl/all_of_it.safetensors", "vae/again.safetensors"}
    useless |= {"controlnet/diffusion_pytorch_model_twins.safetensors", "poses/body_pose_model.pth"}
    for name in {*useless, "poses/yolox_l.onnx", "poses/dw-ll_ucoco_384.onnx"}:
        file = hub.folder / "easel" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"weights")
    cache = {"HF_HOME": str(tmp_path / "cache"), "HF_ENDPOINT": hub.url}

    missing = run(["-c", LOAD, str(config)], **cache, HF_HUB_OFFLINE="1")
    assert "cannot load" in missing.stderr

    fetched = run(["-m", "deployments.prefetch", str(config)], **cache, HF_HUB_OFFLINE="0")
    assert fetched.returncode == 0, fetched.stderr
    assert not hub.sent & {f"easel/{name}" for name in useless | {"sdxl/vae/diffusion_pytorch_model.safetensors"}}

    loaded = run(["-c", LOAD, str(config)], **cache, HF_HUB_OFFLINE="1")
    assert loaded.returncode == 0, loaded.stderr

    hub.sent.clear()
    assert run(["-m", "deployments.prefetch", str(config)], **cache, HF_HUB_OFFLINE="0").returncode == 0
    assert hub.sent == set()


def test_what_is_made_here_is_made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(prefetch, "landmarker_model", lambda: Path("landmarker"))
    assert prefetch.main([str(ROOT / "config" / "local.yaml")]) == 0
    assert capsys.readouterr().out.splitlines() == ["mediapipe: landmarker"]


def test_a_wrong_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "serve.yaml"
    path.write_text("applications: 3")
    assert prefetch.main([str(path)]) == 2
    assert "applications" in capsys.readouterr().err


def test_what_cannot_be_had_is_told(config: Path, tmp_path: Path) -> None:
    offline = run(["-m", "deployments.prefetch", str(config)], HF_HOME=str(tmp_path / "cache"), HF_HUB_OFFLINE="1")
    assert offline.returncode == 1
    assert "easel/sdxl" in offline.stderr
