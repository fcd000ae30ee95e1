"""Streams, as they are on the wire and as the official SDK reads them; the dialects stream alike."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import openai
import pytest
from fastapi import FastAPI
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)

from deployments.errors import EaselError, InvalidRequest, ModelUnavailable, OutOfMemory, Overloaded
from serve_app.dialects.event_stream import Event, open_stream
from tests.unit.serve_app.samples import data_url, photo, told

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

URLS = [f"{dialect}/images/{route}" for dialect in ("/v1", "/openai/v1") for route in ("generations", "edits")]
POSE = "easel/stable-diffusion-xl-pose"
COMMON = {"index", "type", "b64_json", "created_at", "size", "quality", "background", "output_format"}
FAILURES = [
    (OutOfMemory("Too large."), 500, {"type": "server_error", "code": "out_of_memory", "param": None}),
    (InvalidRequest("No.", param="mask"), 400, {"type": "invalid_request_error", "code": "invalid_value", "param": "mask"}),  # noqa: E501
    (Overloaded("Full."), 503, {"type": "service_unavailable_error", "code": "server_is_overloaded", "param": None}),
]  # fmt: skip


def body(url: str, **changed: Any) -> dict[str, Any]:
    image = {"image": data_url(photo())} if url.endswith("edits") else {}
    return {"prompt": "otter", "model": "small", "size": "256x128", "stream": True, "seed": 1, **image, **changed}


@pytest.mark.parametrize("url", URLS)
class TestEvents:
    async def test_are_openais_in_their_order(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        response = await client.post(
            url, json=body(url, num_steps=3, partial_images=2, output_format="webp"), headers={"x-request-id": "mine"}
        )
        assert response.status_code == 200
        assert (response.headers["cache-control"], response.headers["x-request-id"]) == ("no-cache", "mine")
        events = told(response)
        assert [event.event or event.comment for event in events] == [
            "picture 0: step 0 of 3",
            f"image_{'edit' if url.endswith('edits') else 'generation'}.partial_image",
            f"image_{'edit' if url.endswith('edits') else 'generation'}.partial_image",
            "picture 0: step 3 of 3",
            f"image_{'edit' if url.endswith('edits') else 'generation'}.completed",
        ]
        *previews, completed = [event.data for event in events if event.data]
        for index, preview in enumerate(previews):
            assert preview.keys() == COMMON | {"partial_image_index"}
            assert preview["partial_image_index"] == index
            assert base64.b64decode(preview["b64_json"]) == f"preview {index + 1}".encode()
        assert completed.keys() == COMMON | {"usage", "seed"}
        assert base64.b64decode(completed["b64_json"]) == backend.picture_of(backend.requests[0])
        assert completed["seed"] == 1
        given = 128 if url.endswith("edits") else 0
        assert completed["usage"] == {
            "input_tokens": 1 + given,
            "output_tokens": 128,
            "total_tokens": 129 + given,
            "input_tokens_details": {"text_tokens": 1, "image_tokens": given},
        }
        for data, event in zip([*previews, completed], [event for event in events if event.data], strict=True):
            assert data["type"] == event.event
            assert (data["size"], data["quality"]) == ("256x128", "smooth")
            assert (data["background"], data["output_format"]) == ("opaque", "webp")
            assert isinstance(data["created_at"], int)
        assert backend.closed_streams == 1
        assert backend.kept == []  # links are for answers that wait

    async def test_without_previews_are_steps_and_the_picture(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        events = told(await client.post(url, json=body(url, num_steps=1)))
        assert [event.comment for event in events[:-1]] == ["picture 0: step 0 of 1", "picture 0: step 1 of 1"]
        assert (events[-1].event or "").endswith(".completed")
        assert backend.requests[0].partial_images == 0

    async def test_of_several_pictures_are_counted_for_each(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        count = {"n": 3} if "openai" in url else {"num_images": 3}
        data = [event.data for event in told(await client.post(url, json=body(url, **count, partial_images=1)))]
        completed = [each for each in data if each and each["type"].endswith(".completed")]
        assert [each["seed"] for each in completed] == [1, 2, 3]
        assert {each["usage"]["output_tokens"] for each in completed} == {128}
        assert [each["partial_image_index"] for each in data if each and "partial_image_index" in each] == [0, 0, 0]
        assert backend.closed_streams == 3

    @pytest.mark.parametrize(("failure", "status", "error"), FAILURES)
    async def test_begin_only_when_nothing_was_refused(
        self,
        failure: EaselError,
        status: int,
        error: dict[str, Any],
        url: str,
        client: httpx.AsyncClient,
        backend: FakeBackend,
        refused: Refused,
    ) -> None:
        backend.refusal = failure
        response = await client.post(url, json=body(url))
        refused(response, status, code=error["code"], param=error["param"])
        assert ("retry-after" in response.headers) == (status == 503)
        assert backend.closed_streams == 1

    @pytest.mark.parametrize(("failure", "status", "error"), FAILURES)
    async def test_end_with_what_failed(
        self,
        failure: EaselError,
        status: int,
        error: dict[str, Any],
        url: str,
        client: httpx.AsyncClient,
        backend: FakeBackend,
    ) -> None:
        backend.failure = failure
        response = await client.post(url, json=body(url, num_steps=1))
        assert response.status_code == 200
        *steps, last = told(response)
        assert [event.comment for event in steps] == ["picture 0: step 0 of 1", "picture 0: step 1 of 1"]
        assert (last.event, last.data) == ("error", {"error": {"message": failure.message, **error}})
        assert backend.closed_streams == 1

    async def test_do_not_show_what_nobody_foresaw(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend.failure = ZeroDivisionError("SECRET")
        *_, last = told(await client.post(url, json=body(url)))
        assert last.event == "error"
        assert (last.data["error"]["type"], last.data["error"]["code"]) == ("server_error", "internal_error")
        assert "SECRET" not in last.data["error"]["message"]
        (said,) = [record.message for record in caplog.records if record.levelno >= logging.ERROR]
        assert said.startswith("A stream failed:\n")
        assert said.endswith("ZeroDivisionError")
        assert "SECRET" not in said

    async def test_of_what_is_wrong_are_not_begun(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        refused(await client.post(url, json=body(url, size="1x1")), 400, param="size")
        refused(await client.post(url, json=body(url, model="none")), 404, param="model")
        assert backend.closed_streams == 0


async def test_one_failure_of_several_pictures_ends_the_stream(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.failure, backend.failing_seed = OutOfMemory("Too large."), 2
    with anyio.fail_after(30):
        *_, last = told(await client.post(URLS[2], json=body(URLS[2], n=3)))
    assert last.event == "error"
    assert (sorted(backend.cancelled), backend.closed_streams) == ([1, 3], 3)


@pytest.mark.parametrize(
    ("url", "fields", "ignored"),
    [
        ("/v1/images/generations", {"style": "vivid"}, "style"),
        ("/v1/images/generations", {"response_format": "url", "partial_images": 1}, "response_format"),
        ("/openai/v1/images/generations", {"response_format": "url"}, "response_format"),
        ("/openai/v1/images/generations", {"response_format": "b64_json", "partial_images": 1}, None),
        ("/openai/v1/images/generations", {"stream": False, "response_format": "url"}, None),
        ("/openai/v1/images/generations", {"stream": False, "partial_images": 1}, "partial_images"),
    ],
)
async def test_fields_without_meaning_are_named(
    url: str, fields: dict[str, Any], ignored: str | None, client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    response = await client.post(url, json=body(url, **fields))
    assert response.status_code == 200
    assert response.headers.get("easel-ignored-parameters") == ignored
    assert backend.requests[0].partial_images == (fields.get("partial_images", 0) if fields.get("stream", True) else 0)


async def test_a_pose_is_told_with_the_picture(client: httpx.AsyncClient) -> None:
    *_, last = told(await client.post(URLS[1], json=body(URLS[1], user="cn")))
    assert base64.b64decode(last.data["b64_json_pose"]) == b"skeleton"
    assert last.data["keypoints"]["canvas_width"] == 256
    assert last.data.keys() == COMMON | {"usage", "seed", "b64_json_pose", "keypoints"}


async def test_a_form_streams_too(client: httpx.AsyncClient) -> None:
    fields = {"prompt": "otter", "stream": "true", "partial_images": "1", "size": "auto"}
    events = told(await client.post("/v1/images/edits", data=fields, files={"image": photo()}))
    assert [event.event for event in events if event.event] == ["image_edit.partial_image", "image_edit.completed"]


async def test_whoever_hangs_up_closes_the_stream_of_the_backend(
    app: FastAPI, backend: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Over plain ASGI, since httpx reads a stream to its end before it shows any of it."""
    caplog.set_level(logging.WARNING)
    backend.failing_seed = 99  # the picture is never finished
    content, begun = json.dumps(body(URLS[2])).encode(), asyncio.Event()
    messages = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if b"step 4 of 4" in message.get("body", b""):
            begun.set()

    headers = [(b"content-type", b"application/json"), (b"host", b"easel.test")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": URLS[2],
        "headers": headers,
        "query_string": b"",
        "scheme": "http",
    }
    with anyio.fail_after(30):
        await app(scope, receive, send)  # type: ignore[arg-type]
    assert (backend.closed_streams, backend.cancelled) == (1, [1])
    assert caplog.records == []


class TestSdk:
    async def test_reads_pictures_as_they_form(self, sdk: openai.AsyncOpenAI, backend: FakeBackend) -> None:
        stream = await sdk.images.generate(
            prompt="otter", size="256x256", partial_images=2, n=2, stream=True, extra_body={"seed": 4}
        )
        events = [event async for event in stream]
        previews = [event for event in events if isinstance(event, ImageGenPartialImageEvent)]
        completed = [event for event in events if isinstance(event, ImageGenCompletedEvent)]
        assert len(previews) + len(completed) == len(events) == 6
        assert sorted(preview.partial_image_index for preview in previews) == [0, 0, 1, 1]
        assert [event.usage.output_tokens for event in completed] == [256, 256]
        assert [event.model_extra for event in completed] == [{"index": 0, "seed": 4}, {"index": 1, "seed": 5}]
        assert [base64.b64decode(event.b64_json) for event in completed] == [
            backend.picture_of(request) for request in backend.requests
        ]

    async def test_reads_edits(self, sdk: openai.AsyncOpenAI) -> None:
        stream = await sdk.images.edit(image=photo(), prompt="otter", partial_images=1, stream=True)
        preview, completed = [event async for event in stream]
        assert isinstance(preview, ImageEditPartialImageEvent)
        assert isinstance(completed, ImageEditCompletedEvent)
        assert (completed.size, completed.type) == ("96x64", "image_edit.completed")

    async def test_raises_what_is_refused_and_what_fails(self, sdk: openai.AsyncOpenAI, backend: FakeBackend) -> None:
        backend.failure = OutOfMemory("Too large.")
        with pytest.raises(openai.APIError) as failed:
            async for _ in await sdk.images.generate(prompt="otter", stream=True):
                pass
        assert (failed.value.message, failed.value.code) == ("Too large.", "out_of_memory")
        backend.refusal = ModelUnavailable("loading")
        with pytest.raises(openai.InternalServerError):
            await sdk.images.generate(prompt="otter", stream=True)


async def test_a_response_that_is_never_begun_leaves_nothing_open() -> None:
    closed = []

    async def events() -> AsyncGenerator[Event, None]:
        try:
            yield "first"
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    response = await open_stream(events(), {})

    async def gone(_: Any) -> None:
        raise OSError("the connection is gone")

    with pytest.raises(OSError, match="gone"):
        await response({"type": "http", "asgi": {"spec_version": "2.0"}}, asyncio.Event().wait, gone)  # type: ignore[arg-type]
    assert closed == [True]
