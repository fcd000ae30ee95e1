"""The picture routes over a real store in memory, with a clock that the tests set."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from config.schema import ApiKey, IngressSettings, ModelRoute
from deployments.errors import EaselError, Expired, Forbidden, NotFound, StoreUnavailable, Unauthorized
from serve_app.images.keeper import Keeper
from serve_app.images.routes import create_router, link
from serve_app.images.signing import LinkSigner
from serve_app.images.store import SIGNING_VARIABLE, ImageStore

pytestmark = pytest.mark.anyio

BASE = "http://easel.test"
PICTURE = b"RIFF0000WEBP" + bytes(500)
EXPIRES = 5000
SECRET = "a secret of this test alone"
SIGNER = LinkSigner(SECRET.encode())
SETTINGS = IngressSettings(models=(ModelRoute(name="paint", application="sdxl", family="sdxl"),), default_model="paint")
STATUS = {Unauthorized: 401, Forbidden: 403, NotFound: 404, Expired: 410, StoreUnavailable: 503}


@pytest.fixture(autouse=True)
def _configured_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIGNING_VARIABLE, SECRET)


class Service:
    """The application under test and the time it believes in."""

    def __init__(self) -> None:
        self.now = 4000.0
        self.settings = SETTINGS
        self.store = ImageStore(f"memory://{uuid.uuid4().hex}")
        self.application = FastAPI()
        self.application.include_router(create_router(Keeper(self.store, 30), lambda: self.settings, lambda: self.now))

        @self.application.exception_handler(EaselError)
        async def answer(_: Request, error: EaselError) -> JSONResponse:
            return JSONResponse({"error": {"code": error.code}}, STATUS[type(error)])

    def put(self, extension: str = "webp", owner: str | None = None) -> str:
        return link(SIGNER, BASE, self.store.put(PICTURE, extension, EXPIRES), EXPIRES, owner)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.application)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


async def test_a_link_answers_the_picture(service: Service, client: httpx.AsyncClient) -> None:
    url = service.put()
    response = await client.get(url)

    assert response.status_code == 200
    assert response.content == PICTURE
    name = urlsplit(url).path.removeprefix("/images/")
    assert dict(response.headers) == {
        "content-type": "image/webp",
        "content-length": str(len(PICTURE)),
        "cache-control": "private, max-age=1000",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "content-disposition": f'inline; filename="{name}"',
    }


async def test_head_answers_the_same_headers_and_no_body(service: Service, client: httpx.AsyncClient) -> None:
    url = service.put()
    response = await client.head(url)

    assert response.status_code == 200
    assert response.content == b""
    assert response.headers == (await client.get(url)).headers


@pytest.mark.parametrize(
    ("extension", "content_type"),
    [("png", "image/png"), ("jpeg", "image/jpeg"), ("jpg", "image/jpeg"), ("webp", "image/webp")],
)
async def test_each_format_has_its_type(
    service: Service, client: httpx.AsyncClient, extension: str, content_type: str
) -> None:
    response = await client.get(service.put(extension))

    assert response.headers["content-type"] == content_type


async def test_a_link_ends_at_its_very_second(service: Service, client: httpx.AsyncClient) -> None:
    url = service.put()
    service.now = EXPIRES - 0.001
    last = await client.get(url)
    service.now = EXPIRES
    after = await client.get(url)

    assert (last.status_code, last.headers["cache-control"]) == (200, "private, max-age=0")
    assert (after.status_code, after.json()["error"]["code"]) == (410, "url_expired")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".webp", ".png"),
        ("/images/5", "/images/6"),
        ("expires=5000", "expires=5001"),
        ("expires=5000", "expires=05000"),
        ("expires=5000", "expires=%2B5000"),
        ("expires=5000", "expires=%D9%A5000"),
        ("expires=5000", "expires=5000%20"),
        ("expires=5000", "expires="),
        ("expires=5000&", ""),
        ("signature=", "signature=A"),
        ("&signature=", "&other="),
        ("signature=", "signature=&other="),
        ("signature=", "signature=%ED%A0%80&other="),
    ],
)
async def test_each_changed_part_is_forbidden(
    service: Service, client: httpx.AsyncClient, method: str, old: str, new: str
) -> None:
    url = service.put()
    changed = url.replace(old, new)
    assert changed != url

    response = await client.request(method, changed)

    assert response.status_code == 403


@pytest.mark.parametrize(
    "path", ["..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "..%5cx", "%2fetc%2fpasswd", "%ff", "signing-secret", "..%252f"]
)
async def test_traversal_reaches_nothing_even_when_signed(
    service: Service, client: httpx.AsyncClient, path: str
) -> None:
    service.store.secret()
    unsigned = await client.get(f"/images/{path}")
    assert unsigned.status_code in (403, 404)

    decoded = httpx.URL(f"{BASE}/images/{path}").path.removeprefix("/images/")
    query = {"expires": "5000", "signature": SIGNER.sign(decoded, EXPIRES)}
    assert (await client.get(f"/images/{path}", params=query)).status_code in (403, 404)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


KEYS = tuple(
    ApiKey(name=name, sha256=hashlib.sha256(f"key of {name}".encode()).hexdigest()) for name in ("otter", "bad & ger")
)
OTTER, BADGER = bearer("key of otter"), bearer("key of bad & ger")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
class TestPrivate:
    @pytest.fixture(autouse=True)
    def _private(self, service: Service) -> None:
        service.settings = SETTINGS.model_copy(update={"keys": KEYS, "private_pictures": True})

    async def test_links_answer_with_the_key_of_their_owner(
        self, method: str, service: Service, client: httpx.AsyncClient
    ) -> None:
        for owner, headers in (("otter", OTTER), ("bad & ger", BADGER)):
            assert (await client.request(method, service.put(owner=owner), headers=headers)).status_code == 200
        password = {"authorization": f"Basic {base64.b64encode(b'any:key of otter').decode()}"}
        assert (await client.request(method, service.put(owner="otter"), headers=password)).status_code == 200

    @pytest.mark.parametrize(
        ("headers", "status"), [({}, 401), (bearer("nobody's"), 401), (bearer(""), 401), (BADGER, 403)]
    )
    async def test_links_answer_with_no_other_key(
        self, headers: dict[str, str], status: int, method: str, service: Service, client: httpx.AsyncClient
    ) -> None:
        service.store.get = lambda _: pytest.fail("the store was read")  # type: ignore[method-assign]
        response = await client.request(method, service.put(owner="otter"), headers=headers)
        assert (response.status_code, PICTURE in response.content) == (status, False)

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("owner=otter", "owner=bad+%26+ger"),
            ("owner=otter", "owner=Otter"),
            ("owner=otter", "owner="),
            ("owner=otter&", ""),
            ("owner=otter", "Owner=otter"),
            ("owner=otter", "owner=otter&owner=bad+%26+ger"),
            ("expires=5000", "expires=5001"),
            (".webp", ".WEBP"),
            ("/images/", "/images//"),
            ("/images/", "/images/..%2f"),
            ("/images/", "/IMAGES/"),
            (".webp?", ".webp%00?"),
        ],
    )
    async def test_links_that_were_changed_answer_to_nobody(
        self, old: str, new: str, method: str, service: Service, client: httpx.AsyncClient
    ) -> None:
        changed = service.put(owner="otter").replace(old, new)
        for headers in (OTTER, BADGER):
            assert (await client.request(method, changed, headers=headers)).status_code in (403, 404)

    async def test_links_end_in_time(self, method: str, service: Service, client: httpx.AsyncClient) -> None:
        url = service.put(owner="otter")
        service.now = EXPIRES
        assert (await client.request(method, url, headers=OTTER)).status_code == 410

    async def test_links_from_before_answer_no_more(
        self, method: str, service: Service, client: httpx.AsyncClient
    ) -> None:
        assert (await client.request(method, service.put(), headers=OTTER)).status_code == 403

    async def test_links_stay_private_where_new_ones_are_not(
        self, method: str, service: Service, client: httpx.AsyncClient
    ) -> None:
        url = service.put(owner="otter")
        service.settings = SETTINGS.model_copy(update={"keys": KEYS})
        assert (await client.request(method, url)).status_code == 401
        assert (await client.request(method, url, headers=OTTER)).status_code == 200
        service.settings = SETTINGS
        assert (await client.request(method, url, headers=OTTER)).status_code == 401

    async def test_there_is_no_list_of_pictures(self, method: str, service: Service, client: httpx.AsyncClient) -> None:
        service.put(owner="otter")
        for path in ("/images", "/images/", "/images/?owner=otter", "/images/*"):
            assert (await client.request(method, path, headers=OTTER)).status_code in (403, 404)


async def test_a_deleted_picture_is_not_found(service: Service, client: httpx.AsyncClient) -> None:
    url = service.put()
    assert service.store.sweep(EXPIRES + 1000) == 1

    assert (await client.get(url)).status_code == 404


async def test_a_store_that_fails_is_unavailable(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("broken")

    monkeypatch.setattr(service.store._files, "cat_file", fail)
    assert (await client.get(service.put())).status_code == 503


async def test_the_store_is_read_in_a_thread_and_only_for_a_genuine_link(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = service.put()
    readers: list[threading.Thread] = []

    def get(_: str) -> bytes:
        readers.append(threading.current_thread())
        return PICTURE

    monkeypatch.setattr(service.store, "get", get)
    await client.get(url.replace("signature=", "signature=A"))
    assert readers == []
    await client.get(url)
    assert len(readers) == 1
    assert readers[0] is not threading.current_thread()


async def test_the_remaining_time_counts_from_the_answer(
    service: Service, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_get(_: str) -> bytes:
        service.now = EXPIRES + 7.0
        return PICTURE

    url = service.put()
    monkeypatch.setattr(service.store, "get", slow_get)
    assert (await client.get(url)).headers["cache-control"] == "private, max-age=0"


@pytest.mark.parametrize("base", ["https://pictures.example/easel", "https://pictures.example/easel/"])
def test_a_link_is_absolute_and_its_path_ends_in_the_extension(base: str) -> None:
    parts = urlsplit(link(SIGNER, base, "1-a.png", 1))

    assert (parts.scheme, parts.netloc, parts.path) == ("https", "pictures.example", "/easel/images/1-a.png")
    assert parts.query == f"expires=1&signature={SIGNER.sign('1-a.png', 1)}"


@pytest.mark.filterwarnings("error")
def test_the_schema_describes_the_picture_and_the_refusals(service: Service) -> None:
    operations = service.application.openapi()["paths"]["/images/{name}"]

    assert list(operations) == ["get"]
    assert set(operations["get"]["responses"]["200"]["content"]) == {"image/png", "image/jpeg", "image/webp"}
    assert {"401", "403", "404", "410", "503"} <= set(operations["get"]["responses"])
