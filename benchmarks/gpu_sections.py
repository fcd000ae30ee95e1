"""The sections of benchmarks/gpu.py: each measures one family, prints tables and keeps figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.attention_dispatch import attention_backend

from benchmarks import forwards
from benchmarks.measuring import NO_TIME, Measured, Meter, NotMeasured, Outcome, not_measured, print_table
from benchmarks.pictures import Painter, diffusers_batch, engine_batches, inputs
from deployments.engine.cost import CostModel
from deployments.engine.engine import EngineLimits
from deployments.models.acceleration import accelerate

# Pictures per second of SDXL, 1024x1024, 20 steps, guided, of one H200 among eight: MLPerf Inference v5.1, offline,
# submission 5.1-0079, TensorRT in fp8.
RECORD = 19.19 / 8

# config.schema.Acceleration without any option; that module would ask for pydantic.
PLAIN: dict[str, Any] = {
    "compile": False,
    "compile_cache": "~/.cache/easel/compiled",
    "channels_last": False,
    "fuse_qkv": False,
    "attention": None,
    "quantization": None,
    "text_encoder_quantization": None,
    "vae_tiling": False,
    "group_offload": False,
    "lossy_guidance_cutoff": None,
    "lossy_step_cache": None,
}
ATTENTIONS = ("_native_cudnn", "_native_flash", "_native_efficient", "flash", "_flash_3")
COMPILED = {"compile": True, "fuse_qkv": True}
# Seconds that must be left of all where something is to be compiled, which cannot be broken off: at first, and then so
# many times what the longest compilation took.
COMPILE_SECONDS = 120.0
COMPILE_SPARE = 3
# Options by what tables call them, for SDXL and for FLUX.
COMMON_OPTIONS: dict[str, dict[str, Any]] = {
    "compile": {"compile": True},
    "fuse_qkv": {"fuse_qkv": True},
    "quantization int8_weight_only": {"quantization": "int8_weight_only"},
    # int8_dynamic is refused without a compiler, which also makes one kernel of the many that scale tokens.
    **{f"compile, fuse_qkv, {kind}": COMPILED | {"quantization": kind} for kind in ("int8_dynamic", "fp8_dynamic")},
}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "sdxl": {
        "channels_last": {"channels_last": True},
        "compile, fuse_qkv, channels_last": COMPILED | {"channels_last": True},
        **COMMON_OPTIONS,
    },
    "flux-fill": {
        # Inputs are the same at each step, so that the threshold decides.
        "lossy_step_cache, a step that is reused": {"lossy_step_cache": 0.0},
        "lossy_step_cache, one that is not": {"lossy_step_cache": -1.0},
        "compile, fuse_qkv": COMPILED,
        **{f"attention {backend}": {"attention": backend} for backend in ATTENTIONS},
        **COMMON_OPTIONS,
    },
}
SATURATED: dict[str, dict[str, Any]] = {
    "no options": {},
    "compile, fuse_qkv, channels_last": COMPILED | {"channels_last": True},
    "and fp8_dynamic": COMPILED | {"channels_last": True, "quantization": "fp8_dynamic"},
}


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    build: Callable[[str, torch.device], Any]  # the pipeline of a family
    sizes: tuple[int, ...]
    rows: tuple[int, ...]
    seconds_each: float  # of a measurement
    batches: tuple[tuple[int, int], ...]  # size and pictures, for the engine against diffusers
    batch_steps: int
    rounds: int  # of each side, by turns
    saturation: tuple[int, int, int]  # size, steps and pictures
    accelerated: tuple[int, int]  # size and rows


class Bench:
    """The family that is measured now, and the figures of all so far."""

    def __init__(self, scale: Scale, meter: Meter) -> None:
        self.scale = scale
        self.meter = meter
        self.family = ""
        self.pipeline: Any = None
        self.figures: dict[str, Outcome] = {}
        self.ratios: dict[str, float] = {}
        self.compile_seconds = COMPILE_SECONDS
        self._longest_compilation = 0.0
        self.curve: dict[str, dict[str, dict[int, dict[int, float]]]] = {}  # milliseconds by model, module, size, rows

    def build(self, **options: Any) -> None:
        """The family's pipeline anew, with nothing left of the one before. Raises ValueError for what cannot be had."""
        self.pipeline = None
        torch.compiler.reset()
        self.meter.free()
        device = self.meter.device
        pipeline = self.scale.build(self.family, device)
        accelerate(pipeline, SimpleNamespace(**PLAIN | options), device)  # type: ignore[arg-type]
        self.pipeline = pipeline  # only as a whole

    def has_time_for(self, options: Mapping[str, Any]) -> bool:
        """Whether there is time to begin with these options."""
        return self.meter.may_begin(self.compile_seconds if options.get("compile") else 0.0)

    def first_calls(self, options: Mapping[str, Any], run: Callable[[], Outcome]) -> Outcome:
        """The first forwards with these options, which compile if they ask for it; if there is time."""
        if not self.has_time_for(options):
            return NO_TIME
        started_at = time.monotonic()
        outcome = run()
        if options.get("compile") and isinstance(outcome, Measured):
            self._longest_compilation = max(self._longest_compilation, time.monotonic() - started_at)
            self.compile_seconds = COMPILE_SPARE * self._longest_compilation
        return outcome

    def note(self, what: str, outcome: Outcome) -> Outcome:
        """Keeps a figure of the family."""
        self.figures[f"{self.family} {what}"] = outcome
        return outcome

    def note_ratio(self, what: str, of: Outcome, to: Outcome) -> str:
        """Keeps how many times as long the one takes as the other, if both are known; returns it as tables show it."""
        if isinstance(of, NotMeasured) or isinstance(to, NotMeasured):
            return ""
        ratio = of.milliseconds / to.milliseconds
        self.ratios[f"{self.family} {what}"] = round(ratio, 3)
        return f"{ratio:.2f}"


def knee(bench: Bench) -> None:
    """Every module by size and rows; and the knee, the rows that the engine would merge at most having seen these.

    Which is twice the most that were tried if a row still cost less there.
    """
    pipeline, sizes = bench.pipeline, bench.scale.sizes
    _knee_of(bench, "denoiser", sizes, lambda size, rows: forwards.step(pipeline, size, rows))
    _knee_of(bench, "text", (0,), lambda _, rows: forwards.texts(pipeline, rows))
    _knee_of(bench, "vae", sizes, lambda size, rows: forwards.decoding(pipeline, size, rows))


def _knee_of(bench: Bench, module: str, sizes: Sequence[int], make: Callable[[int, int], forwards.Forward]) -> None:
    grid: dict[int, dict[int, Outcome]] = {size: {} for size in sizes}
    for rows in bench.scale.rows:  # in the outer loop, so that what there may be no time for is the largest
        for size, outcomes in grid.items():
            outcome = _at_more_rows(bench.meter, outcomes, rows, make(size, rows))
            outcomes[rows] = bench.note(f"{_at(module, size)} x {rows}", outcome)
    curve = bench.curve.setdefault(bench.family, {})[module] = {}
    times, memory = [], []
    for size, outcomes in grid.items():
        curve[size] = {rows: one.milliseconds for rows, one in outcomes.items() if isinstance(one, Measured)}
        cells = [_time_cell(one, rows) for rows, one in outcomes.items()]
        times.append([str(size or ""), *cells, *_knee_cells(bench, _at(module, size), curve[size])])
        memory.append([str(size or ""), *map(_memory_cell, outcomes.values())])
    header = ["size", *(f"{rows} rows" for rows in bench.scale.rows)]
    print_table(f"{bench.family}, {module}: milliseconds (of each row)", [*header, "knee", "gain"], times)
    if bench.meter.device.type == "cuda":
        print_table(f"{bench.family}, {module}: peak GiB, weights and all", header, memory)


def _at(module: str, size: int) -> str:
    return f"{module} {size}" if size else module  # texts have no size


def _at_more_rows(meter: Meter, fewer: Mapping[int, Outcome], rows: int, run: forwards.Forward) -> Outcome:
    """No figure where there was none for fewer rows."""
    if not fewer:
        return meter.measure(run)
    most = max(fewer)
    last = fewer[most]
    if isinstance(last, NotMeasured):
        return last
    return meter.measure(run, expected_seconds=last.milliseconds / 1000 * rows / most)


def _knee_cells(bench: Bench, what: str, milliseconds: Mapping[int, float]) -> list[str]:
    if not milliseconds:
        return ["", ""]
    cost = CostModel()  # the engine's, which is so shown with what it does
    for rows, total in milliseconds.items():
        cost.observe(what, rows, total / 1000)
    cap = cost.row_cap(what)
    per_row = {rows: Measured(total / rows) for rows, total in milliseconds.items()}
    alone, merged = per_row[min(per_row)], per_row[min(cap, max(per_row))]
    return [str(cap), bench.note_ratio(f"{what}, a row alone / at the knee", alone, merged)]


def engine(bench: Bench) -> None:
    """The engine against diffusers, which makes the same pictures in one call."""
    lines = []
    for size, count in bench.scale.batches:
        what = f"{count} pictures of {size}x{size}, {bench.scale.batch_steps} steps"
        limits = EngineLimits(max_rows=2 * count, max_running=count)
        with engine_batches(bench.pipeline, bench.family, limits) as by_engine:
            by_diffusers = diffusers_batch(bench.pipeline, bench.family)
            plain, merged = _best_by_turns(bench, (by_diffusers, by_engine), size, count)
        ratio = bench.note_ratio(f"throughput of engine / diffusers, {what}", plain, merged)
        for side, outcome in (("diffusers", plain), ("engine", merged)):
            bench.note(f"{side}, {what}", outcome)
        lines.append([what, _time_cell(plain, count), _time_cell(merged, count), ratio])
    header = ["", "diffusers", "engine", "throughput of engine / diffusers"]
    print_table(f"{bench.family}: milliseconds (of each picture)", header, lines)


def _best_by_turns(bench: Bench, sides: Sequence[Painter], size: int, count: int) -> list[Outcome]:
    """The fastest round of each side, after one that does not count."""
    rounds: list[list[Measured]] = []
    while len(rounds) <= bench.scale.rounds:
        spent = sum(outcome.milliseconds for last in rounds[-1:] for outcome in last) / 1000
        if not bench.meter.has_time(spent):
            break
        asked = inputs(bench.family, size, bench.scale.batch_steps, count)
        outcomes = [bench.meter.measure_once(partial(paint, asked)) for paint in sides]
        measured = [outcome for outcome in outcomes if isinstance(outcome, Measured)]
        if len(measured) < len(sides):
            return outcomes
        rounds.append(measured)
    best = [min(of_side, key=lambda outcome: outcome.milliseconds) for of_side in zip(*rounds[1:], strict=True)]
    return [*best] or [NO_TIME for _ in sides]


def saturation(bench: Bench) -> None:
    """Pictures per second when all of them wait from the start, with the rows that the engine finds best."""
    size, steps, count = bench.scale.saturation
    record = Measured(1000 / RECORD) if (size, steps) == (1024, 20) else NotMeasured("of other pictures")
    lines = []
    for name, options in SATURATED.items():
        outcome = (rebuild(bench, options) if options else None) or _saturated(bench, options)
        if isinstance(outcome, Measured):
            outcome = Measured(outcome.milliseconds / count)
        bench.note(f"saturation, {name}, a picture", outcome)
        rate = f"{1000 / outcome.milliseconds:.2f}" if isinstance(outcome, Measured) else outcome.reason
        lines.append([name, rate, bench.note_ratio(f"throughput with {name} / record of one H200", record, outcome)])
    what = f"{bench.family}, {count} pictures of {size}x{size} that wait, {steps} steps, guided: pictures per second"
    print_table(what, ["", "engine", f"/ {RECORD:.2f} of one H200"], lines)


def _saturated(bench: Bench, options: Mapping[str, Any]) -> Outcome:
    """All pictures, after rounds of few steps from which the engine learns."""
    size, steps, count = bench.scale.saturation
    with engine_batches(bench.pipeline, bench.family, EngineLimits(max_running=count)) as paint:

        def measure(with_steps: int) -> Outcome:
            return bench.meter.measure_once(partial(paint, inputs(bench.family, size, with_steps, count)))

        first = bench.first_calls(options, lambda: measure(2))
        outcome = measure(2) if isinstance(first, Measured) else first
        if isinstance(outcome, NotMeasured):
            return outcome
        return measure(steps) if bench.meter.has_time(outcome.milliseconds / 1000 * steps / 2) else NO_TIME


def acceleration(bench: Bench) -> None:
    """A step with each option against one with none."""
    size, rows = bench.scale.accelerated
    bench.build()

    def measure_step() -> Outcome:
        return bench.meter.measure(forwards.step(bench.pipeline, size, rows))

    plain = measure_step()
    outcomes = {"none": plain}
    if bench.family == "sdxl":
        after = "lossy_guidance_cutoff, a step after it"
        outcomes[after] = bench.meter.measure(forwards.step(bench.pipeline, size, rows // 2))
    for name, options in OPTIONS[bench.family].items():
        with attention_backend():  # which diffusers sets for the whole process
            outcomes[name] = rebuild(bench, options) or bench.first_calls(options, measure_step)
    lines = []
    for name, outcome in outcomes.items():
        bench.note(f"step {size} x {rows}, {name}", outcome)
        if isinstance(outcome, Measured):
            ratio = (
                "" if outcome is plain else bench.note_ratio(f"speed of a step with {name} / without", plain, outcome)
            )
            lines.append([name, f"{outcome.milliseconds:.1f}", ratio, _memory_cell(outcome)])
    title = f"{bench.family}, a step of {rows} rows at {size}x{size}: milliseconds"
    print_table(title, ["", "a step", "speed / without", "peak GiB"], lines)
    for name, outcome in outcomes.items():
        if isinstance(outcome, NotMeasured):
            print(f"left out: {name}: {outcome.reason}")


def rebuild(bench: Bench, options: Mapping[str, Any]) -> NotMeasured | None:
    """The pipeline anew, with these options; or why not."""
    if options.get("compile") and bench.meter.device.type == "cpu":
        return NotMeasured("takes minutes on a CPU")
    if not bench.has_time_for(options):
        return NO_TIME
    try:
        bench.build(**options)
    except Exception as error:  # of the option, of memory, or of whichever library
        return not_measured(error)
    return None


def _time_cell(outcome: Outcome, parts: int) -> str:
    if isinstance(outcome, NotMeasured):
        return outcome.reason
    return f"{outcome.milliseconds:.1f} ({outcome.milliseconds / parts:.1f})"


def _memory_cell(outcome: Outcome) -> str:
    if isinstance(outcome, NotMeasured) or outcome.peak_gibibytes is None:
        return ""
    return f"{outcome.peak_gibibytes:.1f}"
