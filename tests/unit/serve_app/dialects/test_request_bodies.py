"""Bodies as clients send them, read by routes that give back what they read."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from serve_app import errors
from serve_app.dialects.fields import MAX_FIELDS, OrNull, Prompt, Seed, Strength, WireModel
from serve_app.dialects.forms import MAX_FILES
from serve_app.dialects.picture_data import PictureData
from serve_app.dialects.request_bodies import documented_body, read_form_or_json, read_json
from serve_app.middleware import stack
from tests.unit.serve_app.conftest import Refused
from tests.unit.serve_app.samples import base64_of, photo

pytestmark = pytest.mark.anyio

MAX_BYTES = 5 * 2**20
PROMPT_PART = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\notter'


class Inner(BaseModel):
    side: int


class Body(WireModel):
    prompt: Prompt
    n: Seed | None = None
    strength: Strength | None = None
    stream: OrNull[bool] = False
    user: str | None = None
    image: PictureData | None = None
    inner: Inner | None = None


@pytest.fixture
async def client(anyio_backend: str) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI(middleware=stack(MAX_BYTES, 30, behind_serve=False))
    errors.install(app)

    def read_back(body: Body) -> dict[str, Any]:
        values = {name: getattr(body, name) for name in body.model_fields_set if name != "prompt"}
        return {name: base64_of(value) if isinstance(value, bytes) else value for name, value in values.items()}

    @app.post("/json")
    async def as_json(request: Request) -> dict[str, Any]:
        return read_back(await read_json(request, Body))

    @app.post("/form")
    async def as_form(request: Request) -> dict[str, Any]:
        return read_back(await read_form_or_json(request, Body))

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://easel.test") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _files_are_gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever becomes of a form, its temporary files are closed, which deletes them."""
    files: list[Any] = []

    def noted(*arguments: Any, **options: Any) -> Any:
        files.append(SpooledTemporaryFile(*arguments, **options))  # noqa: SIM115
        return files[-1]

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", noted)
    yield
    assert all(file.closed for file in files)


async def form(client: httpx.AsyncClient, *fields: tuple[str, Any]) -> httpx.Response:
    """Sends the fields as multipart, in their order; a tuple is a file with its name and type."""
    parts = [(name, value if isinstance(value, tuple) else (None, value)) for name, value in fields]
    return await client.post("/form", files=[("prompt", (None, "otter")), *parts])


class TestText:
    """A form has nothing else; where another type is wanted, it is as JSON writes it."""

    @pytest.mark.parametrize(
        ("field", "text", "value"),
        [
            ("n", "2", 2),
            ("n", "4294967295", 2**32 - 1),
            ("n", " 2\n", 2),
            ("strength", "0.5", 0.5),
            ("strength", "1", 1.0),
            ("strength", "5E-1", 0.5),
            ("stream", "true", True),
            ("stream", "False", False),
            ("user", "2", "2"),
            ("user", "true", "true"),
            ("user", "null", "null"),
            ("user", '{"a": 1}', '{"a": 1}'),
        ],
    )
    async def test_is_read(self, field: str, text: str, value: object, client: httpx.AsyncClient) -> None:
        answer = (await form(client, (field, text))).json()
        assert answer == {field: value}
        assert type(answer[field]) is type(value)

    @pytest.mark.parametrize(
        ("field", "text"),
        [
            *[("n", text) for text in "1.0 1_000 １ ٣ +1 02 0x2 1e0 true NaN -1 4294967296 two [1] {} 1,5".split()],
            ("n", "9" * 5000),
            ("n", "[" * 100_000),
            *[("strength", text) for text in "NaN Infinity 1e999 0_1.5 ０.5 .5 0,5 true 0 1.1".split()],
            *[("stream", text) for text in "1 on yes ｔrue truee 2".split()],
            ("prompt", " "),
        ],
    )
    async def test_of_another_type_is_refused(
        self, field: str, text: str, client: httpx.AsyncClient, refused: Refused
    ) -> None:
        response = await client.post("/form", files={"prompt": (None, "otter"), field: (None, text)})
        assert f"'{field}'" in refused(response, 400, code="invalid_value", param=field)

    @pytest.mark.parametrize("field", ["n", "strength", "stream", "user", "image", "unknown"])
    async def test_that_is_empty_is_absent(self, field: str, client: httpx.AsyncClient) -> None:
        assert (await form(client, (field, ""))).json() == {}

    async def test_that_says_null_is_absent_where_no_text_is_wanted(self, client: httpx.AsyncClient) -> None:
        assert (await form(client, ("n", "null"), ("stream", "null"))).json() == {}

    async def test_within_json_stays_text(self, client: httpx.AsyncClient, refused: Refused) -> None:
        for path in ("/form", "/json"):
            response = await client.post(path, json={"prompt": "otter", "n": "2"})
            refused(response, 400, code="invalid_value", param="n")

    @pytest.mark.parametrize("field", ["n", "user", "prompt"])
    async def test_is_not_taken_from_a_file(self, field: str, client: httpx.AsyncClient, refused: Refused) -> None:
        response = await client.post("/form", files={"prompt": (None, "otter"), field: ("upload", b"2")})
        refused(response, 400, code="invalid_value", param=field)

    async def test_missing_is_told(self, client: httpx.AsyncClient, refused: Refused) -> None:
        response = await client.post("/form", files={"n": (None, "2")})
        refused(response, 400, code="missing_required_parameter", param="prompt")

    async def test_with_wrong_numbers_and_more_is_still_one_error(
        self, client: httpx.AsyncClient, refused: Refused
    ) -> None:
        refused(await form(client, ("n", "x"), ("strength", "2"), ("stream", "true")), 400, param="n")


class TestPictures:
    @pytest.mark.parametrize("field", ["image", "image[]"])
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("cat.png", "image/png"),
            ("upload", "application/octet-stream"),
            ("blob", "text/plain"),
            ("../../etc/passwd", "image/jpeg"),
            ('katze\r\n"ü".png', ""),
        ],
    )
    async def test_whatever_their_name_and_type(
        self, field: str, name: str, kind: str, client: httpx.AsyncClient
    ) -> None:
        answer = await form(client, (field, (name, photo(), kind)))
        assert answer.json() == {"image": base64_of(photo())}

    async def test_as_text(self, client: httpx.AsyncClient) -> None:
        large = bytes(2**20)  # base64 of it is more than Starlette takes of a text by itself
        assert (await form(client, ("image", base64_of(large)))).json() == {"image": base64_of(large)}

    async def test_in_chunks_of_an_unannounced_length(self, client: httpx.AsyncClient) -> None:
        whole = httpx.Request("POST", "http://x", data={"prompt": "otter"}, files={"image": photo()})
        content = whole.read()

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 7):
                yield content[start : start + 7]

        headers = {"content-type": whole.headers["content-type"]}
        response = await client.post("/form", content=chunks(), headers=headers)
        assert "content-length" not in response.request.headers
        assert response.json() == {"image": base64_of(photo())}

    async def test_empty_ones_are_absent(self, client: httpx.AsyncClient) -> None:
        blank = ("", b"", "application/octet-stream")
        assert (await form(client, ("image", blank))).json() == {}
        both = await form(client, ("image", ("a", photo())), ("image", blank), ("image", ""))
        assert both.json() == {"image": base64_of(photo())}

    @pytest.mark.parametrize(
        "sent",
        [
            [("image", ("a", photo())), ("image", ("b", photo()))],
            [("image[]", ("a", photo())), ("image[]", ("b", photo())), ("image[]", ("c", photo()))],
            [("image", ("a", photo())), ("image", base64_of(photo()))],
            [("image[]", base64_of(photo())), ("image[]", base64_of(photo()))],
        ],
    )
    async def test_several_are_refused(
        self, sent: list[tuple[str, Any]], client: httpx.AsyncClient, refused: Refused
    ) -> None:
        assert "one picture" in refused(await form(client, *sent), 400, param="image")


async def test_unknown_fields_may_come_several_times(client: httpx.AsyncClient) -> None:
    answer = await form(client, ("tags[]", "a"), ("tags[]", "b"), ("file", ("f", photo())))
    assert answer.json() == {"tags": ["a", "b"], "file": base64_of(photo())}


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", ""])
async def test_a_body_of_another_kind_is_told_what_is_taken(
    kind: str, client: httpx.AsyncClient, refused: Refused
) -> None:
    for path, takes_forms in (("/form", True), ("/json", False)):
        response = await client.post(path, content=b"prompt=otter", headers={"content-type": kind})
        message = refused(response, 400, code="invalid_body")
        assert "application/json" in message
        assert ("multipart/form-data" in message) == takes_forms


@pytest.mark.parametrize("announced", [True, False])
async def test_a_form_above_the_limit_of_bodies(announced: bool, client: httpx.AsyncClient, refused: Refused) -> None:
    whole = httpx.Request("POST", "http://x", data={"prompt": "otter"}, files={"image": bytes(MAX_BYTES)})
    content = whole.read()

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    headers = {"content-type": whole.headers["content-type"]}
    response = await client.post("/form", content=content if announced else chunks(), headers=headers)
    refused(response, 413, code="too_large")


@pytest.mark.parametrize(
    ("path", "kind", "content"),
    [
        ("/form", "multipart/form-data", b"no boundary"),
        ("/form", "multipart/form-data; boundary=x", b"--y\r\n\r\n"),
        ("/form", "multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"),
        *[
            ("/form", "multipart/form-data; boundary=x", PROMPT_PART + rest)
            for rest in (b"", b"--x--", b"\r\n--x", b"\r\n--x\r\n--x--", b"\r\n" + PROMPT_PART + b"--x--\r\n")
        ],
        ("/form", "", b'{"prompt": "otter"}'),
        ("/json", "multipart/form-data; boundary=x", b"--x--"),
        *[
            ("/form", "application/json", content)
            for content in (b"", b"{", b"[]", b'"a"', b"null", b"\xff", b"[" * 10**5)
        ],
        ("/form", "application/json", '{"prompt": "otter"}'.encode("utf-16")),
        ("/form", "application/json", b'{"n": ' + b"9" * 5000 + b"}"),
    ],
)
async def test_what_is_no_body_is_refused(
    path: str, kind: str, content: bytes, client: httpx.AsyncClient, refused: Refused
) -> None:
    response = await client.post(path, content=content, headers={"content-type": kind})
    refused(response, 400, param=response.json()["error"]["param"])
    assert response.json()["error"]["code"] in ("invalid_body", "invalid_json", "missing_required_parameter")


def part(name: str, content: bytes = b"a", *more: str, file: bool = False) -> bytes:
    """A part of a form, with more headers of its own."""
    disposition = f'Content-Disposition: form-data; name="{name}"' + ('; filename="f"' if file else "")
    return "\r\n".join(["--x", disposition, *more, "", ""]).encode() + content + b"\r\n"


def whole(*parts: bytes) -> bytes:
    return b"".join([part("prompt", b"otter"), *parts, b"--x--\r\n"])


LARGE = bytes(2 * 2**20)  # is not kept in memory but in a file
FORM = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([part(f"f{index}", file=True) for index in range(MAX_FILES)], 200),
        ([part(f"f{index}", file=True) for index in range(MAX_FILES + 1)], 400),
        ([part("image", file=True)] * (MAX_FILES + 1), 400),
        ([part(f"f{index}") for index in range(MAX_FIELDS - 1)], 200),
        ([part(f"f{index}") for index in range(MAX_FIELDS)], 400),
        ([part(f"f{index}") for index in range(10_001)], 400),
        ([part("a", b"", *(f"x-{index}: a" for index in range(7)))], 200),
        ([part("a", b"", *(f"x-{index}: a" for index in range(8)))], 400),
        ([part("a", b"", "x: " + "a" * 4000)], 200),
        ([part("a", b"", "x: " + "a" * 5000)], 400),
        ([part("a", b"", "x: " + "a" * 2**20)], 400),
        ([part("a" * 5000)], 400),
        ([part("a", b"", "x" * 5000 + ": a")], 400),
        ([part("file", LARGE, file=True), part("a", b"", "x: " + "a" * 5000)], 400),
        ([part("file", LARGE, file=True), *[part("b", file=True)] * MAX_FILES], 400),
        ([part("prompt")], 400),
        ([part("user"), part("user")], 400),
        ([part("user", b"a" * 2**20)], 200),
        ([part("prompt", b"a" * 2**20)], 400),
        ([part("a", b"", 'Content-Disposition: form-data; name="b"; filename="c"')], 200),
        ([part("a", b"", "Content-Disposition: form-data")], 400),
        ([part("a", b"", "no colon")], 400),
        ([part("a", b"", "Content-Transfer-Encoding: base64", "Content-Encoding: gzip")], 200),
        ([part("a", whole(), "Content-Type: multipart/mixed; boundary=x")], 200),
        ([part("a", b"--y\r\n\r\n--y--", "Content-Type: multipart/mixed; boundary=y")], 200),
        ([part("a", b"\r\n--" * 10**5), part("b", b"\r" * 10**5), part("c", b"\r\n" * 10**5)], 200),
        ([part("file", LARGE, file=True), b"--x\r\n"], 400),
        ([part("n", b"[" + b"{}," * 10**6 + b"{}]")], 400),
        ([part("image", b"http://127.0.0.1/")], 400),
        ([part("../../x", b"a"), part("constructor", b"a"), part("", b"a")], 200),
    ],
)
async def test_a_form_is_read_within_bounds(
    parts: list[bytes], status: int, client: httpx.AsyncClient, refused: Refused
) -> None:
    response = await client.post("/form", content=whole(*parts), headers={"content-type": FORM})
    if status == 200:
        assert response.status_code == 200, response.text
    else:
        refused(response, status, param=response.json()["error"]["param"])


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "x" * 300,
        "multipart/form-data; boundary=y",
        "multipart/form-data; boundary=x; boundary=y",
        "multipart/form-data; boundary*=utf-8''x%FF",
        "multipart/mixed; boundary=x",
        "multipart/form-data; charset=none-such",
    ],
)
async def test_a_form_without_its_boundary_is_refused(kind: str, client: httpx.AsyncClient, refused: Refused) -> None:
    refused(await client.post("/form", content=whole(), headers={"content-type": kind}), 400, code="invalid_body")


@pytest.mark.parametrize("cut", [1, 2, 3, 30, 100, len(LARGE) // 2])
async def test_a_form_that_ends_early_is_refused(cut: int, client: httpx.AsyncClient, refused: Refused) -> None:
    content = whole(part("image", LARGE, file=True))
    response = await client.post("/form", content=content[: -len(b"\r\n") - cut], headers={"content-type": FORM})
    refused(response, 400, code="invalid_body")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "x-gzip", "gzip, identity", "unknown"])
@pytest.mark.parametrize("kind", ["application/json", FORM])
async def test_a_compressed_body_is_refused_and_not_unpacked(
    encoding: str, kind: str, client: httpx.AsyncClient, refused: Refused
) -> None:
    bomb = gzip.compress(bytes(2**20))
    response = await client.post("/form", content=bomb, headers={"content-type": kind, "content-encoding": encoding})
    assert "content-encoding" in refused(response, 415, code="unsupported_encoding")


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
async def test_a_body_that_says_it_is_not_compressed_is_read(encoding: str, client: httpx.AsyncClient) -> None:
    for path in ("/form", "/json"):
        assert (await client.post(path, json={"prompt": "a"}, headers={"content-encoding": encoding})).json() == {}


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": "a", "x": [' + b"{}," * 10**6 + b"{}]}",
        b"[" + b"1," * 10**6 + b"1]",
        b'{"prompt": "a", ' + b",".join(b'"%d": 1' % index for index in range(30_000)) + b"}",
        b'{"prompt": "a", "x": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"prompt": ' * 10**5,
    ],
)
async def test_json_of_a_great_many_values_is_refused(
    content: bytes, client: httpx.AsyncClient, refused: Refused
) -> None:
    response = await client.post("/json", content=content, headers={"content-type": "application/json"})
    assert "too many values" in refused(response, 400, code="invalid_json")


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
async def test_json_at_either_route(kind: str, client: httpx.AsyncClient) -> None:
    body = {"prompt": "otter", "n": 2, "image": base64_of(photo()), "inner": {"side": 1}, "user": None}
    for path in ("/form", "/json"):
        response = await client.post(path, content=json.dumps(body), headers={"content-type": kind})
        assert response.json() == {"n": 2, "image": base64_of(photo()), "inner": {"side": 1}}


def test_documentation_shows_files_in_forms_and_has_no_references() -> None:
    content = documented_body(Body, form=True)["requestBody"]["content"]
    shown, as_form = content["application/json"]["schema"], content["multipart/form-data"]["schema"]
    assert "$ref" not in json.dumps(content)
    assert shown["properties"]["inner"]["anyOf"][0]["properties"].keys() == {"side"}
    assert as_form["properties"]["image"]["format"] == "binary"
    assert as_form["properties"]["inner"]["contentMediaType"] == "application/json"
    assert as_form["properties"]["n"]["type"] == "integer"
    assert documented_body(Body, form=False)["requestBody"]["content"].keys() == {"application/json"}
