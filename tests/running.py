"""A service in a process of its own: how it is started and stopped, and where its processes are."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 240  # an idle machine needs a quarter of it; a test has 600, and would end without showing the log
STOP_SECONDS = 90

Service = TypeVar("Service", bound="RunningService")

_PORTS = iter(random.SystemRandom().sample(range(20000, 32000), 1000))  # each is given once


class RunningService:
    """`python -m MODULE CONFIG`; `folder` has the config file and the log."""

    def __init__(self, folder: Path, module: str, config: dict[str, Any], environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.config = config
        with (folder / "log").open("wb") as log:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", module, str(self.write(config))],
                cwd=ROOT,
                env={name: value for name, value in environment.items() if name != "RAY_ADDRESS"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def port(self) -> int:
        port: int = self.config["http_options"]["port"]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write(self, config: dict[str, Any]) -> Path:
        """The config file, with another content."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def log(self) -> str:
        """What it has printed."""
        return (self.folder / "log").read_text(errors="replace")

    def processes(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Those that it started, each with its command line."""
        for process in psutil.Process(self.launcher.pid).children(recursive=True):
            with suppress(psutil.Error):  # it ended just now
                yield process, process.cmdline()

    def actors(self, title: str) -> list[psutil.Process]:
        """The processes of that Ray actor, as `ServeReplica:sdxl:`."""
        return [process for process, command in self.processes() if " ".join(command).startswith(f"ray::{title}")]

    def argument(self, name: str) -> str:
        """What Ray's processes, of this service and no other, were told by that argument, as `--gcs-address`."""
        given = [each for _, command in self.processes() for each in command if each.startswith(f"{name}=")]
        assert given, f"no process has {name}"
        return given[0].removeprefix(f"{name}=")

    def stop(self) -> None:
        """By Ctrl-C, and if that takes too long by force."""
        if self.launcher.poll() is not None:
            return
        self.launcher.send_signal(signal.SIGINT)
        try:
            self.launcher.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for process in psutil.Process(self.launcher.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.launcher.kill()
            self.launcher.wait()


@contextmanager
def started(service: Service, is_ready: Callable[[], bool]) -> Iterator[Service]:
    """Stopped at the end of the block. Where it does not get ready its log is shown."""
    try:
        ends = time.monotonic() + START_SECONDS
        while not is_ready():
            if service.launcher.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"the service did not start:\n{service.log()[-8000:]}")
            time.sleep(0.2)
        yield service
    finally:
        service.stop()


def free_port() -> int:
    """None of those that the system and Ray give out by themselves: the service listens only tens of seconds later."""
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
