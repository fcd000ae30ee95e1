"""The HTTP application: routes, errors and middleware put together over a `Backend`.

Knows no Ray, so that all of HTTP is tested without it.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Depends, FastAPI, Response
from fastapi_swagger import patch_fastapi
from pydantic import BaseModel, Field

from serve_app import errors, middleware
from serve_app.auth import key_required
from serve_app.backend import Backend
from serve_app.dialects import automatic1111, block_entropy, models, nebula, openai, poses
from serve_app.playground import routes as playground

DESCRIPTION = """Images from text, over the API that OpenAI's clients speak.

Every error is `{"error": {"message", "type", "param", "code"}}`, below `/api/v1` with `status` and `message` beside it.
Every answer carries `x-request-id`: the caller's own if it sent one, else a new one."""

# fastapi_swagger's own, but that a key which was typed there goes with the page and does not stay in the browser.
SWAGGER_UI = {"persistAuthorization": False, "tryItOutEnabled": True, "filter": True, "displayRequestDuration": True}

# FastAPI's own spans and records hold queries, and so links that are good; Serve's hold the templates of paths.
UNTOLD: Any = {"tracing": False, "metrics": False, "logs": False}


class Health(BaseModel):
    """The process is up."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether every configured model would serve a request."""

    status: Literal["ready", "not ready"] = Field(description="`ready` when every model is.")
    models: dict[str, str] = Field(
        description="The state of each model, by name.",
        examples=[{"stabilityai/stable-diffusion-xl-base-1.0": "running (1 replica)"}],
    )


class _App(FastAPI):
    """Adds to its document that a key may be left out, as it may where none are configured; FastAPI has no way to."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            for operations in super().openapi()["paths"].values():
                for operation in operations.values():
                    if "security" in operation:
                        operation["security"].append({})
        return super().openapi()


def create_app(backend: Backend, *, behind_serve: bool = False) -> FastAPI:
    """The application that serves `backend`; `behind_serve`: as a Serve deployment, whose proxy does a part of it."""
    app = _App(
        title="Easel",
        summary="Images from text on Ray Serve.",
        description=DESCRIPTION,
        version="1",
        middleware=middleware.stack(
            backend.max_body_bytes,
            backend.body_timeout_seconds,
            behind_serve=behind_serve,
            on_ended=backend.request_ended,
        ),
        responses=errors.documented(),  # also keeps FastAPI from documenting 422, which it never answers here
        redirect_slashes=False,  # paths are exact
        docs_url=None,  # Swagger UI comes from this process, below, and not from a content network
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        telemetry=UNTOLD,
    )
    patch_fastapi(app, redirect_from_root_to_docs=False, swagger_ui_parameters=SWAGGER_UI)
    errors.install(app)
    guarded = [dialect.create_router(backend) for dialect in (block_entropy, openai, nebula, automatic1111)]
    guarded += [part.create_router(backend, prefix) for part in (models, poses) for prefix in ("/v1", "/openai/v1")]
    for router in guarded:
        app.include_router(router, dependencies=[Depends(key_required(backend))], responses=errors.documented(401))
    app.include_router(backend.images_router)
    app.include_router(playground.create_router())

    @app.get("/healthz", tags=["Service"], summary="Is the process up?")
    async def healthz() -> Health:
        """Answers as long as the process does."""
        return Health()

    @app.get(
        "/readyz",
        tags=["Service"],
        summary="Can every model serve?",
        responses={503: {"model": Readiness, "description": "Some model is not ready yet."}},
    )
    async def readyz(response: Response) -> Readiness:
        """A model is ready when a replica of it runs or when it starts on demand."""
        states = await backend.readiness()
        ready = all(state.ready for state in states.values())
        if not ready:
            response.status_code = 503
            response.headers["Retry-After"] = errors.retry_after(None)
        return Readiness(
            status="ready" if ready else "not ready",
            models={name: state.description for name, state in states.items()},
        )

    return app
