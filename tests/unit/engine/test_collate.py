from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deployments.engine.collate import MergeRules, ModuleCall, RowObjects, UnknownOutput, run_merged, split
from deployments.engine.workload import Role

PER_ROW = MergeRules(per_row=frozenset({"timestep"}))


MODULE = nn.Module()


def call(method: Any = None, rules: MergeRules = PER_ROW, module: nn.Module = MODULE, **arguments: Any) -> ModuleCall:
    return ModuleCall(module, "unet.forward", method or (lambda **_: None), arguments, rules, role=Role.DENOISES)


def rows(count: int, *shape: int, fill: float = 0.0) -> Tensor:
    return torch.full((count, *(shape or (4, 8, 8))), fill)


def test_rows_may_differ_within_a_key() -> None:
    assert call(sample=rows(1)).key == call(sample=rows(2)).key


@pytest.mark.parametrize(
    "other",
    [
        {"sample": rows(2, 4, 8, 9)},
        {"sample": rows(2).double()},
        {"sample": rows(2), "conditions": {"ids": rows(2, 7)}},
        {"sample": rows(2), "conditions": {"ids": rows(2, 6), "more": rows(2, 6)}},
        {"sample": rows(2), "conditions": {"ids": rows(2, 6)}, "return_dict": True},
        {"sample": rows(2), "conditions": {"ids": rows(2, 6)}, "return_dict": 0},
    ],
    ids=["shape", "dtype", "nested shape", "nested name", "value", "type of value"],
)
def test_what_differs_cannot_share_a_forward(other: dict[str, Any]) -> None:
    base = {"sample": rows(2), "conditions": {"ids": rows(2, 6)}, "return_dict": False}
    assert call(**base).key == call(**base).key
    assert call(**base).key != call(**other).key


def test_timesteps_never_keep_calls_apart() -> None:
    first = call(sample=rows(2), timestep=torch.tensor(981.0))
    second = call(sample=rows(2), timestep=17)
    assert first.key == second.key


def test_modules_never_share_a_forward_whatever_they_are_called() -> None:
    assert call(sample=rows(1)).key != call(module=nn.Module(), sample=rows(1)).key
    assert call(sample=rows(1)).shape == call(module=nn.Module(), sample=rows(1)).shape  # but may well cost the same


def test_rules_can_bound_the_size_of_a_forward() -> None:
    bounded = MergeRules(most_positions=2 * 8 * 8)
    assert call(rules=bounded, sample=rows(1)).most_rows == 2
    assert call(rules=bounded, sample=rows(1, 4, 32, 32)).most_rows == 1
    assert call(sample=rows(1)).most_rows is None


def test_none_is_absent() -> None:
    assert call(sample=rows(1), mask=None).key == call(sample=rows(1)).key


@pytest.mark.parametrize("unknown", [object(), rows(3)], ids=["object", "tensor without rows"])
def test_an_unknown_argument_runs_alone(unknown: object) -> None:
    first, second = (call(sample=rows(2), extra={"nested": unknown}) for _ in range(2))
    assert first.key != second.key
    assert first.shape == second.shape  # so that what is learned of one serves the next


def test_merging_joins_rows_and_gives_each_its_own_back() -> None:
    seen: list[dict[str, Any]] = []

    def method(sample: Tensor, timestep: Tensor, conditions: dict[str, Tensor], flag: bool) -> tuple[Tensor]:
        seen.append({"timestep": timestep, "flag": flag})
        return (sample + timestep[:, None, None, None] + conditions["ids"].sum(1)[:, None, None, None],)

    calls = [
        call(method, sample=rows(2, fill=0.1), timestep=torch.tensor(100.0), conditions={"ids": rows(2, 6)}, flag=True),
        call(method, sample=rows(1, fill=0.2), timestep=200, conditions={"ids": rows(1, 6, fill=1.0)}, flag=True),
    ]
    (first,), (second,) = run_merged(calls)
    assert len(seen) == 1
    assert seen[0]["timestep"].tolist() == [100.0, 100.0, 200.0]
    assert torch.equal(first, rows(2, fill=100.1))
    assert torch.equal(second, rows(1, fill=0.2) + 206.0)


def test_a_call_alone_is_passed_on_unchanged() -> None:
    sample, timestep = rows(2), torch.tensor(981)

    def method(**arguments: Any) -> str:
        assert arguments["sample"] is sample
        assert arguments["timestep"] is timestep
        return "any output"

    assert run_merged([call(method, sample=sample, timestep=timestep)]) == ["any output"]


def test_parameters_hidden_by_a_wrapper_are_passed_by_position() -> None:
    rules = MergeRules(parameters=("z",))

    def decode(*args: Tensor, **kwargs: bool) -> tuple[Tensor]:
        assert kwargs == {"return_dict": False}
        return (args[0] * 2,)

    calls = [call(decode, rules, z=rows(1, fill=value), return_dict=False) for value in (1.0, 2.0)]
    assert [output[0].flatten()[0].item() for output in run_merged(calls)] == [2.0, 4.0]


class Output(OrderedDict[str, Any]):
    """Like the outputs of diffusers and transformers: an ordered mapping made from keywords."""


def test_outputs_are_split_all_the_way_down() -> None:
    output = Output(hidden=(rows(3), [rows(3, 2)]), nothing=None)
    first, second = split(output, [2, 1], {})
    assert type(first) is Output
    assert first["hidden"][0].shape == (2, 4, 8, 8)
    assert second["hidden"][1][0].shape == (1, 2)
    assert second["nothing"] is None


@pytest.mark.parametrize("unknown", [object(), "text", rows(4), torch.tensor(1.0)])
def test_an_unknown_output_is_an_error_and_never_shared(unknown: object) -> None:
    with pytest.raises(UnknownOutput):
        split(unknown, [2, 1], {})


def test_a_family_can_teach_an_output() -> None:
    class Distribution:
        def __init__(self, mean: Tensor) -> None:
            self.mean = mean

    def splitter(distribution: Distribution, rows: Any) -> list[Distribution]:
        return [Distribution(mean) for mean in distribution.mean.split(list(rows))]

    parts = split(Distribution(rows(3)), [1, 2], {Distribution: splitter})
    assert [part.mean.shape[0] for part in parts] == [1, 2]


def test_tensors_without_rows_are_merged_only_where_they_are_equal() -> None:
    rules = MergeRules(shared=frozenset({"positions"}))
    seen: list[Tensor] = []

    def method(sample: Tensor, positions: Tensor) -> Tensor:
        seen.append(positions)
        return sample

    ids = torch.arange(6).reshape(3, 2)
    first, second = (call(method, rules, sample=rows(n), positions=ids.clone()) for n in (1, 3))
    other = call(method, rules, sample=rows(1), positions=ids.flip(0))
    assert first.key == second.key
    assert first.key != other.key
    run_merged([first, second])
    assert torch.equal(seen[0], ids)


REPEATABLE = MergeRules(repeatable=frozenset({"text"}))


def sequences(*lengths: int, rules: MergeRules = REPEATABLE, method: Any = None) -> list[ModuleCall]:
    """Calls whose texts count 0, 1, 2 … along their length."""
    texts = [torch.arange(length, dtype=torch.float32)[None, :, None].expand(2, -1, 5) for length in lengths]
    return [call(method, rules, sample=rows(2), text=text) for text in texts]


def test_sequences_whose_copies_mean_the_same_share_a_forward_at_different_lengths() -> None:
    assert len({call.key for call in sequences(77, 154, 77 * 16)}) == 1
    assert len({call.key for call in sequences(77, 77 * 3, 75, 150)}) == 3
    assert len({call.key for call in sequences(77, 154, rules=MergeRules())}) == 2


def test_other_dimensions_of_repeatable_sequences_keep_calls_apart() -> None:
    text = rows(2, 77, 5)
    others = (rows(2, 77, 6), text.double(), rows(2, 77, 5, 1))
    keys = {call(rules=REPEATABLE, sample=rows(2), text=other).key for other in (text, *others)}
    assert len(keys) == 4


def test_shorter_sequences_are_repeated_to_the_longest() -> None:
    seen: list[Tensor] = []

    def method(sample: Tensor, text: Tensor) -> Tensor:
        seen.append(text)
        return sample

    calls = sequences(3, 12, 6, method=method)
    run_merged(calls)
    assert seen[0].shape == (6, 12, 5)
    for joined, alone in zip(seen[0].split(2), calls, strict=True):
        text = alone.arguments["text"]
        assert torch.equal(joined, torch.cat([text] * (12 // text.shape[1]), dim=1))


def test_sequences_of_one_length_are_joined_as_they_are() -> None:
    seen: list[Tensor] = []

    def method(sample: Tensor, text: Tensor) -> Tensor:
        seen.append(text)
        return sample

    calls = sequences(6, 6, method=method)
    run_merged(calls)
    assert torch.equal(seen[0], torch.cat([call.arguments["text"] for call in calls]))


ADDED = MergeRules(zero_if_absent=frozenset({"residuals", "middle"}))


def add(sample: Tensor, residuals: list[Tensor] | None = None, middle: Tensor | None = None) -> Tensor:
    return sample if residuals is None or middle is None else sample + sum(residuals) + middle


def residuals(count: int, fill: float) -> dict[str, Any]:
    return {"residuals": [rows(count, fill=fill), rows(count, fill=fill)], "middle": rows(count, fill=fill)}


def test_what_is_added_is_zero_for_calls_without_it() -> None:
    without, with_ = call(add, ADDED, sample=rows(1)), call(add, ADDED, sample=rows(2), **residuals(2, 0.5))
    assert without.key == with_.key
    assert without.shape == with_.shape
    for calls in ([without, with_], [with_, without, without]):
        for one, output in zip(calls, run_merged(calls), strict=True):
            assert torch.equal(output, rows(2, fill=1.5) if one is with_ else rows(1))


def test_what_nobody_adds_is_not_passed() -> None:
    def method(**arguments: Any) -> Tensor:
        assert set(arguments) == {"sample"}
        sample: Tensor = arguments["sample"]
        return sample

    assert len(run_merged([call(method, ADDED, sample=rows(1)), call(method, ADDED, sample=rows(1), middle=None)])) == 2


def test_what_is_added_must_have_the_rows_of_its_call() -> None:
    odd = call(add, ADDED, sample=rows(2), middle=rows(1))
    assert odd.key != call(add, ADDED, sample=rows(2)).key
    assert odd.key != call(add, ADDED, sample=rows(2), middle=rows(1)).key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scales_become_one_a_row_that_multiplies_pictures(dtype: torch.dtype) -> None:
    rules = MergeRules(scales=frozenset({"scale"}))
    seen: list[Any] = []

    def method(sample: Tensor, scale: float | Tensor) -> Tensor:
        seen.append(scale)
        return sample * scale

    calls = [call(method, rules, sample=rows(n, fill=1.0).to(dtype), scale=scale) for n, scale in ((2, 0.25), (1, 2))]
    assert calls[0].key == calls[1].key
    first, second = run_merged(calls)
    assert torch.equal(first, rows(2, fill=0.25).to(dtype))
    assert torch.equal(second, rows(1, fill=2.0).to(dtype))
    run_merged(calls[:1])
    assert (seen[0].shape, seen[0].dtype, seen[1]) == ((3, 1, 1, 1), dtype, 0.25)


def test_sequences_are_merged_item_by_item() -> None:
    def method(sample: Tensor, more: tuple[Tensor, ...]) -> Tensor:
        assert type(more) is tuple
        return sample + more[0] + more[1]

    calls = [call(method, sample=rows(n), more=(rows(n, fill=n), rows(n, fill=10.0))) for n in (1, 2)]
    assert calls[0].key == calls[1].key
    assert [output.flatten()[0].item() for output in run_merged(calls)] == [11.0, 12.0]
    for other in ((rows(1),), [rows(1), rows(1)], (rows(1), rows(1, 4, 8, 9)), (rows(1), object())):
        assert call(method, sample=rows(1), more=other).key != calls[0].key


def test_objects_go_where_their_rows_go() -> None:
    first, second, third = object(), object(), object()
    seen: list[Any] = []

    def method(sample: Tensor, conditions: dict[str, Any]) -> Tensor:
        seen.append(conditions["states"])
        return sample

    calls = [
        call(method, sample=rows(2), conditions={"states": RowObjects([first, second])}),
        call(method, sample=rows(1), conditions={"states": RowObjects([third])}),
    ]
    assert calls[0].key == calls[1].key
    run_merged(calls)
    run_merged(calls[1:])
    assert seen == [(first, second, third), (third,)]
    assert all(type(states) is RowObjects for states in seen)


def test_calls_with_objects_share_no_forward_with_those_without_nor_where_one_is_missing() -> None:
    with_object = call(sample=rows(1), conditions={"states": RowObjects([object()])})
    too_few = [call(sample=rows(2), conditions={"states": RowObjects([object()])}) for _ in range(2)]
    others = [*too_few, call(sample=rows(1), conditions={}), call(sample=rows(1), conditions={"states": (1,)})]
    assert len({one.key for one in [with_object, *others]}) == 5
