"""Who reaches what in the cluster, as long as its network heeds policies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from tests.k8s.built import GROUPS, ROOT, Manifest, cluster, of_kind, one, pods
from tests.k8s.network import parties, passes

RAY_PORTS = [6379, 8265, 10001, 52365, 30001]  # GCS, dashboard, client, agent, and one of those that processes have
METRICS = [8080, 44217, 44227]


def arrivals(manifests: list[Manifest]) -> set[tuple[str, str, int]]:
    """All connections that come about: who, to whom, at which port."""
    everybody = parties(manifests)
    return {
        (source, target, port)
        for source, here in everybody.items()
        for target, there in everybody.items()
        for port in [*RAY_PORTS, *METRICS, 8000, 443, 6443]
        if here is not there and (here.is_ours or there.is_ours) and passes(manifests, here, there, port)
    }


def test_nobody_reaches_ray_but_its_own_nodes_and_the_operator(overlay: str, manifests: list[Manifest]) -> None:
    nodes = GROUPS[overlay]
    comers = {
        (source, target, port)
        for source, target, port in arrivals(manifests)
        if target in nodes and source not in nodes
    }
    allowed = {("operator", "head", 8265)}
    if overlay == "production":
        allowed |= {("controller", node, 8000) for node in nodes - {"head"}}
        allowed |= {("prometheus", node, port) for node in nodes for port in METRICS}
    assert comers == allowed


def test_prometheus_reaches_kind_by_the_file_of_production() -> None:
    manifests = cluster("kind")
    assert not [each for each in arrivals(manifests) if each[0] == "prometheus"]
    manifests += yaml.safe_load_all((ROOT / "k8s/overlays/production/metrics.yaml").read_bytes())
    reached = {each for each in arrivals(manifests) if each[0] == "prometheus"}
    assert reached == {("prometheus", node, port) for node in GROUPS["kind"] for port in METRICS}


def test_rays_nodes_reach_each_other_at_every_port(overlay: str, manifests: list[Manifest]) -> None:
    nodes = GROUPS[overlay]
    inside = {(source, target) for source, target, port in arrivals(manifests) if {source, target} <= nodes}
    assert inside == {(source, target) for source in nodes for target in nodes if source != target}
    everybody = parties(manifests)
    assert all(passes(manifests, everybody["cpu"], everybody["head"], port) for port in (1, 20000, 65535))
    assert passes(manifests, everybody["cpu"], everybody["cpu"], 20000)


def test_nothing_else_leaves_the_pods(overlay: str, manifests: list[Manifest]) -> None:
    nodes = GROUPS[overlay]
    ours = {*nodes, "easel-prefetch", "easel-redis", "neighbour"}
    gone = {(source, target, port) for source, target, port in arrivals(manifests) if source in ours}
    gone = {each for each in gone if not {each[0], each[1]} <= nodes}
    expected: set[tuple[str, str, int]] = set()
    if overlay == "production":
        expected |= {(node, "easel-redis", 6379) for node in nodes}
        expected |= {("head", place, port) for place in ("internet", "machines") for port in (443, 6443)}
        expected.add(("easel-prefetch", "internet", 443))
    assert gone == expected


def test_all_may_ask_for_names(manifests: list[Manifest]) -> None:
    everybody = parties(manifests)
    assert all(passes(manifests, everybody[name], everybody["names"], 53) for name, _ in pods(manifests))


@pytest.mark.parametrize(
    ("policy", "change", "arrival"),
    [
        ("deny-all", lambda spec: spec.update(policyTypes=["Egress"]), ("stranger", "neighbour", 8000)),
        ("ray", lambda spec: spec["ingress"][0].pop("from"), ("internet", "head", 8265)),
        (
            "ray",
            lambda spec: spec["ingress"][0].update({"from": [{"namespaceSelector": {}}]}),
            ("stranger", "cpu", 52365),
        ),
        ("operator", lambda spec: spec["ingress"][0].pop("ports"), ("operator", "head", 10001)),
        (
            "operator",
            lambda spec: spec["ingress"][0]["from"][0].pop("podSelector"),
            ("beside the operator", "head", 8265),
        ),
        (
            "clients",
            lambda spec: spec["podSelector"]["matchLabels"].pop("ray.io/node-type"),
            ("controller", "head", 8000),
        ),
        (
            "clients",
            lambda spec: spec["ingress"][0]["ports"].append({"protocol": "TCP", "port": 8265}),
            ("controller", "flux", 8265),
        ),
        ("metrics", lambda spec: spec["ingress"][0].pop("ports"), ("prometheus", "sdxl", 6379)),
    ],
)
def test_a_hole_is_seen(policy: str, change: Callable[[Manifest], object], arrival: tuple[str, str, int]) -> None:
    manifests = cluster("production")
    assert arrival not in arrivals(manifests)
    change(one(manifests, "NetworkPolicy", policy)["spec"])
    assert arrival in arrivals(manifests)


def test_no_service_leads_to_ray(manifests: list[Manifest]) -> None:
    """KubeRay's own, of the head and of Serve, are within the cluster."""
    labels = [template["metadata"]["labels"] for name, template in pods(manifests) if name in GROUPS["production"]]
    for service in of_kind(manifests, "Service"):
        assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
        assert not any(service["spec"]["selector"].items() <= each.items() for each in labels)
    config = one(manifests, "RayService")["spec"]
    assert "serveService" not in config
    head = config["rayClusterConfig"]["headGroupSpec"]
    assert head["serviceType"] == "ClusterIP"
    assert not head.keys() & {"enableIngress", "ingressOptions", "headService"}
    for _, template in pods(manifests):
        assert not template["spec"].keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert not [port for each in template["spec"]["containers"] for port in each.get("ports", [])
                    if "hostPort" in port]  # fmt: skip


def test_an_ingress_leads_to_serve_alone_over_tls(manifests: list[Manifest]) -> None:
    for ingress in of_kind(manifests, "Ingress"):
        hosts = {host for each in ingress["spec"]["tls"] for host in each["hosts"]}
        assert "defaultBackend" not in ingress["spec"]
        for rule in ingress["spec"]["rules"]:
            assert rule["host"] in hosts
            backends = [path["backend"]["service"] for path in rule["http"]["paths"]]
            assert backends == [{"name": "easel-serve-svc", "port": {"number": 8000}}]
    known = "Namespace NetworkPolicy RayService PersistentVolumeClaim Job Ingress PodDisruptionBudget PodMonitor"
    known += " Service StatefulSet PrometheusRule ConfigMap"  # of others, as routes of a gateway, nothing is known here
    assert {each["kind"] for each in manifests} <= set(known.split())
