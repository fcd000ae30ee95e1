"""The request bodies that OpenAI-shaped dialects have in common; a dialect adds what it means by `n` and by silence."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from config.schema import dimensions
from deployments.errors import InvalidRequest
from deployments.types import OutputFormat, PoseSource, Quality
from serve_app.dialects.fields import (
    PROMPT_MEANING,
    GuidanceScale,
    NegativePrompt,
    OrNull,
    OutputCompression,
    Prompt,
    ResponseFormat,
    Seed,
    Steps,
    Strength,
    WireModel,
)
from serve_app.dialects.keypoints import KeypointsField
from serve_app.dialects.picture_data import PictureData
from serve_app.orders import Order


class ImageBody(WireModel, ABC):
    """A picture to make."""

    prompt: Prompt = Field(description=PROMPT_MEANING, examples=["A cute baby sea otter"])
    model: str | None = Field(
        default=None,
        description="A name or alias from `GET /v1/models`; by default the service's own choice.",
        examples=["be-stable-diffusion-xl-base-1.0"],
    )
    seed: Seed | None = Field(
        default=None, description="The same seed makes the same picture. By default random.", examples=[1]
    )
    negative_prompt: OrNull[NegativePrompt] = Field(
        default="",
        validation_alias=AliasChoices("negative_prompt", "negprompt"),
        description="What the picture must not show, in up to 4,000 characters; also taken as `negprompt`.",
        examples=["blurry"],
    )
    quality: OrNull[Quality] = Field(
        default="smooth", description="A preset of steps and guidance; `auto` means `smooth`.", examples=["standard"]
    )
    num_steps: Steps | None = Field(
        default=None,
        validation_alias=AliasChoices("num_steps", "num_inference_steps"),
        description="Denoising steps, by default the preset's; also taken as `num_inference_steps`.",
        examples=[30],
    )
    guidance_scale: GuidanceScale | None = Field(
        default=None, description="How strictly the prompt is followed, by default the preset's.", examples=[5.0]
    )
    output_format: OrNull[OutputFormat] = Field(
        default="png", description="The format of the picture file.", examples=["webp"]
    )
    output_compression: OrNull[OutputCompression] = Field(
        default=100, description="The quality of a jpeg or webp file, in percent.", examples=[90]
    )
    background: OrNull[Literal["auto", "opaque"]] = Field(
        default="auto", description="Pictures are opaque; a transparent background is refused.", examples=["opaque"]
    )
    stream: OrNull[bool] = Field(
        default=False, description="Answer with server-sent events while the picture forms.", examples=[False]
    )
    partial_images: OrNull[Annotated[int, Field(ge=0, le=3)]] = Field(
        default=0, description="How many previews a stream shows, spread over the steps.", examples=[2]
    )
    user: str | None = Field(default=None, description="The caller's own id of its end user.", examples=["user-1234"])
    pose_image: PictureData | None = Field(
        default=None, description="A pose to follow: a skeleton in OpenPose's colours on black."
    )
    keypoints: KeypointsField | None = Field(
        default=None, description="A pose to follow: joints in OpenPose's JSON (in a form, as text)."
    )
    pose_strength: OrNull[Annotated[float, Field(ge=0, le=2)]] = Field(
        default=1.0, description="How strongly the pose guides.", examples=[0.8]
    )
    pose_end: OrNull[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=1.0, description="The share of the steps after which the pose lets go.", examples=[0.6]
    )

    @property
    @abstractmethod
    def first_seed(self) -> int | None:
        """The seed of the first picture; None: random."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many pictures."""

    @property
    @abstractmethod
    def wanted_size(self) -> str:
        """WIDTHxHEIGHT or auto."""

    @property
    @abstractmethod
    def delivery(self) -> frozenset[ResponseFormat]:
        """The forms that each picture is delivered in."""

    def to_order(self) -> Order:
        """What it asks for, in the inner vocabulary. Raises InvalidRequest where fields contradict each other."""
        return Order(
            model=self.model,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            size=None if self.wanted_size == "auto" else dimensions(self.wanted_size),
            seed=self.first_seed,
            count=self.count,
            quality=self.quality,
            steps=self.num_steps,
            guidance_scale=self.guidance_scale,
            pose=self._pose(),
            pose_strength=self.pose_strength,
            pose_end=self.pose_end,
            output_format=self.output_format,
            output_compression=self.output_compression,
            partial_images=self.partial_images if self.stream else 0,
        )

    def _pose(self) -> PoseSource | None:
        if self.keypoints is None:
            return None if self.pose_image is None else PoseSource(drawing=self.pose_image)
        if self.pose_image is not None:
            raise InvalidRequest("keypoints: send them or a pose_image, not both.", param="keypoints")
        return self.keypoints.to_source()


class EditFields(ImageBody):
    """What an edit has beside; to be mixed into a dialect's body."""

    image: PictureData | None = Field(
        default=None,
        description="The picture to edit (PNG, JPEG or WebP), or to take a pose from. Required unless `images`, "
        "`pose_image` or `keypoints` is sent.",
    )
    images: Annotated[list[PictureData], Field(min_length=1, max_length=16)] | None = Field(
        default=None, description="OpenAI's JSON spelling of `image`; one picture is taken."
    )
    mask: PictureData | None = Field(
        default=None,
        description="What to repaint, as large as the image: where it is transparent or, without an alpha channel, "
        "white. Without a mask the image's own transparent area is; without that, the whole picture is varied.",
    )
    strength: Strength | None = Field(
        default=None,
        description="How much is changed: by default 0.6 of the whole picture, all of what a mask marks.",
        examples=[0.7],
    )

    @property
    def wants_pose(self) -> bool:
        """Whether the image is there for its pose alone."""
        return False

    def to_order(self) -> Order:
        order = super().to_order()
        image = self.image
        if self.images is not None:
            if len(self.images) > 1 or image is not None:
                raise InvalidRequest("images: one picture is taken.", param="images")
            (image,) = self.images
        if image is None and order.pose is None:
            raise InvalidRequest(
                "Missing required parameter: 'image'.", code="missing_required_parameter", param="image"
            )
        return dataclasses.replace(
            order, image=image, mask=self.mask, strength=self.strength, wants_pose=self.wants_pose
        )
