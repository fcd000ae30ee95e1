"""The page at `/`, for a person: static files, which speak to the service over its public API alone.

Invariants: the page may load and ask nothing but this origin, and runs no script that is not a file of it; every copy
in a cache is asked about before it is used, so that an update shows at once. Whatever the page links to is relative, so
that it also works below a path.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.staticfiles import StaticFiles

STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def create_router() -> APIRouter:
    """`GET /`, and the files of the page below `/playground/`."""
    router = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=STATIC)

    async def file(path: str, request: Request) -> Response:
        response = await files.get_response(path, request.scope)
        response.headers.update(HEADERS)
        return response

    @router.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return await file("index.html", request)

    @router.api_route("/playground/{path:path}", methods=["GET", "HEAD"])
    async def part(path: str, request: Request) -> Response:
        return await file(path, request)

    return router
