"""Batch key, merging and splitting of module calls.

Calls with an equal batch key can share a forward, and nothing else can: the key holds the module and method, the shape
beyond rows, dtype and device of every tensor, and every argument that is not a tensor. `run_merged` joins their rows
into one call and gives each caller its rows of the output back. What it does not know is never guessed: an unknown
argument makes a call run alone, an unknown output of a merged call is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from math import prod
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from deployments.engine.workload import Role

BatchKey: TypeAlias = tuple[Hashable, ...]
OutputSplitter: TypeAlias = Callable[[Any, Sequence[int]], list[Any]]

_UNKNOWN = "unknown"  # stands in a shape for an argument of which nothing is known
_ABSENT = "absent"  # for one that is not in it
_digests = WeakIdKeyDictionary()  # of shared tensors, as long as they live


class RowObjects(tuple[Any, ...]):
    """As an argument, or inside one: an object for each row, of any kind, which goes where its row goes."""


class UnknownOutput(TypeError):
    """A merged call returned something that cannot be split by rows: a mistake in the merge rules, not in a request."""


@dataclass(frozen=True)
class MergeRules:
    """How calls of one method are merged, where that is not plain concatenation of rows."""

    per_row: frozenset[str] = frozenset()  # numbers, or tensors of one element, that become one value a row
    scales: frozenset[str] = frozenset()  # numbers that multiply picture-like tensors: one of shape (1, 1, 1) a row
    zero_if_absent: frozenset[str] = frozenset()  # tensors that are added, of a shape that the rest settles
    shared: frozenset[str] = frozenset()  # tensors without rows, merged only where they are equal
    repeatable: frozenset[str] = frozenset()  # sequences of which copies, joined along dimension 1, mean the same
    parameters: tuple[str, ...] = ()  # names of the positional parameters, for a method whose signature hides them
    splitters: Mapping[type, OutputSplitter] = field(default_factory=dict)  # for outputs of types that torch lacks
    most_positions: int | None = None  # rows x height x width of the first tensor in one forward, to bound memory


@dataclass(frozen=True, eq=False)
class ModuleCall:
    """One call that waits to be run, alone or merged."""

    module: nn.Module
    name: str  # "module.method"
    method: Callable[..., Any]
    arguments: dict[str, Any]
    rules: MergeRules
    role: Role = Role.SURROUNDS

    @property
    def rows(self) -> int:
        """Rows of its first tensor: what a batch counts. Guidance makes one request two rows."""
        return self._first_shape[0]

    @cached_property
    def shape(self) -> BatchKey:
        """What its cost depends on beside rows."""
        signatures = {name: self._signature_of(name, self.arguments[name]) for name in sorted(self.arguments)}
        return (self.name, *((name, known) for name, known in signatures.items() if known != _ABSENT))

    @cached_property
    def key(self) -> BatchKey:
        """Equal for calls that can share a forward."""
        return (id(self.module), *self.shape, *([id(self)] if _is_unknown(self.shape) else []))

    @cached_property
    def label(self) -> str:
        """A short name of the shape for people: method and the first tensor beyond rows."""
        return f"{self.name} {'x'.join(map(str, self._first_shape[1:]))}".strip()

    @property
    def most_rows(self) -> int | None:
        """The most rows that the rules allow in one forward of this shape."""
        if self.rules.most_positions is None:
            return None
        return max(1, self.rules.most_positions // prod(self._first_shape[-2:]))

    @cached_property
    def _first_shape(self) -> tuple[int, ...]:
        tensors = (value for value in self.arguments.values() if isinstance(value, Tensor) and value.ndim)
        return next((tuple(tensor.shape) for tensor in tensors), (1,))

    def _signature_of(self, name: str, value: Any) -> Hashable:
        if value is None:
            return _ABSENT
        if name in self.rules.per_row or name in self.rules.scales:
            return "per row"
        if name in self.rules.zero_if_absent and not _is_unknown(self._signature(value)):
            return _ABSENT  # it may as well be: zeros take its place
        if name in self.rules.shared:
            return (tuple(value.shape), value.dtype, str(value.device), _digest(value))
        if name in self.rules.repeatable:
            return self._signature(value[:, : _odd_part(value.shape[1])])
        return self._signature(value)

    def _signature(self, value: Any) -> Hashable:
        if isinstance(value, Tensor):
            has_rows = value.ndim > 0 and value.shape[0] == self.rows
            return (tuple(value.shape[1:]), value.dtype, str(value.device)) if has_rows else _UNKNOWN
        if isinstance(value, RowObjects):
            return "per row" if len(value) == self.rows else _UNKNOWN
        if isinstance(value, Mapping):
            return tuple((name, self._signature(value[name])) for name in sorted(value))
        if isinstance(value, list | tuple):
            return (type(value).__name__, *map(self._signature, value))
        if value is None or isinstance(value, bool | int | float | str):
            return ("value", type(value).__name__, value)
        return _UNKNOWN

    def run(self) -> Any:
        """Runs it alone, exactly as the pipeline asked."""
        positional = [self.arguments[name] for name in self.rules.parameters if name in self.arguments]
        named = {name: value for name, value in self.arguments.items() if name not in self.rules.parameters}
        return self.method(*positional, **named)


def run_merged(calls: Sequence[ModuleCall]) -> list[Any]:
    """One forward for all `calls`, which have equal keys; returns each one's own output, in order.

    A single call runs unchanged, so that a request alone is bit-identical to plain diffusers. Raises what the method
    raises, and UnknownOutput.
    """
    if len(calls) == 1:
        return [calls[0].run()]
    first, rows = calls[0], [call.rows for call in calls]
    present = dict.fromkeys(name for call in calls for name, value in call.arguments.items() if value is not None)
    arguments = {name: _joined(name, calls, rows) for name in present}
    return split(replace(first, arguments=arguments).run(), rows, first.rules.splitters)


def _digest(tensor: Tensor) -> int:
    """Of its content. Pipelines pass the same tensor at every step, so it is read off the device once."""
    if tensor not in _digests:
        _digests[tensor] = hash(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    digest: int = _digests[tensor]
    return digest


def _is_unknown(signature: Hashable) -> bool:
    return signature == _UNKNOWN or (isinstance(signature, tuple) and any(map(_is_unknown, signature)))


def _joined(name: str, calls: Sequence[ModuleCall], rows: Sequence[int]) -> Any:
    """The merged call's argument of that name."""
    first, values = calls[0], [call.arguments.get(name) for call in calls]
    like = next(value for value in first.arguments.values() if isinstance(value, Tensor) and value.ndim)
    if name in first.rules.per_row:
        return _per_row(values, rows, like)
    if name in first.rules.scales:
        return _per_row(values, rows, like).to(like.dtype)[:, None, None, None]
    if name in first.rules.shared:
        return values[0]  # equal in all of them
    if name in first.rules.zero_if_absent:
        example = next(value for value in values if value is not None)
        values = [_zeros_like(example, n) if value is None else value for value, n in zip(values, rows, strict=True)]
    if name in first.rules.repeatable:
        return torch.cat(_of_one_length(values))
    return _merge(values)


def _odd_part(length: int) -> int:
    """`length` halved as often as it can be. Of lengths with one odd part, each divides the longest."""
    return length // (length & -length)


def _of_one_length(values: Sequence[Any]) -> list[Tensor]:
    longest = max(value.shape[1] for value in values)
    return [value.repeat(1, longest // value.shape[1], *[1] * (value.ndim - 2)) for value in values]


def _merge(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat(list(values))
    if isinstance(values[0], RowObjects):
        return RowObjects(chain.from_iterable(values))
    if isinstance(values[0], Mapping):
        return {name: _merge([value[name] for value in values]) for name in values[0]}
    if isinstance(values[0], list | tuple):
        return type(values[0])(_merge(items) for items in zip(*values, strict=True))
    return values[0]  # equal in all of them: it is in the key


def _zeros_like(example: Any, rows: int) -> Any:
    if isinstance(example, Tensor):
        return example.new_zeros(rows, *example.shape[1:])
    return type(example)(_zeros_like(item, rows) for item in example)


def _per_row(values: Sequence[Any], rows: Sequence[int], like: Tensor) -> Tensor:
    return torch.cat(
        [
            torch.as_tensor(value, device=like.device).reshape(-1).expand(n)
            for value, n in zip(values, rows, strict=True)
        ]
    )


def split(output: Any, rows: Sequence[int], splitters: Mapping[type, OutputSplitter]) -> list[Any]:
    """`output` of a merged call, cut into one output for each caller with `rows[i]` rows. Raises UnknownOutput."""
    if output is None:
        return [None] * len(rows)
    if type(output) in splitters:
        return splitters[type(output)](output, rows)
    if isinstance(output, Tensor):
        if output.ndim == 0 or output.shape[0] != sum(rows):
            raise UnknownOutput(f"a tensor of shape {tuple(output.shape)} has not the {sum(rows)} rows that went in")
        return list(output.split(list(rows)))
    if isinstance(output, Mapping):  # also the ordered, dataclass-like outputs of diffusers and transformers
        parts = {name: split(output[name], rows, splitters) for name in output}
        return [type(output)(**{name: part[i] for name, part in parts.items()}) for i in range(len(rows))]
    if isinstance(output, list | tuple):
        items = [split(item, rows, splitters) for item in output]
        return [type(output)(item[i] for item in items) for i in range(len(rows))]
    raise UnknownOutput(f"an output of type {type(output).__name__} cannot be split by rows")
