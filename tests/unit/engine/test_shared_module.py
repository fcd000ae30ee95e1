from __future__ import annotations

import torch
from torch import Tensor, nn

from deployments.engine.collate import MergeRules
from deployments.engine.coroutine import Coroutine
from deployments.engine.shared_module import share
from deployments.engine.workload import Role


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.note = "shared"

    def forward(self, sample: Tensor, timestep: int, *, flag: bool = False, **more: object) -> Tensor:
        return sample * self.weight

    def decode(self, latent: Tensor) -> Tensor:
        return latent + 1


METHODS = {"forward": MergeRules(), "decode": MergeRules()}


def test_passes_for_the_module() -> None:
    net = Net()
    shared = share(net, "net", METHODS)
    assert isinstance(shared, Net)
    assert isinstance(shared, nn.Module)
    assert shared.note == "shared"
    assert list(shared.parameters()) == list(net.parameters())
    shared.note = "changed"
    assert net.note == "changed"


def test_outside_a_coroutine_it_is_the_module() -> None:
    shared = share(Net(), "net", METHODS)
    assert shared(torch.ones(1), 5).item() == 1.0
    assert shared.decode(torch.ones(1)).item() == 2.0


def test_inside_a_coroutine_a_call_pauses_with_its_arguments_by_name() -> None:
    shared = share(Net(), "net", METHODS, role=Role.DENOISES)
    sample = torch.ones(2, 3)
    coroutine = Coroutine(lambda: shared(sample, 5, flag=True, extra=1))
    assert (call := coroutine.resume()) is not None
    assert call.name == "net.forward"
    assert call.role is Role.DENOISES
    assert call.arguments == {"sample": sample, "timestep": 5, "flag": True, "extra": 1}
    coroutine.resume("output")
    assert coroutine.result == "output"


def test_by_position_and_by_name_give_the_same_key() -> None:
    shared = share(Net(), "net", METHODS)
    calls = [
        Coroutine(function).resume()
        for function in (lambda: shared(torch.ones(1, 2), 5), lambda: shared(timestep=5, sample=torch.ones(2, 2)))
    ]
    assert calls[0] is not None
    assert calls[1] is not None
    assert calls[0].key == calls[1].key


def test_methods_pause_too_and_hooks_run() -> None:
    net = Net()
    hooked: list[bool] = []
    net.register_forward_hook(lambda *_: hooked.append(True))
    shared = share(net, "net", METHODS)
    coroutine = Coroutine(lambda: (shared.decode(torch.ones(1)), shared(torch.ones(1), 5)))
    call = coroutine.resume()
    assert call is not None
    assert call.name == "net.decode"
    call = coroutine.resume(call.run())
    assert call is not None
    coroutine.resume(call.run())
    assert hooked == [True]
    assert coroutine.result[0].item() == 2.0
