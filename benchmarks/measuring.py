"""Milliseconds and memory of what runs on a device, within a budget of time, and what that device is."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch.utils.benchmark import Timer

from deployments.errors import OutOfMemory

GIBIBYTE = 2**30


@dataclasses.dataclass(frozen=True)
class Measured:
    """One forward, or whatever was run."""

    milliseconds: float
    peak_gibibytes: float | None = None  # of the device's memory, weights and all; None where that is not counted


@dataclasses.dataclass(frozen=True)
class NotMeasured:
    """Why there is no figure."""

    reason: str


Outcome: TypeAlias = Measured | NotMeasured

NO_TIME = NotMeasured("no time left")


def not_measured(error: Exception) -> NotMeasured:
    """In a line. Whatever one option or shape fails with, the others are measured."""
    if isinstance(error, torch.OutOfMemoryError | OutOfMemory):
        return NotMeasured("out of memory")
    return NotMeasured(f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": "))


class Meter:
    """Measures until its time is up: of all that is left, or of the part that was allotted to what is measured now."""

    def __init__(self, device: torch.device, seconds: float, seconds_each: float) -> None:
        self.device = device
        self._seconds_each = seconds_each  # that a measurement takes at least, once it has warmed up
        self._ends_at = self._allotted_until = time.monotonic() + seconds

    def has_time(self, seconds: float) -> bool:
        """Whether more than that is left of the part allotted."""
        return self._allotted_until - time.monotonic() > seconds

    def may_begin(self, seconds: float) -> bool:
        """Whether what may take that long, and cannot be broken off, ends in time; if the part allotted has any."""
        return self.has_time(0.0) and self._ends_at - time.monotonic() > seconds

    def allot(self, share: float) -> None:
        """That part of all that is left is for what is measured next."""
        now = time.monotonic()
        self._allotted_until = now + share * max(0.0, self._ends_at - now)

    def measure(self, run: Callable[[], object], expected_seconds: float = 0.0) -> Outcome:
        """The median of several runs after one that does not count, unless they are expected to take too long."""
        if not self.has_time(3 * expected_seconds):  # three are the least that it takes
            return NO_TIME

        def median() -> float:
            run()
            timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
            return timer.blocked_autorange(min_run_time=self._seconds_each).median

        self._forget_peak()
        outcome = self._outcome(median)
        return dataclasses.replace(outcome, peak_gibibytes=self._peak()) if isinstance(outcome, Measured) else outcome

    def measure_once(self, run: Callable[[], object]) -> Outcome:
        """A single run. Its memory is not counted, since an engine counts for itself meanwhile."""

        def seconds() -> float:
            self._synchronize()
            started_at = time.perf_counter()
            run()
            self._synchronize()
            return time.perf_counter() - started_at

        return self._outcome(seconds)

    def _outcome(self, seconds: Callable[[], float]) -> Outcome:
        try:
            return Measured(seconds() * 1000)
        except Exception as error:  # of the device, the compiler, a library, or the engine's answer to one
            reason = not_measured(error)
        self.free()  # now that the error holds no frames with what they refer to
        return reason

    def free(self) -> None:
        """Gives memory that nothing refers to back to the device."""
        gc.collect()
        torch.cuda.empty_cache()  # does nothing without CUDA

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _peak(self) -> float | None:
        return torch.cuda.max_memory_allocated(self.device) / GIBIBYTE if self.device.type == "cuda" else None

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def machine(device: torch.device) -> dict[str, str]:
    """The hardware, its driver and the versions that figures depend on."""
    known = {"device": platform.processor() or platform.machine(), "python": platform.python_version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        known["device"] = f"{properties.name}, {properties.total_memory / GIBIBYTE:.0f} GiB"
        known["cuda"] = str(torch.version.cuda)
        if (tool := shutil.which("nvidia-smi")) is not None:
            which = (
                f"--id=GPU-{properties.uuid}"  # for it knows others by other numbers than torch, which may see fewer
            )
            query = [tool, which, "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
            answer = subprocess.run(query, capture_output=True, text=True, check=False)
            known["driver, power limit, clock"] = answer.stdout.strip() or "unknown"
    return known | {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")}


def print_table(title: str, header: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    print(f"\n{title}")
    for first, *others in (header, *lines):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([first.ljust(widths[0]), *cells]))
