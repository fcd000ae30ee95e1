"""Who asks, and how urgently: from the headers of a request to a `Caller`, or to a refusal.

FastAPI dependencies: `key_required` guards whole routers; behind it `AskedBy` tells an endpoint whose request it is,
`KeyHolder` the same where nothing can go first, and `AllowedModels` which models are for that caller. Invariants: a key
is neither kept nor shown, and is compared as a hash, in constant time; where none is needed everybody is one caller, so
that nobody gets more of a model by inventing keys; an endpoint that is not guarded cannot tell its caller, and fails.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import Depends, Header, HTTPException, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBearer

from config.schema import ApiKey
from deployments.errors import Forbidden, Unauthorized
from deployments.quotas import Quota
from serve_app.backend import Backend
from serve_app.request_log import current

PRIORITY_HEADER = "Easel-Priority"
Priority = Literal["high", "normal", "low"]
PRIORITIES: Mapping[Priority, int] = {"high": 1, "normal": 0, "low": -1}
PINGS = ("HEAD", "OPTIONS")  # clients probe a route before they use it, without a key

_BEARER = HTTPBearer(
    scheme_name="ApiKey",
    description="An API key of this service; also taken as the password of Basic. Not needed where none are "
    "configured.",
    auto_error=False,
)
_BASIC = HTTPBasic(auto_error=False)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, and how it stands against others."""

    name: str = ""
    weight: float = 1.0
    priority: int = 0
    models: tuple[str, ...] | None = None  # names or aliases of those that it may use; None: all
    quota: Quota | None = None  # None: no limit


def key_required(backend: Backend) -> Callable[..., Awaitable[None]]:
    """A dependency that lets a request pass with a key that `backend` knows, or where it has none configured."""

    async def check(request: Request, bearer: Bearer) -> None:
        request.state.key = None
        settings = backend.settings()
        if settings.needs_key and request.method not in PINGS:
            key = await known_key(request, bearer, settings.keys)
            request.state.key, current().caller = key, key.name

    return check


async def known_key(request: Request, bearer: HTTPAuthorizationCredentials | None, keys: Iterable[ApiKey]) -> ApiKey:
    """The one of `keys` that the request came with. Raises Unauthorized."""
    return _known(await _password(request) if bearer is None else bearer.credentials, keys)


async def _password(request: Request) -> str | None:
    """Of Basic, which is all that clients of AUTOMATIC1111's API can send."""
    try:
        basic = await _BASIC(request)
    except HTTPException:  # it cannot be read
        return None
    return None if basic is None else basic.password


def _known(sent: str | None, keys: Iterable[ApiKey]) -> ApiKey:
    if not sent:
        raise Unauthorized("An API key is needed: send it as `Authorization: Bearer <key>`.")
    digest = hashlib.sha256(sent.encode("latin-1")).hexdigest()  # as headers are decoded: the bytes that were sent
    # Each is compared, so that the time it takes does not tell which one it is either.
    match = [key for key in keys if hmac.compare_digest(key.sha256, digest)]
    if not match:
        raise Unauthorized("This API key is not known here.")
    return match[0]


async def _caller(  # FastAPI would run it in a thread if it were not async
    request: Request,
    priority: Annotated[
        Priority,
        Header(
            alias=PRIORITY_HEADER,
            description="What goes first where the model is busy. `high` is for keys that are trusted with it.",
        ),
    ] = "normal",
) -> Caller:
    key: ApiKey | None = request.state.key
    if priority == "high" and not (key and key.may_prioritize):
        whose = "this key is not" if key else "there is none, since no API keys are configured"
        raise Forbidden(
            f"{PRIORITY_HEADER}: `high` is for trusted API keys, and {whose}; `normal` and `low` are for everybody.",
            code="priority_not_allowed",
            param=PRIORITY_HEADER,
        )
    return replace(await _key_holder(request), priority=PRIORITIES[priority])


async def _key_holder(request: Request) -> Caller:
    key: ApiKey | None = request.state.key
    return Caller(key.name, key.weight, models=key.models, quota=_quota(key)) if key else Caller()


def _quota(key: ApiKey) -> Quota | None:
    if key.max_concurrent is None and key.gpu_seconds_per_hour is None:
        return None
    return Quota(caller=key.name, max_concurrent=key.max_concurrent, gpu_seconds_per_hour=key.gpu_seconds_per_hour)


async def _allowed_models(request: Request) -> tuple[str, ...] | None:
    key: ApiKey | None = request.state.key
    return key.models if key else None


AskedBy = Annotated[Caller, Depends(_caller)]
KeyHolder = Annotated[Caller, Depends(_key_holder)]
AllowedModels = Annotated[tuple[str, ...] | None, Depends(_allowed_models)]
