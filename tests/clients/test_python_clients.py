"""Python clients beside OpenAI's own, each in an environment apart from the service's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.clients.conftest import FOLDER, kept, opened, run_for_json, run_program

if TYPE_CHECKING:
    from tests.conftest import LiveService

PYTHON = FOLDER.parents[1] / ".venv-clients" / "bin" / "python"
PROGRAMS = FOLDER / "python"


def test_langchain(service: LiveService) -> None:
    addresses = run_program(PYTHON, PROGRAMS / "langchain_client.py", service.url).split()
    assert [opened(address).size for address in addresses] == [(256, 256)] * 2


def test_litellm(service: LiveService, pictures: Path, image: Image.Image, mask: Image.Image) -> None:
    results = run_for_json(PYTHON, PROGRAMS / "litellm_client.py", service.url, pictures)
    assert len(results["generated"]) == 2
    for b64_json, url in results["generated"]:
        assert opened(b64_json).size == opened(url).size == (128, 64)
    assert results["usage"]["output_tokens"] == 2 * 128 * 64 // 256
    (edited,) = results["edited"]
    assert kept(opened(edited), image, mask)
    assert "size" in results["failure"]
