"""How the local service stops, with stand-ins for Ray and Serve; tests/reliability shows that nothing is lost by it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serve_app import run

CONFIG = "applications: [{name: front, import_path: 'serve_app.app:build'}, {name: sdxl, import_path: 'x:build'}]"


class Serve:
    """Lists `front` so many times more, once it was deleted."""

    def __init__(self, looks: float) -> None:
        self.deleted: list[str] = []
        self._looks = looks

    def delete(self, name: str, _blocking: bool) -> None:
        assert not _blocking
        self.deleted.append(name)

    def status(self) -> Any:
        self._looks -= 1
        return SimpleNamespace(applications={"sdxl": None} | ({"front": None} if self._looks >= 0 else {}))


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those of this process are in force again afterwards."""
    monkeypatch.setattr(run.time, "sleep", lambda _: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_waits_until_the_last_request_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = Serve(looks=3)
    monkeypatch.setattr(run, "serve", serve)
    run.drain(["front"])
    assert serve.deleted == ["front"]
    assert serve._looks < 0


def test_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "serve", Serve(looks=float("inf")))
    run.drain(["front"], seconds=0.01)


def test_a_controller_that_fails_amid_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = Serve(looks=3)
    tell, fails = serve.status, iter([True, False, True])

    def status() -> Any:
        if next(fails, False):
            raise RuntimeError("the controller has died")
        return tell()

    monkeypatch.setattr(serve, "status", status)
    monkeypatch.setattr(run, "serve", serve)
    run.drain(["front"])
    assert serve._looks < 0


def test_nobody_who_reads_what_it_says_keeps_it_from_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    run._say("Finishing what is in flight.")


def test_where_serve_is_gone_there_is_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "serve", None)
    run.drain(["front"])
    assert "nothing to wait for" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_takes_the_ingress_away_before_serve_ends_and_a_second_one_ends_it_at_once(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    happened: list[Any] = []
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)

    def init(**_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Ray does, with a handler of its own
        happened.append("init")

    def serve_run(arguments: list[str]) -> None:
        happened.append(arguments)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)

    monkeypatch.setattr(run, "ray", SimpleNamespace(init=init))
    monkeypatch.setattr(run, "cli", serve_run)
    monkeypatch.setattr(run, "drain", happened.append)
    run.main([str(path)])
    assert happened == ["init", ["run", str(path)], ["front"]]
