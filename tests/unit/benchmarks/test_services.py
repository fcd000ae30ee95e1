"""Services as the benchmarks start and stop them."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks import services
from benchmarks.services import PATH, PEERS, Service, easel_config
from config.files import read_serve_file

# Answers what was posted, and has a child that ignores Ctrl-C.
STUB = """
import http.server, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup has it ignored
child = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200 if b"wrapped" in body and self.path == sys.argv[2] else 400)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_easel_is_configured_as_its_operators_would(tmp_path: Path) -> None:
    config = easel_config(8123, str(tmp_path / "pictures"))
    (tmp_path / "easel.yaml").write_text(yaml.safe_dump(config))
    file = read_serve_file(tmp_path / "easel.yaml")
    assert (file.host, file.port) == ("127.0.0.1", 8123)
    assert [model.weights.source for model in file.models] == ["small:sdxl"]
    deployments = [deployment for application in config["applications"] for deployment in application["deployments"]]
    assert [deployment["num_replicas"] for deployment in deployments] == [1, 1]
    assert config["applications"][1]["args"]["torch_threads"] == 1


def test_a_service_is_waited_for_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "STOP_SECONDS", 0.1)
    service = Service(
        "stub",
        lambda port, _: [sys.executable, "-c", STUB, str(port), PATH],
        body=lambda order: {"wrapped": order},
    )
    with service.running({"prompt": "a red circle"}) as running:
        everything = [psutil.Process(running.process), *psutil.Process(running.process).children(recursive=True)]
        assert len(everything) == 2
        assert running.url.endswith(PATH)
    assert not [process for process in everything if process.is_running()]


def test_what_a_service_said_is_told_if_it_does_not_start() -> None:
    service = Service("stub", lambda port, folder: [sys.executable, "-c", "print('no', 'weights')"])
    with pytest.raises(SystemExit, match=r"(?s)stub did not start.*no weights"), service.running({}):
        pass


def test_bentoml_is_talked_to_in_lists() -> None:
    (bentoml,) = (peer for peer in PEERS if peer.name.startswith("BentoML"))
    assert bentoml.body({"seed": 1}) == {"orders": [{"seed": 1}]}
    assert bentoml.answer([{"data": []}]) == {"data": []}
