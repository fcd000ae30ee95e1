"""The page's modules that need no browser, by Node's own test runner: the files `*.test.js` beside this one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_scripts() -> None:
    done = subprocess.run(
        ["node", "--test", *map(str, sorted(FOLDER.glob("*.test.js")))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
