"""What every training has in common: where it is kept, how it goes on after a stop, and how it tells how far it is.

A run is a folder of `EASEL_TRAINING`, else of `~/.cache/easel/training`, with `checkpoint.safetensors` of the last
save, `losses.csv` and `losses.png`. A run that is started anew goes on from there, and ends where one that was never
stopped ends: all chance of a step is seeded by its number.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

SECONDS_BETWEEN_SAVES = 120.0
STEPS_BETWEEN_LINES = 50
EMA_DECAY = 0.998


def folder(name: str) -> Path:
    """Of a run, made if missing."""
    root = Path(os.environ.get("EASEL_TRAINING") or "~/.cache/easel/training").expanduser()
    (root / name).mkdir(parents=True, exist_ok=True)
    return root / name


def load_trained(module: nn.Module, name: str, part: str, *, is_whole: bool = True) -> None:
    """Puts what the run of that name has of the part so far, as running mean, into a module of the same architecture.
    Without `is_whole` the run may have trained only some of it.

    Raises FileNotFoundError if nothing was saved yet.
    """
    file = folder(name) / "checkpoint.safetensors"
    if not file.exists():
        raise FileNotFoundError(f"nothing was saved yet of the training '{name}'")
    tensors = load_file(file)
    prefix = f"mean/{part}."
    state = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    assert state, f"{name} has no {part}"
    _, unexpected = module.load_state_dict(state, strict=False)  # tied weights are saved under one of their names
    assert not unexpected, unexpected
    missing = dict(module.named_parameters()).keys() - state.keys()
    assert not (is_whole and missing), f"{name} has not all of {part}: {missing}"


def denoiser_options(program: str, description: str, *, steps: int) -> argparse.ArgumentParser:
    """What the trainings of denoisers are told."""
    parser = argparse.ArgumentParser(prog=program, description=description.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--large", type=float, default=0.8, help="the share of steps with more than 128×128 pixels")
    return parser


class Run:
    """Modules in training, with the running mean of their weights, which is what is kept in the end."""

    def __init__(self, name: str, modules: Mapping[str, nn.Module], steps: int, peak_rate: float) -> None:
        self.folder = folder(name)
        self._losses = self.folder / "losses.csv"
        self.steps = steps
        self.step = 0
        self.chance = random.Random(0)
        """Python's, of the current step; torch's is seeded alike."""
        self._peak_rate = peak_rate
        self._parameters = {
            f"{part}.{key}": parameter
            for part, module in modules.items()
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self._mean = {key: parameter.detach().clone() for key, parameter in self._parameters.items()}
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=peak_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self._resume()

    def train(self, loss_of: Callable[[], Tensor]) -> None:
        """Steps until all are done, each on the loss of a batch that `loss_of` gives, of chance of this step alone."""
        began, first, recent, saved = time.monotonic(), self.step, math.nan, time.monotonic()
        while self.step < self.steps:
            torch.manual_seed(self.step)
            self.chance.seed(self.step)
            loss = loss_of()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._parameters.values(), 1.0)
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate()
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self.step += 1
            self._follow()
            recent = loss.item() if math.isnan(recent) else 0.98 * recent + 0.02 * loss.item()
            if self.step % STEPS_BETWEEN_LINES == 0 or self.step == self.steps:
                seconds = (time.monotonic() - began) / (self.step - first)
                self._tell(recent, seconds)
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                self.save()
                saved = time.monotonic()
        self.save()

    def save(self) -> None:
        """The newest checkpoint, whole or not at all; and the plot of the losses."""
        state = self._optimizer.state_dict()["state"]
        tensors = {f"weights/{key}": parameter.detach() for key, parameter in self._parameters.items()}
        tensors |= {f"mean/{key}": mean for key, mean in self._mean.items()}
        for index, key in enumerate(self._parameters):
            if index in state:
                tensors |= {f"first/{key}": state[index]["exp_avg"], f"second/{key}": state[index]["exp_avg_sq"]}
        scratch = self.folder / "checkpoint.new"
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, scratch, {"step": str(self.step)})
        scratch.replace(self.folder / "checkpoint.safetensors")
        self._plot()

    def _resume(self) -> None:
        file = self.folder / "checkpoint.safetensors"
        if not file.exists():
            self._losses.write_text("")
            return
        from safetensors import safe_open

        with safe_open(file, "pt") as opened:
            self.step = int(opened.metadata()["step"])
        tensors = load_file(file)
        state = {}
        with torch.no_grad():
            for index, (key, parameter) in enumerate(self._parameters.items()):
                parameter.copy_(tensors[f"weights/{key}"])
                self._mean[key].copy_(tensors[f"mean/{key}"])
                if f"first/{key}" in tensors:
                    # In the order of its parameter's values in memory, which the fused step takes for granted.
                    first, second = (
                        torch.empty_like(parameter).copy_(tensors[f"{one}/{key}"]) for one in ("first", "second")
                    )
                    moments = {"exp_avg": first, "exp_avg_sq": second}
                    state[index] = {"step": torch.tensor(float(self.step)), **moments}
        whole = self._optimizer.state_dict()
        self._optimizer.load_state_dict(whole | {"state": state})
        # Of steps since the last save, which are done again.
        lines = self._losses.read_text().splitlines(keepends=True) if self._losses.exists() else []
        self._losses.write_text("".join(line for line in lines if int(line.split(",")[0]) <= self.step))
        print(f"going on from step {self.step}", flush=True)

    def _rate(self) -> float:
        """Up in 100 steps, then down along a cosine."""
        done = self.step / self.steps
        return self._peak_rate * min(1.0, (self.step + 1) / 100) * (0.03 + 0.97 * (1 + math.cos(math.pi * done)) / 2)

    def _follow(self) -> None:
        decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._mean.values()), [one.detach() for one in self._parameters.values()], 1 - decay
            )

    def _tell(self, loss: float, seconds: float) -> None:
        left = (self.steps - self.step) * seconds / 60
        print(f"{self.step}/{self.steps} loss {loss:.4f} {seconds:.3f} s/step, {left:.0f} min left", flush=True)
        with self._losses.open("a", newline="") as file:
            csv.writer(file).writerow([self.step, f"{loss:.6f}"])

    def _plot(self) -> None:
        import matplotlib as mpl

        mpl.use("agg")
        from matplotlib import pyplot

        with self._losses.open(newline="") as file:
            rows = [(int(step), float(loss)) for step, loss in csv.reader(file)]
        figure, axes = pyplot.subplots(figsize=(7, 4))
        axes.semilogy([step for step, _ in rows], [loss for _, loss in rows])
        axes.set(xlabel="step", ylabel="loss", title=self.folder.name)
        axes.grid(True)
        figure.savefig(self.folder / "losses.png", bbox_inches="tight")
        pyplot.close(figure)
