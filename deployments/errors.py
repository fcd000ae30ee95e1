"""The one exception tree of the service. What each means over HTTP is decided in one place, serve_app/errors.py.

EaselError
├── InvalidRequest         a field is missing, malformed or out of range; names it
│   ├── ImageRejected      the bytes are not a picture of a format that we take
│   └── BodyCompressed     the body is compressed
├── TooLarge               body, pixels or prompt above a limit
│   └── HeadersTooLarge    address and headers above one
├── NotFound               no such model, route or picture
├── Unauthorized           the API key is missing or not known
├── Forbidden              a link was changed, or the key does not allow it
├── QuotaExceeded          the key has what it may have for now; carries when to ask again
├── Expired                a link that was good once
├── Unavailable            try again later; carries how much later
│   ├── Overloaded         the queue is full
│   ├── ModelUnavailable   no replica of the model answers (loading, failed, being replaced)
│   ├── ReplicaLost        the replica died under the request, twice
│   └── StoreUnavailable   the image store cannot be read or written
├── DeadlineExceeded       no answer within the time that the service allows
└── GenerationFailed       the model ran and failed; the same request would fail again
    ├── OutOfMemory        does not fit on the device, even alone
    └── InvalidOutput      the picture holds NaN or infinity

Every class can be pickled with its fields, since errors cross process borders. Messages are written for the caller:
they never hold prompts, picture bytes, paths or tracebacks.
"""

from __future__ import annotations

from typing import ClassVar


class EaselError(Exception):
    """Base of all; `code` is the machine-readable name of the error, `param` the request field at fault, if any."""

    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.code, self.param, self.retry_after_seconds)


def _rebuild(
    kind: type[EaselError], message: str, code: str, param: str | None, retry_after_seconds: float | None
) -> EaselError:
    return kind(message, code=code, param=param, retry_after_seconds=retry_after_seconds)


class InvalidRequest(EaselError):
    default_code = "invalid_value"


class ImageRejected(InvalidRequest):
    default_code = "invalid_image"


class BodyCompressed(InvalidRequest):
    default_code = "unsupported_encoding"


class TooLarge(EaselError):
    default_code = "too_large"


class HeadersTooLarge(TooLarge):
    default_code = "headers_too_large"


class NotFound(EaselError):
    default_code = "not_found"


class Unauthorized(EaselError):
    default_code = "invalid_api_key"


class Forbidden(EaselError):
    default_code = "forbidden"


class QuotaExceeded(EaselError):
    default_code = "rate_limit_exceeded"


class Expired(EaselError):
    default_code = "url_expired"


class Unavailable(EaselError):
    default_code = "unavailable"


class Overloaded(Unavailable):
    default_code = "server_is_overloaded"


class ModelUnavailable(Unavailable):
    default_code = "model_loading"


class ReplicaLost(Unavailable):
    default_code = "replica_lost"


class StoreUnavailable(Unavailable):
    default_code = "image_store_unavailable"


class DeadlineExceeded(EaselError):
    default_code = "deadline_exceeded"


class GenerationFailed(EaselError):
    default_code = "generation_failed"


class OutOfMemory(GenerationFailed):
    default_code = "out_of_memory"


class InvalidOutput(GenerationFailed):
    default_code = "invalid_output"
