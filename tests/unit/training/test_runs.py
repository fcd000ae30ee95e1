"""A run that was stopped ends where one that was not ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training.runs import Run, load_trained


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EASEL_TRAINING", str(tmp_path))
    return tmp_path


def module() -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Linear(3, 2)


def train(name: str, linear: nn.Linear, steps: int, stop_after: int | None = None) -> None:
    run = Run(name, {"linear": linear}, steps, peak_rate=0.1)

    def loss() -> Tensor:
        if run.step == stop_after:
            run.save()
            raise KeyboardInterrupt
        error: Tensor = linear(torch.randn(4, 3)) - run.chance.random()
        return error.square().mean()

    with torch.random.fork_rng(devices=[]):
        run.train(loss)


def test_a_run_goes_on_where_it_was_stopped() -> None:
    whole, halves = module(), module()
    train("whole", whole, 60)
    with pytest.raises(KeyboardInterrupt):
        train("halves", halves, 60, stop_after=30)
    halves = nn.Linear(3, 2)  # of another process
    train("halves", halves, 60)
    assert torch.equal(whole.weight, halves.weight)
    assert not torch.equal(whole.weight, module().weight)


def test_what_is_kept_is_the_mean_of_the_last_weights() -> None:
    last, kept = module(), module()
    train("run", last, 60)
    load_trained(kept, "run", "linear")
    distance = (kept.weight - last.weight).abs().max()
    assert 0 < distance < (module().weight - last.weight).abs().max()


def test_a_run_leaves_a_plot_of_its_losses(folder: Path) -> None:
    train("run", module(), 60)
    assert [line.split(",")[0] for line in (folder / "run" / "losses.csv").read_text().splitlines()] == ["50", "60"]
    assert (folder / "run" / "losses.png").stat().st_size > 1000


def test_weights_in_another_order_in_memory_go_on_as_well() -> None:
    wanted = [nn.Conv2d(3, 2, 3).to(memory_format=torch.channels_last) for _ in range(2)]
    wanted[1].load_state_dict(wanted[0].state_dict())

    def train_to(name: str, convolution: nn.Conv2d, steps: int) -> None:
        run = Run(name, {"convolution": convolution}, 60, peak_rate=0.1)

        def loss() -> Tensor:
            if run.step == steps:
                run.save()
                raise KeyboardInterrupt
            error: Tensor = convolution(torch.randn(1, 3, 5, 5)) - 1.0
            return error.square().mean()

        with pytest.raises(KeyboardInterrupt):
            run.train(loss)

    train_to("whole", wanted[0], 40)
    train_to("halves", wanted[1], 20)
    train_to("halves", wanted[1], 40)
    assert torch.equal(wanted[0].weight, wanted[1].weight)


def test_losses_since_the_last_save_are_not_told_twice(folder: Path) -> None:
    train("run", module(), 60)
    losses = folder / "run" / "losses.csv"
    losses.write_text(losses.read_text() + "100,0.5\n")
    train("run", module(), 120)
    assert [line.split(",")[0] for line in losses.read_text().splitlines()] == ["50", "60", "100", "120"]


def test_weights_that_do_not_fit_are_an_error() -> None:
    train("run", module(), 1)
    with pytest.raises(FileNotFoundError):
        load_trained(module(), "another", "linear")
    with pytest.raises(AssertionError, match="run has no lines"):
        load_trained(module(), "run", "lines")
    larger = module()
    larger.register_parameter("gate", nn.Parameter(torch.ones(2)))
    with pytest.raises(AssertionError, match=r"run has not all of linear.*gate"):
        load_trained(larger, "run", "linear")


def test_weights_that_are_not_trained_stay_and_are_not_kept(folder: Path) -> None:
    linear = module()
    linear.bias.requires_grad_(False)
    train("run", linear, 5)
    assert torch.equal(linear.bias, module().bias)
    fresh = nn.Linear(3, 2)
    bias = fresh.bias.clone()
    load_trained(fresh, "run", "linear", is_whole=False)
    assert torch.equal(fresh.bias, bias)
