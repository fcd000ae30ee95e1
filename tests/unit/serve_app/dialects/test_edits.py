"""`/edits` of both OpenAI-shaped dialects: what differs is a parameter."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from deployments.errors import ImageRejected, InvalidRequest
from deployments.types import Person, PoseSource
from tests.unit.serve_app.samples import base64_of, data_url, joints, photo

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

BLOCK_ENTROPY, OPENAI = "/v1/images/edits", "/openai/v1/images/edits"
SDXL, POSE = "stabilityai/stable-diffusion-xl-base-1.0", "easel/stable-diffusion-xl-pose"
SCHNELL, FILL = "black-forest-labs/FLUX.1-schnell", "black-forest-labs/FLUX.1-Fill-dev"
IMAGE, MASK = photo(96, 64), photo(96, 64, "WEBP")
LYING = Image.Exif()
LYING[ExifTags.Base.Orientation] = 6
KEYPOINTS = {"people": [{"pose_keypoints_2d": joints(x=128, y=96)}], "canvas_width": 256, "canvas_height": 384}
JOINTS = PoseSource(people=(Person(body=((0.5, 0.25), *[None] * 17)),), canvas=(256, 384))

both = pytest.mark.parametrize("url", [BLOCK_ENTROPY, OPENAI])


async def edit(client: httpx.AsyncClient, url: str, **fields: Any) -> httpx.Response:
    """Sends a form: bytes as files, all else as text."""
    sent = {"prompt": "otter", **fields}
    files = {
        name.replace("__", "[]"): ("upload", value, "application/octet-stream")
        if isinstance(value, bytes)
        else (None, value)
        for name, value in sent.items()
    }
    return await client.post(url, files=files)


@both
class TestForm:
    @pytest.mark.parametrize("field", ["image", "image__"])
    async def test_of_files(self, url: str, field: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        response = await edit(client, url, **{field: IMAGE, "mask": MASK})
        assert response.status_code == 200, response.text
        (request,) = backend.requests
        assert (request.model, request.prompt, request.image, request.mask) == (SDXL, "otter", IMAGE, MASK)
        assert (request.mask_reads, request.strength, request.pose) == ("alpha", None, None)
        assert "easel-ignored-parameters" not in response.headers

    async def test_of_every_field_as_text(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        response = await edit(
            client,
            url,
            image=data_url(IMAGE),
            mask=base64_of(MASK),
            model="SMALL",
            seed="7",
            negative_prompt="fog",
            size="256x128",
            quality="hd",
            num_steps="9",
            guidance_scale="6.5",
            strength="0.5",
            output_format="jpeg",
            output_compression="70",
            response_format="b64_json",
            stream="false",
            user="2",
        )
        (request,) = backend.requests
        assert (request.image, request.mask, request.strength) == (IMAGE, MASK, 0.5)
        assert (request.model, request.seed, request.negative_prompt, request.quality) == ("small", 7, "fog", "hd")
        assert (request.width, request.height, request.steps, request.guidance_scale) == (256, 128, 9, 6.5)
        assert (request.output_format, request.output_compression) == ("jpeg", 70)
        (item,) = response.json()["data"]
        assert item.keys() == {"b64_json", "seed", "revised_prompt"}
        assert "easel-ignored-parameters" not in response.headers

    async def test_with_blank_fields(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        blank = dict.fromkeys("model n size seed strength num_steps stream response_format user keypoints".split(), "")
        response = await edit(client, url, image=IMAGE, **blank)
        assert response.status_code == 200, response.text
        (request,) = backend.requests
        assert (request.model, request.mask, request.strength, request.steps) == (SDXL, None, None, None)

    async def test_with_a_mask_that_got_lost(self, url: str, client: httpx.AsyncClient, refused: Refused) -> None:
        refused(await edit(client, url, image=IMAGE, mask=b""), 400, param="mask")
        parts = {"image": ("a.png", IMAGE), "mask": ("m.png", IMAGE), "prompt": (None, "otter")}
        request = client.build_request("POST", url, files=parts)
        cut_off = request.read()[: -len(IMAGE) // 2]
        response = await client.post(url, content=cut_off, headers={"content-type": request.headers["content-type"]})
        assert "cut off" in refused(response, 400, code="invalid_body")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("n", "x"),
            ("n", "１"),
            ("n", "1_0"),
            ("n", "true"),
            ("seed", "-1"),
            ("strength", "0"),
            ("strength", "NaN"),
            ("strength", "1.5"),
            ("num_steps", "1.0"),
            ("partial_images", "4"),
            ("pose_strength", "2.1"),
            ("pose_end", "-0.1"),
            ("size", "１０２４x1024"),
            ("stream", "2"),
        ],
    )
    async def test_with_a_wrong_value(
        self, url: str, field: str, value: str, client: httpx.AsyncClient, refused: Refused
    ) -> None:
        response = await edit(client, url, image=IMAGE, **{field: value})
        refused(response, 400, code="invalid_value", param=field)

    async def test_of_an_unannounced_length(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        whole = httpx.Request("POST", "http://x", data={"prompt": "otter"}, files={"image": IMAGE})
        content = whole.read()

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(content), 50):
                yield content[start : start + 50]

        headers = {"content-type": whole.headers["content-type"]}
        assert (await client.post(url, content=chunks(), headers=headers)).status_code == 200
        assert backend.requests[0].image == IMAGE


@both
class TestJson:
    @pytest.mark.parametrize(
        "fields",
        [
            {"images": [{"image_url": data_url(IMAGE)}], "mask": {"image_url": data_url(MASK)}},
            {"image": data_url(IMAGE), "mask": data_url(MASK)},
            {"image": base64_of(IMAGE), "mask": base64_of(MASK), "images": None},
            {"image": None, "images": [base64_of(IMAGE)], "mask": {"image_url": base64_of(MASK)}},
        ],
    )
    async def test_spellings(
        self, url: str, fields: dict[str, Any], client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        response = await client.post(url, json={"prompt": "otter", **fields})
        assert response.status_code == 200, response.text
        assert (backend.requests[0].image, backend.requests[0].mask) == (IMAGE, MASK)
        assert "easel-ignored-parameters" not in response.headers

    @pytest.mark.parametrize(
        ("fields", "param", "says"),
        [
            ({"image": "https://example.org/cat.png"}, "image", "not fetched"),
            ({"images": [{"image_url": "http://127.0.0.1/cat.png"}]}, "images.0", "not fetched"),
            ({"images": [{"file_id": "file-abc"}]}, "images.0", "uploaded"),
            ({"image": base64_of(IMAGE), "mask": {"file_id": "file-abc"}}, "mask", "uploaded"),
            ({"images": [base64_of(IMAGE)] * 2}, "images", "one picture"),
            ({"images": [base64_of(IMAGE)], "image": base64_of(IMAGE)}, "images", "one picture"),
            ({"image": [base64_of(IMAGE)] * 2}, "image", "one picture"),
            ({"images": []}, "images", ""),
            ({"image": 5}, "image", "base64"),
            ({"image": "no base64!"}, "image", "base64"),
        ],
    )
    async def test_that_holds_no_single_picture(
        self,
        url: str,
        fields: dict[str, Any],
        param: str,
        says: str,
        client: httpx.AsyncClient,
        backend: FakeBackend,
        refused: Refused,
    ) -> None:
        message = refused(await client.post(url, json={"prompt": "otter", **fields}), 400, param=param)
        assert says in message
        assert backend.requests == []


@both
class TestPictures:
    @pytest.mark.parametrize("fields", [{}, {"mask": MASK}, {"user": "cn"}])
    async def test_must_be_sent(
        self, url: str, fields: dict[str, Any], client: httpx.AsyncClient, refused: Refused
    ) -> None:
        refused(await edit(client, url, **fields), 400, code="missing_required_parameter", param="image")

    async def test_must_be_sent_in_json(self, url: str, client: httpx.AsyncClient, refused: Refused) -> None:
        refused(await client.post(url, json={"prompt": "x"}), 400, code="missing_required_parameter", param="image")

    @pytest.mark.parametrize("field", ["image", "mask", "pose_image"])
    async def test_must_not_be_too_large(
        self, url: str, field: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        backend.current = backend.current.model_copy(update={"max_image_bytes": 1000})
        response = await edit(client, url, **{"image": IMAGE, field: bytes(1001)})
        assert "1000 bytes" in refused(response, 413, code="too_large", param=field)
        assert backend.requests == []

    @pytest.mark.parametrize("field", ["image", "pose_image"])
    async def test_must_be_pictures(
        self, url: str, field: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        response = await edit(client, url, **{"image": IMAGE, field: b"GIF89a"})
        refused(response, 415, code="invalid_image", param=field)
        assert backend.requests == []

    async def test_the_replica_finds_what_is_wrong_with_a_mask(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        backend.failure = ImageRejected("mask: not a readable picture.", param="mask")
        refused(await edit(client, url, image=IMAGE, mask=b"GIF89a"), 415, code="invalid_image", param="mask")


SIZES: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    (BLOCK_ENTROPY, {}, (1024, 1024)),
    (OPENAI, {}, (96, 64)),
    (OPENAI, {"image": photo(101, 67)}, (101, 67)),
    (OPENAI, {"image": photo(101, 67), "model": FILL}, (101, 67)),
    (OPENAI, {"image": photo(101, 67), "model": POSE}, (96, 64)),
    (BLOCK_ENTROPY, {"user": "cn"}, (1024, 1024)),
    (BLOCK_ENTROPY, {"user": "cn", "size": "auto"}, (96, 64)),
]
SIZES_OF_BOTH: list[tuple[dict[str, Any], tuple[int, int]]] = [
    ({"size": "auto", "image": photo(101, 67)}, (101, 67)),
    ({"size": "auto", "image": photo(101, 67, "JPEG", exif=LYING)}, (67, 101)),
    ({"size": "auto", "image": photo(512, 1024), "model": "small"}, (256, 512)),
    ({"size": "1000x527", "model": FILL}, (992, 512)),
    ({"size": "512x768"}, (512, 768)),
]


@pytest.mark.parametrize(
    ("url", "fields", "size"), SIZES + [(url, *each) for url in (BLOCK_ENTROPY, OPENAI) for each in SIZES_OF_BOTH]
)
async def test_size(
    url: str, fields: dict[str, Any], size: tuple[int, int], client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    answer = (await edit(client, url, **{"image": IMAGE, **fields})).json()
    assert (backend.requests[0].width, backend.requests[0].height) == size
    assert answer["size"] == "{}x{}".format(*size)


@pytest.mark.parametrize(
    ("url", "size", "param"), [(BLOCK_ENTROPY, "auto", "image"), (OPENAI, "", "image"), (OPENAI, "1001x1000", "size")]
)
async def test_size_that_cannot_be_made(
    url: str, size: str, param: str, client: httpx.AsyncClient, refused: Refused
) -> None:
    refused(await edit(client, url, image=photo(500, 100), size=size), 400, code="invalid_value", param=param)


async def test_n_is_the_seed_or_the_number_of_pictures(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    await edit(client, BLOCK_ENTROPY, image=IMAGE, n="2")
    await edit(client, OPENAI, image=IMAGE, n="2", seed="5")
    assert [request.seed for request in backend.requests] == [2, 5, 6]


class TestCapabilities:
    @both
    async def test_a_model_without_pictures_is_refused(
        self, url: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        response = await edit(client, url, image=IMAGE, model=SCHNELL)
        message = refused(response, 400, code="unsupported_capability", param="model")
        assert SCHNELL in message
        assert "it does text-to-image" in message
        assert backend.requests == []

    @pytest.mark.parametrize("url", ["/v1/images/generations", "/openai/v1/images/generations"])
    async def test_a_model_that_needs_one_is_refused(
        self, url: str, client: httpx.AsyncClient, refused: Refused
    ) -> None:
        response = await client.post(url, json={"prompt": "otter", "model": FILL})
        message = refused(response, 400, code="unsupported_capability", param="model")
        assert FILL in message
        assert "it does inpainting" in message

    @both
    @pytest.mark.parametrize(
        ("fields", "ignored"),
        [
            ({"strength": "0.5", "mask": MASK, "guidance_scale": "3"}, None),
            ({"model": FILL, "negative_prompt": "fog", "guidance_scale": "3"}, "negative_prompt"),
            ({"model": FILL, "negprompt": "fog"}, "negative_prompt"),
            ({"model": POSE, "mask": MASK, "strength": "0.5", "pose_end": "0.5"}, "mask, strength"),
            ({"pose_strength": "0.5", "pose_end": "1"}, "pose_strength, pose_end"),
            ({"keypoints": json.dumps(KEYPOINTS), "mask": MASK}, "image, mask"),
            ({"partial_images": "2"}, "partial_images"),
            ({"partial_images": "0"}, None),
            ({"input_fidelity": "high", "moderation": "low", "markup": IMAGE}, "input_fidelity, moderation, markup"),
        ],
    )  # fmt: skip
    async def test_fields_without_meaning_are_named_once(
        self, url: str, fields: dict[str, Any], ignored: str | None, client: httpx.AsyncClient
    ) -> None:
        response = await edit(client, url, image=IMAGE, **fields)
        assert response.status_code == 200, response.text
        assert response.headers.get("easel-ignored-parameters") == ignored

    async def test_fields_of_a_model_without_guidance_are_named_once(self, client: httpx.AsyncClient) -> None:
        body = {
            **{"prompt": "otter", "model": SCHNELL, "negative_prompt": "a", "guidance_scale": 2, "style": "vivid"},
            **{"strength": 0.5, "mask": "x", "pose_end": 0.5, "partial_images": 1},
        }
        response = await client.post("/openai/v1/images/generations", json=body)
        names = response.headers["easel-ignored-parameters"].split(", ")
        assert sorted(names) == sorted(body.keys() - {"prompt", "model"})


class TestPose:
    @pytest.mark.parametrize("model", ["", SDXL, "be-stable-diffusion-xl-base-1.0", "small"])
    async def test_user_cn_takes_it_from_the_photo(
        self, model: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        response = await edit(client, BLOCK_ENTROPY, image=IMAGE, user="cn", model=model, size="512x768", n="3")
        assert response.status_code == 200, response.text
        assert backend.poses == [(PoseSource(photo=IMAGE), 512, 768)]
        (request,) = backend.requests
        assert request.pose is not None
        assert (request.model, request.image, request.pose.skeleton, request.seed) == (POSE, None, b"skeleton", 3)
        assert "easel-ignored-parameters" not in response.headers

    @pytest.mark.parametrize("user", ["CN", "cn ", "someone"])
    async def test_any_other_user_is_somebodys_id(
        self, user: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        await edit(client, BLOCK_ENTROPY, image=IMAGE, user=user)
        assert (backend.requests[0].model, backend.poses) == (SDXL, [])

    async def test_user_cn_is_an_id_in_openais_dialect(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        await edit(client, OPENAI, image=IMAGE, user="cn")
        assert (backend.requests[0].model, backend.requests[0].image, backend.poses) == (SDXL, IMAGE, [])

    async def test_user_cn_is_an_id_where_pictures_are_made_from_text(
        self, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        await client.post("/v1/images/generations", json={"prompt": "otter", "user": "cn"})
        assert (backend.requests[0].model, backend.poses) == (SDXL, [])

    @both
    async def test_by_the_name_of_its_model(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        await edit(client, url, image=IMAGE, model=POSE, size="64x64", pose_strength="0.5", pose_end="0.75")
        assert backend.poses == [(PoseSource(photo=IMAGE), 64, 64)]
        pose = backend.requests[0].pose
        assert pose is not None
        assert (pose.strength, pose.end) == (0.5, 0.75)

    @both
    @pytest.mark.parametrize("model", [SCHNELL, FILL])
    async def test_is_not_followed_by_flux(
        self, url: str, model: str, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        posed = {"user": "cn", "image": IMAGE} if url == BLOCK_ENTROPY else {"pose_image": IMAGE}
        response = await edit(client, url, model=model, **posed)
        assert model in refused(response, 400, code="unsupported_capability", param="model")
        assert backend.poses == []

    @both
    @pytest.mark.parametrize(
        ("fields", "source"),
        [
            ({"pose_image": IMAGE}, PoseSource(drawing=IMAGE)),
            ({"keypoints": json.dumps(KEYPOINTS)}, JOINTS),
            ({"keypoints": json.dumps(KEYPOINTS), "image": IMAGE}, JOINTS),
        ],
    )
    async def test_instead_of_an_image(
        self, url: str, fields: dict[str, Any], source: PoseSource, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        response = await edit(client, url, size="512x512", **fields)
        assert response.status_code == 200, response.text
        assert backend.poses == [(source, 512, 512)]
        assert backend.requests[0].model == POSE

    @pytest.mark.parametrize("route", ["edits", "generations"])
    @pytest.mark.parametrize("dialect", ["/v1/images/", "/openai/v1/images/"])
    @pytest.mark.parametrize(
        ("fields", "source", "size"),
        [
            ({"pose_image": data_url(IMAGE)}, PoseSource(drawing=IMAGE), (96, 64)),
            ({"keypoints": KEYPOINTS}, JOINTS, (256, 384)),
        ],
    )
    async def test_in_json_on_every_route(
        self,
        route: str,
        dialect: str,
        fields: dict[str, Any],
        source: PoseSource,
        size: tuple[int, int],
        client: httpx.AsyncClient,
        backend: FakeBackend,
    ) -> None:
        response = await client.post(f"{dialect}{route}", json={"prompt": "otter", "size": "auto", **fields})
        assert response.status_code == 200, response.text
        assert backend.poses == [(source, *size)]
        assert (backend.requests[0].width, backend.requests[0].height) == size

    @both
    async def test_of_two_kinds_is_refused(self, url: str, client: httpx.AsyncClient, refused: Refused) -> None:
        response = await edit(client, url, keypoints=json.dumps(KEYPOINTS), pose_image=IMAGE)
        refused(response, 400, param="keypoints")

    @both
    @pytest.mark.parametrize(
        ("keypoints", "param"),
        [
            ({"people": [{"pose_keypoints_2d": [1] * 53}]}, "keypoints.people.0.pose_keypoints_2d"),
            ({"people": []}, "keypoints.people"),
            ({"people": [{"pose_keypoints_2d": joints()}], "canvas_width": 5}, "keypoints"),
            ({"people": [{"pose_keypoints_2d": joints(x=300)}]}, "keypoints"),
            ("no JSON", "keypoints"),
        ],
    )
    async def test_of_wrong_joints_is_refused(
        self, url: str, keypoints: Any, param: str, client: httpx.AsyncClient, refused: Refused
    ) -> None:
        text = keypoints if isinstance(keypoints, str) else json.dumps(keypoints)
        refused(await edit(client, url, keypoints=text), 400, code="invalid_value", param=param)
        refused(
            await client.post(url, json={"prompt": "otter", "keypoints": keypoints}),
            400, code="invalid_value", param=param,
        )  # fmt: skip

    async def test_that_is_not_found_is_told(
        self, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        backend.pose_failure = InvalidRequest("image: no person in it.", code="no_pose_found", param="image")
        refused(await edit(client, BLOCK_ENTROPY, image=IMAGE, user="cn"), 400, code="no_pose_found", param="image")
        assert backend.requests == []


async def test_with_the_openai_sdk(sdk: openai.AsyncOpenAI, backend: FakeBackend) -> None:
    await sdk.images.edit(image=IMAGE, mask=MASK, prompt="otter", n=2, extra_body={"strength": 0.5, "seed": 1})
    await sdk.images.edit(image=[("cat.png", IMAGE)], prompt="otter", size="auto", stream=False)
    first, second, third = backend.requests
    assert (first.image, first.mask, first.strength, first.seed) == (IMAGE, MASK, 0.5, 1)
    assert (second.seed, second.width, second.height) == (2, 96, 64)
    assert (third.image, third.mask) == (IMAGE, None)
    with pytest.raises(openai.BadRequestError) as refused:
        await sdk.images.edit(image=[IMAGE, IMAGE], prompt="otter")
    assert refused.value.param == "image"
    response = await sdk.images.edit(image=IMAGE, prompt="otter", response_format="b64_json")
    assert response.data is not None
    assert base64.b64decode(response.data[0].b64_json or "") == backend.picture_of(backend.requests[-1])


GOOD_FORM = httpx.Request(
    "POST",
    "http://easel.test",
    data={"prompt": "otter", "n": "2", "size": "256x128", "keypoints": json.dumps(KEYPOINTS), "stream": "false"},
    files={"image[]": ("a.png", photo(8, 8), "image/png"), "mask": ("b", photo(8, 8))},
    headers={"content-type": "multipart/form-data; boundary=limit"},
).read()
# What means something in a form.
PIECES = st.sampled_from(
    [
        *(
            b"--limit",
            b"--limit--",
            b"--",
            b"\r\n",
            b"\r\n\r\n",
            b"\n",
            b"\0",
            b"\xff",
            b'"',
            b";",
            b"=",
            b"[]",
            b"[0]",
        ),
        *(b"prompt", b"image", b"Content-Disposition: form-data; name=", b"filename*=utf-8''%ff"),
        b"Content-Transfer-Encoding: base64",
    ]
)
MUTATIONS = st.lists(
    st.tuples(st.integers(0, len(GOOD_FORM)), st.integers(0, 80), PIECES | st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)


def mutated(mutations: list[tuple[int, int, bytes]]) -> bytes:
    """The good form with bytes left out and others written at some places."""
    form = GOOD_FORM
    for place, left_out, written in mutations:
        form = form[:place] + written + form[place + left_out :]
    return form


class TestAnyBytes:
    """As a form: refused in the one shape, or a good one still; never a failure of the server."""

    @staticmethod
    async def check(client: httpx.AsyncClient, url: str, content: bytes, boundary: bytes = b"limit") -> None:
        headers = {b"content-type": b"multipart/form-data; boundary=" + boundary}
        response = await client.post(url, content=content, headers=headers)
        assert response.status_code in (200, 400, 404, 413, 415), response.text
        if response.status_code != 200:
            assert response.headers.get_list("x-request-id") != []
            assert response.json()["error"].keys() == {"message", "type", "param", "code"}

    @given(content=st.binary() | st.lists(PIECES | st.binary(max_size=8), max_size=12).map(b"".join))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @both
    async def test_of_no_form(self, url: str, client: httpx.AsyncClient, content: bytes) -> None:
        await self.check(client, url, content)
        await self.check(client, url, b"--limit\r\n" + content + b"\r\n--limit--\r\n")

    @given(content=MUTATIONS.map(mutated))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @both
    async def test_of_a_good_form_that_was_changed(self, url: str, client: httpx.AsyncClient, content: bytes) -> None:
        await self.check(client, url, content)

    @given(boundary=st.binary(max_size=8) | st.binary(min_size=60, max_size=80))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @both
    async def test_with_any_boundary(self, url: str, client: httpx.AsyncClient, boundary: bytes) -> None:
        await self.check(client, url, GOOD_FORM, boundary)
        await self.check(client, url, GOOD_FORM.replace(b"limit", boundary), boundary)

    @both
    async def test_of_the_good_form(self, url: str, client: httpx.AsyncClient) -> None:
        headers = {"content-type": "multipart/form-data; boundary=limit"}
        response = await client.post(url, content=GOOD_FORM, headers=headers)
        assert response.status_code == 200, response.text
