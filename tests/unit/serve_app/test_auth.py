"""Who may use the service, and whose request it then is."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from starlette.types import Message

from config.schema import ApiKey
from deployments.errors import Overloaded, QuotaExceeded
from deployments.quotas import Quota
from serve_app import auth
from serve_app.asgi import create_app
from tests.unit.serve_app.samples import told

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

KEY, TRUSTED, FOREIGN = "sk-CANARY-one", "sk-CANARY-two", "sk-CANARY-öther"
HEADERS = {"authorization": f"Bearer {KEY}"}
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
BODIES: dict[str, dict[str, Any]] = {
    "/v1/images/generations": {"prompt": "otter", "seed": 1},
    "/v1/images/edits": {"prompt": "otter", "pose_image": None, "keypoints": None},
    "/openai/v1/images/generations": {"prompt": "otter"},
    "/api/v1/images/generation": {"prompt": "otter", "model": SDXL},
    "/sdapi/v1/txt2img": {"prompt": "otter"},
}
PICTURES = [url for url in BODIES if not url.endswith("edits")]
OPEN = {"/healthz", "/readyz"}


def api_key(name: str, key: str, **changed: Any) -> ApiKey:
    return ApiKey(name=name, sha256=hashlib.sha256(key.encode()).hexdigest(), **changed)


KEYS = (
    api_key("first", KEY, weight=2.5),
    api_key("trusted", TRUSTED, may_prioritize=True),
    api_key("foreign", FOREIGN),
)


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.fixture
def guarded(backend: FakeBackend) -> FakeBackend:
    backend.current = backend.current.model_copy(update={"keys": KEYS})
    return backend


def assert_no_access(response: httpx.Response) -> None:
    assert response.status_code == 401, response.text
    assert response.headers.get_list("www-authenticate") == ["Bearer"]
    body = response.json()
    error = body.pop("error")
    assert (error["code"], error["type"], error["param"]) == ("invalid_api_key", "invalid_request_error", None)
    nebula = response.request.url.path.startswith("/api/v1/")
    assert body == ({"status": "error", "message": error["message"]} if nebula else {})


class TestKey:
    async def test_is_needed_for_every_operation_but_those_that_are_open(
        self, client: httpx.AsyncClient, guarded: FakeBackend, app: FastAPI
    ) -> None:
        for path, operations in app.openapi()["paths"].items():
            for method, operation in operations.items():
                response = await client.request(method, path.replace("{name}", "small"))
                assert (response.status_code == 401) == ("security" in operation) == (path not in OPEN), path
                if path not in OPEN:
                    assert_no_access(response)

    @pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz"])
    async def test_is_not_needed_to_look_around(
        self, path: str, client: httpx.AsyncClient, guarded: FakeBackend
    ) -> None:
        assert (await client.get(path, follow_redirects=True)).status_code == 200

    @pytest.mark.parametrize("url", BODIES)
    async def test_is_not_needed_for_a_ping(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        assert (await client.options(url)).status_code == 204
        assert (await client.head("/sdapi/v1/options")).status_code == 200

    async def test_is_not_needed_for_a_signed_link(self, guarded: FakeBackend) -> None:
        @guarded.images_router.get("/images/{name}")
        async def picture(name: str) -> str:
            return name

        transport = httpx.ASGITransport(create_app(guarded))
        async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as client:
            assert (await client.get("/images/a.png")).json() == "a.png"
            assert (await client.get("/v1/models")).status_code == 401

    @pytest.mark.parametrize(
        "value",
        [
            f"Bearer {KEY}",
            f"bearer {KEY}",
            f"BEARER   {KEY} ",
            f"Bearer {TRUSTED}",
            f"Bearer {FOREIGN}".encode(),
            basic("user", KEY),
            basic("", KEY),
            basic("", KEY).replace("Basic", "basic"),
        ],
    )
    async def test_opens(self, value: str | bytes, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        for name in (b"Authorization", b"authorization", b"AUTHORIZATION"):
            headers = {name: value if isinstance(value, bytes) else value.encode()}
            assert (await client.get("/v1/models", headers=headers)).status_code == 200

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "Bearer",
            "Bearer ",
            KEY,
            f"Bearer {KEY[:-1]}",
            f"Bearer {KEY}x",
            f"Bearer {KEY.upper()}",
            f"Bearer x {KEY}",
            f"Bearer {KEYS[0].sha256}",
            f"Token {KEY}",
            f"Bearer {FOREIGN}".encode("latin-1"),
            basic(KEY, ""),
            basic("user", "wrong"),
            f"Basic {base64.b64encode(KEY.encode()).decode()}",
            "Basic %%%",
            "Basic",
            f"Basic {KEY}",
        ],
    )
    async def test_that_is_wrong_opens_nothing(
        self, value: str | bytes, client: httpx.AsyncClient, guarded: FakeBackend
    ) -> None:
        headers = {b"authorization": value if isinstance(value, bytes) else value.encode()}
        for url in PICTURES:
            assert_no_access(await client.post(url, json=BODIES[url], headers=headers))
        assert guarded.requests == []

    @pytest.mark.parametrize("url", PICTURES)
    async def test_is_looked_at_before_the_body(
        self, url: str, client: httpx.AsyncClient, guarded: FakeBackend
    ) -> None:
        for body in (b"", b"{", b"x" * (guarded.max_body_bytes + 1)):
            assert_no_access(await client.post(url, content=body, headers={"content-type": "application/json"}))

    async def test_applies_in_place(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        headers = {"authorization": f"Bearer {KEY}"}
        statuses = []
        for keys in ((), KEYS, KEYS[1:], ()):
            backend.current = backend.current.model_copy(update={"keys": keys})
            statuses.append((await client.get("/v1/models", headers=headers)).status_code)
        assert statuses == [200, 200, 401, 200]

    async def test_is_compared_in_constant_time_with_all(
        self, client: httpx.AsyncClient, guarded: FakeBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compared: list[tuple[str, str]] = []

        def spy(known: str, sent: str) -> bool:
            compared.append((known, sent))
            return hmac.compare_digest(known, sent)

        monkeypatch.setattr(auth, "hmac", type("Module", (), {"compare_digest": staticmethod(spy)}))
        for key in (KEY, "wrong"):
            compared.clear()
            await client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
            assert compared == [(each.sha256, hashlib.sha256(key.encode()).hexdigest()) for each in KEYS]

    async def test_is_sent_by_the_official_client(self, sdk: openai.AsyncOpenAI, guarded: FakeBackend) -> None:
        with pytest.raises(openai.AuthenticationError) as refused:
            await sdk.models.list()
        assert refused.value.code == "invalid_api_key"
        assert (await sdk.with_options(api_key=KEY).models.list()).data
        with pytest.raises(openai.PermissionDeniedError):
            await sdk.with_options(api_key=KEY, default_headers={"Easel-Priority": "high"}).images.generate(
                prompt="otter"
            )

    @pytest.mark.parametrize("announced", [None, 10**12])
    @pytest.mark.parametrize("value", [None, "Bearer wrong", "Bearer", basic("user", "wrong"), "Basic %%%"])
    async def test_is_looked_at_before_any_of_the_body_is_read(
        self, value: str | None, announced: int | None, app: FastAPI, guarded: FakeBackend
    ) -> None:
        async def receive() -> Message:
            pytest.fail("the body was read")

        headers = [(b"content-type", b"application/json")]
        headers += [] if value is None else [(b"authorization", value.encode())]
        headers += [] if announced is None else [(b"content-length", str(announced).encode())]
        for path, operations in app.openapi()["paths"].items():
            for method in operations if path not in OPEN else ():
                sent: list[Message] = []

                async def send(message: Message, sent: list[Message] = sent) -> None:
                    sent.append(message)

                for kind in (b"application/json", b"multipart/form-data; boundary=x"):
                    headers[0] = (b"content-type", kind)
                    scope = {"type": "http", "method": method.upper(), "path": path.replace("{name}", "small")}
                    await app({**scope, "query_string": b"", "headers": headers}, receive, send)
                    assert sent[0]["status"] == 401, path
                    sent.clear()

    async def test_is_needed_where_a_file_of_keys_has_none(
        self, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        backend.current = backend.current.model_copy(update={"keys": (), "keys_file": "/secrets/keys.yaml"})
        for headers in ({}, {"authorization": f"Bearer {KEY}"}):
            assert_no_access(await client.post(PICTURES[0], json=BODIES[PICTURES[0]], headers=headers))
        assert backend.requests == []


class TestQuota:
    """What only callers have whose key has a limit."""

    LIMITED = api_key("limited", KEY, max_concurrent=3, gpu_seconds_per_hour=60.0)

    @pytest.fixture(autouse=True)
    def _keys(self, backend: FakeBackend) -> None:
        keys = (self.LIMITED, api_key("hourly", TRUSTED, gpu_seconds_per_hour=9), api_key("free", FOREIGN))
        backend.current = backend.current.model_copy(update={"keys": keys})

    @pytest.mark.parametrize("url", PICTURES)
    async def test_is_asked_by_the_name_of_the_key(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        for key in (KEY, TRUSTED, FOREIGN):
            headers = {b"authorization": f"Bearer {key}".encode()}
            assert (await client.post(url, json=BODIES[url], headers=headers)).status_code == 200
        assert backend.permits == [
            (Quota(caller="limited", max_concurrent=3, gpu_seconds_per_hour=60.0), 1),
            (Quota(caller="hourly", gpu_seconds_per_hour=9.0), 1),
        ]
        assert backend.charged == [2.0, 2.0]

    async def test_counts_every_picture(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        for url, several in (
            ("/v1/images/generations", {"num_images": 3}),
            ("/openai/v1/images/generations", {"n": 3}),
            ("/sdapi/v1/txt2img", {"batch_size": 3}),
        ):
            await client.post(url, json={**BODIES[url], **several}, headers=HEADERS)
        assert [pictures for _, pictures in backend.permits] == [3, 3, 3]

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("url", PICTURES)
    async def test_that_is_used_up_is_429(
        self, url: str, stream: bool, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        backend.refused_permit = QuotaExceeded("gpu_seconds_per_hour: enough.", retry_after_seconds=12.3)
        response = await client.post(url, json={**BODIES[url], "stream": stream}, headers=HEADERS)
        assert (response.status_code, response.headers["retry-after"]) == (429, "13")
        error = response.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("rate_limit_error", "rate_limit_exceeded", None)
        assert error["message"] == "gpu_seconds_per_hour: enough."
        assert (backend.requests, backend.charged) == ([], [])

    async def test_that_is_used_up_is_a_rate_limit_to_the_official_client(
        self, sdk: openai.AsyncOpenAI, backend: FakeBackend
    ) -> None:
        backend.refused_permit = QuotaExceeded("Enough.")
        with pytest.raises(openai.RateLimitError) as refused:
            await sdk.with_options(api_key=KEY).images.generate(prompt="otter")
        assert refused.value.code == "rate_limit_exceeded"

    @pytest.mark.parametrize("failure", [None, Overloaded("Full."), ZeroDivisionError("unforeseen")])
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("url", PICTURES)
    async def test_is_given_back_however_the_request_ends(
        self, url: str, stream: bool, failure: Exception | None, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        backend.failure = failure
        await client.post(url, json={**BODIES[url], "stream": stream}, headers=HEADERS)
        assert len(backend.permits) == len(backend.charged) == 1

    async def test_is_given_back_when_a_stream_is_left_halfway(self, app: FastAPI, backend: FakeBackend) -> None:
        backend.failing_seed, backend.device_seconds_a_step = 99, 0.5  # no picture is ever finished
        body = json.dumps({"prompt": "otter", "stream": True, "num_images": 2}).encode()
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        leaves = asyncio.Event()

        async def receive() -> Message:
            if messages:
                return messages.pop()
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message.get("body") and len(backend.requests) == 2:
                leaves.set()

        headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {KEY}".encode())]
        scope = {"type": "http", "method": "POST", "path": "/v1/images/generations", "query_string": b""}
        await asyncio.wait_for(app({**scope, "headers": headers}, receive, send), 30)
        assert backend.closed_streams == 2
        assert backend.charged == [4.0]  # four steps of each


class TestScope:
    """The models that a key is for."""

    SCHNELL = "black-forest-labs/FLUX.1-schnell"

    @pytest.fixture(autouse=True)
    def _keys(self, backend: FakeBackend) -> None:
        keys = (api_key("scoped", KEY, models=(self.SCHNELL.upper(), "small")), api_key("all", TRUSTED))
        backend.current = backend.current.model_copy(update={"keys": keys})

    @pytest.mark.parametrize("url", PICTURES)
    async def test_decides_which_model_makes_pictures(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        response = await client.post(url, json={**BODIES[url], "model": SDXL}, headers=HEADERS)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (403, "model_not_allowed", "model")
        assert error["message"].endswith(f"It is for: small, {self.SCHNELL}.")
        assert backend.requests == []
        body = {**BODIES[url], "model": self.SCHNELL}
        assert (await client.post(url, json=body, headers=HEADERS)).status_code == 200
        headers = {"authorization": f"Bearer {TRUSTED}"}
        assert (await client.post(url, json={**BODIES[url], "model": SDXL}, headers=headers)).status_code == 200

    @pytest.mark.parametrize("url", [url for url in PICTURES if not url.startswith("/api/")])
    async def test_counts_for_the_default_model_too(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        response = await client.post(url, json=BODIES[url], headers=HEADERS)
        assert response.status_code == 403
        assert f"not for {SDXL}, the model of requests that name none" in response.json()["error"]["message"]

    async def test_decides_which_model_may_be_asked_for_as_the_one_in_force(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/sdapi/v1/options", json={"sd_model_checkpoint": SDXL}, headers=HEADERS)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "model_not_allowed")

    async def test_decides_which_models_are_shown(self, client: httpx.AsyncClient) -> None:
        for prefix in ("/v1", "/openai/v1"):
            listed = (await client.get(f"{prefix}/models", headers=HEADERS)).json()["data"]
            assert [model["id"] for model in listed] == ["small", self.SCHNELL]
            assert (await client.get(f"{prefix}/models/SMALL", headers=HEADERS)).status_code == 200
            response = await client.get(f"{prefix}/models/{SDXL}", headers=HEADERS)
            assert (response.status_code, response.json()["error"]["code"]) == (403, "model_not_allowed")
            unknown = await client.get(f"{prefix}/models/none", headers=HEADERS)
            assert unknown.status_code == 404
            assert SDXL not in unknown.text
            every = (await client.get(f"{prefix}/models", headers={"authorization": f"Bearer {TRUSTED}"})).json()
            assert len(every["data"]) == 5
        listed = (await client.get("/sdapi/v1/sd-models", headers=HEADERS)).json()
        assert [model["title"] for model in listed] == ["small", self.SCHNELL]

    async def test_decides_nothing_where_no_keys_are_configured(
        self, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        backend.current = backend.current.model_copy(update={"keys": ()})
        assert len((await client.get("/v1/models", headers=HEADERS)).json()["data"]) == 5


async def test_no_key_is_logged_or_sent_back(
    client: httpx.AsyncClient, guarded: FakeBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    limited = KEYS[0].model_copy(update={"max_concurrent": 1})
    scoped = KEYS[1].model_copy(update={"models": ("small",)})
    guarded.current = guarded.current.model_copy(update={"keys": (limited, scoped)})
    failures = (None, Overloaded("Full."), QuotaExceeded("Enough."), ZeroDivisionError("unforeseen"))
    for value in (
        f"Bearer {KEY}",
        f"Bearer {TRUSTED}",
        f"Bearer {KEY}x",
        basic("user", KEY),
        f"Basic {KEY}",
        f"Token {KEY}",
        KEY,
    ):
        for guarded.failure in failures:
            guarded.refused_permit = guarded.failure if isinstance(guarded.failure, QuotaExceeded) else None
            for url, body in BODIES.items():
                for priority in ("normal", "high", "CANARY?"):
                    for stream in (False, True):
                        response = await client.post(
                            url,
                            json={**body, "stream": stream},
                            headers={"authorization": value, "easel-priority": priority},
                        )
                        assert "CANARY" not in response.text + str(response.headers)
    assert guarded.requests
    assert "ZeroDivisionError" in caplog.text
    assert "CANARY" not in caplog.text
    assert base64.b64encode(KEY.encode()).decode() not in caplog.text


class TestCaller:
    @pytest.mark.parametrize("url", PICTURES)
    async def test_is_passed_on(self, url: str, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        for key in (KEY, TRUSTED):
            response = await client.post(url, json=BODIES[url], headers={"authorization": f"Bearer {key}"})
            assert response.status_code == 200, response.text
        assert [(request.standing.caller, request.standing.weight) for request in guarded.requests] == [
            ("first", 2.5),
            ("trusted", 1.0),
        ]

    @pytest.mark.parametrize("url", PICTURES)
    async def test_is_one_for_all_where_no_keys_are_configured(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        for value in (None, f"Bearer {KEY}", "Bearer other", "Basic %%%", "nonsense", ""):
            headers = {} if value is None else {"authorization": value}
            response = await client.post(url, json=BODIES[url], headers=headers)
            assert response.status_code == 200, response.text
        assert {(request.standing.caller, request.standing.weight) for request in backend.requests} == {("", 1.0)}
        assert len(backend.requests) == 6


Ask = Callable[..., Any]


class TestPriority:
    @pytest.fixture
    def ask(self, client: httpx.AsyncClient) -> Ask:
        async def post(url: str, key: str | None, **headers: str) -> httpx.Response:
            known = {} if key is None else {"authorization": f"Bearer {key}"}
            return await client.post(url, json=BODIES[url], headers={**known, **headers})

        return post

    @pytest.mark.parametrize("url", PICTURES)
    async def test_is_passed_on(self, url: str, ask: Ask, guarded: FakeBackend) -> None:
        for headers in ({"Easel-Priority": "high"}, {"easel-priority": "normal"}, {}, {"EASEL-PRIORITY": "low"}):
            assert (await ask(url, TRUSTED, **headers)).status_code == 200
        assert [request.standing.priority for request in guarded.requests] == [1, 0, 0, -1]

    @pytest.mark.parametrize("url", PICTURES)
    async def test_that_is_high_needs_trust(self, url: str, ask: Ask, guarded: FakeBackend) -> None:
        response = await ask(url, KEY, **{"Easel-Priority": "high"})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (403, "priority_not_allowed", "Easel-Priority")
        assert "this key is not" in error["message"]
        assert guarded.requests == []
        assert (await ask(url, KEY, **{"Easel-Priority": "low"})).status_code == 200
        assert guarded.requests[0].standing.priority == -1

    async def test_that_is_high_needs_a_key(self, ask: Ask, backend: FakeBackend, refused: Refused) -> None:
        response = await ask(PICTURES[0], TRUSTED, **{"Easel-Priority": "high"})
        assert "trusted" in refused(response, 403, code="priority_not_allowed", param="Easel-Priority")
        assert backend.requests == []
        for priority in ("normal", "low"):
            assert (await ask(PICTURES[0], None, **{"Easel-Priority": priority})).status_code == 200
        assert [request.standing.priority for request in backend.requests] == [0, -1]

    @pytest.mark.parametrize("word", ["urgent", "", "1", "High", "high, low"])
    async def test_of_another_word_is_refused(
        self, word: str, ask: Ask, guarded: FakeBackend, refused: Refused
    ) -> None:
        message = refused(await ask(PICTURES[0], TRUSTED, **{"Easel-Priority": word}), 400, param="Easel-Priority")
        assert "'high', 'normal' or 'low'" in message
        assert guarded.requests == []

    async def test_is_of_no_matter_where_nothing_is_made(self, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        headers = {"authorization": f"Bearer {KEY}", "easel-priority": "high"}
        assert (await client.get("/v1/models", headers=headers)).status_code == 200

    async def test_is_that_of_a_stream_too(self, client: httpx.AsyncClient, guarded: FakeBackend) -> None:
        headers = {"authorization": f"Bearer {TRUSTED}", "easel-priority": "high"}
        assert told(await client.post(PICTURES[0], json={**BODIES[PICTURES[0]], "stream": True}, headers=headers))
        standing = guarded.requests[0].standing
        assert (standing.caller, standing.priority) == ("trusted", 1)


def test_the_document_says_that_a_key_may_be_sent(app: FastAPI) -> None:
    document = app.openapi()
    assert app.openapi() is document
    scheme = document["components"]["securitySchemes"]["ApiKey"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation.get("security") == (None if path in OPEN else [{"ApiKey": []}, {}])
            parameters = {each["name"] for each in operation.get("parameters", [])}
            assert ("Easel-Priority" in parameters) == (path in BODIES or path == "/openai/v1/images/edits")
