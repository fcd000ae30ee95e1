"""Joints on the wire: OpenPose's own JSON, which pose editors read and write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from config.schema import MAX_PEOPLE
from deployments.errors import InvalidRequest
from deployments.types import Person, Point, PoseSource
from serve_app.dialects.json_text import parse_json

BODY_JOINTS = 18
HAND_JOINTS = 21

_Body: TypeAlias = Annotated[list[float | None], Field(min_length=3 * BODY_JOINTS, max_length=3 * BODY_JOINTS)]
_Hand: TypeAlias = Annotated[
    Annotated[list[float | None], Field(min_length=3 * HAND_JOINTS, max_length=3 * HAND_JOINTS)] | None,
    BeforeValidator(lambda value: None if value == [] else value),  # OpenPose writes it where it looked for no hands
]
_Side: TypeAlias = Annotated[int, Field(ge=1, le=2**16)]


class KeypointsPerson(BaseModel):
    """One person: x, y and confidence of each joint in turn; a joint with a confidence of 0 or less is not seen."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    pose_keypoints_2d: _Body = Field(
        description="The 18 joints of COCO-18: nose, neck, right shoulder, elbow, wrist, the same on the left, right "
        "hip, knee, ankle, the same on the left, right eye, left eye, right ear, left ear."
    )
    hand_left_keypoints_2d: _Hand = Field(default=None, description="The 21 joints of the left hand.")
    hand_right_keypoints_2d: _Hand = Field(default=None, description="The 21 joints of the right hand.")


class Keypoints(BaseModel):
    """People's joints in OpenPose's JSON."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    people: Annotated[list[KeypointsPerson], Field(min_length=1, max_length=MAX_PEOPLE)]
    canvas_width: _Side | None = Field(
        default=None,
        description="Coordinates are pixels of a canvas of this size; without one, fractions of the picture.",
        examples=[512],
    )
    canvas_height: _Side | None = Field(default=None, description="See `canvas_width`.", examples=[768])

    @model_validator(mode="after")
    def _canvas_has_two_sides(self) -> Keypoints:
        if (self.canvas_width is None) != (self.canvas_height is None):
            raise PydanticCustomError("canvas", "must have both a canvas_width and a canvas_height, or neither")
        return self

    def to_source(self) -> PoseSource:
        """The pose that this is. Raises InvalidRequest where no joint is within the picture."""
        width, height = self.canvas_width, self.canvas_height
        people = tuple(
            Person(
                body=_points(person.pose_keypoints_2d, width, height),
                left_hand=_points(person.hand_left_keypoints_2d or (), width, height),
                right_hand=_points(person.hand_right_keypoints_2d or (), width, height),
            )
            for person in self.people
        )
        if not any(point for person in people for point in (*person.body, *person.left_hand, *person.right_hand)):
            raise InvalidRequest(
                "keypoints: no joint is seen within the picture. Coordinates in pixels need a canvas_width and a "
                "canvas_height.",
                param="keypoints",
            )
        return PoseSource(people=people, canvas=(width, height) if width and height else None)

    @classmethod
    def from_people(cls, people: Sequence[Person], width: int, height: int) -> Keypoints:
        """The joints of `people` in pixels of a picture of that size."""
        return cls(
            people=[
                KeypointsPerson(
                    pose_keypoints_2d=_numbers(person.body, width, height),
                    hand_left_keypoints_2d=_numbers(person.left_hand, width, height) or None,
                    hand_right_keypoints_2d=_numbers(person.right_hand, width, height) or None,
                )
                for person in people
            ],
            canvas_width=width,
            canvas_height=height,
        )


def _parsed(value: object) -> object:
    """A form has no objects: there it is JSON in a text or a file."""
    if isinstance(value, str | bytes):
        try:
            value = parse_json(value.decode() if isinstance(value, bytes) else value)
        except ValueError:
            value = None
    if isinstance(value, Keypoints):
        return value
    if not isinstance(value, dict):
        raise PydanticCustomError("keypoints", "must be an object of OpenPose's JSON, with `people`")
    people = value.get("people")
    if isinstance(people, list) and len(people) > MAX_PEOPLE:  # said before each of them is looked at
        raise PydanticCustomError("keypoints", "must have at most {most} people", {"most": MAX_PEOPLE})
    return value


KeypointsField = Annotated[Keypoints, BeforeValidator(_parsed)]


def _points(numbers: Sequence[float | None], width: int | None, height: int | None) -> tuple[Point | None, ...]:
    points: list[Point | None] = []
    for x, y, confidence in zip(*[iter(numbers)] * 3, strict=True):
        if x is None or y is None or not confidence or confidence < 0:
            points.append(None)
        else:
            point = x / (width or 1), y / (height or 1)
            points.append(point if all(0 <= side <= 1 for side in point) else None)
    return tuple(points)


def _numbers(points: Sequence[Point | None], width: int, height: int) -> list[float | None]:
    numbers: list[float | None] = []
    for point in points:
        numbers += [0.0, 0.0, 0.0] if point is None else [point[0] * width, point[1] * height, 1.0]
    return numbers
