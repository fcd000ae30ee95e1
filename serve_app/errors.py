"""What an error is over HTTP: the single mapping from the exception tree to status, `type` and headers.

Invariants: every error answer is `{"error": {"message", "type", "param", "code"}}`, whoever raised it, and below
`/api/v1` has `status` and `message` beside it; a bad field is 400 and names itself, never 422; no message repeats what
a person wrote. Everything outside the tree is caught by `middleware.UnhandledErrors` and answered as a bare
`EaselError`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.requests import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from deployments.errors import (
    BodyCompressed,
    DeadlineExceeded,
    EaselError,
    Expired,
    Forbidden,
    GenerationFailed,
    HeadersTooLarge,
    ImageRejected,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from serve_app.request_log import current

# A class without a line of its own answers as its nearest ancestor.
STATUSES: Mapping[type[EaselError], int] = {
    EaselError: 500,
    InvalidRequest: 400,
    ImageRejected: 415,
    BodyCompressed: 415,
    TooLarge: 413,
    HeadersTooLarge: 431,
    NotFound: 404,
    Unauthorized: 401,
    Forbidden: 403,
    QuotaExceeded: 429,
    Expired: 410,
    Unavailable: 503,
    DeadlineExceeded: 504,
    GenerationFailed: 500,
}
DESCRIPTIONS: Mapping[int, str] = {
    400: "A field is missing, malformed or out of range; `param` names it.",
    401: "An API key is needed, and none was sent or it is not known.",
    403: "The API key does not allow it.",
    404: "There is no such model.",
    413: "The body, a picture or the prompt is too large.",
    415: "A picture is not a readable PNG, JPEG or WebP, or the body is compressed.",
    429: "The API key has what it may have for now; `Retry-After` says for how many seconds.",
    500: "The model ran and failed.",
    503: "The server is full, the model is loading or no links can be made; `Retry-After` says for how many seconds.",
    504: "There was no answer within the time that the service allows.",
}
DEFAULT_RETRY_SECONDS = 5.0
NEBULA_PREFIX = "/api/v1"
BODY_EXPECTED = "The body must be a JSON object in UTF-8, sent with `content-type: application/json`."

ErrorType = Literal["invalid_request_error", "rate_limit_error", "service_unavailable_error", "server_error"]


class ErrorDetail(BaseModel):
    """What went wrong, for a person and for a program."""

    message: str = Field(description="What went wrong and what is allowed, for a person.")
    type: ErrorType = Field(description="The class of the error, in OpenAI's words.")
    param: str | None = Field(description="The request field at fault, if one is.")
    code: str = Field(description="The machine-readable name of the error.", examples=["invalid_value"])


class ErrorEnvelope(BaseModel):
    """The body of every error answer."""

    error: ErrorDetail


class NebulaErrorEnvelope(ErrorEnvelope):
    """The body of every error answer below `/api/v1`."""

    status: Literal["error"] = "error"
    message: str = Field(description="The message of `error`.")


def documented(*statuses: int, envelope: type[ErrorEnvelope] = ErrorEnvelope) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for these error statuses and, in few words, for all others."""
    described = {status: DESCRIPTIONS[status] for status in statuses} | {"default": "Any other error."}
    return {status: {"model": envelope, "description": description} for status, description in described.items()}


def error_response(error: EaselError, scope: Scope) -> JSONResponse:
    """The answer that `error` is to the request of `scope`."""
    status = _status_of(error)
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Unavailable | QuotaExceeded):
        headers["Retry-After"] = retry_after(error.retry_after_seconds)
    if isinstance(error, DeadlineExceeded | GenerationFailed):
        # The OpenAI SDKs ask again after any 5xx unless told not to; here that would only cost GPU time.
        headers["x-should-retry"] = "false"
    return _answer(scope, status, headers, message=error.message, code=error.code, param=error.param)


def error_body(error: EaselError) -> dict[str, Any]:
    """The body that `error` is, for an answer whose status has been sent."""
    return _envelope(_status_of(error), message=error.message, code=error.code, param=error.param).model_dump()


def retry_after(seconds: float | None) -> str:
    """The header's value, 1 … 60: SDKs drop or ignore longer ones. Not a number counts as 1."""
    return str(math.ceil(min(60.0, max(1.0, DEFAULT_RETRY_SECONDS if seconds is None else seconds))))


def install(app: FastAPI) -> None:
    """Makes `app` answer its own errors, FastAPI's and Starlette's in the one shape."""

    @app.exception_handler(EaselError)
    async def own(request: Request, error: EaselError) -> JSONResponse:
        return error_response(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def invalid_field(request: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(_from_validation(error), request.scope)

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        code, message = {
            400: ("invalid_body", error.detail),
            404: ("not_found", "There is no such route; /docs lists them."),
            405: ("method_not_allowed", f"The route takes other methods: {headers.get('Allow', 'none')}."),
            413: ("too_large", error.detail),
        }.get(error.status_code, ("http_error", error.detail))
        return _answer(request.scope, error.status_code, headers, message=message, code=code, param=None)


def _from_validation(error: RequestValidationError) -> EaselError:
    """The first of pydantic's findings; its messages say what is allowed and never what was sent."""
    first = error.errors()[0]
    kind, (_, *path), message = first["type"], first["loc"], first["msg"]
    if kind == "json_invalid":
        return InvalidRequest(f"The body is not JSON: {first['ctx']['error']}.", code="invalid_json")
    if not path:
        is_no_object = kind in ("dict_type", "model_type", "model_attributes_type")
        return InvalidRequest(BODY_EXPECTED if is_no_object else f"The body {message}.", code="invalid_body")
    param = ".".join(map(str, path))
    if kind == "missing":
        return InvalidRequest(f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param)
    refusal = TooLarge if kind == "string_too_long" else InvalidRequest
    return refusal(f"Invalid '{param}': {message}.", param=param)


def _answer(
    scope: Scope, status: int, headers: Mapping[str, str], *, message: str, code: str, param: str | None
) -> JSONResponse:
    envelope = _envelope(status, message=message, code=code, param=param)
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    # The path alone decides: there is an error also where no route of a dialect was reached.
    if f"{path}/".startswith(f"{NEBULA_PREFIX}/"):
        envelope = NebulaErrorEnvelope(error=envelope.error, message=message)
    return JSONResponse(envelope.model_dump(), status, headers)


def _envelope(status: int, *, message: str, code: str, param: str | None) -> ErrorEnvelope:
    """What the caller is told, and so what the request's record has to say."""
    current().error = code
    return ErrorEnvelope(error=ErrorDetail(message=message, type=_type_of(status), param=param, code=code))


def _status_of(error: EaselError) -> int:
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)


def _type_of(status: int) -> ErrorType:
    """OpenAI's word for the status; to it, whatever the caller can mend is an invalid request."""
    if status == 429:
        return "rate_limit_error"
    if status == 503:
        return "service_unavailable_error"
    return "invalid_request_error" if status < 500 else "server_error"
