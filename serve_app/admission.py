"""What stands before work on what a caller sent: the bytes that a picture may have, the permit, the time to look."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext

import anyio

from config.schema import IngressSettings
from deployments.errors import DeadlineExceeded, TooLarge
from serve_app.auth import Caller
from serve_app.backend import Backend, Spending


def check_bytes(picture: bytes | None, param: str, settings: IngressSettings) -> None:
    """Raises TooLarge, which names `param`, for an uploaded picture above the limit."""
    if picture is not None and len(picture) > settings.max_image_bytes:
        raise TooLarge(f"{param}: at most {settings.max_image_bytes} bytes are taken.", param=param)


def permit(caller: Caller, pictures: int, backend: Backend, deadline: float) -> AbstractAsyncContextManager[Spending]:
    """See Backend.permit. Only who has a quota pays the way to where it is counted."""
    return nullcontext({}) if caller.quota is None else backend.permit(caller.quota, pictures, deadline)


@contextmanager
def time_to_look(deadline: float) -> Iterator[None]:
    """For measuring pictures: raises DeadlineExceeded where the block is not done by `deadline` (unix seconds)."""
    try:
        with anyio.fail_after(deadline - time.time()):
            yield
    except TimeoutError:
        raise DeadlineExceeded("The pictures were not looked at in the time that is allowed.") from None
