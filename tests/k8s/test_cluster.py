"""What the manifests promise of the cluster: rights, limits and secrets, room for all replicas; that nothing is cut."""

from __future__ import annotations

import re

from ray._private.label_utils import validate_node_label_syntax
from ray.autoscaler._private.kuberay.node_provider import IN_CLUSTER_CA_CERT_PATH, IN_CLUSTER_TOKEN_PATH

from serve_app.__main__ import environment
from tests.k8s.built import (
    GROUPS,
    ROOT,
    Manifest,
    cluster,
    containers,
    groups,
    of_kind,
    one,
    pods,
    ray,
    serve_config,
    variables,
    wanted_secrets,
)
from tests.k8s.schemas import deployments_of


def gibibytes(quantity: str) -> float:
    units = {"Gi": 1.0, "Mi": 1 / 1024}
    return float(quantity[:-2]) * units[quantity[-2:]]


class TestPods:
    def test_they_have_no_rights(self, manifests: list[Manifest]) -> None:
        namespace = one(manifests, "Namespace")["metadata"]["labels"]
        assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
        for name, template in pods(manifests):
            spec = template["spec"]
            assert spec["securityContext"]["runAsNonRoot"] is True, name
            assert spec["securityContext"]["runAsUser"] > 0, name
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        limited = [*containers(manifests).items(), ("autoscaler", ray(manifests).get("autoscalerOptions"))]
        for name, container in limited:
            if container is not None:
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False, name
                assert context["capabilities"] == {"drop": ["ALL"]}, name

    def test_only_the_autoscaler_may_ask_kubernetes(self, overlay: str, manifests: list[Manifest]) -> None:
        projected = {}
        for name, template in pods(manifests):
            assert template["spec"]["automountServiceAccountToken"] is False, name
            for volume in template["spec"].get("volumes", []):
                if "projected" in volume:
                    projected[name] = volume
        assert list(projected) == ([] if overlay == "kind" else ["head"])
        for name, volume in projected.items():
            assert volume["name"] not in [each["name"] for each in containers(manifests)[name].get("volumeMounts", [])]

    def test_the_autoscaler_finds_what_it_asks_kubernetes_by(self) -> None:
        config = ray(cluster("production"))
        assert config["enableInTreeAutoscaling"]
        (volume,) = config["headGroupSpec"]["template"]["spec"]["volumes"]
        token, certificate = volume["projected"]["sources"]
        assert certificate["configMap"]["name"] == "kube-root-ca.crt"  # which is in every namespace
        paths = [token["serviceAccountToken"]["path"], *(each["path"] for each in certificate["configMap"]["items"])]
        (mount,) = config["autoscalerOptions"]["volumeMounts"]
        assert mount["name"] == volume["name"]
        assert [f"{mount['mountPath']}/{path}" for path in paths] == [IN_CLUSTER_TOKEN_PATH, IN_CLUSTER_CA_CERT_PATH]

    def test_they_have_limits_of_memory(self, overlay: str, manifests: list[Manifest]) -> None:
        for name, container in containers(manifests).items():
            limit = gibibytes(container["resources"]["limits"]["memory"])
            assert limit >= gibibytes(container["resources"]["requests"]["memory"])
            # Where it counts a node shall not run out of memory for what it was promised.
            assert overlay == "kind" or limit == gibibytes(container["resources"]["requests"]["memory"]), name

    def test_their_images_are_of_a_version(self, manifests: list[Manifest]) -> None:
        for name, container in containers(manifests).items():
            assert re.fullmatch(r"[^:]+:(?!latest)[\w.-]+", container["image"]), name

    def test_rays_have_what_make_serve_sets(self, overlay: str, manifests: list[Manifest]) -> None:
        prefixes = ("RAY_SERVE_", "RAY_AUTH_MODE")
        ours = {name: value for name, value in environment().items() if name.startswith(prefixes)}
        assert len(ours) == 4
        for name in GROUPS[overlay]:
            found = variables(containers(manifests)[name])
            assert {key: value for key, value in found.items() if key.startswith(prefixes)} == ours, name

    def test_ray_asks_for_a_token_everywhere(self, manifests: list[Manifest]) -> None:
        assert ray(manifests)["authOptions"]["mode"] == "token"
        for name, container in containers(manifests).items():
            assert "RAY_AUTH_TOKEN" not in variables(container), name  # KubeRay's to set, from a secret

    def test_their_version_of_ray_is_the_locked_one(self, manifests: list[Manifest]) -> None:
        (version,) = re.findall(r"^ray==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
        assert ray(manifests)["rayVersion"] == version

    def test_nothing_runs_on_the_head(self, manifests: list[Manifest]) -> None:
        assert ray(manifests)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert one(manifests, "RayService")["spec"]["excludeHeadPodFromServeSvc"] is True


class TestServing:
    def test_nothing_is_cut_short(self, manifests: list[Manifest]) -> None:
        config = serve_config(manifests)
        longest = max(
            deployment.get("user_config", {}).get("deadline_seconds", 0)
            for application in config["applications"]
            for deployment in application["deployments"]
        )
        patience = max(
            named.get(name, {}).get("graceful_shutdown_timeout_s", made._deployment_config.graceful_shutdown_timeout_s)
            for application in config["applications"]
            for named in [{each["name"]: each for each in application["deployments"]}]
            for name, made in deployments_of(application).items()
        )
        assert 0 < longest < patience
        for group in groups(manifests)[1:]:
            spec = group["template"]["spec"]
            drain = float(variables(spec["containers"][0])["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
            assert patience < drain < spec["terminationGracePeriodSeconds"], group["groupName"]
        assert one(manifests, "RayService")["spec"]["rayClusterDeletionDelaySeconds"] > patience
        for ingress in of_kind(manifests, "Ingress"):
            annotations = ingress["metadata"]["annotations"]
            assert annotations.keys() == {"haproxy.org/timeout-server"}  # its controller overlooks the other timeouts
            assert float(annotations["haproxy.org/timeout-server"].removesuffix("s")) > longest

    def test_every_node_has_a_proxy_that_kuberay_can_ask(self, manifests: list[Manifest]) -> None:
        config = serve_config(manifests)
        assert (config["proxy_location"], config["http_options"]["host"]) == ("EveryNode", "0.0.0.0")
        for group in groups(manifests):
            ports = {
                port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]
            }
            assert ports["serve"] == config["http_options"]["port"] == 8000
            assert ports["metrics"] == 8080

    def test_every_deployment_has_a_group_with_room_for_all_its_replicas(self) -> None:
        """And in a group with GPUs for one more, which an update starts before the old one goes."""
        manifests = cluster("production")
        pools = {group["labels"]["easel/pool"]: group for group in groups(manifests)[1:]}
        needed = dict.fromkeys(pools, 0)
        for application in serve_config(manifests)["applications"]:
            named = {each["name"]: each for each in application["deployments"]}
            assert named.keys() == deployments_of(application).keys()  # none runs wherever there is room
            for deployment in named.values():
                options = deployment["ray_actor_options"]
                (pool,) = options["label_selector"].values()
                assert options["label_selector"] == {"easel/pool": pool}
                limits = pools[pool]["template"]["spec"]["containers"][0]["resources"]["limits"]
                assert float(limits["cpu"]) >= options["num_cpus"]
                assert float(limits.get("nvidia.com/gpu", 0)) == options.get("num_gpus", 0)
                if options.get("num_gpus") or "max_replicas_per_node" in deployment:
                    needed[pool] += deployment["autoscaling_config"]["max_replicas"]
        for pool, group in pools.items():
            validate_node_label_syntax(group["labels"])
            assert group["maxReplicas"] > needed[pool] > 0
            assert group["minReplicas"] >= 2

    def test_what_a_pod_reads_is_mounted(self) -> None:
        manifests = cluster("production")
        config = serve_config(manifests)
        ingress = config["applications"][0]
        settings = ingress["deployments"][0]["user_config"]
        found = containers(manifests)
        mounts = {each["mountPath"]: each for each in found["cpu"]["volumeMounts"]}
        assert not mounts[ingress["args"]["images"]["url"]].get("readOnly")
        assert mounts[settings["keys_file"].rpartition("/")[0]]["readOnly"]
        (rule,) = one(manifests, "Ingress")["spec"]["rules"]
        assert settings["public_url"] == f"https://{rule['host']}"
        recipe = (ROOT / "k8s" / "Dockerfile").read_text()
        (weights,) = re.findall(r"HF_HOME=(\S+)", recipe)
        for name in GROUPS["production"] - {"head"}:
            (mount,) = [each for each in found[name]["volumeMounts"] if each["mountPath"] == weights]
            assert mount["readOnly"]
            assert variables(found[name])["HF_HUB_OFFLINE"] == "1"
        (mount,) = found["easel-prefetch"]["volumeMounts"]
        assert mount["mountPath"] == weights

    def test_a_prefetch_that_fails_leaves_its_log(self) -> None:
        """Kubernetes deletes the pod of a job that fails for good, unless each try has one of its own."""
        job = one(cluster("production"), "Job", "easel-prefetch")["spec"]
        assert job["template"]["spec"]["restartPolicy"] == "Never"

    def test_claims_that_many_nodes_read_allow_it(self) -> None:
        manifests = cluster("production")
        modes = {
            claim["metadata"]["name"]: claim["spec"]["accessModes"]
            for claim in of_kind(manifests, "PersistentVolumeClaim")
        }
        for name, template in pods(manifests):
            for volume in template["spec"].get("volumes", []):
                if claim := volume.get("persistentVolumeClaim"):
                    assert modes[claim["claimName"]] == ["ReadWriteMany"], name

    def test_a_disruption_leaves_a_pod_of_each_group_and_redis(self) -> None:
        """Kubernetes counts pods of a custom resource by minAvailable as a number, and by nothing else."""
        manifests = cluster("production")
        labels = {name: template["metadata"]["labels"] for name, template in pods(manifests)}
        kept: list[str] = []
        for budget in of_kind(manifests, "PodDisruptionBudget"):
            assert budget["spec"].keys() == {"minAvailable", "selector"}
            assert budget["spec"]["minAvailable"] == 1
            wanted = budget["spec"]["selector"]["matchLabels"]
            kept += [name for name, has in labels.items() if wanted.items() <= has.items()]
        assert sorted(kept) == sorted({*GROUPS["production"], "easel-redis"})

    def test_the_head_may_be_lost(self) -> None:
        manifests = cluster("production")
        options = ray(manifests)["gcsFaultToleranceOptions"]
        host, _, port = options["redisAddress"].partition(":")
        service = one(manifests, "Service", host)["spec"]
        assert [each["port"] for each in service["ports"]] == [int(port)]
        redis = {name: template["metadata"]["labels"] for name, template in pods(manifests)}[host]
        assert service["selector"].items() <= redis.items()

    def test_metrics_are_scraped_by_ports_that_pods_name(self) -> None:
        manifests = cluster("production")
        monitor = one(manifests, "PodMonitor")["spec"]
        scraped = {each["port"] for each in monitor["podMetricsEndpoints"]}
        ports = containers(manifests)["head"]["ports"]
        assert {port["name"]: port["containerPort"] for port in ports if port["name"] in scraped}.keys() == scraped

    def test_prometheus_operator_finds_all_by_one_label(self) -> None:
        manifests = cluster("production")
        found = [*of_kind(manifests, "PodMonitor"), *of_kind(manifests, "PrometheusRule")]
        assert [each["metadata"]["labels"] for each in found] == [{"release": "prometheus"}] * 2


class TestSecrets:
    def test_none_is_in_the_manifests(self, manifests: list[Manifest]) -> None:
        assert not of_kind(manifests, "Secret")
        for container in containers(manifests).values():
            for name, value in variables(container).items():
                assert not re.search("TOKEN|SECRET|PASSWORD", name) or set(value) == {"secretKeyRef"}

    def test_kind_needs_none(self) -> None:
        assert wanted_secrets(cluster("kind")) == set()
