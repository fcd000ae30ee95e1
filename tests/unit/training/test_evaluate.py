"""The bars are measured on what the service's own models paint."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.models.small import FOLDER
from training.evaluate import MEASURES, Row, measure_itself
from training.painter import Painter, preset_of

HOLE = ["colour in the hole", "the named thing is in the hole"]
SCENE = ["colour of the shape", "shape", "background"]
FACTS = [
    *SCENE,
    *(f"{fact}, among other words" for fact in SCENE),
    "both colours of two things",
    "a word's weight moves its colour",
    "a picture",
]
ROWS = {
    "sdxl": FACTS,
    "flux-schnell": FACTS,
    "flux-fill": [
        *HOLE,
        *(f"{fact}, among other words" for fact in HOLE),
        "what is not in the hole stays, bit for bit",
        "a picture",
    ],
    "sdxl-pose": ["mean overlap with the pose", "a picture"],
}


@pytest.mark.parametrize("size", [(256, 256), (256, 160)])
def test_drawn_scenes_are_seen_as_what_they_are(size: tuple[int, int]) -> None:
    rows = measure_itself(60, *size)
    assert [str(row) for row in rows if row.is_missed] == []


def test_a_bar_is_a_least_or_a_most() -> None:
    assert str(Row("shape", 0.849, 0.85)) == "shape: 84.9%, at least 85%, MISSED"
    assert str(Row("a picture", 2.5, 3, in_seconds=True)) == "a picture: 2.50 s, at most 3"
    assert Row("a picture", 3.5, 3, in_seconds=True).is_missed
    assert Row("shape", float("nan"), 0.85).is_missed


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' schedulers
@pytest.mark.parametrize("name", MEASURES)
def test_each_model_is_measured(name: str, tmp_path: Path) -> None:
    sheets = tmp_path / "sheets"
    painter = Painter(name, FOLDER, (64, 96), preset_of(name).model_copy(update={"steps": 1}), sheets)
    try:
        rows = {row.what: row for row in MEASURES[name](painter, 2)}
    finally:
        painter.close()
    assert list(rows) == ROWS[name]
    assert rows["a picture"].value > 0
    if name == "flux-fill":
        assert rows["what is not in the hole stays, bit for bit"].value == 1
    assert list(sheets.glob(f"{name}-*.png"))
