from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from deployments.engine.memory import MemoryModel, memory_of


@pytest.fixture
def model() -> MemoryModel:
    return MemoryModel()


def test_nothing_is_bounded_before_it_is_measured(model: MemoryModel) -> None:
    assert model.row_cap("unet", free=100) is None


def test_two_measurements_tell_of_all_others(model: MemoryModel) -> None:
    model.observe("unet", 1, 30)
    model.observe("unet", 2, 40)  # 20 for the forward, 10 for a row
    assert model.row_cap("unet", free=1000) == (920 - 20) // 10
    assert model.row_cap("vae", free=1000) is None


def test_one_measurement_is_taken_for_all_rows(model: MemoryModel) -> None:
    model.observe("unet", 2, 40)
    assert model.row_cap("unet", free=1000) == 46


def test_at_least_one_row_is_tried(model: MemoryModel) -> None:
    model.observe("unet", 1, 1000)
    assert model.row_cap("unet", free=10) == 1


def test_where_rows_cost_nothing_none_are_refused(model: MemoryModel) -> None:
    model.observe("unet", 1, 10)
    model.observe("unet", 4, 10)
    assert model.row_cap("unet", free=10) is None


def test_what_did_not_fit_once_is_not_tried_again(model: MemoryModel) -> None:
    model.did_not_fit("unet", 4, free=None)
    model.did_not_fit("unet", 8, free=None)
    assert model.row_cap("unet", free=None) == 4


def test_what_did_not_fit_may_when_others_hold_less(model: MemoryModel) -> None:
    model.did_not_fit("unet", 4, free=1000)
    model.did_not_fit("unet", 1, free=100)  # which bounds less than the one before
    model.observe("unet", 1, 1)
    assert model.row_cap("unet", free=1000) == 4
    assert model.row_cap("unet", free=500) == 2
    assert model.row_cap("unet", free=100) == 1
    assert model.row_cap("unet", free=2000) == 8


def test_what_callers_choose_cannot_fill_the_memory(model: MemoryModel) -> None:
    for shape in range(5000):
        model.observe(shape, 1, 1)
        model.did_not_fit(shape, 1, free=None)
    assert max(len(model._needed), len(model._bounds)) <= 1024


def test_cuda_tells_by_the_counts_of_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held: 40 before a forward and 70 amid it. Of 1000 others leave 500, and the allocator keeps 60 with 45 held."""
    device = torch.device("cuda:1")
    held = {"now": 40, "most": 900}  # of an earlier forward

    def reset(of: torch.device) -> None:
        assert of == device
        held["most"] = held["now"]

    def told(value: Callable[[], Any]) -> Callable[[torch.device], Any]:
        def tell(of: torch.device) -> Any:
            assert of == device
            return value()

        return tell

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "memory_allocated", told(lambda: held["now"]))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", told(lambda: held["most"]))
    monkeypatch.setattr(torch.cuda, "memory_reserved", told(lambda: 60))
    monkeypatch.setattr(torch.cuda, "mem_get_info", told(lambda: (500, 1000)))
    memory = memory_of(device)
    assert memory is not None
    memory.start()
    assert memory.needed() == 0
    held.update(now=45, most=70)
    assert memory.needed() == 70 - 40
    assert memory.free() == 500 + (60 - 45)
    assert memory.by_use() == {"held": 45, "kept": 60 - 45, "foreign": 1000 - 500 - 60, "free": 500}


def test_a_cpu_does_not_tell() -> None:
    assert memory_of(torch.device("cpu")) is None
