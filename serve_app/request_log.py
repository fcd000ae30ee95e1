"""What the log tells of a request for a picture: a record once it is accepted, and one when it has ended.

It ends in exactly one way and is told as such once: `answered`; `refused`, for a fault of the caller's or before work
was begun; `failed`, for one of ours; `cancelled`, since nobody waits for it any more. Whoever learns something of the
request that is being served notes it in `current()`.

Invariant: nothing that a caller wrote is in a record, but for a request id that is fit for a log. Names are those of
the configuration, numbers those that were accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Literal

from deployments.errors import ReplicaLost, StoreUnavailable
from deployments.types import ImageResult

logger = logging.getLogger(__name__)

Outcome = Literal["answered", "refused", "failed", "cancelled"]

DIALECTS: Mapping[str, str] = {  # of all that is told of, by how the templates of their routes begin
    "/v1/images/": "block-entropy",
    "/openai/v1/images/": "openai",
    "/api/v1/images/": "nebula",
    "/sdapi/v1/txt2img": "automatic1111",
    "/v1/poses": "block-entropy",
    "/openai/v1/poses": "openai",
    "/images/": "links",
}
_LOST_WORK = (ReplicaLost.default_code, StoreUnavailable.default_code)  # 503 after work was begun, as it may be
# To Serve: leave the request's id as it is. It would put the caller's own in its place, whether it is fit or not.
_ID_STAYS = {"skip_context_filter": True}


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """What is known of a request. None is not written: it is not known, as of one that was refused early."""

    request_id: str
    route: str | None = None  # the template of its path
    caller: str | None = None  # the name of its key
    model: str | None = None  # the canonical name
    size: str | None = None  # WxH in pixels
    steps: int | None = None
    pictures: int | None = None  # that were asked for
    streamed: bool | None = None
    status: int | None = None
    outcome: Outcome | None = None
    error: str | None = None  # its code
    queue_seconds: float | None = None  # of the picture that waited longest
    compute_seconds: float | None = None  # of the picture that took longest
    seconds: float | None = None  # in all
    bytes_sent: int | None = None  # of the answer's body

    def accepted(self, *, model: str, size: tuple[int, int], steps: int | None, pictures: int) -> None:
        """It can be done and goes to its model. `steps`: None where the model decides."""
        self.model, self.size, self.steps, self.pictures = model, "x".join(map(str, size)), steps, pictures
        self._write("accepted", "accepted", on_stderr=False)  # a terminal shall have one line a request

    def made(self, result: ImageResult) -> None:
        """A picture is there."""
        self.steps = result.steps
        self.queue_seconds = max(self.queue_seconds or 0.0, result.queue_seconds)
        self.compute_seconds = max(self.compute_seconds or 0.0, result.inference_seconds)

    def ended(self, status: int | None, bytes_sent: int, *, whole: bool, seconds: float) -> None:
        """Nothing more is sent. `whole`: an answer was sent to its end, be it an error. `status`: None without one."""
        self.status, self.bytes_sent, self.seconds = status, bytes_sent, seconds
        self.outcome = self._outcome(whole)
        told = self.outcome if status is None else f"{self.outcome} {status}"
        self._write("ended", f"{told} in {seconds:.2f} s", on_stderr=True)

    def _outcome(self, whole: bool) -> Outcome:
        if self.error is None:
            return "answered" if whole else "cancelled"
        is_refusal = self.status is not None and (400 <= self.status < 500 or self.status == 503)
        has_lost_work = self.error in _LOST_WORK and self.model is not None  # it had been accepted
        return "refused" if is_refusal and not has_lost_work else "failed"

    def _write(self, event: str, said: str, *, on_stderr: bool) -> None:
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in fields.items()}
        for_serve = {**_ID_STAYS, "log_to_stderr": on_stderr}
        logger.info("%s: %s", said, self._described(), extra={"event": event, **rounded, **for_serve})

    def _described(self) -> str:
        """For a person, who sees the message alone."""
        parts = [
            self.route,
            self.model,
            self.size,
            None if self.steps is None else f"{self.steps} steps",
            None if self.pictures in (None, 1) else f"{self.pictures} pictures",
            "streamed" if self.streamed else None,
            self.error,
        ]
        return ", ".join(filter(None, parts))


_current: ContextVar[RequestRecord] = ContextVar("_current")


@contextmanager
def recording(request_id: str) -> Iterator[RequestRecord]:
    """The record of a request that comes in; within, for whatever serves it, it is `current()`."""
    record = RequestRecord(request_id=request_id)
    before = _current.set(record)
    try:
        yield record
    finally:
        _current.reset(before)


def current() -> RequestRecord:
    """The record of the request that is being served; where none is, one that nobody keeps."""
    return _current.get(RequestRecord(request_id=""))
