"""The image, as far as its recipe tells: who runs it, what it opens, and what it has in its environment."""

from __future__ import annotations

import re
from pathlib import Path

from serve_app.__main__ import environment as environment_of_serve

ROOT = Path(__file__).resolve().parents[2]
RECIPE = re.sub(r"\\\n\s*", "", (ROOT / "k8s" / "Dockerfile").read_text())
INSTRUCTIONS = [line.split(maxsplit=1) for line in RECIPE.splitlines() if line and not line.startswith("#")]


def of(kind: str) -> list[str]:
    return [argument for instruction, argument in INSTRUCTIONS if instruction == kind]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for argument in of("ENV") for pair in argument.split())


def test_it_runs_as_a_user_without_rights() -> None:
    assert of("USER") == ["10001"]  # a number: Kubernetes cannot tell who a name is
    after = INSTRUCTIONS[[instruction for instruction, _ in INSTRUCTIONS].index("USER") :]
    assert {instruction for instruction, _ in after} == {"USER", "EXPOSE"}


def test_it_opens_http_alone() -> None:
    assert of("EXPOSE") == ["8000"]


def test_ray_asks_for_a_token_that_is_not_in_the_image() -> None:
    assert environment()["RAY_AUTH_MODE"] == "token"
    assert "RAY_AUTH_TOKEN" not in RECIPE


def test_it_has_what_make_serve_sets() -> None:
    ours = {name: value for name, value in environment_of_serve().items() if name.startswith("RAY_SERVE_")}
    assert len(ours) == 3
    assert environment().items() >= ours.items()


def test_all_that_it_copies_is_there_and_let_in() -> None:
    let_in = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    copied = {path for argument in of("COPY") if "--from" not in argument for path in argument.split()[:-1]}
    assert copied == set(let_in)
    assert all((ROOT / path).exists() for path in copied)
