"""What full-size models cost on this machine's GPU, and what the engine adds to it.

    python -m benchmarks.gpu [--models sdxl ...] [--sections knee ...] [--seconds 540] [--output FILE] [--curve FILE]
    python -m benchmarks.gpu --smoke        # tries the script itself: the small models, on a CPU, in under a minute

SDXL, with a pose ControlNet too, FLUX.1 schnell and FLUX.1 Fill, in bfloat16 with random weights: speed does not depend
on the values, and nothing is downloaded. Needs torch for CUDA, transformers, diffusers and greenlet; torchao for those
options that quantize; written for torch 2.13 and torchao 0.18. A model that does not fit the GPU is left out, with the
reason, and so is what the time does not suffice for, and what fails. The sections, of which each prints tables:

    knee          a step by size and rows, text encoders and VAE by rows: milliseconds, peak memory, and the knee: the
                  most rows that the engine would merge, by its own model of cost
    engine        the engine against diffusers' own pipeline, the same pictures as one batch
    saturation    SDXL, 1024x1024, 20 steps, guided: pictures per second, beside the public record for one H200
    acceleration  a step at one shape with each option, against none

The last line is JSON with all ratios; more is better in each. `--output` writes every figure, with the hardware and the
versions. `--curve` writes the milliseconds of a forward by model, module ("denoiser", "text", "vae"), size and rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import diffusers.utils.logging
import torch
import transformers.utils.logging

from benchmarks import full_size, gpu_sections
from benchmarks.gpu_sections import Bench, Scale, rebuild
from benchmarks.measuring import GIBIBYTE, Meter, NotMeasured, machine, not_measured
from benchmarks.pictures import small

FAMILIES = ("sdxl", "sdxl-pose", "flux-schnell", "flux-fill")
FULL = Scale(
    build=full_size.build,
    sizes=(256, 512, 768, 1024),
    rows=(1, 2, 4, 8, 16),
    seconds_each=0.3,
    batches=((512, 8), (1024, 4)),
    batch_steps=4,
    rounds=2,
    saturation=(1024, 20, 16),
    accelerated=(1024, 4),
)
SMOKE = Scale(
    build=small,
    sizes=(64, 128),
    rows=(1, 2),
    seconds_each=0.001,
    batches=((64, 2),),
    batch_steps=2,
    rounds=1,
    saturation=(64, 2, 4),
    accelerated=(64, 2),
)
SPARE = 2 * GIBIBYTE  # beside the weights, the least that running takes


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the benchmark."""

    run: Callable[[Bench], None]
    families: tuple[str, ...]
    weight: int  # its share of the time beside others


SECTIONS = {
    "knee": Section(gpu_sections.knee, ("sdxl", "sdxl-pose", "flux-schnell"), 3),
    "engine": Section(gpu_sections.engine, FAMILIES, 3),
    "saturation": Section(gpu_sections.saturation, ("sdxl",), 6),
    "acceleration": Section(gpu_sections.acceleration, ("sdxl", "flux-fill"), 8),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what the command line asks for."""
    options = _parse(arguments)
    device = torch.device(options.device or ("cpu" if options.smoke else "cuda"))
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("torch finds no CUDA device here; --smoke tries this script on the CPU")
        torch.cuda.set_device(device.index or 0)  # for what takes the current one, as torch's timer does
    scale = SMOKE if options.smoke else FULL
    bench = Bench(scale, Meter(device, options.seconds, scale.seconds_each))
    hardware = machine(device)
    print(", ".join(f"{name} {value}" for name, value in hardware.items()))
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    try:
        with torch.no_grad():
            _run(bench, options.models, options.sections)
    finally:  # what was measured is kept, whatever ends the rest
        print(f"\n{json.dumps(bench.ratios)}", flush=True)
        if options.output is not None:
            figures = {name: dataclasses.asdict(figure) for name, figure in bench.figures.items()}
            everything = {"machine": hardware, "ratios": bench.ratios, "figures": figures}
            options.output.write_text(json.dumps(everything, indent=1) + "\n")
        if options.curve is not None:
            options.curve.write_text(json.dumps(bench.curve, indent=1) + "\n")


def _run(bench: Bench, families: Sequence[str], sections: Sequence[str]) -> None:
    todo = [
        (family, name)
        for family in families
        if _fits(family, bench.meter.device)
        for name, section in SECTIONS.items()
        if name in sections and family in section.families
    ]
    for index, (family, name) in enumerate(todo):
        bench.meter.allot(SECTIONS[name].weight / sum(SECTIONS[later].weight for _, later in todo[index:]))
        if family != bench.family:
            bench.family, bench.pipeline = family, None
        reason = rebuild(bench, {}) if bench.pipeline is None else None
        if reason is None:
            reason = _failure(SECTIONS[name], bench)
        if reason is not None:
            print(f"\n{family}, {name}: left out: {reason.reason}")


def _failure(section: Section, bench: Bench) -> NotMeasured | None:
    """Runs it. What it fails with ends no other; nor does what it leaves of the pipeline serve another."""
    try:
        section.run(bench)
    except Exception as error:
        bench.pipeline = None
        return not_measured(error)
    return None


def _fits(family: str, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    weights = sum(full_size.parameter_counts(family).values()) * full_size.DTYPE.itemsize
    free, _ = torch.cuda.mem_get_info(device)
    if weights + SPARE <= free:
        return True
    print(
        f"\n{family}: left out: its weights take {weights / GIBIBYTE:.1f} GiB, of which the device has "
        f"{free / GIBIBYTE:.1f} free"
    )
    return False


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=(__doc__ or "").split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=540, help="to end within, all in all")
    parser.add_argument("--device", help="as torch names it; default: cuda, or cpu with --smoke")
    parser.add_argument("--smoke", action="store_true", help="small models and shapes")
    parser.add_argument("--output", type=Path, metavar="FILE", help="every figure, as JSON")
    parser.add_argument(
        "--curve", type=Path, metavar="FILE", help="milliseconds by model, module, size and rows, as JSON"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
