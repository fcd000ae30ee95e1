"""The commands and programs of README.md and of the dialect's own documentation, run as they stand but for the port."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.conftest import LiveService

README = Path(__file__).resolve().parents[2] / "README.md"

# As Block Entropy's usage page has it, but for the base URL and the last line.
USAGE_PAGE = """
from openai import OpenAI

be_api_key= "BE_API_KEY"
base_url='{url}/v1'
model="be-stable-diffusion-xl-base-1.0"

client = OpenAI(
    base_url=base_url,
    api_key=be_api_key
)

# We repurpose "n" as the seed for SDXL
response = client.images.generate(
  model=model,
  prompt="a photorealistic(1.5) image of a cat playing with a (ball)0.5 in a (forest)1.0",
  size="512x512",
  quality="standard",
  n=2,
  response_format="url" # This field is optional, the default value is url
)

image_url = response.data[0].url
print(image_url)
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def assert_shows_a_picture(printed: str, size: tuple[int, int]) -> None:
    url = re.search(r"http://\S+?(?=[\"'\s])", printed + "\n")
    assert url, printed
    assert Image.open(io.BytesIO(httpx.get(url.group()).content)).size == size


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_of_the_readme(service: LiveService, tmp_path: Path) -> None:
    commands = [block for block in blocks("bash") if block.startswith("curl")]
    assert commands
    for command in commands:
        assert "localhost:8000" in command
        printed = run(["bash", "-c", command.replace("http://localhost:8000", service.url)], tmp_path)
        assert_shows_a_picture(printed, (256, 256))


def test_python_of_the_readme(service: LiveService, tmp_path: Path) -> None:
    programs = blocks("python")
    assert programs
    for program in programs:
        assert "http://localhost:8000" in program
        printed = run([sys.executable, "-c", program.replace("http://localhost:8000", service.url)], tmp_path)
        assert_shows_a_picture(printed, (512, 512))


def test_the_usage_page_with_only_the_base_url_changed(service: LiveService, tmp_path: Path) -> None:
    printed = run([sys.executable, "-c", USAGE_PAGE.format(url=service.url)], tmp_path)
    assert_shows_a_picture(printed, (512, 512))


def test_make_help_names_every_command_of_the_readme() -> None:
    if os.name != "posix":
        pytest.skip("make is not part of this system")
    listed = run(["make", "help"], README.parent)
    for command in re.findall(r"(?:^|`)make ([a-z-]+)", README.read_text(), re.MULTILINE):
        assert re.search(rf"^{command}\b", listed, re.MULTILINE), command
