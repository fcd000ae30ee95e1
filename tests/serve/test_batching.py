"""Step-level batching over HTTP, by the engine's own counters."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.conftest import LiveService

PROMPT = "a red circle on a blue background"


def post(client: httpx.Client, **body: Any) -> httpx.Response:
    response = client.post("/v1/images/generations", json={"prompt": PROMPT, "response_format": "b64_json"} | body)
    assert response.status_code == 200, response.text
    return response


def test_eight_requests_of_one_size_run_in_merged_forwards(client: httpx.Client, service: LiveService) -> None:
    label = "unet.forward 4x9x10"  # of a size that no other test asks for
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: post(client, size="80x72", num_steps=30, seed=seed), range(8)))
    made = service.engine().forwards[label]
    assert made.calls == 8 * 30
    assert made.largest_batch >= 4
    assert made.forwards < made.calls / 2


def test_two_sizes_never_share_a_forward(client: httpx.Client, service: LiveService) -> None:
    sizes = {"unet.forward 4x9x11": "88x72", "unet.forward 4x11x9": "72x88"}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda size: post(client, size=size, num_steps=10), [*sizes.values()] * 4))
    made = service.engine().forwards
    for label in sizes:  # the shape is part of the label: each forward was of one shape, and none is missing
        assert made[label].calls == 4 * 10
        assert made[label].rows == 4 * 10 * 2  # guidance: two rows a request


@pytest.mark.parametrize("size", ["256x256", "64x64"], ids=["in the same batch", "in another batch"])
def test_a_short_request_that_comes_later_finishes_first(client: httpx.Client, service: LiveService, size: str) -> None:
    calls = service.denoising_calls()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(post, client, size="256x256", num_steps=50)
        _wait_until(lambda: service.denoising_calls() > calls)  # it runs
        short = pool.submit(post, client, size=size, num_steps=4)
        short.result()
        assert not long.done()
        assert long.result()


def test_closing_the_connection_stops_the_work_and_disturbs_no_batchmate(
    client: httpx.Client, service: LiveService
) -> None:
    """The steps are long (512x512), so that "within two steps" is no matter of timing."""
    label, steps = "unet.forward 4x64x64", 8
    stays = {"size": "512x512", "num_steps": steps, "seed": 5}
    alone = _pixels(post(client, **stays))
    before = service.engine()
    forwards, calls = before.forwards[label].forwards, before.forwards[label].calls

    def both_run() -> bool:
        made = service.engine().forwards[label]
        return made.calls - calls > made.forwards - forwards

    with (
        ThreadPoolExecutor(1) as pool,
        socket.create_connection((client.base_url.host, client.base_url.port)) as leaving,
    ):
        body = json.dumps({"prompt": PROMPT, "size": "512x512", "num_steps": 100, "seed": 6}).encode()
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: easel\r\nContent-Length: {len(body)}\r\n"
        leaving.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        staying = pool.submit(post, client, **stays)
        _wait_until(both_run)
        leaving.close()
        forwards_at_close = service.engine().forwards[label].forwards
        in_company = _pixels(staying.result())
    _wait_until(lambda: service.engine().cancelled == before.cancelled + 1)

    after = service.engine().forwards[label]
    steps_of_the_leaver = after.calls - calls - steps
    assert 0 < steps_of_the_leaver <= forwards_at_close - forwards + 2
    assert after.largest_batch >= 2  # they did run together
    assert np.abs(in_company - alone).max() <= 1
    assert service.engine().running == 0


def _pixels(response: httpx.Response) -> np.ndarray:
    picture = base64.b64decode(response.json()["data"][0]["b64_json"])
    return np.asarray(Image.open(io.BytesIO(picture))).astype(int)


def _wait_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
