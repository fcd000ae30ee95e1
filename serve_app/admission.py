"""What stands before any work on what a caller sent: how many bytes a picture may have, and the caller's permit."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext

from config.schema import IngressSettings
from deployments.errors import TooLarge
from serve_app.auth import Caller
from serve_app.backend import Backend, Spending


def check_bytes(picture: bytes | None, param: str, settings: IngressSettings) -> None:
    """Raises TooLarge, which names `param`, for an uploaded picture above the limit."""
    if picture is not None and len(picture) > settings.max_image_bytes:
        raise TooLarge(f"{param}: at most {settings.max_image_bytes} bytes are taken.", param=param)


def permit(caller: Caller, pictures: int, backend: Backend, deadline: float) -> AbstractAsyncContextManager[Spending]:
    """See Backend.permit. Only who has a quota pays the way to where it is counted."""
    return nullcontext({}) if caller.quota is None else backend.permit(caller.quota, pictures, deadline)
