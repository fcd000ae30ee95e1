"""We run what we mean to run: no code out of weights or configuration, and what is fetched is pinned."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.schema import Weights
from deployments.pose import landmarker

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for folder in ("config", "deployments", "serve_app") for path in sorted((ROOT / folder).rglob("*.py"))]
LOCKS = [ROOT / name for name in re.findall(r"--output-file (\S+)", (ROOT / "scripts" / "lock.sh").read_text())]
COMMIT = re.compile("[0-9a-f]{40}")
# The only values of arguments that let others run code, and calls that need one. Ruff sees imports and other calls.
SAFE = {
    "allow_pickle": "False",
    "custom_pipeline": "None",
    "shell": "False",
    "trust_remote_code": "False",
    "use_safetensors": "True",
    "verify": "True",
    "weights_only": "True",
}
NEEDED = {"torch.load": "weights_only", ".from_pretrained": "use_safetensors"}


def dangers(source: str) -> Iterator[str]:
    """What the calls of a module could run that is not ours."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call):
            given = {each.arg: ast.unparse(each.value) for each in call.keywords}
            name = ast.unparse(call.func)
            needed = [argument for end, argument in NEEDED.items() if name.endswith(end)]
            yield from (each for each in {*given, *needed} & SAFE.keys() if given.get(each) != SAFE[each])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_it_loads(path: Path) -> None:
    assert list(dangers(path.read_text())) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("torch.load(f); torch.load(f, weights_only=setting)", ["weights_only"] * 2),
        ("M.from_pretrained(name); M.from_pretrained(name, use_safetensors=None)", ["use_safetensors"] * 2),
        ("load(name, trust_remote_code=True)", ["trust_remote_code"]),
        ("numpy.load(f); torch.load(f, weights_only=True); M.from_pretrained(name, use_safetensors=True)", []),
    ],
)
def test_a_danger_is_seen(source: str, found: list[str]) -> None:
    assert list(dangers(source)) == found


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings in `value`."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from parts(part)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_source_of_weights_is_pinned_in_what_is_shipped(path: Path) -> None:
    sources = [part for part in parts(yaml.safe_load(path.read_bytes())) if "source" in part]
    assert sources
    for part in sources:
        assert part["source"].startswith("small:") or COMMIT.fullmatch(part["revision"]), part


@pytest.mark.parametrize("name", ["yzd-v/DWPose", "lllyasviel/Annotators"])
def test_every_repository_that_the_documentation_recommends_is_pinned(name: str) -> None:
    mentions = re.findall(rf"`{name}`(.{{0,50}})", (ROOT / "docs" / "operating.md").read_text())
    assert mentions
    assert all(re.match(rf" at `{COMMIT.pattern}`", mention) for mention in mentions)


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "refs/pr/1", "4621659", "HEAD", "A" * 40])
def test_a_repository_at_no_commit_is_refused(revision: str | None) -> None:
    with pytest.raises(ValueError, match="revision"):
        Weights(source="owner/name", revision=revision)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
class TestLock:
    def test_every_entry_is_a_version_with_hashes(self, path: Path) -> None:
        lines = [
            line.rstrip("\\ ") for line in path.read_text().splitlines() if line and not line.lstrip().startswith("#")
        ]
        entries = [index for index, line in enumerate(lines) if not line.startswith(" ")]
        assert entries
        for index in entries:
            assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*(\[[a-z0-9,-]+\])?==[0-9][^ ]*( ; .*)?", lines[index]), lines[
                index
            ]
            assert lines[index + 1].startswith("    --hash=sha256:"), lines[index]
        for index in set(range(len(lines))) - set(entries):
            assert re.fullmatch("    --hash=sha256:[0-9a-f]{64}", lines[index]), lines[index]

    def test_no_place_is_named_that_it_comes_from(self, path: Path) -> None:
        assert not re.search(r"://|git\+|--(extra-)?index|--find-links| @ ", path.read_text())


def locks_in(script: str) -> list[str]:
    return [name for name in re.findall(r"[\w/.-]+\.lock", script) if name != ".install.lock"]


def test_all_locks_are_looked_at() -> None:
    installed = {name for script in (ROOT / "scripts").glob("install*.sh") for name in locks_in(script.read_text())}
    assert len(installed) >= 4
    assert installed <= {str(path.relative_to(ROOT)) for path in LOCKS}


def test_javascript_packages_have_hashes_and_run_no_scripts() -> None:
    folder = ROOT / "tests" / "clients" / "javascript"
    lock = json.loads((folder / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert [name for name, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package or "link" in package] == []
    assert "ignore-scripts=true" in (folder / ".npmrc").read_text().splitlines()


@pytest.mark.parametrize("path", sorted((ROOT / "scripts").glob("install*.sh")), ids=lambda path: path.name)
def test_whatever_is_installed_from_a_lock_is_checked(path: Path) -> None:
    script = path.read_text().replace("\\\n", " ")
    installs = [line for line in script.splitlines() if re.search(r"\binstall\b.*-r ", line)]
    installs += [line for line in script.splitlines() if line.startswith('"${install[@]}"') and "torch" not in line]
    assert installs
    assert all("--require-hashes" in line for line in installs)


def test_the_wheel_of_pose_networks_is_pinned_by_version_and_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Fetched:
        returncode = 0

    def run(command: list[Any], **_: Any) -> Fetched:
        asked.extend(map(str, command))
        (tmp_path / "mediapipe.whl").touch()
        return Fetched()

    monkeypatch.setattr(landmarker.subprocess, "run", run)
    landmarker._fetch_wheel(tmp_path)
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(asked)
    (requirement,) = Path(asked[-1]).read_text().splitlines()
    assert re.fullmatch(r"mediapipe==[0-9.]+ --hash=sha256:[0-9a-f]{64}", requirement)


def test_nothing_listens_beyond_loopback_by_default() -> None:
    from ray.serve.config import HTTPOptions

    local = yaml.safe_load((ROOT / "config" / "local.yaml").read_bytes())
    assert local["http_options"]["host"] == "127.0.0.1"
    assert "grpc_options" not in local  # Serve's other proxy
    assert HTTPOptions().host == "127.0.0.1"  # of a file without the key
