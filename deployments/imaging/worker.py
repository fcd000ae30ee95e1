"""The process that decodes pictures: what a client uploaded is parsed here and nowhere else.

    python -m deployments.imaging.worker    with one end of a socket pair as standard input; see sandbox.py

It imports what decoding needs and then gives up everything else: it can open no file and no socket, start no process
(unless it runs as root, which no limit on processes binds), and take no more memory or processor time than below. What
goes back is JSON and raw pixels, and never a pickle, which would do to the parent whatever a picture that took this
process over put into it.
"""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from PIL import Image

from deployments.errors import EaselError, TooLarge
from deployments.imaging.canvas import canvas_of
from deployments.imaging.decode import decode, measure
from deployments.imaging.masks import mask_of

# Of data, beside the code. The largest picture and a mask as large, both WebP with transparency, take 480 MiB.
MEMORY_BYTES = 576 * 2**20
# Of the processor, for one question, a picture and its mask together. Those two take 1.2 s.
PROCESSOR_SECONDS = 3

Answer = tuple[Any, list[Image.Image]]  # what JSON can say, and pictures


def main() -> None:
    """Answers questions until the other end is closed."""
    Image.init()  # loads what reads each format, while files can be opened
    _give_up_the_rest()
    with Connection(0) as parent:
        try:
            while True:
                _answer_one(parent)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _give_up_the_rest() -> None:
    for kind, most in (
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),  # what is open stays open
    ):
        resource.setrlimit(kind, (most, most))


def _answer_one(parent: Connection) -> None:
    """Of a question: its name, the arguments and the number of files, which follow. Of an answer: the value or the
    error, and the mode and size of each picture, which follow."""
    question = json.loads(parent.recv_bytes())
    files = [parent.recv_bytes() for _ in range(question.pop("files"))]
    signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS)  # at whose end the kernel ends this process
    answer: dict[str, Any] = {"pictures": []}
    pixels: list[bytes] = []
    try:
        value, pictures = ANSWERS[question.pop("ask")](*files, **question)
        pixels = [picture.tobytes() for picture in pictures]
        answer = {"value": value, "pictures": [(picture.mode, picture.size) for picture in pictures]}
    except EaselError as error:
        answer["error"] = (type(error).__name__, error.message, error.code, error.param)
    except MemoryError:
        param = question.get("param", "image")
        answer["error"] = (TooLarge.__name__, f"{param}: takes too much memory.", TooLarge.default_code, param)
    signal.setitimer(signal.ITIMER_PROF, 0)
    parent.send_bytes(json.dumps(answer).encode())
    for each in pixels:
        parent.send_bytes(each)


def _measure(data: bytes, *, param: str) -> Answer:
    return measure(data, param=param), []


def _picture(data: bytes, *, param: str) -> Answer:
    return None, [decode(data, param=param)]


def _canvas(image: bytes, mask: bytes | None = None, *, reads: Any, size: tuple[int, int], multiple: int) -> Answer:
    picture = decode(image, param="image")
    repaint = mask_of(picture, None if mask is None else decode(mask, param="mask"), reads)
    canvas = canvas_of(picture, repaint, *size, multiple)
    return None, [canvas.picture] if canvas.mask is None else [canvas.picture, canvas.mask]


ANSWERS: dict[str, Callable[..., Answer]] = {"measure": _measure, "picture": _picture, "canvas": _canvas}


if __name__ == "__main__":
    main()
