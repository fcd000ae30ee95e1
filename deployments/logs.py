"""The log: how what our modules say gets into it, and what of an error may be said there.

Modules log by their own names, as any of Python's do. What Serve puts into a replica's log file, as text or as JSON, is
what is logged by Serve's name, so a replica hands ours on to it.

Invariant: of an error that nobody foresaw, type and place are logged and its text never is, since that may quote
anything: a prompt, a picture, the address of a store with the password in it.
"""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import EaselError, GenerationFailed

OURS = ("deployments", "serve_app")
SERVES = "ray.serve"

logger = logging.getLogger(__name__)


class _ToServe(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        serves = logging.getLogger(SERVES)
        if serves.isEnabledFor(record.levelno):
            serves.handle(record)


_TO_SERVE = _ToServe()


def join_serves_log() -> None:
    """From now on our records are in the log of the replica that this process is. Once or more often is the same."""
    for package in OURS:
        ours = logging.getLogger(package)
        ours.setLevel(logging.DEBUG)  # which are written is for Serve's own log level to say
        ours.addHandler(_TO_SERVE)


def without_text(error: BaseException) -> str:
    """The types of an error and of those it came from, first to last, with their places in the code."""
    chain: list[BaseException] = []
    origin: BaseException | None = error
    while origin is not None and not any(origin is each for each in chain):
        chain.append(origin)
        origin = origin.__cause__ or (None if origin.__suppress_context__ else origin.__context__)
    return "\nled to\n".join(
        f"{''.join(traceback.format_tb(each.__traceback__))}{type(each).__qualname__}{_number(each)}"
        for each in reversed(chain)
    )


def _number(error: BaseException) -> str:
    """What the system says of an error, as ` (ENOSPC)`."""
    name = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    return "" if name is None else f" ({name})"


@contextmanager
def nothing_but_own_errors() -> Iterator[None]:
    """Around what a replica does for a request: Serve logs what it raises, and what that came from, with all texts."""
    try:
        yield
    except EaselError as error:
        raise error from None
    except Exception as error:
        logger.error("A request failed:\n%s", without_text(error))
        raise GenerationFailed(f"The service failed on this request ({type(error).__name__}).") from None
