"""`/v1/poses`: the people in a photo, as a request or a pose editor takes them."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from serve_app.auth import KeyHolder
from serve_app.backend import Backend
from serve_app.dialects.fields import IGNORED_PARAMETERS_HEADER, WireModel
from serve_app.dialects.keypoints import Keypoints
from serve_app.dialects.picture_data import PictureData, to_base64
from serve_app.dialects.pings import answer_pings
from serve_app.dialects.request_bodies import documented_body, read_form_or_json
from serve_app.errors import documented
from serve_app.poses import find_people


class PoseBody(WireModel):
    """A photo to find people in."""

    image: PictureData = Field(description="The photo (PNG, JPEG or WebP).")


class PoseAnswer(BaseModel):
    """The people found."""

    created: int = Field(description="When they were found, in Unix seconds.", examples=[1589478378])
    keypoints: Keypoints = Field(description="The joints, in pixels of the skeleton, as requests take them.")
    b64_json: str = Field(description="The skeleton in OpenPose's colours, a png in base64.")


async def _read(request: Request) -> PoseBody:
    return await read_form_or_json(request, PoseBody)


def create_router(backend: Backend, prefix: str) -> APIRouter:
    """`POST {prefix}/poses`."""
    router = APIRouter(prefix=f"{prefix}/poses", tags=["Poses"])

    @router.post(
        "",
        summary="Find the people in a photo",
        openapi_extra=documented_body(PoseBody, form=True),
        responses=documented(400, 401, 403, 413, 415, 429, 500, 503, 504),
    )
    async def find(caller: KeyHolder, body: Annotated[PoseBody, Depends(_read)], response: Response) -> PoseAnswer:
        """Makes no picture: the answer's `keypoints` can be changed and sent with a request for one."""
        if ignored := body.ignored_parameters():
            response.headers[IGNORED_PARAMETERS_HEADER] = ignored
        skeleton = await find_people(body.image, backend, caller)
        return PoseAnswer(
            created=int(time.time()),
            keypoints=Keypoints.from_people(skeleton.people, skeleton.width, skeleton.height),
            b64_json=to_base64(skeleton.picture),
        )

    answer_pings(router, "", "POST")
    return router
