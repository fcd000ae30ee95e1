"""The sandbox's worker with decoders that misbehave where the file says so, for test_sandbox.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable

from deployments.imaging import worker
from deployments.imaging.worker import Answer


def _hang(_: str) -> None:
    signal.pause()


def _compute_forever(_: str) -> None:
    seconds_left, _ = signal.getitimer(signal.ITIMER_PROF)
    signal.setitimer(signal.ITIMER_PROF, min(1, seconds_left))  # sooner, if it runs at all
    while True:
        pass


def _crash(_: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _be_killed(_: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave(_: str) -> None:
    sys.exit()


def _eat_memory(_: str) -> None:
    held = []
    while True:
        held.append(bytearray(2**20))


def _try(what: str) -> None:
    """Raises where it is possible, and with it the process ends."""
    attempts: dict[str, Callable[[], object]] = {
        "open": lambda: os.open("/dev/null", os.O_RDONLY),
        "connect": socket.socket,
    }
    try:
        attempts[what]()
    except OSError:
        return
    raise SystemExit


def _wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.01)


MISDEEDS = {
    "hang": _hang,
    "compute": _compute_forever,
    "crash": _crash,
    "be killed": _be_killed,
    "leave": _leave,
    "eat": _eat_memory,
    "try": _try,
    "wait": _wait_for,
}


def _misbehave(data: bytes, *, param: str) -> Answer:
    misdeed, _, argument = data.decode(errors="replace").partition(": ")
    if misdeed in MISDEEDS:
        MISDEEDS[misdeed](argument)
        return (1, 1), []
    if misdeed == "who":
        return (os.getpid(), 1), []
    if misdeed == "knows":
        return (1 + (argument in os.environ), 1 + (argument in sys.modules)), []
    if misdeed == "say":
        return _say(argument.encode())
    return decent_measure(data, param=param)


def _say(messages: bytes, **_: object) -> Answer:
    """Answers with these messages, a list in JSON, in place of true ones, and stays."""
    for message in json.loads(messages):
        os.write(0, struct.pack("!i", len(message)) + message.encode())
    signal.pause()
    raise AssertionError


decent_measure = worker.ANSWERS["measure"]
worker.ANSWERS.update(measure=_misbehave, picture=_say, canvas=_say)
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests under nohup passes on that
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these are ignored

if __name__ == "__main__":
    worker.main()
