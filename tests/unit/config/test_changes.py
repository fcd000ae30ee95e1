"""What a change does is what Ray Serve says of it, and what docs/operating.md says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml
from ray import serve
from ray.serve._private.controller import ServeController
from ray.serve._private.deploy_utils import get_app_code_version
from ray.serve._private.version import DeploymentVersion
from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

from config.changes import (
    OF_A_DEPLOYMENT,
    OF_AN_APPLICATION,
    OF_THE_FILE,
    OF_WHAT_THE_FILE_LACKS,
    Effect,
    Rules,
    changes,
)

ROOT = Path(__file__).parents[3]

WEIGHTS = "its weights are loaded again"
INGRESS = "the ingress restarts, one replica after another, and the counts of limits begin anew"
COUNTS = "the counts of limits begin anew"


@pytest.fixture
def old() -> dict[str, Any]:
    """The local file, of which each part may be changed by itself."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "config" / "local.yaml").read_bytes())
    loaded["applications"] = [copy.deepcopy(application) for application in loaded["applications"]]
    return loaded


@pytest.fixture
def new(old: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(old)


def keys_of(rules: Rules) -> set[str]:
    return {key.partition(".")[0] for key in rules}


def test_every_key_of_serve_has_an_effect() -> None:
    assert keys_of(OF_THE_FILE) == ServeDeploySchema.model_fields.keys() - {"applications"}
    assert keys_of(OF_A_DEPLOYMENT) == DeploymentSchema.model_fields.keys() - {"name"}
    refused = {"host", "port"}  # Serve takes them of a file with one application alone
    assert keys_of(OF_AN_APPLICATION) == ServeApplicationSchema.model_fields.keys() - {"name", "deployments"} - refused


# A change of each key that may stand in a file, as (before, after); `...` is a key that is not there.
CHANGES_OF_AN_APPLICATION: dict[str, tuple[Any, Any]] = {
    "route_prefix": (None, "/x"),
    "logging_config": (..., {"log_level": "DEBUG"}),
    "external_scaler_enabled": (False, True),
    "args": ({"threads": 1}, {"threads": 2}),
    "import_path": ("deployments.diffusion:build", "serve_app.app:build"),
    "runtime_env": (..., {"env_vars": {"A": "1"}}),
    "autoscaling_policy": (..., {"policy_function": "deployments.autoscaling:backlog_policy"}),
}
POLICY = {"policy_function": "deployments.autoscaling:backlog_policy"}
CHANGES_OF_A_DEPLOYMENT: dict[str, tuple[Any, Any]] = {
    "user_config": ({"presets": 1}, {"presets": 2}),
    "num_replicas": (1, 2),
    "autoscaling_config": (..., {"max_replicas": 2}),
    "autoscaling_config.*": ({"max_replicas": 2, "policy": POLICY}, {"max_replicas": 3, "policy": POLICY}),
    "autoscaling_config.policy": ({"max_replicas": 2}, {"max_replicas": 2, "policy": POLICY}),
    "max_ongoing_requests": (5, 6),
    "max_queued_requests": (5, 6),
    "health_check_period_s": (5, 6),
    "health_check_timeout_s": (5, 6),
    "graceful_shutdown_timeout_s": (5, 6),
    "graceful_shutdown_wait_loop_s": (5, 6),
    "max_surge_percent": (0, 100),
    "rolling_update_percentage": (0.2, 0.5),
    "backpressure_config": (..., {"status_code": 429}),
    "logging_config": (..., {"log_level": "DEBUG"}),
    "ray_actor_options": ({"num_cpus": 1}, {"num_cpus": 2}),
    "max_replicas_per_node": (1, 2),
    "placement_group_bundles": ([{"CPU": 1}], [{"CPU": 2}]),
    "placement_group_strategy": ("PACK", "SPREAD"),
    "placement_group_bundle_label_selector": ([{"a": "b"}], [{"a": "c"}]),
    "gang_scheduling_config": (..., {"gang_size": 1}),
    "request_router_config": (..., {"request_router_kwargs": {"a": 1}}),
    "deployment_actors": (..., [{"name": "a", "actor_class": "tests.unit.config.test_changes:Anything"}]),
}


class Anything:
    """In the place of what is deployed."""


def application(**options: Any) -> dict[str, Any]:
    return {"name": "a", "route_prefix": None, "import_path": "deployments.diffusion:build"} | options


def deployed(**options: Any) -> dict[str, Any]:
    beside = {"placement_group_bundles": [{"CPU": 1}]} if "placement_group" in str(options) else {}
    return application(deployments=[{"name": "Diffusion"} | beside | options])


def version(described: dict[str, Any]) -> DeploymentVersion:
    """Of its deployment, as Serve makes it."""
    schema = ServeApplicationSchema.model_validate(copy.deepcopy(described))
    (options,) = schema.deployments
    given = options.model_dump(exclude_unset=True, exclude={"rolling_update_percentage"})
    made = serve.deployment(Anything).options(**given)
    replica = made._replica_config
    return DeploymentVersion(
        get_app_code_version(schema),
        made._deployment_config,
        replica.ray_actor_options,
        placement_group_bundles=replica.placement_group_bundles,
        placement_group_strategy=replica.placement_group_strategy,
        placement_group_bundle_label_selector=replica.placement_group_bundle_label_selector,
        max_replicas_per_node=replica.max_replicas_per_node,
    )


def effect_of_serve(before: dict[str, Any], after: dict[str, Any]) -> Effect:
    versions = [get_app_code_version(ServeApplicationSchema.model_validate(copy.deepcopy(v))) for v in (before, after)]
    if versions[0] != versions[1]:
        return Effect.APPLICATION
    if before.get("deployments") and version(before).requires_actor_restart(version(after)):
        return Effect.DEPLOYMENT
    return Effect.IN_PLACE


def lines(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return list(changes({"applications": [before]}, {"applications": [after]}))


@pytest.mark.parametrize("key", OF_AN_APPLICATION)
def test_a_change_of_an_application_does_what_serve_does(key: str) -> None:
    before, after = (application(**({} if value is ... else {key: value})) for value in CHANGES_OF_AN_APPLICATION[key])
    assert effect_of_serve(before, after) == OF_AN_APPLICATION[key]
    (line,) = lines(before, after)
    assert line.startswith(f"a: {key}")
    assert f": {OF_AN_APPLICATION[key].value}" in line


@pytest.mark.parametrize("key", OF_A_DEPLOYMENT)
def test_a_change_of_a_deployment_does_what_serve_does(key: str) -> None:
    name = key.partition(".")[0]
    before, after = (deployed(**({} if value is ... else {name: value})) for value in CHANGES_OF_A_DEPLOYMENT[key])
    assert effect_of_serve(before, after) == OF_A_DEPLOYMENT[key]
    (line,) = lines(before, after)
    assert line.startswith(f"a: Diffusion.{key.rstrip('*')}")
    assert f": {OF_A_DEPLOYMENT[key].value}" in line


def test_equal_replicas_restart_too_where_the_args_are_written_otherwise() -> None:
    """Serve makes its hash of what stands in the file, and not of what is made of it."""
    for before, after in (({"threads": 1}, {"threads": 1.0}), ({}, {"threads": None})):
        assert effect_of_serve(application(args=before), application(args=after)) == Effect.APPLICATION
        assert lines(application(args=before), application(args=after)) == [
            f"a: args.threads: {Effect.APPLICATION.value}: {WEIGHTS}"
        ]


@pytest.mark.parametrize("key", ["num_replicas", "user_config", "autoscaling_config", "deployment_actors"])
def test_null_is_as_what_is_not_written(key: str) -> None:
    before, after = deployed(), deployed(**{key: None})
    assert effect_of_serve(before, after) == Effect.IN_PLACE
    made = [version(each).deployment_config for each in (before, after)]
    assert made[0].model_dump(exclude={"user_configured_option_names"}) == made[1].model_dump(
        exclude={"user_configured_option_names"}
    )
    assert lines(before, after) == lines(after, before) == []


@pytest.mark.parametrize(
    ("key", "value"), [("logging_config", {"log_level": "DEBUG"}), ("tracing_config", {"sampling_ratio": 0.5})]
)
def test_what_the_file_no_longer_has(key: str, value: dict[str, Any]) -> None:
    without: dict[str, Any] = {"applications": []}
    assert list(changes(without, without | {key: value})) == [f"{key}: {OF_THE_FILE[key].value}"]
    assert list(changes(without | {key: value}, without)) == [f"{key}: {OF_WHAT_THE_FILE_LACKS[key].value}"]


def test_serve_keeps_the_tracing_that_a_file_no_longer_has() -> None:
    controller = MagicMock(_shutting_down=False, _target_capacity=None, _target_capacity_direction=None)
    controller._read_config_checkpoint.return_value = (0.0, None, None)
    for config in ({"tracing_config": {"sampling_ratio": 0.5}}, {}):
        ServeController.apply_config(controller, ServeDeploySchema.model_validate({"applications": []} | config))
        assert controller.global_tracing_config.sampling_ratio == 0.5


def test_nothing_changes(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["applications"].reverse()
    new["proxy_location"], new["http_options"]["request_timeout_s"] = "HeadOnly", None  # as it is by default
    assert list(changes(old, new)) == []


def test_each_change_has_a_line(old: dict[str, Any], new: dict[str, Any]) -> None:
    ingress, sdxl, *_, pose = new["applications"]
    new["http_options"]["port"] = 8001
    ingress["args"]["max_body_bytes"] = 1
    ingress["deployments"][0]["user_config"]["models"][0]["aliases"].append("x")
    sdxl["deployments"][0]["user_config"]["presets"]["hd"]["steps"] = 9
    sdxl["deployments"][0]["ray_actor_options"]["num_gpus"] = 1
    pose["name"] = "poses"
    assert list(changes(old, new)) == [
        "http_options.port: only when Serve starts",
        f"ingress: args.max_body_bytes: replaces the replicas of the application: {INGRESS}",
        "ingress: Ingress.user_config.models: in place",
        "sdxl: Diffusion.user_config.presets.hd.steps: in place",
        f"sdxl: Diffusion.ray_actor_options.num_gpus: replaces the replicas of the deployment: {WEIGHTS}",
        "poses: is added",
        "pose: is removed",
    ]


def test_a_deployment_that_the_file_names_or_no_longer_names(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["applications"][0]["deployments"].append({"name": "Quotas", "ray_actor_options": {"num_cpus": 0.1}})
    line = f"ingress: Quotas.ray_actor_options: replaces the replicas of the deployment: {COUNTS}"
    assert list(changes(old, new)) == list(changes(new, old)) == [line]


def test_no_value_is_told(old: dict[str, Any], new: dict[str, Any]) -> None:
    new["applications"][0]["deployments"][0]["user_config"]["keys"] = [{"name": "otter", "sha256": "5e88"}]
    (line,) = changes(old, new)
    assert line == "ingress: Ingress.user_config.keys: in place"


def test_the_table_of_the_documentation_is_this_one() -> None:
    section = (ROOT / "docs" / "operating.md").read_text().split("\n## Updating in place\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    told = {(of, key.strip(" `")): effect for of, keys, effect in rows[2:] for key in keys.split(",")}
    levels = {
        "the file": OF_THE_FILE,
        "the file, taken out": OF_WHAT_THE_FILE_LACKS,
        "an application": OF_AN_APPLICATION,
        "a deployment": OF_A_DEPLOYMENT,
    }
    assert told == {(of, key): effect.value for of, rules in levels.items() for key, effect in rules.items()}
