"""What callers are told of waiting, in whatever dialect they ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from deployments.errors import Overloaded
from tests.unit.serve_app.samples import data_url, photo, told

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

SMALL = {"prompt": "otter", "model": "small", "seed": 1, "size": "256x128", "width": 256, "height": 128}
COUNTS = {
    "/v1/images/generations": "num_images",
    "/v1/images/edits": "num_images",
    "/openai/v1/images/generations": "n",
    "/openai/v1/images/edits": "n",
    "/api/v1/images/generation": None,
    "/sdapi/v1/txt2img": "batch_size",
}
SEVERAL = [url for url, count in COUNTS.items() if count]
STREAMS = [url for url in COUNTS if url.endswith(("generations", "edits"))]


def body(url: str, **changed: Any) -> dict[str, Any]:
    return {**SMALL, **({"image": data_url(photo())} if url.endswith("edits") else {}), **changed}


def header(response: httpx.Response, name: str) -> str | None:
    return response.headers.get(f"easel-{name}-seconds")


@pytest.mark.parametrize("url", COUNTS)
async def test_an_answer_tells_how_long_it_took(url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.durations = {1: (12.3456, 0.5)}
    response = await client.post(url, json=body(url))
    assert response.status_code == 200, response.text
    assert (header(response, "queue"), header(response, "compute"), header(response, "eta")) == (
        "12.346",
        "0.500",
        None,
    )


@pytest.mark.parametrize("url", SEVERAL)
async def test_of_several_pictures_the_longest_counts(
    url: str, client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.durations = {1: (0.0, 2.0), 2: (3.0, 1.0), 3: (0.5, 0.0)}
    response = await client.post(url, json=body(url, **{str(COUNTS[url]): 3}))
    assert len(backend.requests) == 3
    assert (header(response, "queue"), header(response, "compute")) == ("3.000", "2.000")


@pytest.mark.parametrize("url", STREAMS)
class TestStream:
    async def test_tells_what_is_left(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        backend.waiting, backend.seconds_a_step = (12.04, 11.9876, 3000.0), 0.7
        response = await client.post(url, json=body(url, stream=True, num_steps=3))
        assert (header(response, "eta"), header(response, "queue"), header(response, "compute")) == (
            "12.040",
            None,
            None,
        )
        assert [event.comment for event in told(response)[:-1]] == [
            "picture 0: waiting, about 12 s left",
            "picture 0: waiting, about 12 s left",
            "picture 0: waiting, about 3000 s left",
            "picture 0: step 0 of 3, about 2.1 s left",
            "picture 0: step 1 of 3, about 1.4 s left",
            "picture 0: step 2 of 3, about 0.7 s left",
            "picture 0: step 3 of 3, about 0 s left",
        ]

    async def test_tells_how_many_go_first(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        backend.waiting, backend.waiting_ahead = (12.0, None), 3
        response = await client.post(url, json=body(url, stream=True, num_steps=1))
        comments = [event.comment for event in told(response)[:2]]
        assert comments == ["picture 0: waiting behind 3, about 12 s left", "picture 0: waiting behind 3"]

    async def test_that_knows_nothing_of_it_says_nothing(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        backend.waiting = (None,)
        response = await client.post(url, json=body(url, stream=True, num_steps=1))
        assert header(response, "eta") is None
        comments = [event.comment for event in told(response)[:-1]]
        assert comments == ["picture 0: waiting", "picture 0: step 0 of 1", "picture 0: step 1 of 1"]


@pytest.mark.parametrize("url", COUNTS)
async def test_a_refusal_says_what_the_engine_said(url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
    for said, sent in ((0.0, "1"), (12.0, "12"), (12.01, "13"), (59.5, "60"), (400.0, "60")):
        backend.refusal = backend.failure = Overloaded("Full.", retry_after_seconds=said)
        for stream in (False, True):
            response = await client.post(url, json=body(url, stream=stream))
            assert (response.status_code, response.headers["retry-after"]) == (503, sent)
            assert header(response, "queue") is header(response, "eta") is None
