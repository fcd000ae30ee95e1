"""The keys of a file: what is taken of it, and what is said of a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.keys import with_keys_of_file
from config.mistakes import ConfigError
from config.schema import IngressSettings

SECRET = "sk-CANARY"
A, B = "a" * 64, "b" * 64
BASE: dict[str, Any] = {
    "models": [{"name": "Paint", "aliases": ["brush"], "application": "sdxl", "family": "sdxl"}],
    "default_model": "paint",
}

Read = Callable[..., IngressSettings]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def read(path: Path) -> Read:
    """The settings with a file of that content, and `keys` beside it."""

    def write_and_read(content: object, *keys: dict[str, Any]) -> IngressSettings:
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(yaml.safe_dump(content))
        return with_keys_of_file(IngressSettings.model_validate({**BASE, "keys_file": str(path), "keys": [*keys]}))

    return write_and_read


def test_keys_of_the_file_come_beside_the_others(read: Read) -> None:
    content = [{"name": "file", "sha256": B, "weight": 3, "models": ["BRUSH"], "max_concurrent": 2}]
    first, second = read(content, {"name": "config", "sha256": A}).keys
    assert (first.name, second.name) == ("config", "file")
    assert (second.sha256, second.weight, second.models, second.max_concurrent) == (B, 3, ("BRUSH",), 2)


def test_a_file_without_keys_does_not_open_the_service(read: Read) -> None:
    settings = read([])
    assert settings.keys == ()
    assert settings.needs_key


def test_without_a_file_nothing_changes() -> None:
    settings = IngressSettings.model_validate(BASE)
    assert with_keys_of_file(settings) is settings
    assert not settings.needs_key


def test_the_file_may_be_below_the_home_folder(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    path.write_text("[]")
    assert with_keys_of_file(IngressSettings.model_validate({**BASE, "keys_file": "~/keys.yaml"})).needs_key


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "must be a list"),
        (b"# nothing", "must be a list"),
        (SECRET.encode(), "must be a list"),
        (f"{SECRET}: {SECRET}".encode(), "must be a list"),
        (f"- {SECRET}: [".encode(), "not YAML"),
        (f"- name: a: {SECRET}".encode(), "not YAML"),
        (f"- !!python/object:os.{SECRET} {{}}".encode(), "not YAML"),
        (f"- &{SECRET}".encode() + b"\xff", "not YAML"),
        (b"[" * 100_000, "not YAML"),
        (b"- {name: !!bool a}", "not YAML"),  # of which PyYAML makes a KeyError
        ([SECRET], "[0]: Input should be"),
        ([None], "[0]: Input should be"),
        ([{"name": "a", "sha256": SECRET}], "[0].sha256: String should match pattern"),
        ([{"name": "a", "sha256": A}, {"name": "b", "sha256": [SECRET]}], "[1].sha256: Input should be"),
        ([{"name": "a"}], "[0].sha256: Field required"),
        ([{"name": "a", "sha256": A, SECRET: 1}], "[0]: has an unknown key; known: name, sha256, weight"),
        ([{"name": SECRET * 10, "sha256": A}], "[0].name: String should have at most 64"),
        ([{"name": "a", "sha256": A, "weight": SECRET}], "[0].weight: "),
        ([{"name": "a", "sha256": A, "max_concurrent": 0}], "[0].max_concurrent: "),
        ([{"name": "a", "sha256": A, "models": ["brush", SECRET]}], "[0].models[1]: is none of the models' names"),
        ([{"name": SECRET, "sha256": A}, {"name": SECRET, "sha256": B}], "[1].name: {path}: [0] has the same"),
        ([{"name": "a", "sha256": B}, {"name": "b", "sha256": B}], "[1].sha256: {path}: [0] has the same"),
    ],
)
def test_a_mistake_is_told_by_file_and_key_path_and_shows_nothing(
    content: object, expected: str, read: Read, path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        read(content)
    told = str(refused.value)
    assert told.startswith(f"keys_file: {path}: {expected.replace('{path}', str(path))}")
    assert "CANARY" not in told + repr(refused.value)
    assert A not in told
    assert B not in told
    assert refused.value.__suppress_context__ or refused.value.__context__ is None  # a traceback shows nothing either


def test_all_mistakes_are_told(read: Read) -> None:
    with pytest.raises(ConfigError) as refused:
        read([{"name": "a", "sha256": "x"}, {"name": "", "sha256": B}])
    first, second = str(refused.value).splitlines()
    assert "[0].sha256: " in first
    assert "[1].name: " in second


@pytest.mark.parametrize(
    ("of_file", "expected"),
    [
        ({"name": "a", "sha256": B}, "[0].name: keys[0] has the same"),
        ({"name": "b", "sha256": A}, "[0].sha256: keys[0] has the same"),
    ],
)
def test_keys_are_told_apart_over_both_places(of_file: dict[str, Any], expected: str, read: Read, path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read([of_file], {"name": "a", "sha256": A})
    assert str(refused.value) == f"keys_file: {path}: {expected}"


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    for place, reason in ((path, "No such file"), (path.parent, "Is a directory")):
        with pytest.raises(ConfigError) as refused:
            with_keys_of_file(IngressSettings.model_validate({**BASE, "keys_file": str(place)}))
        assert str(refused.value).startswith(f"keys_file: {place}: {reason}")
