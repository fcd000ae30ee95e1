"""The documentation names what exists: every setting, every error code, every field of the API."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from config import schema
from deployments import errors
from serve_app.dialects.block_entropy import GenerationBody
from serve_app.request_log import Outcome, RequestRecord

ROOT = Path(__file__).resolve().parents[2]
DOCS = {
    page: (ROOT / "docs" / page).read_text() for page in ("api.md", "operating.md", "monitoring.md", "architecture.md")
}


def settings(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


@pytest.mark.parametrize(
    "model",
    [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, schema.Strict)],
    ids=lambda model: model.__name__,
)
def test_every_setting_is_documented(model: type[BaseModel]) -> None:
    missing = {name for name in settings(model) if name not in DOCS["operating.md"]}
    assert not missing


def test_every_error_code_is_documented() -> None:
    codes = {kind.default_code for kind in vars(errors).values() if isinstance(kind, type)}
    abstract = {"unavailable"}
    assert not {code for code in codes - abstract if f"`{code}`" not in DOCS["api.md"]}


def test_every_field_of_a_request_is_documented() -> None:
    assert not {name for name in settings(GenerationBody) if f"`{name}" not in DOCS["api.md"]}


def test_every_field_of_a_request_in_the_log_is_documented() -> None:
    section = DOCS["monitoring.md"].split("\n## Logs\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = {name.strip(" `") for row in rows for name in row.split(",")}
    assert documented == {"event", *(field.name for field in dataclasses.fields(RequestRecord))}
    assert not {outcome for outcome in get_args(Outcome) if f"`{outcome}`" not in section}


def test_every_module_that_the_architecture_names_exists() -> None:
    tree = DOCS["architecture.md"].split("## The tree")[1].split("```")[1]
    folder = ""
    for line in tree.strip().splitlines():
        name, *rest = line.split()
        if not line.startswith(" "):
            folder = name
        elif name.endswith((".py", ".yaml")):
            for file in [name, *[word for word in rest if word.endswith(".py")]]:
                assert (ROOT / folder / file).is_file(), file
