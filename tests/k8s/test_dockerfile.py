"""The image, as far as its recipe tells: who runs it, what it opens, and what it has in its environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve_app.__main__ import environment as environment_of_serve

ROOT = Path(__file__).resolve().parents[2]
RECIPE = re.sub(r"\\\n\s*", "", (ROOT / "k8s" / "Dockerfile").read_text())
INSTRUCTIONS = [line.split(maxsplit=1) for line in RECIPE.splitlines() if line and not line.startswith("#")]
TARGETS = ["cpu", "cuda"]


def stage(name: str) -> list[tuple[str, str]]:
    """Its instructions, after those of the stages that it begins from."""
    starts = [index for index, (kind, _) in enumerate(INSTRUCTIONS) if kind == "FROM"]
    for start, end in zip(starts, [*starts[1:], len(INSTRUCTIONS)], strict=True):
        parent, _, its_name = INSTRUCTIONS[start][1].partition(" AS ")
        if its_name == name:
            own = [(kind, argument) for kind, argument in INSTRUCTIONS[start + 1 : end]]
            return [*stage(parent), *own]
    return [("FROM", name)]


def of(target: str, kind: str) -> list[str]:
    return [argument for instruction, argument in stage(target) if instruction == kind]


def environment(target: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for argument in of(target, "ENV") for pair in argument.split())


@pytest.mark.parametrize("target", TARGETS)
class TestTarget:
    def test_it_runs_as_a_user_without_rights(self, target: str) -> None:
        assert of(target, "USER") == ["10001"]  # a number: Kubernetes cannot tell who a name is

    def test_it_opens_http_alone(self, target: str) -> None:
        assert of(target, "EXPOSE") == ["8000"]

    def test_it_has_what_make_serve_sets(self, target: str) -> None:
        ours = {name: value for name, value in environment_of_serve().items() if name.startswith("RAY_SERVE_")}
        assert len(ours) == 3
        assert environment(target).items() >= ours.items()

    def test_ray_asks_for_a_token_that_is_not_in_the_image(self, target: str) -> None:
        assert environment(target)["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" not in RECIPE

    def test_its_packages_are_those_of_the_lock_for_its_hardware(self, target: str) -> None:
        assert f"--from=build-{target} /opt/easel/.venv .venv" in of(target, "COPY")
        assert of(f"build-{target}", "RUN") == [f"TORCH={target} scripts/install.sh"]
        assert of(target, "FROM") == of(f"build-{target}", "FROM")  # one Python: .venv refers to it

    def test_it_has_what_the_probes_of_kuberay_run(self, target: str) -> None:
        """bash is in every Debian."""
        assert all("bookworm" in image for image in of(target, "FROM"))
        assert any(" wget " in command for command in of(target, "RUN"))


def test_all_that_is_copied_is_there_and_let_in() -> None:
    let_in = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    copies = [argument for instruction, argument in INSTRUCTIONS if instruction == "COPY"]
    copied = {path for argument in copies if "--from" not in argument for path in argument.split()[:-1]}
    assert copied == set(let_in)
    assert all((ROOT / path).exists() for path in copied)
