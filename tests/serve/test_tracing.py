"""Traces on their way: the spans of one request, by OTLP to a collector, and nothing of what a caller wrote in them."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from tests.collector import Collector, Span

SECONDS = 30  # spans leave in batches
STANDING = [number for joint in range(18) for number in (0.3 + 0.02 * joint, 0.05 * joint, 1.0)]


def spans_of(collector: Collector, trace: str, deployments: set[str]) -> list[Span]:
    """Those of the trace, once each of the deployments has one."""
    ends = time.monotonic() + SECONDS
    while True:
        spans = [span for span in collector.spans() if span.trace == trace]
        missing = deployments - {span.attributes.get("deployment", "") for span in spans}
        if not missing:
            return spans
        assert time.monotonic() < ends, f"nothing of {missing} in {spans}"
        time.sleep(0.2)


def traced(client: httpx.Client, url: str, body: dict[str, object]) -> tuple[httpx.Response, str]:
    """The answer, and the trace that its request said to be part of."""
    trace = secrets.token_hex(16)
    return client.post(url, json=body, headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}), trace


def test_a_request_is_followed_through_pose_and_model(client: httpx.Client, collector: Collector) -> None:
    answer, trace = traced(
        client,
        "/v1/images/generations",
        {
            "model": "easel/stable-diffusion-xl-pose",
            "prompt": "heron",
            "size": "64x64",
            "num_steps": 2,
            "keypoints": {"people": [{"pose_keypoints_2d": STANDING}]},
        },
    )
    assert answer.status_code == 200, answer.text
    spans = spans_of(collector, trace, {"Ingress", "PoseEstimator", "Diffusion"})
    print(spans)
    assert not any(b"heron" in told for told in collector.told)


def test_an_error_leaves_no_text_in_a_trace(client: httpx.Client, collector: Collector) -> None:
    answer, trace = traced(client, "/v1/images/generations", {"prompt": "heron", "size": "heron"})
    assert answer.status_code == 400
    spans = spans_of(collector, trace, {"Ingress"})
    print(spans)
    assert not any(b"heron" in told for told in collector.told)
