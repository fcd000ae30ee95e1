"""The commands and programs of README.md and of the dialects' own documentation, run as they stand but for the port."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.clients.conftest import opened

if TYPE_CHECKING:
    from tests.conftest import LiveService

README = Path(__file__).resolve().parents[2] / "README.md"

# As Block Entropy's usage page has them, but for the base URL, an import that it lacks, and the last lines.
HEAD = """
from pathlib import Path
from openai import OpenAI

be_api_key= "BE_API_KEY"
base_url='{url}/v1'
model="be-stable-diffusion-xl-base-1.0"

client = OpenAI(
    base_url=base_url,
    api_key=be_api_key
)
"""
GENERATION = """
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
EDIT = """
# We repurpose "n" as the seed for SDXL
response = client.images.edit(
  model=model,
  prompt="remove dog",
  size="512x512",
  image=Path("img.png"),
  n=1,
  response_format="url" # This field is optional, the default value is url
)

image_url = response.data[0].url
print(image_url)
"""
POSE = """
# We repurpose "n" as the seed for SDXL
response = client.images.edit(
  model=model,
  prompt="Darth vader dancing in the street",
  size="512x512",
  image=Path("person.png"),
  n=1,
  response_format="url", # This field is optional, the default value is url
  user="cn" # This parameter is required to be set to "cn" to use controlnet
)

image_url = response.data[0].url_image
pose_url = response.data[0].url_pose
print(image_url)
print(pose_url)
"""
# And its reference.
REFERENCE = """
print(client.images.generate(
  model=model,
  prompt="A cute baby sea otter",
  n=1,
  size="1024x1024"
))
print(client.images.edit(
  image=open("otter.png", "rb"),
  prompt="A cute baby sea otter wearing a beret",
  n=2,
  size="1024x1024"
))
"""
# As Nebula Block's page has them, but for the address and the pictures.
NEBULA_TEXT = """
curl -X GET '{url}/api/v1/images/generation' \\
-H 'Authorization: Bearer {TOKEN/KEY}' \\
-H 'Content-Type: application/json' \\
-d '{
    "model": "stabilityai/stable-diffusion-xl-base-1.0",
    "prompt": "insert your prompt here",
    "num_steps": 25,
    "guidance_scale": 9,
    "width": 1024,
    "height": 1024,
    "negative_prompt": null
}'
"""
NEBULA_FILL = """
curl -X POST "{url}/api/v1/images/generation" \\
    -H "Content-Type: application/json" \\
    -H "Authorization: Bearer $NEBULA_API_KEY" \\
    --data-raw '{
    "model":"black-forest-labs/FLUX.1-Fill-dev",
    "prompt": "a red baseball cap",
    "num_steps": 40,
    "guidance_scale": 4.5,
    "width": 1024,
    "height": 1024,
    "image": "{image}",
    "mask": "{mask}"
}'
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)


def addresses(printed: str) -> list[str]:
    return re.findall(r"http://\S+?(?=[\"'\s])", printed + "\n")


def assert_shows_a_picture(printed: str, size: tuple[int, int]) -> None:
    assert addresses(printed), printed
    assert opened(addresses(printed)[0]).size == size


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_curl
def test_curl_of_the_readme(service: LiveService, tmp_path: Path) -> None:
    commands = [block for block in blocks("bash") if block.startswith("curl")]
    assert commands
    for command in commands:
        assert "localhost:8000" in command
        printed = run(["bash", "-c", command.replace("http://localhost:8000", service.url)], tmp_path)
        assert_shows_a_picture(printed, (256, 256))


def test_python_of_the_readme(service: LiveService, tmp_path: Path, person: Path) -> None:
    shutil.copy(person, tmp_path / "photo.png")
    programs = blocks("python")
    assert programs
    for program in programs:
        assert "http://localhost:8000" in program
        printed = run([sys.executable, "-c", program.replace("http://localhost:8000", service.url)], tmp_path)
        assert_shows_a_picture(printed, (256, 256))


class TestBlockEntropy:
    def test_generation(self, service: LiveService, tmp_path: Path) -> None:
        assert_shows_a_picture(self.run(HEAD + GENERATION, service, tmp_path), (512, 512))

    def test_edit(self, service: LiveService, tmp_path: Path, pictures: Path) -> None:
        shutil.copy(pictures / "image.png", tmp_path / "img.png")
        assert_shows_a_picture(self.run(HEAD + EDIT, service, tmp_path), (512, 512))

    def test_pose(self, service: LiveService, tmp_path: Path, person: Path) -> None:
        shutil.copy(person, tmp_path / "person.png")
        image, pose = (opened(url) for url in addresses(self.run(HEAD + POSE, service, tmp_path)))
        assert image.size == pose.size == (512, 512)
        # The astronaut's nose in its own colour, and black where nobody is.
        assert pose.convert("RGB").getpixel((223, 128)) == (255, 0, 0)
        assert pose.convert("RGB").getpixel((480, 40)) == (0, 0, 0)

    def test_reference(self, service: LiveService, tmp_path: Path, pictures: Path) -> None:
        shutil.copy(pictures / "image.png", tmp_path / "otter.png")
        made, edited = (opened(url) for url in addresses(self.run(HEAD + REFERENCE, service, tmp_path)))
        assert made.size == edited.size == (1024, 1024)

    @staticmethod
    def run(program: str, service: LiveService, folder: Path) -> str:
        return run([sys.executable, "-c", program.replace("{url}", service.url)], folder)


@needs_curl
class TestNebula:
    def test_text_to_image_by_get(self, service: LiveService, tmp_path: Path) -> None:
        answer = self.run(NEBULA_TEXT, service, tmp_path)
        assert (answer["model"], answer["object"]) == ("stabilityai/stable-diffusion-xl-base-1.0", "list")
        self.assert_shows_a_picture(answer)

    @pytest.mark.long("1024x1024 on a CPU takes most of a minute, and the other example is as large")
    def test_image_to_image_by_post(
        self, service: LiveService, tmp_path: Path, pictures: Path, image: Image.Image, mask: Image.Image
    ) -> None:
        command = NEBULA_FILL
        for name in ("image", "mask"):
            data = base64.b64encode((pictures / f"{name}.png").read_bytes()).decode()
            command = command.replace("{" + name + "}", data)
        answer = self.run(command, service, tmp_path)
        assert answer["model"] == "black-forest-labs/FLUX.1-Fill-dev"
        self.assert_shows_a_picture(answer)

    @staticmethod
    def run(command: str, service: LiveService, folder: Path) -> dict[str, Any]:
        printed = run(["bash", "-c", command.replace("{url}", service.url)], folder)
        answer: dict[str, Any] = json.loads(printed)
        return answer

    @staticmethod
    def assert_shows_a_picture(answer: dict[str, Any]) -> None:
        assert (answer["message"], answer["status"]) == ("Image generated successfully", "success")
        (item,) = answer["data"]
        assert item["index"] == 0
        assert item["timings"]["inference"] > 0
        assert opened(item["b64_json"]).size == (1024, 1024)


def test_make_help_names_every_command_of_the_readme() -> None:
    if os.name != "posix":
        pytest.skip("make is not part of this system")
    listed = run(["make", "help"], README.parent)
    for command in re.findall(r"(?:^|`)make ([a-z-]+)", README.read_text(), re.MULTILINE):
        assert re.search(rf"^{command}\b", listed, re.MULTILINE), command
