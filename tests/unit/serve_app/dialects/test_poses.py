"""`/v1/poses` on the wire."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from config.schema import ApiKey
from deployments.errors import InvalidRequest, ModelUnavailable, QuotaExceeded
from deployments.types import Person, PoseSource
from serve_app.auth import PRIORITY_HEADER
from tests.unit.serve_app.samples import base64_of, data_url, photo

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.unit.serve_app.conftest import FakeBackend, Refused

URLS = ("/v1/poses", "/openai/v1/poses")
PHOTO = photo()
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("url", URLS)]


async def send(client: httpx.AsyncClient, url: str, picture: bytes = PHOTO, **fields: str) -> httpx.Response:
    return await client.post(url, files={"image": ("me.png", picture, "image/png")}, data=fields)


async def test_people_are_answered_as_requests_take_them(
    url: str, client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.people = (Person(body=((0.5, 0.25), *[None] * 17), left_hand=((0.25, 0.5), *[None] * 20)),)
    response = await send(client, url)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer.keys() == {"created", "keypoints", "b64_json"}
    assert base64.b64decode(answer["b64_json"]) == b"skeleton"
    keypoints = answer["keypoints"]
    assert (keypoints["canvas_width"], keypoints["canvas_height"]) == (96, 64)
    (person,) = keypoints["people"]
    assert person["pose_keypoints_2d"] == [48.0, 16.0, 1.0] + [0.0] * 51
    assert person["hand_left_keypoints_2d"] == [24.0, 32.0, 1.0] + [0.0] * 60
    assert person["hand_right_keypoints_2d"] is None
    assert (backend.requests, backend.kept) == ([], [])  # no picture was made

    posed = {"prompt": "otter", "keypoints": keypoints, "response_format": "b64_json"}
    assert (await client.post("/v1/images/generations", json=posed)).status_code == 200
    sent_again, *_ = backend.poses[-1]
    assert sent_again == PoseSource(people=backend.people, canvas=(96, 64))


@pytest.mark.parametrize("image", [base64_of(PHOTO), data_url(PHOTO), {"image_url": data_url(PHOTO)}])
async def test_a_photo_may_come_in_json(image: Any, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
    response = await client.post(url, json={"image": image})
    assert response.status_code == 200, response.text
    assert backend.poses == [(PoseSource(photo=PHOTO), 96, 64)]


async def test_a_field_that_is_not_known_is_named(url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
    response = await send(client, url, model="small", prompt="otter")
    assert response.status_code == 200
    assert response.headers["easel-ignored-parameters"] == "model, prompt"


async def test_a_photo_is_required(url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused) -> None:
    for sent in ({"json": {}}, {"json": {"image": None}}, {"files": {"other": b"x"}}):
        refused(await client.post(url, **sent), 400, code="missing_required_parameter", param="image")
    refused(await client.post(url, json={"image": "https://otter.example/a.png"}), 400, param="image")
    refused(await client.post(url, content=PHOTO, headers={"content-type": "image/png"}), 400, code="invalid_body")
    refused(await send(client, url, b"no picture"), 415, code="invalid_image", param="image")
    assert backend.poses == []


async def test_limits_of_uploads_hold(
    url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    refused(await send(client, url, b"x" * (backend.current.max_image_bytes + 1)), 413, param="image")
    refused(await send(client, url, b"x" * backend.max_body_bytes), 413, code="too_large")


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (InvalidRequest("image: no person", code="no_pose_found", param="image"), 400),
        (ModelUnavailable("No detector.", code="no_pose_detector"), 503),
    ],
)
async def test_what_goes_wrong_is_said_as_elsewhere(
    failure: InvalidRequest | ModelUnavailable,
    status: int,
    url: str,
    client: httpx.AsyncClient,
    backend: FakeBackend,
    refused: Refused,
) -> None:
    backend.pose_failure = failure
    response = await send(client, url)
    assert refused(response, status, code=failure.code, param=failure.param) == failure.message
    assert ("retry-after" in response.headers) == (status == 503)
    (record,) = backend.ended
    assert (record.route, record.outcome, record.error) == (url, "refused", failure.code)


async def test_a_service_without_a_pose_model_says_so(
    url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    backend.current = backend.current.model_copy(update={"pose": None})
    refused(await send(client, url), 400, code="unsupported_capability")


async def test_a_key_and_its_limits_hold(
    url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
) -> None:
    key = ApiKey(name="first", sha256=hashlib.sha256(b"sk-1").hexdigest(), max_concurrent=1)
    backend.current = backend.current.model_copy(update={"keys": (key,)})
    refused(await send(client, url), 401, code="invalid_api_key")
    client.headers["authorization"] = "Bearer sk-1"
    assert (await send(client, url)).status_code == 200
    assert ([quota.caller for quota, _ in backend.permits], backend.charged) == (["first"], [0.0])
    assert backend.ended[-1].caller == "first"
    backend.refused_permit = QuotaExceeded("Enough.")
    refused(await send(client, url), 429, code="rate_limit_exceeded")


async def test_the_log_tells_how_it_ended(url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
    response = await send(client, url)
    (record,) = backend.ended
    assert (record.route, record.status, record.outcome, record.model) == (url, 200, "answered", None)
    assert record.bytes_sent == len(response.content)
    assert (await client.options(url)).headers["allow"] == "OPTIONS, POST"
    assert len(backend.ended) == 1


async def test_whoever_leaves_cancels_the_work(
    url: str, app: FastAPI, client: httpx.AsyncClient, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def never(*_: object) -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    monkeypatch.setattr(backend, "draw_skeleton", never)
    asking = asyncio.create_task(send(client, url))
    await begun.wait()
    asking.cancel()  # as Serve does with the call of a client that has gone
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert cancelled.is_set()
    assert [record.outcome for record in backend.ended] == ["cancelled"]


async def test_it_is_documented(url: str, app: FastAPI) -> None:
    operation = app.openapi()["paths"][url]["post"]
    json_body, form = (kind["schema"] for _, kind in sorted(operation["requestBody"]["content"].items()))
    assert json_body["required"] == form["required"] == ["image"]
    assert form["properties"]["image"]["format"] == "binary"
    assert {"400", "401", "403", "413", "415", "429", "503", "504"} <= operation["responses"].keys()
    assert PRIORITY_HEADER not in str(operation)  # the estimator knows turns and no priorities
