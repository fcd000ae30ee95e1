"""Everything that is wrong with a Serve config file is told before it is deployed, by key path."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray.serve.schema import ServeDeploySchema

from config.check import mistakes_in
from tests.unit.config.test_files import SHIPPED, any_yaml, places, replaced

SCALED, MODEL = "applications[0].deployments[0]", "applications[1].deployments[0]"


@pytest.fixture
def content() -> dict[str, Any]:
    """The local file, of which each part may be changed by itself."""
    loaded: dict[str, Any] = yaml.safe_load(SHIPPED[0].read_bytes())
    loaded["applications"] = [copy.deepcopy(application) for application in loaded["applications"]]
    return loaded


def deployment(content: dict[str, Any], application: int) -> Any:
    return content["applications"][application]["deployments"][0]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_files_have_no_mistake(path: Path) -> None:
    assert mistakes_in(yaml.safe_load(path.read_bytes())) == []


Change = Callable[[dict[str, Any]], object]
OVERLOOKED_BY_RAY: dict[str, tuple[Change, str]] = {
    "top": (lambda c: c.update(http_option={}), "the file: unknown key 'http_option'; did you mean 'http_options'?"),
    "http_options": (
        lambda c: c["http_options"].update(prot=1),
        "http_options: unknown key 'prot'; did you mean 'port'?",
    ),
    "application": (
        lambda c: c["applications"][1].update(route_prefx=None),
        "applications[1]: unknown key 'route_prefx'; did you mean 'route_prefix'?",
    ),
    "deployment": (
        lambda c: deployment(c, 1).update(max_ongoing_request=1),
        f"{MODEL}: unknown key 'max_ongoing_request'; did you mean 'max_ongoing_requests'?",
    ),
    "ray_actor_options": (
        lambda c: deployment(c, 1)["ray_actor_options"].update(num_gpu=1),
        f"{MODEL}.ray_actor_options: unknown key 'num_gpu'; did you mean 'num_gpus'?",
    ),
    "autoscaling_config": (
        lambda c: deployment(c, 0)["autoscaling_config"].update(max_replica=1),
        f"{SCALED}.autoscaling_config: unknown key 'max_replica'; did you mean 'max_replicas'?",
    ),
}
REFUSED_BY_RAY: dict[str, tuple[Change, str]] = {
    "schema": (
        lambda c: deployment(c, 1)["ray_actor_options"].update(num_cpus=-1),
        f"{MODEL}.ray_actor_options.num_cpus: Input should be greater than or equal to 0",
    ),
    "one of several types": (
        lambda c: deployment(c, 1).update(num_replicas=-1, autoscaling_config=None),
        f"{MODEL}.num_replicas: Input should be greater than 0",
    ),
    "both": (lambda c: deployment(c, 1).update(num_replicas=2), f"{MODEL}: Manually setting num_replicas is not"),
    "no name": (lambda c: deployment(c, 1).pop("name"), f"{MODEL}.name: Field required"),
    "same route": (
        lambda c: c["applications"][1].update(route_prefix="/"),
        'applications: Found duplicate applications for route prefix "/".',
    ),
    "same name": (
        lambda c: c["applications"].append(c["applications"][1] | {"args": c["applications"][1]["args"]}),
        'applications: Found multiple configs for application "sdxl".',
    ),
    "route": (
        lambda c: c["applications"][0].update(route_prefix="v1"),
        "applications[0].route_prefix: Invalid route_prefix 'v1', must start with a forward slash",
    ),
    "logging": (lambda c: c["logging_config"].update(encodng=1), "logging_config: unknown key 'encodng'; did you mean"),
    "when it scales": (
        lambda c: deployment(c, 1)["autoscaling_config"].update(min_replicas=9),
        f"{MODEL}.autoscaling_config: max_replicas (2) must be greater than or equal to min_replicas (9)!",
    ),
    "type when it scales": (
        lambda c: deployment(c, 1)["autoscaling_config"].update(min_replicas="few"),
        f"{MODEL}.autoscaling_config.min_replicas: Input should be a valid integer",
    ),
    "when it is made": (
        lambda c: deployment(c, 1).update(max_replicas_per_node=101),
        f"{MODEL}: Invalid max_replicas_per_node 101.",
    ),
    "policy of the ingress": (
        lambda c: deployment(c, 0)["autoscaling_config"].update(policy={"policy_function": "deployments.nothing:at"}),
        "the file: No module named 'deployments.nothing'",
    ),
}
REFUSED_BY_US: dict[str, tuple[Change, str]] = {
    "args": (
        lambda c: c["applications"][1]["args"].update(devise="cpu"),
        "applications[1].args: unknown key 'devise'; did you mean 'device'?",
    ),
    "path": (
        lambda c: c["applications"][1].update(import_path="deployments.difusion:build"),
        "applications[1].import_path: unknown builder 'deployments.difusion:build'; did you mean",
    ),
    "file of keys": (
        lambda c: deployment(c, 0)["user_config"].update(keys_file="/nowhere/keys.yaml"),
        f"{SCALED}.user_config: keys_file: /nowhere/keys.yaml: No such file or directory",
    ),
    "what Ray refuses too": (lambda c: c["http_options"].update(port="http"), "http_options.port: "),
    "what Ray stumbles over": (lambda c: c["applications"][1].update(deployments=["x"]), f"{MODEL}: must be a mapping"),
}
MISTAKES = OVERLOOKED_BY_RAY | REFUSED_BY_RAY | REFUSED_BY_US


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_once_with_its_key_path(name: str, content: dict[str, Any]) -> None:
    change, expected = MISTAKES[name]
    change(content)
    (line,) = mistakes_in(content)
    assert line.startswith(expected)


@pytest.mark.parametrize("name", OVERLOOKED_BY_RAY)
def test_ray_overlooks_what_is_told_of_unknown_keys(name: str, content: dict[str, Any]) -> None:
    OVERLOOKED_BY_RAY[name][0](content)
    ServeDeploySchema.model_validate(content)


def test_all_mistakes_are_told_together(content: dict[str, Any]) -> None:
    names = [*OVERLOOKED_BY_RAY, "schema", "args", "file of keys"]
    for name in names:
        MISTAKES[name][0](content)
    deployment(content, 0)["autoscaling_config"].update(min_replica=1)
    told = mistakes_in(content)
    assert len(told) == len(names) + 1
    assert not [name for name in names if not any(line.startswith(MISTAKES[name][1]) for line in told)]


def test_a_file_of_keys_may_be_elsewhere(content: dict[str, Any]) -> None:
    MISTAKES["file of keys"][0](content)
    assert mistakes_in(content, keys_are_here=False) == []


def test_what_is_checked_stays_as_it_is(content: dict[str, Any]) -> None:
    deployment(content, 1)["gang_scheduling_config"] = {"gang_size": 1}
    before = copy.deepcopy(content)
    mistakes_in(content)
    assert content == before


@given(st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_file_of_which_any_part_is_anything_is_checked(data: st.DataObject) -> None:
    whole = yaml.safe_load(SHIPPED[0].read_bytes())
    place = data.draw(st.sampled_from(places(whole)))
    assert isinstance(mistakes_in(replaced(whole, place, data.draw(any_yaml))), list)
