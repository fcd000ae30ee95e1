"""Has pictures decoded in processes that may be killed: a picture can cost a client its answer, and nobody else theirs.

A decoder that crashes, hangs, takes more memory or time than worker.py allows, or answers what was not asked ends as an
error that names the field; the next picture finds a new process. One that somebody else ended is no fault of the
picture, which is tried once more. Whoever stops waiting has theirs killed. Invariants: at most MOST_WORKERS processes,
each for one picture at a time, by turns between callers; they outlive neither the sandbox nor this process, whose end
closes their socket; uploaded bytes are not looked at here, and what comes back is neither unpickled nor believed: it
has the form of an answer to what was asked, and no more is read.

Not anyio's `to_process` nor `multiprocessing`: both import the parent's main module again, which in a replica is Ray's,
so that each process takes 0.5 s and 70 MB before it has imported a decoder (this one: 0.14 s and 34 MB with all), and
both unpickle what comes back.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from deployments.errors import EaselError, ImageRejected, InvalidRequest, Overloaded, TooLarge
from deployments.imaging.canvas import Canvas
from deployments.imaging.places import Places
from deployments.types import MAX_PIXELS

if TYPE_CHECKING:
    from deployments.types import MaskReading

MOST_WORKERS = 2
# For one question, and the start of a process. A decoder that computes is stopped long before, by its processor time,
# which a busy machine does not take from it.
SECONDS = 20.0
MOST_SAID = 2**16  # bytes of an answer, beside its pixels
WORKER = "deployments.imaging.worker"
_ENVIRONMENT = {  # all of it: no secret of ours is known there
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would take memory and do nothing
    "MALLOC_MMAP_THRESHOLD_": str(2**20),  # a large picture's memory goes back: 60 MB stay instead of 280
}

# worker.py's limits send none of them, nor does a picture that crashes it; and after `kill` nobody listens.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_REFUSALS: dict[str, type[EaselError]] = {kind.__name__: kind for kind in (InvalidRequest, ImageRejected, TooLarge)}


_Size = tuple[PositiveInt, PositiveInt]
_Said = Annotated[str, Field(max_length=1000)]
_Code = Annotated[str, Field(pattern="^[a-z_]{1,40}$")]  # it is told to the log


class _Answer(BaseModel):
    """What a process says, of any question; see worker.py."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    value: _Size | None = None
    error: tuple[Literal["InvalidRequest", "ImageRejected", "TooLarge"], _Said, _Code, _Said | None] | None = None
    pictures: list[tuple[Literal["RGB", "RGBA", "L"], _Size]]


_Fits = Callable[[_Answer], bool]  # whether it is one to the question that was asked


class Sandbox:
    """Processes that start when they are needed. Cancelling a method kills its process.

    Each raises an EaselError, Overloaded where no process can be had or stays alive, and RuntimeError where they fail
    whatever the picture.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []
        self._places = Places(MOST_WORKERS)
        self._threads = ThreadPoolExecutor(MOST_WORKERS, thread_name_prefix="sandbox")

    async def measure(self, data: bytes, param: str, *, caller: str) -> tuple[int, int]:
        """As `deployments.imaging.decode.measure`."""

        def fits(answer: _Answer) -> bool:
            return answer.value is not None and math.prod(answer.value) <= MAX_PIXELS and not answer.pictures

        answer, _ = await self._ask(caller, {"ask": "measure", "param": param}, [data], fits)
        assert answer.value is not None
        return answer.value

    async def picture(self, data: bytes, param: str, *, caller: str) -> Image.Image:
        """As `deployments.imaging.decode.decode`."""

        def fits(answer: _Answer) -> bool:
            return len(answer.pictures) == 1 and math.prod(answer.pictures[0][1]) <= MAX_PIXELS

        _, (picture,) = await self._ask(caller, {"ask": "picture", "param": param}, [data], fits)
        return picture

    async def canvas(
        self,
        image: bytes,
        mask: bytes | None,
        reads: MaskReading,
        width: int,
        height: int,
        multiple: int,
        *,
        caller: str,
    ) -> Canvas:
        """What `masks.mask_of` and `canvas.canvas_of` make of both, decoded."""
        question = {"ask": "canvas", "reads": reads, "size": (width, height), "multiple": multiple}
        size = (width + -width % multiple, height + -height % multiple)

        def fits(answer: _Answer) -> bool:
            return answer.pictures in ([("RGB", size)], [("RGB", size), ("L", size)])

        files = [image] if mask is None else [image, mask]
        _, (picture, *repaint) = await self._ask(caller, question, files, fits)
        return Canvas(picture, repaint[0] if repaint else None, width, height)

    def close(self) -> None:
        """Ends the processes that wait for a picture. The last call."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._idle:
            worker.kill()
            worker.wait()

    async def _ask(
        self, caller: str, question: dict[str, Any], files: list[bytes], fits: _Fits
    ) -> tuple[_Answer, list[Image.Image]]:
        async with self._places.taken_by(caller):
            try:
                answer, pictures = await self._ask_a_process(question, files, fits)
            except _Ended:
                try:
                    answer, pictures = await self._ask_a_process(question, files, fits)
                except _Ended as error:
                    raise Overloaded(str(error), retry_after_seconds=5) from None
        if answer.error is not None:
            kind, message, code, param = answer.error
            raise _REFUSALS[kind](message, code=code, param=param)
        return answer, pictures

    async def _ask_a_process(
        self, question: dict[str, Any], files: list[bytes], fits: _Fits
    ) -> tuple[_Answer, list[Image.Image]]:
        worker = self._free_worker()
        try:
            with anyio.fail_after(SECONDS):
                loop = asyncio.get_running_loop()
                said = await loop.run_in_executor(self._threads, worker.ask, question, files, fits)
        except (TimeoutError, EOFError, OSError, ValueError) as error:
            self._end(worker)
            param = question.get("param", "image")
            raise ImageRejected(f"{param}: cannot be decoded, or not in time.", param=param) from error
        except BaseException:
            self._end(worker)
            raise
        self._idle.append(worker)
        return said

    def _end(self, worker: _Worker) -> None:
        worker.kill()
        self._threads.submit(worker.wait)

    def _free_worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.is_alive():
                return worker
        return _Worker()


class _Ended(Exception):
    """Somebody else ended a process, or it could not be started."""


class _Worker:
    """One process. `kill` does not block, and ends an `ask` in another thread with EOFError or OSError.

    The connection is closed when nobody reads from it any more, by garbage collection: another file that took its
    number in the meantime would be read instead.
    """

    def __init__(self) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-m", WORKER],  # warnings quote pictures
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={"PYTHONPATH": os.pathsep.join(sys.path), **_ENVIRONMENT},
                )
            except OSError as error:
                raise _Ended("No process that decodes pictures could be started.") from error

    def ask(self, question: dict[str, Any], files: list[bytes], fits: _Fits) -> tuple[_Answer, list[Image.Image]]:
        """What the process says, and its pictures.

        Raises EOFError or OSError when the picture ends it, ValueError when it says what it may not, _Ended, and
        RuntimeError when it does not work at all: then its standard error, which is this process's, says why.
        """
        connection = self._connection
        try:
            connection.send_bytes(json.dumps({**question, "files": len(files)}).encode())
            for file in files:
                connection.send_bytes(file)
            answer = _Answer.model_validate_json(connection.recv_bytes(MOST_SAID))
            is_fitting = fits(answer) if answer.error is None else not answer.pictures
            if not is_fitting:
                raise ValueError("That was not the question.")
            return answer, [self._picture(mode, size) for mode, size in answer.pictures]
        except (EOFError, OSError):
            if not connection.readable:  # it sent more than was to be read, and may still run
                raise ValueError("The process that decodes pictures sent too much.") from None
            code = self._process.wait()
            if code > 0:  # Python's own way to fail; whatever else ends a process is a signal
                raise RuntimeError("The process that decodes pictures failed.") from None
            if -code in _FROM_OUTSIDE:
                raise _Ended("The process that decodes pictures was ended.") from None
            raise

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> None:
        self._process.wait()

    def _picture(self, mode: str, size: tuple[int, int]) -> Image.Image:
        pixels = self._connection.recv_bytes(size[0] * size[1] * len(mode))  # a byte for each band, which has a letter
        return Image.frombytes(mode, size, pixels)
