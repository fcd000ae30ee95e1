"""What a pose adds to an answer, and what else does not differ between the dialects."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from deployments.errors import StoreUnavailable
from tests.unit.serve_app.samples import data_url, joints, photo

if TYPE_CHECKING:
    from tests.unit.serve_app.conftest import FakeBackend, Refused

pytestmark = pytest.mark.anyio

BLOCK_ENTROPY, OPENAI = "/v1/images/edits", "/openai/v1/images/edits"
POSE = "easel/stable-diffusion-xl-pose"
SKELETON = base64.b64encode(b"skeleton").decode()
KEYPOINTS = {
    "people": [
        {"pose_keypoints_2d": joints(x=48, y=16), "hand_left_keypoints_2d": None, "hand_right_keypoints_2d": None}
    ],
    "canvas_width": 96,
    "canvas_height": 64,
}


def posed(**changed: Any) -> dict[str, Any]:
    return {"prompt": "a dancer", "image": data_url(photo()), "size": "auto", "model": POSE, "seed": 1, **changed}


class TestPose:
    async def test_by_link(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        body = posed(model=None, user="cn", n=7, seed=None)
        (item,) = (await client.post(BLOCK_ENTROPY, json=body)).json()["data"]
        picture, skeleton = item.pop("url"), item.pop("url_pose")
        assert item == {"url_image": picture, "keypoints": KEYPOINTS, "seed": 7, "revised_prompt": None}
        assert picture != skeleton
        kept = {
            f"http://easel.test/images/{number}.png": content for number, (content, _) in enumerate(backend.kept, 1)
        }
        assert kept == {picture: backend.picture_of(backend.requests[0]), skeleton: b"skeleton"}

    @pytest.mark.parametrize("url", [BLOCK_ENTROPY, OPENAI])
    async def test_in_base64(self, url: str, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        (item,) = (await client.post(url, json=posed(response_format="b64_json"))).json()["data"]
        assert base64.b64decode(item.pop("b64_json")) == backend.picture_of(backend.requests[0])
        assert item == {"b64_json_pose": SKELETON, "keypoints": KEYPOINTS, "seed": 1, "revised_prompt": None}
        assert backend.kept == []

    async def test_in_both(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        (item,) = (await client.post(OPENAI, json=posed(output_format="webp"))).json()["data"]
        forms = {"url", "url_image", "url_pose", "b64_json", "b64_json_pose"}
        assert item.keys() == forms | {"keypoints", "seed", "revised_prompt"}
        assert (item["url"], item["url_image"]) == ("http://easel.test/images/2.webp",) * 2
        assert (item["url_pose"], item["b64_json_pose"]) == ("http://easel.test/images/1.png", SKELETON)

    async def test_is_drawn_and_kept_once_for_several_pictures(
        self, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        data = (await client.post(OPENAI, json=posed(n=3))).json()["data"]
        assert len(backend.poses) == 1
        assert len(backend.kept) == 4
        assert len({item["url"] for item in data}) == 3
        assert len({item["url_pose"] for item in data}) == 1
        assert [item["keypoints"] for item in data] == [KEYPOINTS] * 3

    async def test_without_people_has_no_keypoints(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        backend.people = ()
        (item,) = (await client.post(OPENAI, json=posed(image=None, pose_image=data_url(photo())))).json()["data"]
        assert item["b64_json_pose"] == SKELETON
        assert "keypoints" not in item

    async def test_found_once_can_be_sent_again(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        (item,) = (await client.post(OPENAI, json=posed())).json()["data"]
        body = {"prompt": "another dancer", "keypoints": item["keypoints"]}
        response = await client.post("/openai/v1/images/generations", json=body)
        assert response.status_code == 200, response.text
        (_, (source, width, height)) = backend.poses
        assert (source.people, source.canvas, width, height) == (backend.people, (96, 64), 96, 64)

    async def test_adds_nothing_where_there_is_none(self, client: httpx.AsyncClient) -> None:
        for body in (posed(model=None), posed(model=POSE, image=None)):
            url = OPENAI if body["image"] else "/openai/v1/images/generations"
            (item,) = (await client.post(url, json=body)).json()["data"]
            assert item.keys() == {"url", "b64_json", "seed", "revised_prompt"}


@pytest.mark.parametrize("body", [posed(), posed(model=None)])
async def test_usage_counts_the_given_picture(body: dict[str, Any], client: httpx.AsyncClient) -> None:
    assert (await client.post(OPENAI, json={**body, "n": 2})).json()["usage"] == {
        "input_tokens": 2 + 24,
        "output_tokens": 2 * 24,
        "total_tokens": 2 + 24 + 2 * 24,
        "input_tokens_details": {"text_tokens": 2, "image_tokens": 24},
    }


OUT = StoreUnavailable("The image store does not answer.", retry_after_seconds=7)


class TestWithoutLinks:
    """No picture can be kept; known before the pictures are made, or only when they are."""

    @pytest.mark.parametrize("when", ["links_refusal", "store_failure"])
    @pytest.mark.parametrize(("url", "fields"), [(BLOCK_ENTROPY, {}), (OPENAI, {"response_format": "url"})])
    async def test_pictures_by_link_are_refused_before_the_work_if_it_is_known(
        self,
        when: str,
        url: str,
        fields: dict[str, Any],
        client: httpx.AsyncClient,
        backend: FakeBackend,
        refused: Refused,
    ) -> None:
        setattr(backend, when, OUT)
        response = await client.post(url, json=posed(**fields))
        refused(response, 503, code="image_store_unavailable")
        assert response.headers["Retry-After"] == "7"
        worked = when == "store_failure"
        assert (len(backend.poses), len(backend.requests)) == (worked, worked)

    @pytest.mark.parametrize("when", ["links_refusal", "store_failure"])
    async def test_of_both_forms_base64_is_left(
        self, when: str, client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        setattr(backend, when, OUT)
        data = (await client.post(OPENAI, json=posed(n=2))).json()["data"]
        assert [item.keys() for item in data] == [
            {"b64_json", "b64_json_pose", "keypoints", "seed", "revised_prompt"}
        ] * 2

    async def test_an_answer_has_all_its_links_or_none(self, client: httpx.AsyncClient, backend: FakeBackend) -> None:
        keep = backend.keep

        async def keep_two(*arguments: Any) -> str:
            if len(backend.kept) == 2:
                backend.store_failure = OUT
            return await keep(*arguments)

        backend.keep = keep_two  # type: ignore[method-assign]
        data = (await client.post(OPENAI, json=posed(n=3))).json()["data"]
        assert len(backend.kept) == 2
        assert all("b64_json" in item and not item.keys() & {"url", "url_image", "url_pose"} for item in data)

    @pytest.mark.parametrize("url", [BLOCK_ENTROPY, OPENAI])
    @pytest.mark.parametrize("fields", [{"response_format": "b64_json"}, {"stream": True}])
    async def test_what_needs_none_is_answered_and_nothing_is_asked(
        self, url: str, fields: dict[str, Any], client: httpx.AsyncClient, backend: FakeBackend
    ) -> None:
        backend.links_refusal = backend.store_failure = AssertionError("the store is of no matter")
        assert (await client.post(url, json=posed(**fields))).status_code == 200

    async def test_other_errors_are_not_taken_for_a_missing_link(
        self, client: httpx.AsyncClient, backend: FakeBackend, refused: Refused
    ) -> None:
        backend.store_failure = ZeroDivisionError()
        refused(await client.post(OPENAI, json=posed()), 500, code="internal_error")
