"""Runs chosen calls as one forward, and finds the culprit where that fails.

A merged forward that raises is tried again in halves until the culprit stands alone, so that nothing one request does
can fail another. Out of memory also bounds the rows of that shape. Belongs to the engine's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeAlias

import torch

from deployments.engine.collate import ModuleCall, run_merged
from deployments.engine.job import Job
from deployments.engine.memory import DeviceMemory, MemoryModel
from deployments.engine.planner import Planner
from deployments.engine.statistics import StatisticsRecorder

logger = logging.getLogger(__name__)

Member: TypeAlias = tuple[Job[Any], ModuleCall]


class DidNotFit(Exception):
    """A call that ran out of memory although it ran alone."""


class Executor:
    """Tells what it ran to the planner and the statistics, and calls `on_forward` before each forward.

    `memory` is that of the device, where it tells of it.
    """

    def __init__(
        self,
        planner: Planner,
        statistics: StatisticsRecorder,
        memory: DeviceMemory | None,
        on_forward: Callable[[], None],
    ) -> None:
        self.last_seconds = 0.0  # that the last forward took
        self._planner = planner
        self._statistics = statistics
        self._memory = memory
        self._on_forward = on_forward
        self._memory_model = MemoryModel()
        self._free: int | None = None
        self._ended_at: float | None = None

    def pause(self) -> None:
        """There is nothing to run: the time until the next forward is not work."""
        self._ended_at = None

    def look_at_memory(self) -> None:
        """What is free between two forwards is what the next may have."""
        self._free = None if self._memory is None else self._memory.free()

    def most_rows(self, shape: Hashable) -> int | None:
        """That fit into the memory that was free when last looked at; None where nothing is known. From any thread."""
        return self._memory_model.row_cap(shape, self._free)

    def run(self, members: Sequence[Member]) -> list[Any]:
        """The output of each call, or the exception that it alone is to blame for. Raises errors of the device."""
        calls = [call for _, call in members]
        self._on_forward()
        started_at = time.monotonic()
        for job, _ in members:
            job.started_at = job.started_at or started_at
        if self._memory is not None:
            self._memory.start()
        try:
            outputs = run_merged(calls)
            _synchronize(calls[0])
        except Exception as error:
            if is_of_the_device(error):
                raise
            out_of_memory = is_out_of_memory(error)
            if len(calls) == 1:
                return [DidNotFit() if out_of_memory else error]
            logger.warning("A forward of %d calls failed (%s); trying halves", len(calls), type(error).__name__)
        else:
            self._account(members, started_at)
            return outputs
        half = len(members) // 2
        if out_of_memory:
            free_unused_memory()
            self.look_at_memory()
            rows = sum(call.rows for call in calls[half:])
            self._memory_model.did_not_fit(calls[0].shape, rows, self._free)
        return self.run(members[:half]) + self.run(members[half:])

    def _account(self, members: Sequence[Member], started_at: float) -> None:
        """Of a forward that has ended just now."""
        call, rows, ended_at = members[0][1], sum(call.rows for _, call in members), time.monotonic()
        between = 0.0 if self._ended_at is None else started_at - self._ended_at
        self._ended_at, self.last_seconds = ended_at, ended_at - started_at
        for job, own in members:
            job.device_seconds += self.last_seconds * own.rows / rows
        self._planner.ran(members, self.last_seconds, between)
        self._statistics.forward(call, len(members), rows, self.last_seconds)
        if self._memory is not None:
            self._memory_model.observe(call.shape, rows, self._memory.needed())


def free_unused_memory() -> None:
    """Gives back what the allocator keeps for itself; does nothing without CUDA."""
    torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Not every allocator has a type of its own for it: some are told by their text alone."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(words in str(error) for words in ("out of memory", "DefaultCPUAllocator"))


def is_of_the_device(error: BaseException) -> bool:
    """After it nothing on the device can be trusted, and every further call fails."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def _synchronize(call: ModuleCall) -> None:
    """Kernels run behind: their time, and their errors, belong to the forward that started them."""
    device = next((value.device for value in call.arguments.values() if isinstance(value, torch.Tensor)), None)
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device is not None and device.type == "mps":
        torch.mps.synchronize()
