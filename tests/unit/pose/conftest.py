"""What the tests of poses share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def imports() -> Callable[[str], set[str]]:
    """The names of all modules that importing one brings in."""

    def of(module: str) -> set[str]:
        command = [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"]
        return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())

    return of
