"""The page's logic, which needs no browser: its own tests under Node.js, and its grammar of weights against ours."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from deployments.models import prompt
from serve_app.playground.routes import STATIC

FOLDER = Path(__file__).parent
PIECES = [
    "(",
    ")",
    "(",
    ")",
    ":1.3",
    "1.5",
    "(1.5)",
    "0.5",
    " ",
    " ",
    "red",
    "cat",
    ":",
    "\\(",
    "\\)",
    ",",
    "2",
    "-1",
    "…",
    "é",
    "\n",
    ".5",
    ")2",
]

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def node(*arguments: str | Path, given: str = "") -> str:
    done = subprocess.run(
        ["node", *map(str, arguments)], input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.test.js")), ids=lambda path: path.name)
def test_logic(file: Path) -> None:
    assert "# fail 0" in node("--test", "--test-reporter=tap", file)


def test_weights_are_read_as_the_models_read_them(tmp_path: Path) -> None:
    draw = random.Random(1)
    prompts = ["".join(draw.choices(PIECES, k=draw.randint(1, 14))) for _ in range(4000)]
    program = tmp_path / "read.mjs"
    program.write_text(
        f"import {{ stretches }} from {json.dumps((STATIC / 'scripts/logic/weights.js').as_uri())};\n"
        'import { readFileSync } from "node:fs";\n'
        'console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(stretches)));\n'
    )
    weighed = 0
    for text, parts in zip(prompts, json.loads(node(program, given=json.dumps(prompts))), strict=True):
        assert "".join(part["text"] for part in parts) == text
        read = [(part["text"], part["weight"]) for part in parts if not part["syntax"]]
        merged: list[tuple[str, float]] = []
        for words, weight in read:
            if merged and merged[-1][1] == weight:
                words = merged.pop()[0] + words
            merged.append((words, weight))
        assert merged == [tuple(fragment) for fragment in prompt.parse(text)], text
        weighed += any(weight != 1 for _, weight in merged)
    assert weighed > 400
