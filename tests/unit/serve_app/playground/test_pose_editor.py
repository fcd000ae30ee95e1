"""The logic of the page's pose editor: its own tests, by Node's runner, and what it does just as the service does."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from config.schema import MAX_PEOPLE
from deployments.pose.skeleton import JOINTS, LIMBS, draw, fit
from deployments.types import Person, Point

FOLDER = Path(__file__).parent
MODULES = FOLDER.parents[3] / "serve_app" / "playground" / "static" / "elements" / "pose"
SIDE = 640  # pixels

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def node(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["node", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False, cwd=MODULES
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def evaluated(module: str, expression: str) -> Any:
    """An expression over what a module of the editor exports, as `it`."""
    script = f"import('{(MODULES / module).as_uri()}').then((it) => console.log(JSON.stringify({expression})))"
    return json.loads(node("-e", script))


@pytest.fixture(scope="module")
def skeleton() -> dict[str, Any]:
    tables: dict[str, Any] = evaluated("skeleton.js", "it")
    return tables


@pytest.mark.parametrize("script", sorted(FOLDER.glob("pose_*.test.js")), ids=lambda path: path.name)
def test_script(script: Path) -> None:
    node("--test", script)


def test_joints_and_limbs_are_those_of_the_service(skeleton: dict[str, Any]) -> None:
    assert skeleton["JOINTS"] == list(JOINTS)
    assert skeleton["LIMBS"] == [list(limb) for limb in LIMBS]


def test_as_many_people_are_added_as_a_request_takes() -> None:
    assert evaluated("editing.js", "it")["MOST_PEOPLE"] == MAX_PEOPLE


def drawn(joints: dict[int, Point], hand: dict[int, Point] | None = None) -> Any:
    """What the service draws of the joints with these numbers."""
    hands = tuple(map((hand or {}).get, range(21))) if hand else ()
    return draw([Person(body=tuple(map(joints.get, range(18))), left_hand=hands)], SIDE, SIDE)


def colour(pixels: Any, x: float, y: float) -> list[int]:
    colour: list[int] = pixels[int(y * SIDE), int(x * SIDE)].tolist()
    return colour


def test_colours_are_those_of_the_service(skeleton: dict[str, Any]) -> None:
    for joint, expected in enumerate(skeleton["JOINT_COLOURS"]):
        assert colour(drawn({joint: (0.5, 0.5)}), 0.5, 0.5) == expected
    for (start, end), expected in zip(skeleton["LIMBS"], skeleton["LIMB_COLOURS"], strict=True):
        assert colour(drawn({start: (0.2, 0.5), end: (0.8, 0.5)}), 0.5, 0.5) == expected
    for (start, end), expected in zip(skeleton["BONES"], skeleton["BONE_COLOURS"], strict=True):
        of_bone = colour(drawn({}, {start: (0.2, 0.5), end: (0.8, 0.5)}), 0.5, 0.5)
        assert of_bone == pytest.approx(expected, abs=1)
    assert colour(drawn({}, {0: (0.5, 0.5)}), 0.5, 0.5) == skeleton["HAND_JOINT_COLOUR"]


@pytest.mark.parametrize("size", [(512, 512), (1024, 256), (300, 900), (200, 100)])
def test_a_pose_is_fitted_as_the_service_fits_it(size: tuple[int, int]) -> None:
    width, height = size
    points: list[Point] = [(0.0, 0.0), (1.0, 1.0), (0.25, 0.75), *[(0.5, 0.1)] * 15]
    (expected,) = fit([Person(body=tuple(points))], (400, 200), width, height)
    canvas, picture = {"width": 400, "height": 200}, {"width": width, "height": height}
    person = {"body": [{"x": 400 * x, "y": 200 * y} for x, y in points], "left": [], "right": []}
    placement = f"it.placement({json.dumps(canvas)}, {json.dumps(picture)})"
    (fitted,) = evaluated("placement.js", f"it.placed([{json.dumps(person)}], {placement})")
    for point, (x, y) in zip(fitted["body"], filter(None, expected.body), strict=True):
        assert math.dist((point["x"], point["y"]), (x * width, y * height)) < 1e-6
