"""Reads a Serve config file and checks the parts of it that are ours.

Those are the `args` and `user_config` of each application, the autoscaling policy of the models, and the keys of what
Ray would overlook or tell late. Ray checks the rest when it deploys; config.check asks it before. An error names the
key path.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, ValidationInfo

from config.keys import with_keys_of_file
from config.mistakes import ConfigError, key_path, read_yaml
from config.schema import (
    IngressConfig,
    IngressSettings,
    ModelConfig,
    ModelSettings,
    PoseEstimatorConfig,
    Strict,
    unknown,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


@dataclass(frozen=True, slots=True)
class ServeFile:
    """What is needed to know of a checked file before it runs."""

    host: str
    port: int
    models: tuple[ModelConfig, ...]
    poses: tuple[PoseEstimatorConfig, ...]
    needs_key: bool  # of whoever asks for a picture

    @property
    def uses_mediapipe(self) -> bool:
        """For poses."""
        return any(pose.detector == "mediapipe" for pose in self.poses)

    @property
    def url(self) -> str:
        """Where a browser on this machine reaches it."""
        return f"http://{'localhost' if self.host in ('0.0.0.0', '127.0.0.1') else self.host}:{self.port}"  # noqa: S104


def read_serve_file(path: Path) -> ServeFile:
    """Raises OSError when the file cannot be read and ConfigError when something in it is wrong."""
    return serve_file(read_yaml(path))


def read_or_tell(path: str) -> ServeFile | None:
    """What a command was given; None, and why on stderr, where it cannot be read or something in it is wrong."""
    try:
        return read_serve_file(Path(path))
    except (OSError, ConfigError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None


def serve_file(content: Any, *, keys_are_here: bool = False) -> ServeFile:
    """The same of what stands in a file. A `keys_file` that is not on this machine is wrong if the keys are here."""
    try:
        file = _File.model_validate(content, context=keys_are_here)
    except ValidationError as error:
        raise ConfigError("\n".join(map(_mistake, error.errors()))) from error
    if dead_ends := "\n".join(_dead_ends(file)):
        raise ConfigError(dead_ends)
    return ServeFile(
        host=file.http_options.host,
        port=file.http_options.port,
        models=tuple(each.args for each in file.applications if isinstance(each, _ModelApplication)),
        poses=tuple(each.args for each in file.applications if isinstance(each, _PoseApplication)),
        needs_key=any(
            application.deployments[0].user_config.needs_key
            for application in file.applications
            if isinstance(application, _IngressApplication)
        ),
    )


# What we look at in the file; its other keys are Ray's. A tuple of one: an application of ours has one deployment, and
# the ingress a second one, of which nothing need be said.


class Autoscaling(Strict):
    """The keys that Ray knows, and whose values it checks; an unknown one it would overlook."""

    min_replicas: Any = None
    initial_replicas: Any = None
    max_replicas: Any = None
    target_ongoing_requests: Any = None
    metrics_interval_s: Any = None
    look_back_period_s: Any = None
    smoothing_factor: Any = None
    upscale_smoothing_factor: Any = None
    downscale_smoothing_factor: Any = None
    upscaling_factor: Any = None
    downscaling_factor: Any = None
    upscale_delay_s: Any = None
    downscale_delay_s: Any = None
    downscale_to_zero_delay_s: Any = None
    aggregation_function: Any = None
    policy: Any = None


class Logging(Strict):
    """The keys that Ray knows, and whose values it checks."""

    encoding: Any = None
    log_level: Any = None
    logs_dir: Any = None
    enable_access_log: Any = None
    additional_log_standard_attrs: Any = None


def _keys_are_readable(settings: IngressSettings, info: ValidationInfo) -> IngressSettings:
    """A file that is not there may be there on the cluster."""
    keys_are_here = bool(info.context)
    if settings.keys_file is not None and (keys_are_here or Path(settings.keys_file).expanduser().exists()):
        with_keys_of_file(settings)
    return settings


class _IngressDeployment(BaseModel):
    name: Literal["Ingress"]
    autoscaling_config: Autoscaling | None = None
    user_config: Annotated[IngressSettings, AfterValidator(_keys_are_readable)]


class _QuotasDeployment(BaseModel):
    """All counts are in one place."""

    name: Literal["Quotas"]
    num_replicas: Literal[1] = 1
    autoscaling_config: None = None
    user_config: None = None


def _with_quotas(deployments: Any) -> Any:
    is_without = isinstance(deployments, list) and len(deployments) == 1
    return [*deployments, {"name": "Quotas"}] if is_without else deployments


class _IngressApplication(BaseModel):
    name: str
    import_path: Literal["serve_app.app:build"]
    args: IngressConfig = IngressConfig()
    deployments: Annotated[tuple[_IngressDeployment, _QuotasDeployment], BeforeValidator(_with_quotas)]


class _BacklogPolicy(Strict):
    policy_function: Literal["deployments.autoscaling:backlog_policy"]


class _ModelAutoscaling(Autoscaling):
    policy: _BacklogPolicy | None = None  # without one, Ray scales by the number of requests


class _ModelDeployment(BaseModel):
    name: Literal["Diffusion"]
    autoscaling_config: _ModelAutoscaling | None = None
    user_config: ModelSettings


class _ModelApplication(BaseModel):
    name: str
    import_path: Literal["deployments.diffusion:build"]
    args: ModelConfig
    deployments: tuple[_ModelDeployment]


class _PoseDeployment(BaseModel):
    name: Literal["PoseEstimator"]
    autoscaling_config: Autoscaling | None = None
    user_config: None = None


class _PoseApplication(BaseModel):
    name: str
    import_path: Literal["deployments.pose_estimator:build"]
    args: PoseEstimatorConfig = PoseEstimatorConfig()
    deployments: tuple[_PoseDeployment]


_Application = Annotated[_IngressApplication | _ModelApplication | _PoseApplication, Field(discriminator="import_path")]


class _HttpOptions(BaseModel):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)


class _File(BaseModel):
    http_options: _HttpOptions = _HttpOptions()
    logging_config: Logging | None = None
    applications: list[_Application]


def _dead_ends(file: _File) -> Iterator[str]:
    """The routes of an ingress that lead to no application, or to one of another family."""
    families = {each.name: each.args.family for each in file.applications if isinstance(each, _ModelApplication)}
    poses = [each.name for each in file.applications if isinstance(each, _PoseApplication)]
    for number, application in enumerate(file.applications):
        if not isinstance(application, _IngressApplication):
            continue
        settings, place = application.deployments[0].user_config, f"applications[{number}].deployments[0].user_config"
        for index, route in enumerate(settings.models):
            family = families.get(route.application)
            if family is None:
                mistake = unknown("application of a model", route.application, families)
                yield f"{place}.models[{index}].application: {mistake}"
            elif family != route.family:
                yield f"{place}.models[{index}].family: the application '{route.application}' runs '{family}'"
        if settings.pose and settings.pose.application not in poses:
            mistake = unknown("application that finds poses", settings.pose.application, poses)
            yield f"{place}.pose.application: {mistake}"


def _mistake(error: ErrorDetails) -> str:
    """As `applications[0].args.weights: …`. The third key of a location is pydantic's, the kind of the application."""
    path = key_path(error["loc"][:2] + error["loc"][3:])
    if error["type"] == "union_tag_invalid":
        tag, known = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{path}.import_path: {unknown('builder', tag, known)}"
    if error["type"] == "union_tag_not_found":
        return f"{path}.import_path: Field required"
    is_no_mapping = error["type"] in ("model_type", "model_attributes_type")
    message = "must be a mapping" if is_no_mapping else error["msg"].removeprefix("Value error, ")
    return f"{path or 'the file'}: {message}"
