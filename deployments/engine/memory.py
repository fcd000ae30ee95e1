"""How many rows of a shape fit into the device's memory, from what forwards were seen to need.

What a forward needs beyond what is held grows by the same for each row, so that two measurements tell of all others. A
forward that did not fit bounds its shape, in proportion to what is free now and was then. Where the device does not
tell (a CPU), only that bound holds, and for good.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import torch

_FILLED = 0.92  # of what is free, what a forward may be given: allocators waste some
_MOST_SHAPES = 1024  # callers choose sizes, and so how many shapes there are


class DeviceMemory(Protocol):
    """What a device tells of its memory, in bytes."""

    def start(self) -> None:
        """A forward begins."""

    def needed(self) -> int:
        """The most that was held at a time since then, beyond what was held before."""

    def free(self) -> int:
        """What is not held."""

    def by_use(self) -> Mapping[str, int]:
        """All of it: `held`, `kept` by the allocator for more, `foreign`, `free`. Callable from any thread."""


class CudaMemory:
    """Of a CUDA device, as torch's allocator counts."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held = 0

    def start(self) -> None:
        """See the protocol."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._held = torch.cuda.memory_allocated(self._device)

    def needed(self) -> int:
        """See the protocol."""
        return torch.cuda.max_memory_allocated(self._device) - self._held

    def free(self) -> int:
        """See the protocol. What the allocator keeps for itself is free to forwards."""
        unclaimed, _ = torch.cuda.mem_get_info(self._device)
        kept = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return unclaimed + kept

    def by_use(self) -> Mapping[str, int]:
        """See the protocol."""
        unclaimed, total = torch.cuda.mem_get_info(self._device)
        held, reserved = torch.cuda.memory_allocated(self._device), torch.cuda.memory_reserved(self._device)
        foreign = max(0, total - unclaimed - reserved)  # the driver's own part of it for this process too
        return {"held": held, "kept": reserved - held, "foreign": foreign, "free": unclaimed}


def memory_of(device: torch.device) -> DeviceMemory | None:
    """None where the device does not tell."""
    return CudaMemory(device) if device.type == "cuda" else None


class MemoryModel:
    """Learns from every forward. Written by the engine's thread, read by any."""

    def __init__(self) -> None:
        # Bytes by rows, of the fewest and the most rows seen; seen last, last, and replaced as a whole.
        self._needed: OrderedDict[Hashable, dict[int, int]] = OrderedDict()
        self._bounds: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()  # rows, and the bytes free for them

    def observe(self, shape: Hashable, rows: int, needed: int) -> None:
        """A forward of `rows` rows needed so many bytes."""
        seen = self._needed.get(shape, {}) | {rows: needed}
        self._needed[shape] = {rows: seen[rows] for rows in (min(seen), max(seen))}
        _forget_oldest(self._needed, shape)

    def did_not_fit(self, shape: Hashable, rows: int, free: int | None) -> None:
        """A forward of more than `rows` rows ran out of the `free` bytes."""
        bound = (rows, max(1, free or 1))
        known = self._bounds.get(shape, bound)
        self._bounds[shape] = min(bound, known, key=lambda bound: bound[0] / bound[1])
        _forget_oldest(self._bounds, shape)

    def row_cap(self, shape: Hashable, free: int | None) -> int | None:
        """The most rows that fit into `free` bytes; None where nothing is known."""
        bounds = [self._bound(shape, free), self._measured_cap(shape, free)]
        return min((bound for bound in bounds if bound is not None), default=None)

    def _bound(self, shape: Hashable, free: int | None) -> int | None:
        known = self._bounds.get(shape)
        if known is None:
            return None
        rows, free_then = known
        return rows if free is None else max(1, rows * free // free_then)

    def _measured_cap(self, shape: Hashable, free: int | None) -> int | None:
        seen = self._needed.get(shape)
        if seen is None or free is None:
            return None
        (fewest, least), (most, largest) = min(seen.items()), max(seen.items())
        of_a_row = (largest - least) / (most - fewest) if most > fewest else largest / most
        if of_a_row <= 0:
            return None
        return max(1, int((free * _FILLED - (least - of_a_row * fewest)) / of_a_row))


def _forget_oldest(by_shape: OrderedDict[Hashable, Any], seen: Hashable) -> None:
    by_shape.move_to_end(seen)
    if len(by_shape) > _MOST_SHAPES:
        by_shape.popitem(last=False)
