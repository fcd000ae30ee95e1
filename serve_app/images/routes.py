"""Serves stored pictures by signed link: GET and HEAD /images/{name}, which need no key.

Invariants: no picture is read before its link is verified; no cache may keep a picture longer than its link answers; a
picture opened in a browser runs nothing. Errors leave as EaselError for the application's handler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Response

from serve_app.images.keeper import Keeper
from serve_app.images.signing import LinkSigner
from serve_app.images.store import CONTENT_TYPES

_PICTURE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture.", "content": dict.fromkeys(CONTENT_TYPES.values(), _PICTURE)},
    403: {"description": "The path, expiry or signature is missing or was changed."},
    404: {"description": "The picture is gone."},
    410: {"description": "The link has expired (`url_expired`)."},
    503: {"description": "The image store does not answer; see `Retry-After`."},
}


def create_router(keeper: Keeper, clock: Callable[[], float] = time.time) -> APIRouter:
    """The picture routes over `keeper`; `clock` tells unix seconds."""
    router = APIRouter(tags=["images"])

    @router.head("/images/{name}", include_in_schema=False)
    @router.get("/images/{name}", response_class=Response, responses=_RESPONSES)
    async def stored_picture(name: str, expires: str = "", signature: str = "") -> Response:
        """The picture that a link of an earlier answer names. Links answer for a limited time and need no key."""
        (await keeper.signer()).verify(name, expires, signature, now=clock())
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


def link(signer: LinkSigner, base_url: str, name: str, expires: int) -> str:
    """The absolute URL of picture `name`, good until `expires` (unix seconds); its path ends in the extension.

    `base_url` is the origin, with or without a path below which the service is mounted and a final slash.
    """
    query = urlencode({"expires": expires, "signature": signer.sign(name, expires)})
    return f"{base_url.rstrip('/')}/images/{name}?{query}"
