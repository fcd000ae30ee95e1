"""The JavaScript clients: OpenAI's SDK and Vercel's AI SDK."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.clients.conftest import FOLDER, kept, opened, run_for_json

if TYPE_CHECKING:
    from tests.conftest import LiveService

PROGRAMS = FOLDER / "javascript"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


@pytest.fixture(scope="module")
def openai(service: LiveService, pictures: Path) -> dict[str, Any]:
    results: dict[str, Any] = run_for_json("node", PROGRAMS / "openai.mjs", service.url, pictures)
    return results


@pytest.fixture(scope="module")
def ai_sdk(service: LiveService, pictures: Path) -> dict[str, Any]:
    results: dict[str, Any] = run_for_json("node", PROGRAMS / "ai-sdk.mjs", service.url, pictures)
    return results


class TestOpenAI:
    def test_pictures_come_in_both_forms(self, openai: dict[str, Any]) -> None:
        data = openai["generated"]["data"]
        assert len(data) == 2
        for item in data:
            assert opened(item["url"]).size == opened(item["b64_json"]).size == (128, 64)
        assert data[0]["b64_json"] != data[1]["b64_json"]
        assert openai["generated"]["usage"]["output_tokens"] == 2 * 128 * 64 // 256

    @pytest.mark.parametrize("sent_as", ["stream", "array"])
    def test_an_edit_keeps_what_the_mask_keeps(
        self, openai: dict[str, Any], sent_as: str, image: Image.Image, mask: Image.Image
    ) -> None:
        assert kept(opened(openai["edits"][sent_as]), image, mask)

    def test_events(self, openai: dict[str, Any]) -> None:
        events = openai["events"]
        assert [event["type"].rpartition(".")[2] for event in events] == ["partial_image"] * 2 + ["completed"]
        assert [event.get("partial_image_index") for event in events] == [0, 1, None]
        assert {opened(event["b64_json"]).size for event in events} == {(64, 64)}
        assert events[-1]["usage"]["total_tokens"] > 0

    def test_models(self, openai: dict[str, Any]) -> None:
        assert "black-forest-labs/FLUX.1-schnell" in openai["models"]

    def test_errors(self, openai: dict[str, Any]) -> None:
        bad_size, bad_model, no_pose = openai["badSize"], openai["badModel"], openai["noPose"]
        assert (bad_size["kind"], bad_size["status"], bad_size["param"]) == ("BadRequestError", 400, "size")
        assert (bad_model["kind"], bad_model["code"]) == ("NotFoundError", "model_not_found")
        assert (no_pose["status"], no_pose["code"], no_pose["param"]) == (400, "no_pose_found", "image")
        assert bad_size["hasRequestId"]


class TestAISDK:
    def test_the_compatible_provider(self, ai_sdk: dict[str, Any]) -> None:
        first, second = ai_sdk["compatible"]
        assert opened(first["base64"]).size == opened(second["base64"]).size == (128, 64)
        assert first["mediaType"] == "image/png"
        assert first != second

    def test_the_openai_provider(self, ai_sdk: dict[str, Any]) -> None:
        assert [opened(each["base64"]).size for each in ai_sdk["openai"]] == [(64, 64)] * 2

    def test_an_edit(self, ai_sdk: dict[str, Any], image: Image.Image, mask: Image.Image) -> None:
        (edited,) = ai_sdk["edit"]
        assert kept(opened(edited["base64"]), image, mask)

    def test_an_error_says_what_is_wrong(self, ai_sdk: dict[str, Any]) -> None:
        failure = ai_sdk["failure"]
        assert (failure["name"], failure["status"]) == ("AI_APICallError", 400)
        assert "size" in failure["message"]
