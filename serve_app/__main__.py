"""Runs Easel on this machine: `python -m serve_app [CONFIG]`, which is what `make serve` does.

Checks the config file, runs Ray Serve with it, and tells how far each model is until the service is ready. Ctrl-C stops
it, once what is in flight is answered. On a cluster, `serve deploy CONFIG` takes the same file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.files import ServeFile, read_or_tell

ROOT = Path(__file__).resolve().parent.parent
INGRESS_SECONDS = 180  # without an answer of the ingress after them it has failed to start; models may take longer


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serve_app", description=__doc__.split("\n\n")[1])
    parser.add_argument("config", nargs="?", default=str(ROOT / "config" / "local.yaml"), help="a Serve config file")
    options = parser.parse_args(arguments)
    file = read_or_tell(options.config)
    if file is None:
        return 2
    if not _is_free(file.host, file.port):
        place = f"{file.host} port {file.port}"
        print(f"{options.config}: http_options: cannot listen on {place}; is it taken?", file=sys.stderr)
        return 2
    if file.uses_mediapipe:
        from deployments.pose.detector import DetectorUnavailable
        from deployments.pose.landmarker import landmarker_model

        try:
            print(f"Pose model: {landmarker_model()}", flush=True)
        except DetectorUnavailable as error:
            print(f"No poses will be found in photos: {error}", file=sys.stderr, flush=True)
    print("Starting Ray Serve; the first start on a machine takes the longest.", flush=True)
    # Handled before the child starts, lest it inherit an ignored SIGINT, as from a shell's `&`; and it gets a session
    # of its own, so that Ctrl-C reaches it once, through us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: serve.send_signal(signal.SIGINT))
    serve = subprocess.Popen(
        [sys.executable, "-m", "serve_app.run", str(Path(options.config).resolve())],
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
    )
    if _tell_until_ready(file, serve):
        _say_ready(file)
    elif serve.poll() is None:  # it would keep running with an application that failed
        serve.send_signal(signal.SIGINT)
        serve.wait()
        return 1
    return serve.wait()


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError:
        return False
    return True


def environment() -> dict[str, str]:
    """Replicas import our packages from here, and share a token that nobody else has.

    Ray runs whatever code reaches its dashboard or its own ports, and those listen on all addresses of the machine,
    whatever the config file says of HTTP.
    """
    # With `--address local` Ray starts anew and joins no cluster that happens to run here.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    token = {} if "RAY_AUTH_TOKEN_PATH" in os.environ else {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return {
        "RAY_AUTH_MODE": "token",
        **token,
        "RAY_SERVE_FORCE_STOP_UNHEALTHY_REPLICAS": "1",  # a hung one would keep its place, and its callers, for minutes
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_app.proxy:middlewares",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # there is no other here while one that died is not noticed
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
    }


def _tell_until_ready(file: ServeFile, serve: subprocess.Popen[bytes]) -> bool:
    """Prints each change in what /readyz says; True once all is ready, False when something failed for good."""
    told: dict[str, str] = {}
    deadline = time.monotonic() + INGRESS_SECONDS
    while serve.poll() is None:
        status, states = _readiness(file)
        if not told and not states and time.monotonic() > deadline:
            print("The ingress does not answer; what it failed on is in the lines above.", file=sys.stderr)
            return False
        for name, state in states.items():
            if told.get(name) != state:
                print(f"{name}: {state}", flush=True)
        told |= states  # a poll that got no answer, on a busy machine, changes nothing
        if status == 200:
            return True
        if "deploy failed" in states.values():
            return False
        time.sleep(1)  # each asks the controller, on a machine that is busy starting
    return False


def _readiness(file: ServeFile) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection(file.host, file.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body: dict[str, Any] = json.loads(answer.read())
        return answer.status, body.get("models", {})
    except (OSError, ValueError, http.client.HTTPException):
        return 0, {}  # nobody listens yet, or Serve itself answers
    finally:
        connection.close()


def _say_ready(file: ServeFile) -> None:
    key = ' -H "authorization: Bearer $KEY"' if file.needs_key else ""
    print(
        f"\nEasel is ready on {file.url}: open it in a browser (API: {file.url}/docs), or try:\n\n"
        f"  curl {file.url}/v1/images/generations{key} -H 'content-type: application/json' \\\n"
        """    -d '{"prompt": "a red circle on a blue background", "size": "256x256"}'\n""",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
