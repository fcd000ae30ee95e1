"""What an operator writes of the pose estimator's application."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from config.schema.models import Weights
from config.schema.strict import Strict

DetectorName = Literal["mediapipe", "dwpose", "openpose"]
MAX_PEOPLE = 32  # of one pose


class PoseEstimatorConfig(Strict):
    """`args` of `deployments.pose_estimator:build`: what finds the people that a picture is guided by."""

    detector: DetectorName = Field(
        default="mediapipe",
        description="mediapipe: mostly one person, no hands; dwpose: many, with hands; openpose: the same, slower, and "
        "not for commercial use.",
    )
    weights: Weights | None = Field(
        default=None, description="Of dwpose and openpose, which need some; mediapipe's come in a Python package."
    )
    max_people: int = Field(default=8, ge=1, le=MAX_PEOPLE, description="The most people drawn of one picture.")
    limbs: Literal["canonical", "wide"] = Field(
        default="canonical",
        description="How limbs are drawn, as the ControlNet was trained: canonical: as OpenPose's own; wide: wider in "
        "larger pictures, as xinsir/controlnet-openpose-sdxl-1.0 wants them.",
    )
    threads: PositiveInt = Field(default=2, description="Pictures worked on at once, and CPU threads of the networks.")
    watchdog_seconds: PositiveFloat = Field(
        default=60.0, description="A picture that takes longer makes the replica unhealthy; it is then replaced."
    )

    @model_validator(mode="after")
    def _weights_where_they_are_used(self) -> PoseEstimatorConfig:
        if (self.weights is None) != (self.detector == "mediapipe"):
            raise ValueError("weights: the detectors 'dwpose' and 'openpose' need some, and 'mediapipe' takes none")
        return self
