"""The manifests build, are what Kubernetes, KubeRay and Serve know, and say to Serve what the config files say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.built import OVERLAYS, ROOT, Manifest, built, cluster, of_kind, ray, serve_config
from tests.k8s.schemas import mistakes_of, mistakes_of_serve

FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), "prefetch", "monitoring"]


def first(kind: str) -> Callable[[list[Manifest]], Manifest]:
    return lambda manifests: of_kind(manifests, kind)[0]


def workers(manifests: list[Manifest]) -> Manifest:
    group: Manifest = ray(manifests)["workerGroupSpecs"][1]
    return group


class TestEveryManifest:
    @pytest.mark.parametrize("folder", FOLDERS)
    def test_is_known_field_by_field(self, folder: str) -> None:
        manifests = built(folder)
        assert manifests
        assert [mistake for each in manifests for mistake in mistakes_of(each)] == []

    @pytest.mark.parametrize("folder", FOLDERS)
    def test_is_in_the_namespace(self, folder: str) -> None:
        for manifest in built(folder):
            if manifest["kind"] != "Namespace":
                assert manifest["metadata"]["namespace"] == "easel", manifest["metadata"]["name"]

    @pytest.mark.parametrize(
        ("find", "change", "mistake"),
        [
            (first("RayService"), lambda it: it["spec"].update(serveConfig=""), "'serveConfig' was unexpected"),
            (first("RayService"), lambda it: it["spec"].update(serveConfigV2={}), "not of type 'string'"),
            (first("RayService"), lambda it: it.update(apiVersion="ray.io/v2"), "'ray.io/v1' was expected"),
            (ray, lambda it: it["authOptions"].update(mode="tokens"), "'tokens' is not one of"),
            (ray, lambda it: it["autoscalerOptions"].update(idleSeconds=3), "'idleSeconds' was unexpected"),
            (ray, lambda it: it["gcsFaultToleranceOptions"].update(redis="it"), "'redis' was unexpected"),
            (ray, lambda it: it.pop("headGroupSpec"), "'headGroupSpec' is a required property"),
            (workers, lambda it: it.pop("groupName"), "'groupName' is a required property"),
            (workers, lambda it: it.update(maxReplicas="9"), "'9' is not of type 'integer'"),
            (workers, lambda it: it["template"]["spec"].update(terminationGrace=3), "'terminationGrace' was unexp"),
            (
                workers,
                lambda it: it["template"]["spec"]["containers"][0]["env"][0].update(val="3"),
                "'val' was unexpected",
            ),
            (
                workers,
                lambda it: it["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory="8Gib"),
                "'8Gib' does not match",
            ),
            (
                first("PodMonitor"),
                lambda it: it["spec"].update(podMetricEndpoints=[]),
                "'podMetricEndpoints' was unexp",
            ),
            (
                first("PodMonitor"),
                lambda it: it["spec"]["podMetricsEndpoints"][0].update(port=8080),
                "8080 is not of type 'string'",
            ),
            (first("PodMonitor"), lambda it: it["spec"]["selector"].update(labels={}), "'labels' was unexpected"),
            (first("PrometheusRule"), lambda it: it["spec"].update(rules=[]), "'rules' was unexpected"),
            (first("PrometheusRule"), lambda it: it["spec"]["groups"][0].pop("name"), "'name' is a required property"),
            (first("NetworkPolicy"), lambda it: it["spec"].update(ingres=[]), "'ingres' was unexpected"),
            (first("NetworkPolicy"), lambda it: it["spec"].update(policyTypes="Ingress"), "is not of type 'array'"),
            (first("PodDisruptionBudget"), lambda it: it["spec"].update(minAvail=1), "'minAvail' was unexpected"),
            (first("Ingress"), lambda it: it["spec"].update(tls={}), "is not of type 'array'"),
            (first("StatefulSet"), lambda it: it["spec"].update(replica=2), "'replica' was unexpected"),
            (first("Service"), lambda it: it["spec"]["ports"][0].update(port="http"), "is not of type 'integer'"),
            (first("PersistentVolumeClaim"), lambda it: it["spec"].update(size="1Gi"), "'size' was unexpected"),
            (first("Job"), lambda it: it["spec"].pop("template"), "'template' is a required property"),
            (first("Namespace"), lambda it: it.update(label={}), "'label' was unexpected"),
            (first("Namespace"), lambda it: it.update(kind="Nmespace"), "find schema for kind Nmespace"),
        ],
    )
    def test_with_a_mistake_is_refused(
        self, find: Callable[[list[Manifest]], Manifest], change: Callable[[Manifest], object], mistake: str
    ) -> None:
        manifests = cluster("production")
        change(find(manifests))
        (changed,) = [each for each in manifests if each not in cluster("production")]
        assert any(mistake in told for told in mistakes_of(changed))


def application(config: Manifest, name: str) -> Manifest:
    (found,) = [each for each in config["applications"] if each["name"] == name]
    return found


def deployment(config: Manifest, name: str) -> Manifest:
    it: Manifest = application(config, name)["deployments"][0]
    return it


class TestWhatServeRuns:
    @pytest.mark.parametrize("overlay", OVERLAYS)
    def test_is_known_key_by_key_and_is_there(self, overlay: str, tmp_path: Path) -> None:
        assert list(mistakes_of_serve(serve_config(built(f"overlays/{overlay}")), tmp_path)) == []

    @pytest.mark.parametrize(
        ("change", "mistake"),
        [
            (lambda it: it.update(proxy_locations="x"), "proxy_locations"),
            (lambda it: it.update(proxy_location="Everywhere"), "proxy_location"),
            (lambda it: it["http_options"].update(prot=8000), "http_options[0].prot"),
            (lambda it: it["logging_config"].update(encoding="XML"), "XML"),
            (lambda it: application(it, "pose").update(route_prefx="/"), "applications[5].route_prefx"),
            (lambda it: application(it, "pose").update(name="poses"), "unknown application that finds poses 'pose'"),
            (lambda it: application(it, "sdxl").update(import_path="deployments.difusion:build"), "import_path"),
            (lambda it: deployment(it, "sdxl").update(name="Difusion"), "Diffusion"),
            (lambda it: deployment(it, "sdxl").update(num_replica=1), "num_replica"),
            (lambda it: deployment(it, "sdxl")["ray_actor_options"].update(num_gpu=1), "num_gpu"),
            (lambda it: deployment(it, "sdxl")["autoscaling_config"].update(min_replica=1), "min_replica"),
            (lambda it: deployment(it, "sdxl")["autoscaling_config"].update(max_replicas="x"), "max_replicas"),
            (lambda it: deployment(it, "sdxl")["user_config"].update(watchdog=1), "watchdog"),
            (lambda it: application(it, "sdxl")["args"]["weights"].update(revision="main"), "revision"),
        ],
    )
    def test_with_a_mistake_is_refused(
        self, change: Callable[[Manifest], object], mistake: str, tmp_path: Path
    ) -> None:
        config = serve_config(built("overlays/production"))
        change(config)
        assert any(mistake in told for told in mistakes_of_serve(config, tmp_path))

    def test_with_a_deployment_that_its_application_lacks_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Our own check of the file knows the names; this is for when the applications change theirs."""
        config = serve_config(built("overlays/production"))
        monkeypatch.setattr("tests.k8s.schemas.deployments_of", lambda _: {"Painter": None})
        assert "sdxl.Diffusion: no such deployment; there are: Painter" in mistakes_of_serve(config, tmp_path)

    @pytest.mark.parametrize(("overlay", "name"), [("kind", "local.yaml"), ("production", "serve.yaml")])
    def test_is_the_config_file_but_for_the_changes(self, overlay: str, name: str) -> None:
        folder = ROOT / "k8s" / "overlays" / overlay
        config = yaml.safe_load((ROOT / "config" / name).read_bytes())
        changes = yaml.safe_load((folder / "serve-changes.yaml").read_bytes())
        served = serve_config(built(f"overlays/{overlay}"))
        assert leaves(served) == leaves(config) | leaves(changes)


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """All values within `value` by their path; of a list of what has names the paths have these."""
    if isinstance(value, dict) and value:
        parts = value.items()
    elif isinstance(value, list) and value and all(isinstance(part, dict) and "name" in part for part in value):
        parts = {part["name"]: part for part in value}.items()
    else:
        return {path: repr(value)}
    return {place: leaf for key, part in parts for place, leaf in leaves(part, f"{path}/{key}").items()}


def test_a_config_file_that_has_changed_is_noticed_and_written(tmp_path: Path) -> None:
    for folder in ("config", "k8s", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    config, manifest = tmp_path / "config" / "serve.yaml", tmp_path / "k8s/overlays/production/serve-config.yaml"

    def run(*options: str) -> tuple[int, str]:
        command = [sys.executable, str(tmp_path / "scripts" / "manifests.py"), *options]
        ended = subprocess.run(command, capture_output=True, text=True)
        return ended.returncode, ended.stdout

    assert run("--check") == (0, "")
    config.write_text(config.read_text().replace("deadline_seconds: 240", "deadline_seconds: 120"))
    before = manifest.read_text()
    assert run("--check") == (1, "k8s/overlays/production/serve-config.yaml: not as make manifests writes it\n")
    assert manifest.read_text() == before
    assert run() == (0, "k8s/overlays/production/serve-config.yaml: written\n")
    assert manifest.read_text() == before.replace("deadline_seconds: 240", "deadline_seconds: 120") != before
    assert run("--check") == (0, "")
