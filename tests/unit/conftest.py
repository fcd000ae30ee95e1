"""What all tests of single modules have in common."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _torchs_chance_is_seeded() -> None:
    """So that what a test draws does not hang on which tests came before it."""
    torch.manual_seed(0)
