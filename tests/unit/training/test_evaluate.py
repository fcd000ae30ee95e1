"""The bars are measured on what the service's own models paint."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployments.models.small import FOLDER
from training.evaluate import MEASURES, measure_itself
from training.painter import Painter, preset_of


def test_drawn_scenes_are_seen_as_what_they_are() -> None:
    assert all(value >= bar for _, value, bar in measure_itself(50))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' schedulers
@pytest.mark.parametrize("name", MEASURES)
def test_each_model_is_measured(name: str, tmp_path: Path) -> None:
    painter = Painter(name, FOLDER, (64, 96), preset_of(name).model_copy(update={"steps": 1}), tmp_path)
    try:
        rows = {what: value for what, value, _ in MEASURES[name](painter, 2)}
    finally:
        painter.close()
    assert rows.pop("seconds for a picture") > 0
    assert len(rows) >= (4 if name in ("sdxl", "flux-schnell") else 1)
    if name == "flux-fill":
        assert rows["what is not in the hole stays, bit for bit"] == 1
    assert list(tmp_path.glob(f"{name}-*.png"))
