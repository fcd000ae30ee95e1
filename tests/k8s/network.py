"""Which connections the NetworkPolicies of a cluster let through, as Kubernetes reads them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.k8s.built import Manifest, of_kind, pods

OURS = "easel"  # the namespace that the policies are of


@dataclass(frozen=True)
class Party:
    """A pod, by its labels, or an address outside of the cluster."""

    labels: dict[str, str] = field(default_factory=dict)
    namespace: str = OURS
    address: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.namespace == OURS and self.address is None


def parties(manifests: list[Manifest]) -> dict[str, Party]:
    """The pods of the manifests, and who else there is."""
    return {name: Party(template["metadata"]["labels"]) for name, template in pods(manifests)} | {
        "operator": Party({"app.kubernetes.io/name": "kuberay-operator"}, "kuberay-system"),
        "beside the operator": Party({"app.kubernetes.io/name": "other"}, "kuberay-system"),
        "controller": Party({"app.kubernetes.io/name": "kubernetes-ingress"}, "haproxy-controller"),
        "prometheus": Party({"app.kubernetes.io/name": "prometheus"}, "monitoring"),
        "names": Party({"k8s-app": "kube-dns"}, "kube-system"),
        "neighbour": Party({"app.kubernetes.io/component": "other"}),
        "stranger": Party({"app.kubernetes.io/component": "ray", "ray.io/node-type": "head"}, "elsewhere"),
        "internet": Party(address="203.0.113.7"),
        "machines": Party(address="10.1.2.3"),
    }


def passes(manifests: list[Manifest], source: Party, target: Party, port: int) -> bool:
    """Whether a TCP connection comes about: both its ends must let it."""
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    return _lets(policies, "Ingress", target, source, port) and _lets(policies, "Egress", source, target, port)


def _lets(policies: Iterable[Manifest], direction: str, ours: Party, other: Party, port: int) -> bool:
    if not ours.is_ours:
        return True
    chosen = [each for each in policies if _matches(each["podSelector"], ours.labels)]
    chosen = [each for each in chosen if direction in each["policyTypes"]]
    way, peers = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    rules = [rule for each in chosen for rule in each.get(way, [])]
    return not chosen or any(
        (not rule.get(peers) or any(_is_peer(peer, other) for peer in rule[peers])) and _has_port(rule, port)
        for rule in rules
    )


def _has_port(rule: Manifest, port: int) -> bool:
    return not rule.get("ports") or any(each["protocol"] == "TCP" and each["port"] == port for each in rule["ports"])


def _is_peer(peer: Manifest, party: Party) -> bool:
    if block := peer.get("ipBlock"):
        if not party.address:
            return False  # no pod has an address here, so that a block over theirs is a hole that is not seen
        address = ipaddress.ip_address(party.address)
        inside = [address in ipaddress.ip_network(each) for each in (block["cidr"], *block.get("except", []))]
        return inside[0] and not any(inside[1:])
    if party.address:
        return False
    namespaces = peer.get("namespaceSelector")
    if namespaces is None:
        return party.is_ours and _matches(peer["podSelector"], party.labels)
    return _matches(namespaces, {"kubernetes.io/metadata.name": party.namespace}) and _matches(
        peer.get("podSelector", {}), party.labels
    )


def _matches(selector: Manifest, labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}  # of which no more is understood here
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()
