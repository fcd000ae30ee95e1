"""A model that shows whose picture it made, and that fails in every way on command. Known to these tests alone.

Each picture begins with 32 pixels whose red is the digest of all that the model was asked for. The digest goes through
the engine as one row of a shared module, step by step, so that whatever mixes up rows, requests or answers shows. A
prompt may hold commands:

    !slow=SECONDS   each denoising step takes so long, merged or not
    !raise=STEP     the step raises, whoever else is in the batch
    !memory=STEP    the step never fits into memory, not even alone
    !hang=STEP      the step never ends
    !die=STEP       the step kills the replica's process
    !nan            the picture holds a value that is not finite
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import time
from typing import TYPE_CHECKING, Any, ClassVar

from ray.serve import Application

from config.schema import ModelConfig
from deployments.diffusion import application

if TYPE_CHECKING:
    from torch import Tensor

    from deployments.models.protocol import CacheUse, GenerationInputs, StepListener

DIGEST_BYTES = 32
_COMMAND = re.compile(r"!(\w+)(?:=([\d.]+))?")
_FAULTS = ("raise", "memory", "hang", "die")
_NONE = -1


def digest_of(prompt: str, negative_prompt: str, width: int, height: int, seed: int, steps: int, scale: float) -> bytes:
    """Of what a request asks of the model."""
    return hashlib.sha256(repr((prompt, negative_prompt, width, height, seed, steps, scale)).encode()).digest()


class FakeModel:
    """See deployments.models.protocol.DiffusionModel."""

    pipeline_class: ClassVar[type[Any]] = object  # it has none

    def __init__(self, config: ModelConfig) -> None:
        import torch
        from torch import nn

        from deployments.engine.collate import MergeRules
        from deployments.engine.shared_module import share
        from deployments.engine.workload import Role

        if config.weights.source.endswith("broken"):
            raise OSError("these weights cannot be read")

        class Network(nn.Module):
            """Adds one to every value. `seconds` and `fault`, an index into _FAULTS, are one value a row."""

            def forward(self, sample: Tensor, seconds: Tensor | float, fault: Tensor | int) -> Tensor:
                time.sleep(float(torch.as_tensor(seconds).max()))
                faults = set(torch.as_tensor(fault).reshape(-1).tolist())
                if _FAULTS.index("die") in faults:
                    os.kill(os.getpid(), signal.SIGKILL)
                if _FAULTS.index("hang") in faults:
                    time.sleep(3600)
                if _FAULTS.index("memory") in faults:
                    raise torch.OutOfMemoryError("simulated")
                if _FAULTS.index("raise") in faults:
                    raise RuntimeError("simulated")
                return sample + 1

        rules = MergeRules(per_row=frozenset({"seconds", "fault"}))
        self._network = share(Network(), "fake", {"forward": rules}, role=Role.DENOISES)

    def generate(self, inputs: GenerationInputs, on_step: StepListener) -> Tensor:
        """See the protocol."""
        import torch

        commands = dict(_COMMAND.findall(inputs.prompt))
        digest = digest_of(
            inputs.prompt,
            inputs.negative_prompt,
            inputs.width,
            inputs.height,
            inputs.seed,
            inputs.steps,
            inputs.guidance_scale,
        )
        row = torch.tensor([list(digest)], dtype=torch.float32)
        on_step(0, inputs.steps, None)
        for step in range(inputs.steps):
            fault = next((index for index, name in enumerate(_FAULTS) if commands.get(name) == str(step)), _NONE)
            row = self._network(row, seconds=float(commands.get("slow", 0)), fault=fault)
            preview = torch.full((1, 3, inputs.height // 8, inputs.width // 8), 0.5) if inputs.previews > step else None
            on_step(step + 1, inputs.steps, preview)
        picture = torch.full((1, 3, inputs.height, inputs.width), 0.5)
        picture[0, 0, 0, :DIGEST_BYTES] = (row[0] - inputs.steps) / 255
        if "nan" in commands:
            picture[0, 0, 1, 0] = float("nan")
        return picture

    def cache_uses(self) -> dict[str, CacheUse]:
        """See the protocol."""
        return {}


def build(args: dict[str, Any]) -> Application:
    """As deployments.diffusion:build, whatever the family."""
    return application(ModelConfig.model_validate(args), FakeModel)
