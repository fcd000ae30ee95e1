"""What a caller sends is in no log and in no error: canaries in every place of good and of bad requests."""

from __future__ import annotations

import base64
import hashlib
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import BaseModel, ValidationError
from ray.exceptions import RayTaskError

from config.schema import ApiKey
from deployments.models.protocol import GenerationInputs
from deployments.types import ImageRequest, PoseSource, Standing
from serve_app.dialects import automatic1111, block_entropy, nebula, openai
from serve_app.dispatch import Dispatcher
from serve_app.orders import Order
from tests.canaries import CANARIES, canary_picture, leaks, leaks_below
from tests.unit.serve_app.samples import base64_of, data_url, joints

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend

pytestmark = pytest.mark.anyio

PICTURE = canary_picture()
FIELDS: dict[str, Any] = {
    "prompt": CANARIES["prompt"],
    "negative_prompt": CANARIES["negative"],
    "user": CANARIES["user"],
    "unknown": CANARIES["field"],
}
EDIT = {**FIELDS, "image": data_url(PICTURE), "mask": base64_of(PICTURE)}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/images/generations": FIELDS,
    "/v1/images/edits": EDIT,
    "/openai/v1/images/generations": FIELDS,
    "/openai/v1/images/edits": EDIT,
    "/api/v1/images/generation": {**EDIT, "model": "be-stable-diffusion-xl-base-1.0"},
    "/sdapi/v1/txt2img": {**FIELDS, "override_settings": {"password": CANARIES["field"]}},
}
# What each of a body's fields may be instead; not all dialects know all of them.
BAD: list[dict[str, Any]] = [
    {"prompt": [CANARIES["prompt"]]},
    {"prompt": {CANARIES["prompt"]: CANARIES["prompt"]}},
    {"prompt": CANARIES["prompt"] * 200},
    {"negative_prompt": CANARIES["negative"] * 200},
    {"user": [CANARIES["user"]]},
    *({name: CANARIES["field"]} for name in ("size", "seed", "n", "num_steps", "steps", "width", "quality", "stream")),
    *({name: CANARIES["field"]} for name in ("guidance_scale", "cfg_scale", "response_format", "override_settings")),
    {"size": "8x8"},
    {"image": CANARIES["picture"] + "!"},
    {"image": f"data:image/png,{CANARIES['picture']}"},
    {"image": f"https://{CANARIES['field']}/"},
    {"image": {"image_url": {"url": CANARIES["picture"]}}},
    {"image": base64_of(CANARIES["picture"].encode())},
    {"image": data_url(PICTURE[:-40])},
    {"image": data_url(PICTURE), "images": [data_url(PICTURE)] * 2},
    {"mask": base64_of(canary_picture(64, 64))},
    {"mask": base64_of(PICTURE[:30])},
    {"keypoints": CANARIES["field"]},
    {"keypoints": {"people": [{"pose_keypoints_2d": [CANARIES["field"]]}], CANARIES["field"]: 1}},
    {"keypoints": {"people": [{"pose_keypoints_2d": joints(), "hand_left_keypoints_2d": {CANARIES["field"]: 1}}]}},
    {"pose_image": base64_of(PICTURE[:50])},
    {"background": "transparent"},
]
HEADERS = {
    "user-agent": CANARIES["header"],
    "cookie": f"session={CANARIES['header']}",
    "referer": f"https://{CANARIES['header']}/",
    "x-forwarded-for": CANARIES["header"],
}
AUTHORIZATIONS = [
    f"Bearer {CANARIES['key']}",
    f"Bearer {CANARIES['wrong-key']}",
    "Basic " + base64.b64encode(f"user:{CANARIES['wrong-key']}".encode()).decode(),
    f"Basic {CANARIES['wrong-key']}",
    CANARIES["wrong-key"],
]


class Number(BaseModel):
    number: int


def quoting(kind: str) -> Exception:
    """An error whose text quotes what was asked for, as those of libraries may."""
    error: Exception = ValueError(f"cannot encode {CANARIES['prompt']!r} and {base64_of(PICTURE)}")
    if kind == "pydantic":
        with pytest.raises(ValidationError) as raised:
            Number.model_validate({"number": CANARIES["prompt"]})
        error = raised.value
    assert leaks(str(error)) >= {"prompt"}
    return error


@pytest.fixture
def guarded(backend: FakeBackend) -> FakeBackend:
    key = ApiKey(name="alice", sha256=hashlib.sha256(CANARIES["key"].encode()).hexdigest())
    backend.current = backend.current.model_copy(update={"keys": (key,)})
    return backend


@pytest.fixture(autouse=True)
def silent_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Afterwards it has records, of all levels, and no canary is in any of their parts."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the client's own
    yield
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    records = caplog.get_records("call")
    assert records
    for record in records:
        assert not leaks(f"{logging.Formatter().format(record)} {vars(record)}")


def test_canaries_are_found_wherever_they_are(tmp_path: Path) -> None:
    for shift in range(4):
        whole = b"\xff" * shift + "".join(CANARIES.values()).encode() + b"\xff"
        assert leaks(base64.b64encode(whole).decode()) == CANARIES.keys()
    assert leaks(base64_of(PICTURE)) == {"picture"}
    assert leaks(f"... {CANARIES['user']} ...") == {"user"}
    assert leaks("anything else") == set()
    (tmp_path / "below").mkdir()
    (tmp_path / "clean.log").write_text("anything else")
    (tmp_path / "below" / "replica.log").write_bytes(b"\xff" + CANARIES["key"].encode())
    assert leaks_below(tmp_path) == {tmp_path / "below" / "replica.log": {"key"}}
    logging.getLogger("serve_app").info("nothing")


async def send(client: httpx.AsyncClient, url: str, **sent: Any) -> httpx.Response:
    """Whatever is answered, its headers and every error are without canaries."""
    headers = {"authorization": AUTHORIZATIONS[0], **HEADERS, **sent.pop("headers", {})}
    response = await client.post(url, params={"debug": CANARIES["query"]}, headers=headers, **sent)
    assert not leaks(str(response.headers))
    if response.status_code >= 400 or response.headers["content-type"].startswith("text/event-stream"):
        assert not leaks(response.text)
    return response


@pytest.mark.parametrize("url", GOOD)
class TestRequests:
    async def test_that_are_good(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        assert (await send(client, url, json=GOOD[url])).status_code == 200
        assert guarded.requests[0].prompt == CANARIES["prompt"]

    async def test_that_are_bad(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        statuses = [(await send(client, url, json={**GOOD[url], **changed})).status_code for changed in BAD]
        assert set(statuses) <= {200, 400, 413, 415}  # 200: the dialect does not know the field
        assert statuses.count(200) < len(statuses) - 5

    async def test_that_are_no_request(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        prompt = CANARIES["prompt"]
        for content in (prompt, f'{{"prompt": "{prompt}"', f'["{prompt}"]', f'"{prompt}"', f'{{"prompt": {prompt}}}'):
            for kind in ("application/json", "text/plain", "multipart/form-data; boundary=x", prompt):
                response = await send(client, url, content=content, headers={"content-type": kind})
                assert response.status_code == 400
        response = await send(client, f"{url}/{CANARIES['query']}", json=GOOD[url])
        assert response.status_code == 404

    async def test_that_have_no_key(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        for authorization in AUTHORIZATIONS[1:]:
            response = await send(client, url, json=GOOD[url], headers={"authorization": authorization})
            assert response.status_code == 401

    async def test_that_want_to_go_first(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        for priority, status in (("high", 403), (CANARIES["header"], 400)):
            response = await send(client, url, json=GOOD[url], headers={"easel-priority": priority})
            assert response.status_code == status

    @pytest.mark.parametrize("kind", ["plain", "pydantic"])
    async def test_that_break_what_serves_them(
        self, kind: str, url: str, client: httpx.AsyncClient, guarded: FakeBackend
    ) -> None:
        guarded.failure = quoting(kind)
        assert (await send(client, url, json=GOOD[url])).status_code == 500
        streams = not url.startswith(("/api", "/sdapi"))
        streamed = await send(client, url, json={**GOOD[url], "stream": True})
        assert streamed.status_code == (200 if streams else 500)
        assert "internal_error" in streamed.text

    async def test_for_an_unknown_model(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        """Its name alone is told to whoever sent it."""
        response = await client.post(
            url, json={**GOOD[url], "model": CANARIES["field"]}, headers={"authorization": AUTHORIZATIONS[0]}
        )
        assert response.status_code == 404
        assert leaks(response.text) == {"field"}


@pytest.mark.parametrize("url", ["/v1/images/edits", "/openai/v1/images/edits"])
async def test_forms(url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
    name = f"{CANARIES['file']}.png"
    for fields, picture, status in (
        ({}, PICTURE, 200),
        ({"size": CANARIES["field"]}, PICTURE, 400),
        ({}, CANARIES["picture"].encode(), 415),
        ({"mask": CANARIES["field"]}, PICTURE, 400),
    ):
        files = {"image": (name, picture, f"image/{CANARIES['header']}")}
        response = await send(client, url, data={**FIELDS, **fields}, files=files)
        assert response.status_code == status, response.text


async def test_what_a_replica_failed_on(
    client: httpx.AsyncClient, guarded: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray brings the text and the traceback of what was raised elsewhere."""

    class Handle:
        def __init__(self, *_: object, **__: object) -> None:
            self.generate = self.stream = self

        def options(self, **_: object) -> Handle:
            return self

        def remote(self, *_: object) -> Any:
            raise RayTaskError("generate", f"Traceback: {CANARIES['prompt']}", quoting("plain")).as_instanceof_cause()

    dispatcher = Dispatcher(lambda _: Handle())
    monkeypatch.setattr(guarded, "generate", dispatcher.generate)
    monkeypatch.setattr(guarded, "stream", dispatcher.stream)
    for url, stream in itertools.product(GOOD, (False, True)):
        response = await send(client, url, json={**GOOD[url], "stream": stream})
        assert (response.status_code, "generation_failed" in response.text) == (500, True)


def test_nothing_that_holds_them_shows_them() -> None:
    request = ImageRequest(
        request_id="r",
        model="small",
        prompt=CANARIES["prompt"],
        negative_prompt=CANARIES["negative"],
        width=8,
        height=8,
        seed=1,
        image=PICTURE,
        standing=Standing(deadline=1.0),
    )
    order = Order(
        model="small",
        prompt=CANARIES["prompt"],
        negative_prompt=CANARIES["negative"],
        image=PICTURE,
        pose=PoseSource(photo=PICTURE, drawing=PICTURE),
    )
    bodies = [
        dialect.model_validate({**EDIT, "model": "small"})
        for dialect in (
            block_entropy.EditBody,
            openai.EditBody,
            nebula.GenerationBody,
            automatic1111.TextToImageBody,
        )
    ]
    inputs = GenerationInputs(
        prompt=CANARIES["prompt"],
        negative_prompt=CANARIES["negative"],
        width=8,
        height=8,
        seed=1,
        steps=1,
        guidance_scale=1.0,
        scheduler="default",
    )
    logging.getLogger("serve_app").info("%r %s", [request, order, inputs, bodies], bodies[0])
