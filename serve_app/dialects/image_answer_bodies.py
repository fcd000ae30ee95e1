"""What OpenAI-shaped dialects answer with: pictures, and the events while they form."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from deployments.types import MAX_SEED, OutputFormat
from serve_app.dialects.keypoints import Keypoints
from serve_app.dialects.request_bodies import self_contained_schema
from serve_app.dialects.timings import COMPUTE_HEADER, ETA_HEADER, QUEUE_HEADER, documented_timings
from serve_app.errors import ErrorEnvelope


class Picture(BaseModel):
    """One picture, in the forms asked for."""

    url: str = Field(
        default="",
        description="Answers for 60 minutes (unless the service is set otherwise), without a key unless pictures are "
        "private. Where base64 is delivered too it may be missing: no link could be made.",
        examples=["https://easel.example/images/4f1c.png?expires=1589481978&signature=9a2b"],
    )
    url_image: str = Field(default="", description="With a pose: the picture, as `url`.")
    url_pose: str = Field(default="", description="With a pose: the skeleton that was followed, a png.")
    b64_json: str = Field(default="", description="The picture file in base64.", examples=["iVBORw0KGgo="])
    b64_json_pose: str = Field(default="", description="With a pose: the skeleton that was followed, a png in base64.")
    keypoints: Keypoints | None = Field(default=None, description="With a pose: the joints, in pixels of the picture.")
    seed: int = Field(ge=0, le=MAX_SEED, description="The seed it was made with.", examples=[1])
    revised_prompt: None = Field(default=None, description="Always null: prompts are not rewritten.")


class TokensByKind(BaseModel):
    """Tokens of text and of pictures."""

    text_tokens: int = Field(description="Words and punctuation marks.", examples=[7])
    image_tokens: int = Field(description="One for each 16x16 pixels.", examples=[4096])


class Usage(BaseModel):
    """The work in OpenAI's terms, estimated: the service counts neither tokens nor money."""

    input_tokens: int = Field(description="Of the prompt and the given pictures.", examples=[7])
    output_tokens: int = Field(description="Of the pictures made.", examples=[4096])
    total_tokens: int = Field(description="Both.", examples=[4103])
    input_tokens_details: TokensByKind = Field(description="What the input is made of.")


class ImagesAnswer(BaseModel):
    """The pictures, in the order of their seeds."""

    created: int = Field(description="When they were finished, in Unix seconds.", examples=[1589478378])
    data: list[Picture] = Field(description="One entry for each picture.")
    background: Literal["opaque"] = Field(description="Always opaque.")
    output_format: OutputFormat = Field(description="The format of the picture files.")
    quality: str = Field(description="As asked for.", examples=["smooth"])
    size: str = Field(description="Width and height in pixels.", examples=["1024x1024"])
    usage: Usage = Field(description="The work, estimated.")


class PictureEvent(BaseModel):
    """What OpenAI's events have in common."""

    type: str = Field(description="The kind of the event, also its name.")
    b64_json: str = Field(description="The picture file in base64.")
    created_at: int = Field(description="In Unix seconds.")
    size: str = Field(description="Width and height in pixels.")
    quality: str = Field(description="As asked for.")
    background: Literal["opaque"] = Field(description="Always opaque.")
    output_format: OutputFormat = Field(description="The format of the picture file.")
    index: int = Field(description="Which of the pictures, from 0.")


class PartialImageEvent(PictureEvent):
    """A preview."""

    partial_image_index: int = Field(description="From 0, for each picture.")


class CompletedEvent(PictureEvent):
    """A finished picture."""

    usage: Usage = Field(description="The work, estimated.")
    seed: int = Field(description="The seed it was made with.")
    b64_json_pose: str = Field(default="", description="With a pose: the skeleton that was followed, in base64.")
    keypoints: Keypoints | None = Field(default=None, description="With a pose: the joints, in pixels.")


EVENT_STREAM: dict[str, Any] = {
    "description": "The pictures; with `stream`, events while they form.",
    **documented_timings(QUEUE_HEADER, COMPUTE_HEADER, ETA_HEADER),
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "properties": {
                    "event": {"type": "string", "description": "The kind of the event, or `error`."},
                    "data": {
                        "type": "string",
                        "description": "JSON.",
                        "contentMediaType": "application/json",
                        "contentSchema": {
                            "anyOf": [
                                self_contained_schema(event)
                                for event in (PartialImageEvent, CompletedEvent, ErrorEnvelope)
                            ]
                        },
                    },
                },
            }
        }
    },
}
