"""Has pictures decoded in processes that may be killed: a picture can cost a client its answer, and nobody else theirs.

A decoder that crashes, hangs, or takes more memory or time than worker.py allows ends as an error that names the field;
the next picture finds a new process. Whoever stops waiting has theirs killed. Invariants: at most MOST_WORKERS
processes, each for one picture at a time; they outlive neither the sandbox nor this process, whose end closes their
socket; uploaded bytes are not looked at here, and what comes back is never unpickled.

Not anyio's `to_process` nor `multiprocessing`: both import the parent's main module again, which in a replica is Ray's,
so that each process takes 0.5 s and 70 MB before it has imported a decoder (this one: 0.14 s and 34 MB with all), and
both unpickle what comes back.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
from PIL import Image

from deployments.errors import EaselError, ImageRejected, InvalidRequest, TooLarge
from deployments.imaging.canvas import Canvas

if TYPE_CHECKING:
    from deployments.types import MaskReading

MOST_WORKERS = 2
# For one question, and the start of a process. A decoder that computes is stopped long before, by its processor time,
# which a busy machine does not take from it.
SECONDS = 20.0
WORKER = "deployments.imaging.worker"
_ENVIRONMENT = {  # all of it: no secret of ours is known there
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would take memory and do nothing
    "MALLOC_MMAP_THRESHOLD_": str(2**20),  # a large picture's memory goes back: 60 MB stay instead of 280
}

_REFUSALS: dict[str, type[EaselError]] = {kind.__name__: kind for kind in (InvalidRequest, ImageRejected, TooLarge)}


class Sandbox:
    """Processes that start when they are needed. Every method raises an EaselError; cancelling it kills its process."""

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._places = anyio.CapacityLimiter(MOST_WORKERS)
        self._threads = ThreadPoolExecutor(MOST_WORKERS, thread_name_prefix="sandbox")

    async def measure(self, data: bytes, param: str) -> tuple[int, int]:
        """As `deployments.imaging.decode.measure`."""
        (width, height), _ = await self._ask({"ask": "measure", "param": param}, data)
        return width, height

    async def picture(self, data: bytes, param: str) -> Image.Image:
        """As `deployments.imaging.decode.decode`."""
        _, (picture,) = await self._ask({"ask": "picture", "param": param}, data)
        return picture

    async def canvas(
        self, image: bytes, mask: bytes | None, reads: MaskReading, width: int, height: int, multiple: int
    ) -> Canvas:
        """What `masks.mask_of` and `canvas.canvas_of` make of both, decoded."""
        question = {"ask": "canvas", "reads": reads, "size": (width, height), "multiple": multiple}
        _, (picture, *repaint) = await self._ask(question, image, *([] if mask is None else [mask]))
        return Canvas(picture, repaint[0] if repaint else None, width, height)

    def close(self) -> None:
        """Ends the processes that wait for a picture. The last call."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._idle:
            worker.kill()
            worker.wait()

    async def _ask(self, question: dict[str, Any], *files: bytes) -> tuple[Any, list[Image.Image]]:
        async with self._places:
            worker = self._free_worker()
            try:
                with anyio.fail_after(SECONDS):
                    loop = asyncio.get_running_loop()
                    answer, pictures = await loop.run_in_executor(self._threads, worker.ask, question, files)
            except (TimeoutError, EOFError, OSError) as error:
                self._end(worker)
                param = question.get("param", "image")
                raise ImageRejected(f"{param}: cannot be decoded, or not in time.", param=param) from error
            except BaseException:
                self._end(worker)
                raise
            self._idle.append(worker)
        if "error" in answer:
            kind, message, code, param = answer["error"]
            raise _REFUSALS[kind](message, code=code, param=param)
        return answer["value"], pictures

    def _end(self, worker: _Worker) -> None:
        worker.kill()
        self._threads.submit(worker.wait)

    def _free_worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive():
                return worker
        return _Worker()


class _Worker:
    """One process. `kill` does not block, and ends an `ask` in another thread with EOFError or OSError.

    The connection is closed when nobody reads from it any more, by garbage collection: another file that took its
    number in the meantime would be read instead.
    """

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(sys.path), **_ENVIRONMENT},
            )

    def ask(self, question: dict[str, Any], files: tuple[bytes, ...]) -> tuple[dict[str, Any], list[Image.Image]]:
        """What the process says, and its pictures. Raises EOFError or OSError when the picture ends it, RuntimeError
        when it does not work at all: then its standard error, which is this process's, says why."""
        connection = self._connection
        try:
            connection.send_bytes(json.dumps({**question, "files": len(files)}).encode())
            for file in files:
                connection.send_bytes(file)
            answer = json.loads(connection.recv_bytes())
            return answer, [Image.frombytes(mode, size, connection.recv_bytes()) for mode, size in answer["pictures"]]
        except (EOFError, OSError):
            if self._process.wait() > 0:  # Python's own way to fail; whatever else ends a process is a signal
                raise RuntimeError("The process that decodes pictures failed.") from None
            raise

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.wait()
