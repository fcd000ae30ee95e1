"""What a deploy changes, under steady load: whatever `python -m config check` says of it, and nothing else.

A replica loads its weights once, when it is made: a replica that stays has not loaded them again, and a new one has.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from config.changes import Effect, changes
from tests.reliability.conftest import FakeService, application, steady_load, wait_until
from tests.reliability.ledger import SIDE, Ledger

pytestmark = pytest.mark.anyio

Replicas = dict[tuple[str, str], set[str]]  # the ids, by application and deployment
SECOND = "easel/second"


def replicas(service: FakeService) -> Replicas:
    return {
        (name, deployment): {replica["replica_id"] for replica in described["replicas"]}
        for name, found in service.applications().items()
        for deployment, described in found["deployments"].items()
    }


def deployed_at(service: FakeService) -> float:
    return max(found["last_deployed_time_s"] for found in service.applications().values())


def is_in_force(service: FakeService, config: dict[str, Any], after: float) -> bool:
    """Whether all is done that a deploy later than `after` has begun: what shall go has gone."""
    applications = service.applications()
    described = [each for found in applications.values() for each in found["deployments"].values()]
    return (
        applications.keys() == {each["name"] for each in config["applications"]}
        and all(found["last_deployed_time_s"] > after for found in applications.values())
        and {found["status"] for found in applications.values()} == {"RUNNING"}
        and {each["status"] for each in described} == {"HEALTHY"}
        and {replica["state"] for each in described for replica in each["replicas"]} == {"RUNNING"}
    )


def told(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What the command says; it knows no fake family."""
    files = copy.deepcopy([old, new])
    for each in (each for file in files for each in file["applications"]):
        each["import_path"] = each["import_path"].replace("tests.reliability.fake_family", "deployments.diffusion")
    return list(changes(*files))


def is_replaced(name: str, deployment: str, lines: list[str]) -> bool:
    return any(
        (line.startswith(f"{name}: ") and Effect.APPLICATION.value in line)
        or (line.startswith(f"{name}: {deployment}.") and Effect.DEPLOYMENT.value in line)
        for line in lines
    )


async def deploy(service: FakeService, ledger: Ledger, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """From the one to the other under load; what becomes of each replica is as told. Returns what was."""
    await asyncio.to_thread(wait_until, lambda: is_in_force(service, old, after=0))
    before, began = await asyncio.to_thread(lambda: (replicas(service), deployed_at(service)))
    async with steady_load(ledger, per_second=5):
        await asyncio.to_thread(service.deploy, new)
        await asyncio.to_thread(wait_until, lambda: is_in_force(service, new, began))
    after, lines = await asyncio.to_thread(replicas, service), told(old, new)
    for (name, deployment), ids in before.items():
        if f"{name}: is removed" in lines:
            assert (name, deployment) not in after
        elif is_replaced(name, deployment, lines):
            assert not ids & after[name, deployment], (name, deployment)
        else:
            assert ids <= after[name, deployment], (name, deployment)
    ledger.assert_nothing_lost()
    return lines


def deployment(config: dict[str, Any], name: str) -> Any:
    return application(config, name)["deployments"][0]


async def picture(client: httpx.AsyncClient, **fields: Any) -> str:
    """In base64; the fake family paints what it was asked for."""
    body = {"prompt": "an otter", "seed": 1, "size": f"{SIDE}x{SIDE}", "response_format": "b64_json"} | fields
    answer = await client.post("/v1/images/generations", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    found: str = answer.json()["data"][0]["b64_json"]
    return found


async def test_settings_apply_in_place(
    service: FakeService, config: dict[str, Any], ledger: Ledger, client: httpx.AsyncClient
) -> None:
    wanted = await picture(client, num_steps=3, guidance_scale=2.5)
    assert await picture(client, quality="low") != wanted
    config["logging_config"]["log_level"] = "WARNING"
    deployment(config, "ingress")["user_config"]["models"][0]["aliases"] = ["otter-maker"]
    model = deployment(config, "sdxl")
    model |= {"num_replicas": 3, "health_check_period_s": 2, "graceful_shutdown_timeout_s": 60}
    model["user_config"]["presets"]["low"] = {"steps": 3, "guidance_scale": 2.5}
    model["user_config"]["batching"] = {"max_running": 8, "max_queued": 40}
    lines = await deploy(service, ledger, service.config, config)
    assert {line.rpartition(": ")[2] for line in lines} == {Effect.IN_PLACE.value}
    for _ in range(8):  # on whatever replica
        assert await picture(client, quality="low", model="otter-maker") == wanted


Change = Callable[[dict[str, Any]], object]
REPLACES: dict[str, Change] = {
    "args": lambda c: application(c, "sdxl")["args"].update(torch_threads=2),
    "resources": lambda c: deployment(c, "sdxl")["ray_actor_options"].update(num_cpus=0.2),
    "args of the ingress": lambda c: application(c, "ingress")["args"].update(max_body_bytes=2**24),
}


@pytest.mark.parametrize(
    "name",
    [
        "args",
        *(
            pytest.param(name, marks=pytest.mark.long("one of them is enough for most runs"))
            for name in REPLACES
            if name != "args"
        ),
    ],
)
async def test_the_replicas_of_one_application_restart(
    service: FakeService, config: dict[str, Any], ledger: Ledger, name: str
) -> None:
    REPLACES[name](config)
    (line,) = await deploy(service, ledger, service.config, config)
    assert "replaces" in line


@pytest.mark.long("the autoscaler's decisions are tested elsewhere")
async def test_autoscaling_comes_with_new_replicas_and_changes_in_place(
    service: FakeService, config: dict[str, Any], ledger: Ledger
) -> None:
    scaled = {
        "min_replicas": 2,
        "max_replicas": 3,
        "policy": {"policy_function": "deployments.autoscaling:backlog_policy"},
    }
    deployment(config, "sdxl").update(num_replicas="auto", autoscaling_config=scaled)
    lines = await deploy(service, ledger, service.config, config)
    assert [line for line in lines if Effect.APPLICATION.value in line]
    before = copy.deepcopy(config)
    scaled["upscale_delay_s"] = 60
    (line,) = await deploy(service, ledger, before, config)
    assert line == f"sdxl: Diffusion.autoscaling_config.upscale_delay_s: {Effect.IN_PLACE.value}"


async def test_a_model_is_added_and_removed(
    service: FakeService, config: dict[str, Any], ledger: Ledger, client: httpx.AsyncClient
) -> None:
    second = copy.deepcopy(application(config, "sdxl")) | {"name": "second"}
    second["deployments"][0]["num_replicas"] = 1
    models = deployment(config, "ingress")["user_config"]["models"]
    versions = [copy.deepcopy(config)]
    config["applications"].append(second)
    versions.append(copy.deepcopy(config))
    models.append(copy.deepcopy(models[0]) | {"name": SECOND, "aliases": [], "application": "second"})
    versions.append(config)
    assert await deploy(service, ledger, versions[0], versions[1]) == ["second: is added"]
    await deploy(service, ledger, versions[1], versions[2])
    await asyncio.gather(*(ledger.ask(model=SECOND) for _ in range(4)))
    await deploy(service, ledger, versions[2], versions[1])
    assert await deploy(service, ledger, versions[1], versions[0]) == ["second: is removed"]
    ledger.assert_nothing_lost()
