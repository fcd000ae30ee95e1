"""What is in the pictures of the running service: the small models are asked for what they know, and looked at."""

from __future__ import annotations

import base64
import io
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from training.figures import body
from training.measure import Seen, look, overlap, thing_mask
from training.world import COLOURS, SHAPES, placed_figure, random_scene

if TYPE_CHECKING:
    from training.measure import Pixels

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
FILL = "black-forest-labs/FLUX.1-Fill-dev"
POSE = "easel/stable-diffusion-xl-pose"
SIZE = 256


def picture(client: httpx.Client, prompt: str, **body: Any) -> Pixels:
    asked = {"prompt": prompt, "size": f"{SIZE}x{SIZE}", "n": 1, "response_format": "b64_json", **body}
    route = "edits" if "image" in body else "generations"
    (item,) = client.post(f"/v1/images/{route}", json=asked).raise_for_status().json()["data"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(item["b64_json"]))).convert("RGB"))


def encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize("model", [SDXL, SCHNELL])
def test_each_of_a_batch_shows_what_it_was_asked_for(client: httpx.Client, model: str) -> None:
    """Of shapes some come out too ragged to be told; colours and backgrounds are right in all."""
    colours = list(COLOURS)
    wanted = [
        Seen(colours[index], colours[(index + 3) % len(colours)], SHAPES[index % len(SHAPES)])
        for index in range(len(colours))
    ]
    surroundings = ("{}", "Please draw {}, thanks!")  # of which a model should take no notice
    prompts = [
        surroundings[index % 2].format(f"a {one.colour} {one.kind} on a {one.background} background")
        for index, one in enumerate(wanted)
    ]
    with ThreadPoolExecutor(len(prompts)) as together:
        seen = list(together.map(lambda prompt: look(picture(client, prompt, model=model)), prompts))
    assert [(one.background, one.colour) for one in seen] == [(one.background, one.colour) for one in wanted]
    assert sum(one.kind == other.kind for one, other in zip(seen, wanted, strict=True)) >= 6


@pytest.mark.parametrize("size", ["256x256", "256x160"])
@pytest.mark.parametrize(("where", "axis", "is_low"), [("on the left", 1, True), ("at the bottom", 0, False)])
def test_things_are_where_they_were_asked_for(
    client: httpx.Client, size: str, where: str, axis: int, is_low: bool
) -> None:
    made = picture(client, f"a white circle {where}, green background", size=size)
    middle = np.argwhere(thing_mask(made)).mean(0)[axis] / made.shape[axis]
    assert (middle < 0.4) if is_low else (middle > 0.6)


def test_a_heavier_word_makes_its_colour_stronger(client: httpx.Client) -> None:
    def redness(weight: float) -> float:
        made = picture(client, f"a (red){weight} circle on a white background").astype(float)
        red, green, blue = made[96:160, 96:160].mean((0, 1))
        return float(red - (green + blue) / 2)

    assert redness(0.4) + 30 < redness(1.0)


def test_fill_puts_the_thing_into_the_hole_and_touches_nothing_else(client: httpx.Client) -> None:
    given, mask = Image.new("RGB", (SIZE, SIZE), "white"), Image.new("L", (SIZE, SIZE), 0)
    given.paste((40, 80, 215), (150, 30, 240, 120))
    mask.paste(255, (16, 90, 146, 230))
    # OpenAI's masks: what is transparent is painted.
    transparent = given.copy()
    transparent.putalpha(mask.point(lambda value: 255 - value))
    prompt = "a red square on a white background"
    made = picture(client, prompt, model=FILL, image=encoded(given), mask=encoded(transparent))
    hole = np.asarray(mask) > 0
    assert look(made, hole) == Seen("white", "red", "square")
    assert np.array_equal(made[~hole], np.asarray(given)[~hole])


def test_a_person_stands_as_the_pose_says(client: httpx.Client) -> None:
    chance = random.Random(5)
    overlaps = []
    for _ in range(3):
        figure = placed_figure(random_scene(chance, people=1.0).things[0], SIZE, SIZE)
        joints = [number for joint in figure.body for number in ((*joint, 1.0) if joint else (0.0, 0.0, 0.0))]
        made = picture(
            client,
            "a woman in green on an orange background",
            model=POSE,
            keypoints={"people": [{"pose_keypoints_2d": joints}]},
        )
        assert look(made).background == "orange"
        overlaps.append(overlap(thing_mask(made), body(figure, SIZE, SIZE)))
    assert np.mean(overlaps) > 0.6
