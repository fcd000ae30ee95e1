"""Answers clients that probe a route with OPTIONS before they use it, without a key."""

from __future__ import annotations

from fastapi import APIRouter, Response


def answer_pings(router: APIRouter, path: str, *methods: str) -> None:
    """OPTIONS on `path` answers 204, and that the route takes `methods`."""

    @router.options(path, include_in_schema=False)
    async def ping() -> Response:
        return Response(status_code=204, headers={"Allow": ", ".join(sorted([*methods, "OPTIONS"]))})
