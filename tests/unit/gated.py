"""A network that a test can hold up."""

from __future__ import annotations

import threading

from torch import Tensor, nn

SECONDS = 30  # for what takes milliseconds: only a hang takes longer


class GatedNetwork(nn.Module):
    """Adds one to every value, when its gate is open; `entered` is set once it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def forward(self, sample: Tensor) -> Tensor:
        self.entered.set()
        assert self.gate.wait(SECONDS)
        return sample + 1
