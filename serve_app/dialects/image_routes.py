"""The two image routes of an OpenAI-shaped dialect, whatever its bodies are."""

# No postponed annotations: FastAPI reads those below while they are made, and they name what the caller passes.
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from serve_app.auth import AskedBy
from serve_app.backend import Backend
from serve_app.dialects.image_answer_bodies import EVENT_STREAM, ImagesAnswer
from serve_app.dialects.image_answers import answer
from serve_app.dialects.image_bodies import EditFields, ImageBody
from serve_app.dialects.pings import answer_pings
from serve_app.dialects.request_bodies import documented_body, read_form_or_json, read_json
from serve_app.errors import documented


def create_image_router(
    backend: Backend, prefix: str, tag: str, generation_body: type[ImageBody], edit_body: type[EditFields]
) -> APIRouter:
    """`POST {prefix}/generations` and `POST {prefix}/edits`."""
    router = APIRouter(prefix=prefix, tags=[tag])

    async def read_generation(request: Request) -> ImageBody:
        return await read_json(request, generation_body)

    async def read_edit(request: Request) -> EditFields:
        return await read_form_or_json(request, edit_body)

    @router.post(
        "/generations",
        summary="Make pictures from text",
        openapi_extra=documented_body(generation_body, form=False),
        response_model=ImagesAnswer,
        response_model_exclude_unset=True,
        responses={200: EVENT_STREAM, **documented(400, 401, 403, 404, 413, 415, 429, 500, 503, 504)},
    )
    async def generations(
        caller: AskedBy, body: Annotated[ImageBody, Depends(read_generation)], request: Request, response: Response
    ) -> Any:
        """Answers when every picture is made, or with `stream` while they form. Fields that are not known or have no
        meaning for the model are ignored and named in the header `Easel-Ignored-Parameters`."""
        return await answer(body, "image_generation", backend, caller, request, response)

    @router.post(
        "/edits",
        summary="Make pictures from a picture and text",
        openapi_extra=documented_body(edit_body, form=True),
        response_model=ImagesAnswer,
        response_model_exclude_unset=True,
        responses={200: EVENT_STREAM, **documented(400, 401, 403, 404, 413, 415, 429, 500, 503, 504)},
    )
    async def edits(
        caller: AskedBy, body: Annotated[EditFields, Depends(read_edit)], request: Request, response: Response
    ) -> Any:
        """Repaints what the mask marks, paints beyond a picture of another shape, or varies all of it; a pose model
        takes over the pose of the people in it. Otherwise as generations."""
        return await answer(body, "image_edit", backend, caller, request, response)

    for path in ("/generations", "/edits"):
        answer_pings(router, path, "POST")
    return router
