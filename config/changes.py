"""What the change of a Serve config file does to a service that runs: the table of docs/operating.md, in code.

It is Ray Serve's own doing (2.60), and a test holds the table against it. Serve hashes import path, args, runtime_env
and policies of an application into its version (`get_app_code_version`). Another version is built anew and replaces all
of its replicas, also where they would be made of the same. Of a deployment's options, those that place and size the
process of a replica replace it (`DeploymentVersion.requires_actor_restart`); all others reach the replicas that run.
What has to do with proxies and controller is read when Serve starts, and never again; what may be set for them later
stays as it was set last where a file no longer has it.

Invariant: no value of the files is told, for it may be secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any

from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from config.mistakes import key_path


class Effect(str, Enum):
    """What becomes of a change."""

    IN_PLACE = "in place"
    NEW_REPLICAS = "for replicas that start later"
    REPLICAS = "in place for replicas, for proxies and controller only when Serve starts"
    DEPLOYMENT = "replaces the replicas of the deployment"
    APPLICATION = "replaces the replicas of the application"
    START = "only when Serve starts"


Rules = Mapping[str, Effect]


def _rules(words: Mapping[Effect, str]) -> Rules:
    return MappingProxyType({key: effect for effect, keys in words.items() for key in keys.split()})


# The keys of each level. `a.b` is the key b of a, `a.*` any other key of a, and `a` beside them that a comes or goes.
OF_THE_FILE = _rules(
    {
        Effect.IN_PLACE: "logging_config target_capacity",
        Effect.NEW_REPLICAS: "tracing_config",
        Effect.START: "http_options proxy_location grpc_options controller_options",
    }
)
OF_WHAT_THE_FILE_LACKS = _rules({Effect.REPLICAS: "logging_config", Effect.START: "tracing_config"})  # and had before
OF_AN_APPLICATION = _rules(
    {
        Effect.IN_PLACE: "route_prefix logging_config external_scaler_enabled",
        Effect.APPLICATION: "args import_path runtime_env autoscaling_policy",
    }
)
OF_A_DEPLOYMENT = _rules(
    {
        Effect.IN_PLACE: "user_config num_replicas autoscaling_config.* max_ongoing_requests max_queued_requests "
        "health_check_period_s health_check_timeout_s graceful_shutdown_timeout_s graceful_shutdown_wait_loop_s "
        "max_surge_percent rolling_update_percentage backpressure_config logging_config",
        Effect.DEPLOYMENT: "ray_actor_options max_replicas_per_node placement_group_bundles placement_group_strategy "
        "placement_group_bundle_label_selector gang_scheduling_config",
        Effect.APPLICATION: "autoscaling_config autoscaling_config.policy request_router_config deployment_actors",
    }
)

# What it means that the replicas of an application, by who builds it, or of one deployment are replaced.
_WEIGHTS = "its weights are loaded again"
_INGRESS = "the ingress restarts, one replica after another"
_COUNTS = "the counts of limits begin anew"
_MEANING = {
    "serve_app.app:build": f"{_INGRESS}, and {_COUNTS}",
    "Ingress": _INGRESS,
    "Quotas": _COUNTS,
    "deployments.diffusion:build": _WEIGHTS,
    "Diffusion": _WEIGHTS,
    "deployments.pose_estimator:build": _WEIGHTS,
    "PoseEstimator": _WEIGHTS,
}


def changes(old: Any, new: Any) -> Iterator[str]:
    """One line for each change from a file's content to another's, both without mistakes.

    What is written out for the first time counts as a change of a deployment, also if it is the default.
    """
    before, after = ServeDeploySchema.model_validate(old), ServeDeploySchema.model_validate(new)
    had, has = (each.model_dump(exclude={"applications"}) for each in (before, after))
    for path in _changed(had, has):
        rules = OF_THE_FILE if has[path[0]] is not None else {**OF_THE_FILE, **OF_WHAT_THE_FILE_LACKS}
        yield f"{key_path(path)}: {_effect(rules, path).value}"
    ran = {application.name: application for application in before.applications}
    for application in after.applications:
        if application.name in ran:
            yield from _changes_of(ran.pop(application.name), application)
        else:
            yield f"{application.name}: is added"
    yield from (f"{name}: is removed" for name in ran)


def _changes_of(old: ServeApplicationSchema, new: ServeApplicationSchema) -> Iterator[str]:
    before, after = (each.model_dump(exclude={"deployments"}) for each in (old, new))
    for path in _changed(before, after):
        yield f"{new.name}: {key_path(path)}: {_described(_effect(OF_AN_APPLICATION, path), new)}"
    options_before, options_after = (_options_of(application) for application in (old, new))
    for name in dict.fromkeys([*options_before, *options_after]):
        for path in _changed(options_before.get(name, {"name": name}), options_after.get(name, {"name": name})):
            yield f"{new.name}: {name}.{key_path(path)}: {_described(_effect(OF_A_DEPLOYMENT, path), new, name)}"


def _options_of(application: ServeApplicationSchema) -> dict[str, dict[str, Any]]:
    """What the file says, by deployment; null is to Serve as what it does not say."""
    return {
        deployment.name: {
            key: value for key, value in deployment.model_dump(exclude_unset=True).items() if value is not None
        }
        for deployment in application.deployments
    }


def _described(effect: Effect, application: ServeApplicationSchema, deployment: str = "") -> str:
    if effect is Effect.APPLICATION:
        return f"{effect.value}: {_MEANING[application.import_path]}"
    return f"{effect.value}: {_MEANING[deployment]}" if effect is Effect.DEPLOYMENT else effect.value


def _changed(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of what differs; a list is told as a whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            yield from _changed(old.get(key, _ABSENT), new.get(key, _ABSENT), (*path, str(key)))
    elif _hashed(old) != _hashed(new):
        yield path


_ABSENT = object()


def _hashed(value: Any) -> str:
    """What Serve makes its hashes of: 1 and 1.0 are two values."""
    return json.dumps(value, sort_keys=True, default=repr)


def _effect(rules: Rules, path: tuple[str, ...]) -> Effect:
    inner = [".".join(path[:2]), f"{path[0]}.*"] if len(path) > 1 else []
    return next(rules[name] for name in (*inner, path[0]) if name in rules)
