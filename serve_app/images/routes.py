"""Serves stored pictures by signed link: GET and HEAD /images/{name}, which need no key but for a link with an owner.

Invariants: no picture is read before its link is verified; a link with an owner needs that key for as long as it
answers, and while pictures are private no other link answers; no cache may keep a picture longer than its link answers;
a picture opened in a browser runs nothing. Errors leave as EaselError for the application's handler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.security import HTTPAuthorizationCredentials

from config.schema import IngressSettings
from deployments.errors import Forbidden
from serve_app.auth import Bearer, known_key
from serve_app.images.keeper import Keeper
from serve_app.images.signing import LinkSigner
from serve_app.images.store import CONTENT_TYPES

_PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture.", "content": dict.fromkeys(CONTENT_TYPES.values(), _PICTURE)},
    401: {"description": "The picture is private: its owner's API key is needed."},
    403: {"description": "The path, expiry, owner or signature is missing or was changed, or is not the key's."},
    404: {"description": "The picture is gone."},
    410: {"description": "The link has expired (`url_expired`)."},
    503: {"description": "The image store does not answer; see `Retry-After`."},
}


def create_router(
    keeper: Keeper, settings: Callable[[], IngressSettings], clock: Callable[[], float] = time.time
) -> APIRouter:
    """The picture routes over `keeper`, by the settings in force; `clock` tells unix seconds."""
    router = APIRouter(tags=["images"])

    @router.head("/images/{name}", include_in_schema=False)
    @router.get("/images/{name}", response_class=Response, responses=_RESPONSES)
    async def stored_picture(
        request: Request,
        bearer: Bearer,
        name: str,
        expires: str = "",
        signature: str = "",
        owner: str | None = None,
    ) -> Response:
        """The picture that a link of an earlier answer names. Links answer for a limited time, and need the API key of
        their order where pictures are private, else none."""
        (await keeper.signer()).verify(name, expires, signature, clock(), owner)
        await _require_owner(owner, settings(), request, bearer)
        picture = await keeper.get(name)
        remaining = max(0, int(int(expires) - clock()))
        return Response(
            content=picture,  # which the server leaves out where the method is HEAD
            media_type=CONTENT_TYPES[name.rpartition(".")[2]],
            headers={
                "Cache-Control": f"private, max-age={remaining}",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "Content-Disposition": f'inline; filename="{name}"',
            },
        )

    return router


async def _require_owner(
    owner: str | None, settings: IngressSettings, request: Request, bearer: HTTPAuthorizationCredentials | None
) -> None:
    if owner is None:
        if settings.private_pictures:
            raise Forbidden("Pictures are private now, and this link is from before: it says of nobody's key.")
    elif (await known_key(request, bearer, settings.keys)).name != owner:
        raise Forbidden("This picture is private, and not of this API key.")


def link(signer: LinkSigner, base_url: str, name: str, expires: int, owner: str | None = None) -> str:
    """The absolute URL of picture `name`, good until `expires` (unix seconds); its path ends in the extension.

    With an `owner` it needs the key of that name.
    `base_url` is the origin, with or without a path below which the service is mounted and a final slash.
    """
    owned = {} if owner is None else {"owner": owner}
    query = urlencode({"expires": expires, **owned, "signature": signer.sign(name, expires, owner)})
    return f"{base_url.rstrip('/')}/images/{name}?{query}"
