"""Runs a Serve config file on a Ray of its own, and stops without losing a request: `python -m serve_app.run CONFIG`.

Ray's own `serve run`, but for how it ends. That cuts the connections of whoever still waits, since it stops its proxies
first. Here SIGTERM or Ctrl-C first takes the ingress away, which Serve does gracefully: it gets no new requests, and
those that it has are answered. A second one stops at once.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import ray
import yaml
from ray import serve
from ray.serve._private.constants import SERVE_NAMESPACE
from ray.serve.scripts import cli

INGRESS = "serve_app.app:build"
DRAIN_SECONDS = 300.0  # as long as Serve lets a replica of the ingress have for it


def main(arguments: Sequence[str]) -> None:
    """Returns when Serve has stopped."""
    (path,) = arguments
    applications = yaml.safe_load(Path(path).read_text())["applications"]
    ingresses = [application["name"] for application in applications if application["import_path"] == INGRESS]

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        _say("Finishing what is in flight; stop again to end it at once.")
        drain(ingresses)
        raise KeyboardInterrupt  # upon which `serve run` shuts Serve down

    ray.init(address="local", namespace=SERVE_NAMESPACE)  # it sets a handler of its own
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    cli(["run", path])


def drain(applications: Sequence[str], seconds: float = DRAIN_SECONDS) -> None:
    """Takes the applications away and waits until their last requests are answered, for up to `seconds`."""
    ends_at = time.monotonic() + seconds
    try:
        for name in applications:
            serve.delete(name, _blocking=False)
    except Exception as error:  # Serve is not there yet or no more: then nothing is in flight
        _say(f"Serve does not answer ({type(error).__name__}): nothing to wait for.")
        return
    while time.monotonic() < ends_at and _is_any_there(applications):
        time.sleep(0.2)


def _is_any_there(applications: Sequence[str]) -> bool:
    try:
        return bool(set(applications) & serve.status().applications.keys())
    except Exception:  # its controller starts anew, say, which replicas and their requests survive
        return True


def _say(text: str) -> None:
    with suppress(OSError):  # who read it may have gone first, as `tee` does upon Ctrl-C
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
