"""`python -m serve_app`, up to where Ray begins; the rest is tested in tests/serve."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.files import ServeFile
from serve_app import __main__ as command
from tests.loopback import serving

ROOT = Path(__file__).parents[3]

Answer = tuple[int, dict[str, str]]


class Process:
    """Stands in for `serve run`: ends by itself with `status`, if that is not None, or when it is sent a signal."""

    def __init__(self, status: int | None = None) -> None:
        self.status = status
        self.signals: list[int] = []

    def poll(self) -> int | None:
        return self.status

    def wait(self) -> int:
        return self.status or 0

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        self.status = 0


@pytest.fixture(autouse=True)
def _signals_and_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command.time, "sleep", lambda _: None)


@pytest.fixture
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.subprocess, "Popen", lambda *_, **__: pytest.fail("must not start anything"))


@pytest.fixture
def answers() -> list[Answer]:
    """What /readyz answers, in turn; the last one again and again."""
    return []


@pytest.fixture
def file(answers: list[Answer]) -> Iterator[ServeFile]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/readyz"
            status, models = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"models": models}).encode() if models else b"not JSON")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield ServeFile(host="127.0.0.1", port=server.server_address[1], models=(), poses=(), needs_key=False)


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    """Writes the shipped configuration with a change."""

    def write(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Path:
        content = yaml.safe_load((ROOT / "config" / "local.yaml").read_bytes())
        change(content)
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


class TestWrongConfig:
    @pytest.mark.usefixtures("no_start")
    def test_ends_with_status_2_and_the_key_path(
        self, config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = config(lambda content: content["applications"][1]["args"].update(devise="cpu", dtype="half"))
        assert command.main([str(path)]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert f"{path}: applications[1].args: unknown key 'devise'; did you mean 'device'?" in told.err

    @pytest.mark.usefixtures("no_start")
    def test_that_is_not_text(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path = tmp_path / "picture.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n\xff")
        assert command.main([str(path)]) == 2
        assert f"{path}: not YAML" in capsys.readouterr().err

    @pytest.mark.usefixtures("no_start")
    @pytest.mark.parametrize(("name", "reason"), [("absent.yaml", "No such file"), (".", "Is a directory")])
    def test_that_cannot_be_read(
        self, name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert command.main([str(tmp_path / name)]) == 2
        told = capsys.readouterr()
        assert reason in told.err
        assert str(tmp_path) in told.err

    @pytest.mark.usefixtures("no_start")
    def test_that_names_a_bad_file_of_keys(
        self, config: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        keys = tmp_path / "keys.yaml"
        keys.write_text("- {name: a, key: sk-secret}")
        path = config(
            lambda content: content["applications"][0]["deployments"][0]["user_config"].update(keys_file=str(keys))
        )
        assert command.main([str(path)]) == 2
        told = capsys.readouterr().err
        assert f"user_config: keys_file: {keys}: [0]: has an unknown key" in told
        assert "sk-secret" not in told

    def test_from_a_shell_starts_no_ray(self, config: Callable[..., Path]) -> None:
        path = config(lambda content: content.pop("applications"))
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "serve_app", str(path)], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert f"{path}: applications: Field required" in done.stderr
        assert "Traceback" not in done.stderr
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import")}
        assert "config.files" in imported
        assert {"ray", "torch", "diffusers"} & imported == set()


def test_help_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--help"])
    assert ended.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for words in ("usage: python -m serve_app", "a Serve config file", "Checks the config file", "Ctrl-C stops it"):
        assert words in told


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--prot", "1"])
    assert ended.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_anything_starts(
    config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        path = config(lambda content: content["http_options"].update(port=other.getsockname()[1]))
        assert command.main([str(path)]) == 2
    assert "http_options: cannot listen" in capsys.readouterr().err


class TestEnvironment:
    def test_lets_replicas_import_our_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PYTHONPATH", raising=False)
        assert command.environment()["PYTHONPATH"] == str(ROOT)

    def test_keeps_what_was_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", "/theirs")
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "theirs")
        monkeypatch.setenv("HF_HOME", "/weights")
        environment = command.environment()
        assert environment["PYTHONPATH"] == f"{ROOT}{os.pathsep}/theirs"
        assert environment["RAY_AUTH_MODE"] == "disabled"
        assert environment["RAY_AUTH_TOKEN"] == "theirs"
        assert environment["HF_HOME"] == "/weights"

    def test_has_a_token_that_is_new_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        first, second = command.environment(), command.environment()
        assert first["RAY_AUTH_MODE"] == second["RAY_AUTH_MODE"] == "token"
        assert len(first["RAY_AUTH_TOKEN"]) == 64
        assert first["RAY_AUTH_TOKEN"] != second["RAY_AUTH_TOKEN"]
        assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} & os.environ.keys()

    def test_leaves_a_token_in_a_file_to_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/theirs")
        assert "RAY_AUTH_TOKEN" not in command.environment()


class TestTelling:
    def test_tells_each_change_once_until_all_is_ready(
        self, file: ServeFile, answers: list[Answer], capsys: pytest.CaptureFixture[str]
    ) -> None:
        answers += [
            (404, {}),  # Serve listens, the ingress is not there yet
            (503, {"paint": "deploying", "other": "not deployed"}),
            (503, {"paint": "deploying", "other": "not deployed"}),
            (503, {"paint": "running (1 replica)", "other": "deploying"}),
            (200, {"paint": "running (1 replica)", "other": "running (2 replicas)"}),
        ]
        assert command._tell_until_ready(file, Process())  # type: ignore[arg-type]
        assert capsys.readouterr().out.splitlines() == [
            "paint: deploying",
            "other: not deployed",
            "paint: running (1 replica)",
            "other: deploying",
            "other: running (2 replicas)",
        ]

    def test_ends_when_a_model_has_failed_for_good(self, file: ServeFile, answers: list[Answer]) -> None:
        answers += [(503, {"paint": "deploying", "other": "running (1 replica)"}), (503, {"paint": "deploy failed"})]
        assert not command._tell_until_ready(file, Process())  # type: ignore[arg-type]

    def test_ends_when_the_process_has_ended(self, file: ServeFile) -> None:
        assert not command._tell_until_ready(file, Process(status=1))  # type: ignore[arg-type]

    def test_waits_while_nobody_listens(self) -> None:
        with socket.socket() as bound:  # and not listening: nobody else gets the port
            bound.bind(("127.0.0.1", 0))
            file = ServeFile(host="127.0.0.1", port=bound.getsockname()[1], models=(), poses=(), needs_key=False)
            assert command._readiness(file) == (0, {})


class TestMain:
    """The whole command, with a stand-in for `serve run`."""

    @pytest.fixture
    def started(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, Any]]]:
        return []

    @pytest.fixture
    def process(self, monkeypatch: pytest.MonkeyPatch, started: list[tuple[list[str], dict[str, Any]]]) -> Process:
        process = Process()

        def start(arguments: list[str], **options: Any) -> Process:
            started.append((arguments, options))
            return process

        monkeypatch.setattr(command.subprocess, "Popen", start)
        monkeypatch.setattr(command, "_is_free", lambda *_: True)  # the stand-in for the service is there already
        monkeypatch.setattr("deployments.pose.landmarker.landmarker_model", lambda: Path("landmarker"))
        return process

    def test_runs_serve_and_says_when_it_is_ready(
        self,
        process: Process,
        started: list[tuple[list[str], dict[str, Any]]],
        file: ServeFile,
        answers: list[Answer],
        config: Callable[..., Path],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token")
        answers.append((200, {"paint": "running (1 replica)"}))
        path = config(lambda content: content["http_options"].update(port=file.port))
        monkeypatch.chdir(path.parent)
        assert command.main([path.name]) == 0
        ((arguments, options),) = started
        assert arguments == [sys.executable, "-m", "serve_app.run", str(path)]
        assert options["cwd"] == ROOT
        assert options["env"] == command.environment()
        told, warned = capsys.readouterr()
        assert f"Easel is ready on http://localhost:{file.port}" in told
        assert "a-token" not in told + warned + str(arguments)  # a command line is seen by all users
        assert process.signals == []

    def test_stops_serve_when_a_model_has_failed_for_good(
        self, process: Process, file: ServeFile, answers: list[Answer], config: Callable[..., Path]
    ) -> None:
        answers.append((503, {"paint": "deploy failed"}))
        path = config(lambda content: content["http_options"].update(port=file.port))
        assert command.main([str(path)]) == 1
        assert process.signals == [signal.SIGINT]

    def test_gives_up_on_an_ingress_that_never_answers(
        self,
        process: Process,
        config: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(command, "INGRESS_SECONDS", 0)
        monkeypatch.setattr(command, "_readiness", lambda _: (0, {}))
        assert command.main([str(config(lambda _: None))]) == 1
        assert "does not answer" in capsys.readouterr().err
        assert process.signals == [signal.SIGINT]

    def test_ends_as_serve_ends(
        self, process: Process, config: Callable[..., Path], capsys: pytest.CaptureFixture[str]
    ) -> None:
        process.status = 7
        assert command.main([str(config())]) == 7
        assert "ready" not in capsys.readouterr().out
