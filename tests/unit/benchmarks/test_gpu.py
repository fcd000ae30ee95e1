"""The benchmark of full-size models: all of it on small ones, and of the full size what needs no device."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import forwards, full_size, gpu
from benchmarks.gpu_sections import OPTIONS, PLAIN, SATURATED
from benchmarks.measuring import Measured, Meter, NotMeasured
from benchmarks.pictures import diffusers_batch, engine_batches, inputs, small
from config.schema import Acceleration
from deployments.engine.engine import EngineLimits

REPOSITORY = Path(__file__).parents[3]
CPU = torch.device("cpu")

# Runs a module on a machine that has no more than the benchmark says that it needs.
BARE = """
import runpy, sys

class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "pydantic", "fastapi", "starlette"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Lacking())
sys.argv[1:] = sys.argv[2:]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What `--smoke` prints, and the two files that it writes."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-c", BARE, "benchmarks.gpu", "--smoke"]
    command += ["--output", str(folder / "output.json"), "--curve", str(folder / "curve.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # more wait for each other on a busy machine
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    return run.stdout, *(json.loads((folder / f"{name}.json").read_text()) for name in ("output", "curve"))


def test_every_section_has_its_figures(smoke: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    printed, output, curve = smoke
    figures = output["figures"]
    without = {name: figure["reason"] for name, figure in figures.items() if "reason" in figure}
    assert all(figure["milliseconds"] > 0 for name, figure in figures.items() if name not in without)
    # What a CPU without extra packages lacks, each with its reason, and nothing else.
    lacking = ("compile", "fp8", "int8", "attention")
    assert {name for name in without if not any(word in name for word in lacking)} == set()
    assert {"torch", "diffusers", "transformers", "device"} < set(output["machine"])
    for family, modules in curve.items():
        for module, sizes in modules.items():
            assert set(sizes) == ({"0"} if module == "text" else {"64", "128"}), family
            assert all(set(by_rows) == {"1", "2"} for by_rows in sizes.values())
    assert {family: set(modules) for family, modules in curve.items()} == {
        family: {"denoiser", "text", "vae"} for family in ("sdxl", "sdxl-pose", "flux-schnell")
    }
    for family in ("sdxl", "sdxl-pose", "flux-schnell", "flux-fill"):
        assert f"{family} engine, 2 pictures of 64x64, 2 steps" in figures
    assert "sdxl saturation, no options, a picture" in figures
    for family in ("sdxl", "flux-fill"):
        assert {name for name in figures if name.startswith(f"{family} step 64 x 2, ")} >= {
            f"{family} step 64 x 2, {option}" for option in OPTIONS[family]
        }
    assert "sdxl, denoiser: milliseconds" in printed


def test_the_last_line_is_all_ratios(smoke: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    printed, output, _ = smoke
    ratios = json.loads(printed.splitlines()[-1])
    assert ratios == output["ratios"]
    assert all(ratio > 0 for ratio in ratios.values())
    of_engine = [name for name in ratios if "throughput of engine / diffusers" in name]
    assert len(of_engine) == 4
    assert not any("record" in name for name in ratios)  # which is of other pictures


def test_options_are_those_of_the_configuration() -> None:
    assert Acceleration().model_dump() == PLAIN
    for options in [*SATURATED.values(), *(options for family in OPTIONS.values() for options in family.values())]:
        for key, value in options.items():
            if key != "lossy_step_cache":  # of which the bench takes what no operator may
                Acceleration.model_validate({key: value})


def test_without_time_nothing_is_begun(capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--smoke", "--seconds", "0", "--models", "sdxl"])
    printed = capsys.readouterr().out
    assert printed.count("no time left") == 4  # one for each section
    assert json.loads(printed.splitlines()[-1]) == {}


def test_a_model_that_does_not_fit_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = 24 * 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, free))
    assert gpu._fits("sdxl-pose", torch.device("cuda"))
    assert not gpu._fits("flux-fill", torch.device("cuda"))
    assert (
        "flux-fill: left out: its weights take 31.4 GiB, of which the device has 24.0 free" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("family", "millions"),
    [
        ("sdxl-pose", {"unet": 2567, "controlnet": 1251, "text_encoder": 123, "text_encoder_2": 695, "vae": 84}),
        ("flux-schnell", {"transformer": 11891, "text_encoder": 123, "text_encoder_2": 4762, "vae": 84}),
        ("flux-fill", {"transformer": 11902, "text_encoder": 123, "text_encoder_2": 4762, "vae": 84}),
    ],
)
def test_models_have_the_published_number_of_parameters(family: str, millions: dict[str, int]) -> None:
    counted = full_size.parameter_counts(family)
    assert {name: round(count / 1e6) for name, count in counted.items()} == millions


@pytest.mark.parametrize("family", ["sdxl-pose", "flux-fill"])
def test_full_size_modules_take_what_they_are_measured_with(family: str) -> None:
    """On a device that only knows shapes."""
    pipeline: Any = full_size.build(family, torch.device("meta"))
    assert {component.dtype for component in modules_of(pipeline)} == {torch.bfloat16}
    with torch.no_grad():
        ((stepped,), (decoded,)) = forwards.step(pipeline, 256, 2)(), forwards.decoding(pipeline, 256, 3)()  # type: ignore[misc]
        forwards.texts(pipeline, 2)()
    assert stepped.shape == ((2, 4, 32, 32) if family == "sdxl-pose" else (2, 16 * 16, 64))
    assert decoded.shape == (3, 3, 256, 256)


def modules_of(pipeline: Any) -> list[Any]:
    return [component for component in pipeline.components.values() if isinstance(component, nn.Module)]


@pytest.mark.parametrize("family", ["sdxl-pose", "flux-fill"])
def test_both_sides_do_the_same_work(family: str) -> None:
    pipeline = small(family, CPU)
    rounds = [inputs(family, 64, 2, 2) for _ in range(2)]
    rows: Counter[str] = Counter()
    for name in ("transformer", "unet", "controlnet", "text_encoder", "text_encoder_2"):
        if name in pipeline.components:
            pipeline.components[name].register_forward_hook(functools.partial(count, rows, name), with_kwargs=True)
    with torch.no_grad():
        for asked in rounds:
            diffusers_batch(pipeline, family)(asked)
    by_diffusers = dict(rows)
    rows.clear()
    with engine_batches(pipeline, family, EngineLimits(max_rows=4, max_running=2)) as paint:
        for asked in rounds:
            paint(asked)
    assert by_diffusers == rows
    expected = {"transformer": 8} if family.startswith("flux") else {"unet": 16}
    assert expected.items() <= rows.items()


def count(rows: Counter[str], name: str, _module: nn.Module, args: Any, kwargs: Any, _output: Any) -> None:
    """As a hook of a module's forward, whose first argument has rows."""
    rows[name] += len(next(iter([*args, *kwargs.values()])))


def counting(failures: Sequence[Exception] = ()) -> tuple[Any, list[int]]:
    calls: list[int] = []
    remaining = list(failures)

    def run() -> None:
        calls.append(1)
        if remaining:
            raise remaining.pop(0)

    return run, calls


def test_a_meter_measures_while_there_is_time() -> None:
    meter = Meter(CPU, seconds=1000, seconds_each=0.0001)
    run, calls = counting()
    assert isinstance(meter.measure(run, expected_seconds=300), Measured)
    assert len(calls) >= 3
    calls.clear()
    assert meter.measure(run, expected_seconds=400) == NotMeasured("no time left")
    meter.allot(0.5)
    assert meter.measure(run, expected_seconds=300) == NotMeasured("no time left")
    assert not calls
    meter.allot(1.0)
    assert isinstance(meter.measure(run, expected_seconds=300), Measured)


def test_a_failure_is_a_reason_and_a_mistake_is_not() -> None:
    meter = Meter(CPU, seconds=1000, seconds_each=0.0001)
    assert meter.measure(counting([torch.OutOfMemoryError("CUDA out of memory")])[0]) == NotMeasured("out of memory")
    failed = meter.measure_once(counting([RuntimeError("no kernel\nmore")])[0])
    assert failed == NotMeasured("RuntimeError: no kernel")
    with pytest.raises(TypeError):
        meter.measure(counting([TypeError()])[0])
