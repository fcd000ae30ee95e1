"""Traces on their way: the spans of one request, by OTLP to a collector, and nothing of what a caller wrote in them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    import httpx

    from tests.collector import Collector, Span

SECONDS = 60  # spans leave in batches
URL = "/v1/images/generations"
STANDING = [number for joint in range(18) for number in (0.3 + 0.02 * joint, 0.05 * joint, 1.0)]


def spans_of(collector: Collector, trace: str, is_whole: Callable[[list[Span]], bool]) -> list[Span]:
    ends = time.monotonic() + SECONDS
    while True:
        spans = [span for span in collector.spans() if span.trace == trace]
        if is_whole(spans):
            return spans
        assert time.monotonic() < ends, spans
        time.sleep(0.2)


def traceparent() -> tuple[str, dict[str, str]]:
    """A trace that a client has begun, and the header that says so."""
    trace = secrets.token_hex(16)
    return trace, {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}


def has_ended(spans: list[Span]) -> bool:
    return any(span.name.startswith("proxy_http_request") for span in spans) and len(spans) >= 3


def parents(spans: list[Span], span: Span) -> list[str]:
    """The names of all that it is within, the nearest first."""
    above = [each for each in spans if each.identifier == span.parent]
    return [above[0].name, *parents(spans, above[0])] if above else []


def test_a_request_is_followed_from_the_ingress_to_pose_and_model(client: httpx.Client, collector: Collector) -> None:
    trace, headers = traceparent()
    body = {"model": "easel/stable-diffusion-xl-pose", "prompt": "heron", "size": "64x64", "num_steps": 2}
    posed = body | {"keypoints": {"people": [{"pose_keypoints_2d": STANDING}]}}
    assert client.post(URL, json=posed, headers=headers).status_code == 200
    proxy, ingress = f"proxy_http_request Ingress POST {URL}", "replica_handle_request Ingress __call__"
    work = {"replica_handle_request PoseEstimator draw", "replica_handle_request Diffusion generate"}
    spans = spans_of(collector, trace, lambda all: {proxy, ingress, *work} <= {span.name for span in all})
    for span in spans:
        if span.name in work:
            assert {proxy, ingress} <= set(parents(spans, span))
    assert not any(b"heron" in told for told in collector.told)


def test_neither_errors_nor_links_leave_what_they_hold(client: httpx.Client, collector: Collector) -> None:
    trace, headers = traceparent()
    assert client.post(URL, json={"prompt": "heron", "model": "bittern"}, headers=headers).status_code == 404
    spans_of(collector, trace, has_ended)
    made = client.post(URL, json={"prompt": "heron", "size": "64x64", "num_steps": 1})
    link = made.json()["data"][0]["url"]
    trace, headers = traceparent()
    assert client.get(link, headers=headers).status_code == 200
    spans_of(collector, trace, has_ended)
    secrets_of = [b"heron", b"bittern", parse_qs(urlsplit(link).query)["signature"][0].encode()]
    assert not [secret for secret in secrets_of for told in collector.told if secret in told]
