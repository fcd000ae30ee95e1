"""The file of keys, followed while the service runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.mistakes import ConfigError
from config.schema import IngressSettings
from serve_app import live_settings
from serve_app.live_settings import LiveSettings

SECRET = "sk-CANARY"
SETTINGS: dict[str, Any] = {
    "models": [{"name": "paint", "application": "sdxl", "family": "sdxl"}],
    "default_model": "paint",
    "keys": [{"name": "config", "sha256": "c" * 64}],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


@pytest.fixture
def put(path: Path) -> Callable[..., None]:
    """Puts another file in its place, with keys of these names, or this content."""

    def put_file(*names: str, content: str | None = None) -> None:
        keys = "\n".join(f"- {{name: {name}, sha256: '{ord(name[0]):064x}'}}" for name in names) or "[]"
        beside = path.with_suffix(".new")
        beside.write_text(keys if content is None else content)
        os.replace(beside, path)

    return put_file


@pytest.fixture
def live(path: Path, put: Callable[..., None]) -> LiveSettings:
    put("first")
    return LiveSettings(IngressSettings.model_validate({**SETTINGS, "keys_file": str(path)}))


def names(live: LiveSettings) -> list[str]:
    return [key.name for key in live.current.keys]


def test_a_change_is_taken(live: LiveSettings, put: Callable[..., None]) -> None:
    assert names(live) == ["config", "first"]
    put("first", "second")
    assert names(live) == ["config", "first"]
    live.refresh()
    assert names(live) == ["config", "first", "second"]
    put()
    live.refresh()
    assert names(live) == ["config"]
    assert live.current.needs_key


def test_a_link_that_leads_elsewhere_is_a_change(path: Path, tmp_path: Path) -> None:
    """As the cluster changes a mounted secret."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.yaml").write_text(f"- {{name: {name}, sha256: {'a' * 64}}}")
    (tmp_path / "data").symlink_to("one")
    path.symlink_to("data/keys.yaml")
    live = LiveSettings(IngressSettings.model_validate({**SETTINGS, "keys_file": str(path)}))
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "data")
    live.refresh()
    assert names(live) == ["config", "two"]


@pytest.mark.parametrize("content", ["", SECRET, f"- {SECRET}: [", f"- {{name: a, sha256: {SECRET}}}", None])
def test_a_file_that_turns_bad_changes_nothing_and_is_told_once(
    content: str | None, live: LiveSettings, path: Path, put: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    if content is None:
        path.unlink()
    else:
        put(content=content)
    for _ in range(3):
        live.refresh()
    assert names(live) == ["config", "first"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"The keys in force stay: keys_file: {path}: " in record.getMessage()
    assert "CANARY" not in caplog.text
    put(content="bad once more")
    live.refresh()
    assert len(caplog.records) == 2
    put("good")
    live.refresh()
    assert names(live) == ["config", "good"]


def test_a_file_that_could_not_be_read_just_then_is_read_again(
    live: LiveSettings, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: IngressSettings) -> IngressSettings:
        raise ConfigError("keys_file: too many open files")

    put()
    with monkeypatch.context() as patched:
        patched.setattr(live_settings, "with_keys_of_file", fails)
        live.refresh()
        live.refresh()
    assert names(live) == ["config", "first"]
    assert len(caplog.records) == 1
    live.refresh()
    assert names(live) == ["config"]


def test_a_file_that_has_not_changed_is_not_read_again(live: LiveSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_settings, "with_keys_of_file", lambda _: pytest.fail("it was read"))
    live.refresh()


def test_without_a_file_there_is_nothing_to_follow() -> None:
    settings = IngressSettings.model_validate(SETTINGS)
    live = LiveSettings(settings)
    live.refresh()
    assert live.current is settings


def test_a_file_that_is_bad_at_first_is_an_error(path: Path) -> None:
    for write in (lambda: None, lambda: path.write_text(SECRET)):
        write()
        with pytest.raises(ConfigError, match=str(path)):
            LiveSettings(IngressSettings.model_validate({**SETTINGS, "keys_file": str(path)}))
