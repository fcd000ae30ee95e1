"""The benchmark of full-size models: all of it on small ones, and of the full size what needs no device."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import forwards, full_size, gpu, gpu_sections
from benchmarks.gpu_sections import OPTIONS, PLAIN, SATURATED, Bench, rebuild
from benchmarks.measuring import Measured, Meter, NotMeasured, machine
from benchmarks.pictures import diffusers_batch, engine_batches, inputs, small
from config.schema import Acceleration
from deployments.engine.engine import EngineLimits

REPOSITORY = Path(__file__).parents[3]
CPU = torch.device("cpu")

DOCUMENTED = ("torch", "transformers", "diffusers", "greenlet", "torchao")

# Runs the benchmark on a machine that lacks the modules which come first in the command line, as one argument.
BARE = """
import runpy, sys
from importlib.machinery import PathFinder

lacking = set(sys.argv.pop(1).split())

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in lacking else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def lacking_modules() -> set[str]:
    """What our packages are imported as, but those that the benchmark asks for and what these ask for themselves."""
    project = (REPOSITORY / "pyproject.toml").read_text().partition("[tool.")[0]  # before 3.11 nothing reads TOML
    ours = {normalized(name) for name in re.findall(r'^    "([\w.-]+)', project, re.MULTILINE)}
    required = [one for name in DOCUMENTED for one in importlib.metadata.requires(name) or [] if "extra ==" not in one]
    there = {normalized(name) for name in (*DOCUMENTED, *(re.split(r"[^\w.-]", one)[0] for one in required))}
    return {
        module
        for module, packages in importlib.metadata.packages_distributions().items()
        if {normalized(package) for package in packages} & (ours - there)
    }


def normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """What `--smoke` prints, and the two files that it writes."""
    folder = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-c", BARE, " ".join(lacking_modules()), "--smoke"]
    command += ["--output", str(folder / "output.json"), "--curve", str(folder / "curve.json")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}  # more wait for each other on a busy machine
    run = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    return run.stdout, *(json.loads((folder / f"{name}.json").read_text()) for name in ("output", "curve"))


def test_the_bare_machine_lacks_what_only_the_service_needs() -> None:
    """The names of some modules are not those of their packages."""
    lacking = lacking_modules()
    assert {"ray", "pydantic", "fastapi", "anyio", "cv2", "multipart", "accelerate", "compel"} <= lacking
    assert not {*DOCUMENTED, "numpy", "PIL", "huggingface_hub", "yaml"} & lacking


@pytest.mark.long("measures every section, more than half a minute")
def test_every_section_has_its_figures(smoke: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    printed, output, curve = smoke
    figures = output["figures"]
    without = {name: figure["reason"] for name, figure in figures.items() if "reason" in figure}
    assert all(figure["milliseconds"] > 0 for name, figure in figures.items() if name not in without)
    # What a CPU without extra packages lacks, each with its reason, and nothing else.
    expected = {f"sdxl saturation, {name}, a picture": "takes minutes on a CPU" for name in list(SATURATED)[1:]}
    for family, options in OPTIONS.items():
        for name, values in options.items():
            if "compile" in values:
                expected[f"{family} step 64 x 2, {name}"] = "takes minutes on a CPU"
            elif values.get("attention", "_native_flash") != "_native_flash":
                reason = f"ValueError: acceleration.attention: '{values['attention']}' does not work in torch.float32"
                expected[f"{family} step 64 x 2, {name}"] = reason
    assert set(without) == set(expected)
    assert all(reason.startswith(expected[name]) for name, reason in without.items())
    assert len(expected) == 14
    assert {
        "flux-fill step 64 x 2, attention _native_flash",
        "flux-fill step 64 x 2, quantization int8_weight_only",
        "sdxl step 64 x 2, quantization int8_weight_only",
    } < set(figures) - set(without)
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


@pytest.mark.long("measures every section, more than half a minute")
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


def test_whatever_fails_is_left_out_with_its_reason() -> None:
    meter = Meter(CPU, seconds=1000, seconds_each=0.0001)
    assert meter.measure(counting([torch.OutOfMemoryError("CUDA out of memory")])[0]) == NotMeasured("out of memory")
    failed = meter.measure_once(counting([RuntimeError("no kernel\nmore")])[0])
    assert failed == NotMeasured("RuntimeError: no kernel")
    assert meter.measure(counting([TypeError("no 'x'")])[0]) == NotMeasured("TypeError: no 'x'")
    assert meter.measure(counting([KeyError()])[0]) == NotMeasured("KeyError")
    assert meter.measure(counting([RuntimeError("\nmore")])[0]) == NotMeasured("RuntimeError")


def failing(*_: object) -> Any:
    raise TypeError


def test_an_option_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sections, "accelerate", failing)
    made = bench()
    assert rebuild(made, {}) == NotMeasured("TypeError")
    assert made.pipeline is None


def test_a_section_that_fails_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipelines: list[Any] = []

    def keep(bench: Bench) -> None:
        pipelines.append(bench.pipeline)

    def fail(bench: Bench) -> None:
        keep(bench)
        raise TypeError

    broken = dataclasses.replace(gpu.SECTIONS["knee"], run=fail)
    whole = dataclasses.replace(gpu.SECTIONS["engine"], run=keep)
    monkeypatch.setattr(gpu, "SECTIONS", {"knee": broken, "engine": whole})
    gpu.main(["--smoke", "--models", "sdxl", "--sections", "knee", "engine"])
    printed = capsys.readouterr().out
    assert "\nsdxl, knee: left out: TypeError\n" in printed
    assert printed.splitlines()[-1] == "{}"
    assert len({id(pipeline) for pipeline in pipelines} - {id(None)}) == 2


@pytest.mark.parametrize("arguments", [[], ["--output", "/proc/none"]])
def test_whatever_ends_it_the_last_line_is_all_ratios(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "_run", failing)
    with pytest.raises((TypeError, OSError)):
        gpu.main(["--smoke", *arguments])
    assert capsys.readouterr().out.splitlines()[-1] == "{}"


def test_the_device_that_was_asked_for_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(gpu, "machine", lambda _device: {})
    monkeypatch.setattr(gpu, "_run", lambda *_: None)
    gpu.main(["--device", "cuda:1"])
    gpu.main([])
    assert chosen == [1, 0]


@pytest.mark.parametrize(
    ("answer", "known"), [("580.1, 700.00 W, 1980 MHz\n", "580.1, 700.00 W, 1980 MHz"), ("", None)]
)
def test_the_driver_is_asked_of_that_device(answer: str, known: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, returncode=0, stdout=answer)

    properties = SimpleNamespace(name="H100", total_memory=80 * 2**30, uuid="6fa2-c5")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    found = machine(torch.device("cuda:1"))
    assert found["device"] == "H100, 80 GiB"
    assert found["driver, power limit, clock"] == (known or "unknown")
    assert asked[0][:2] == ["/bin/nvidia-smi", "--id=GPU-6fa2-c5"]


def bench(seconds: float = 1000) -> Bench:
    made = Bench(gpu.SMOKE, Meter(CPU, seconds, seconds_each=0.0001))
    made.family = "sdxl"
    return made


def test_the_knee_is_the_most_rows_that_the_engine_would_merge() -> None:
    made = bench()
    assert gpu_sections._knee_cells(made, "flat", {1: 10, 2: 10.4, 4: 20.6, 8: 41}) == ["2", "1.92"]
    assert gpu_sections._knee_cells(made, "steep", {1: 10, 2: 18.6, 4: 36}) == ["1", "1.00"]
    assert gpu_sections._knee_cells(made, "unexplored", {1: 10, 2: 12}) == ["4", "1.67"]
    assert made.ratios["sdxl unexplored, a row alone / at the knee"] == 1.667


def test_compilations_begin_with_time_to_spare_only() -> None:
    compiles = {"compile": True}
    run, calls = counting()

    def first_calls(made: Bench, seconds: float) -> Any:
        return made.first_calls(compiles, lambda: made.meter.measure_once(lambda: (run(), time.sleep(seconds))))

    assert first_calls(bench(seconds=119), 0) == NotMeasured("no time left")
    assert not calls
    made = bench(seconds=121)
    assert isinstance(first_calls(made, 0.2), Measured)
    assert isinstance(first_calls(made, 0.0), Measured)
    assert 0.6 <= made.compile_seconds < 10  # of the longest, three times
    failed = made.first_calls(compiles, lambda: made.meter.measure_once(failing))
    assert isinstance(failed, NotMeasured)
    made.meter.allot(0.0)
    assert first_calls(made, 0) == NotMeasured("no time left")
    assert len(calls) == 2


@pytest.mark.parametrize(("options", "seconds"), [({}, 0), ({"compile": True}, 60)])
def test_where_all_wait_nothing_is_begun_without_time(options: dict[str, Any], seconds: float) -> None:
    made = bench(seconds)
    made.pipeline = small("sdxl", CPU)
    made.pipeline.unet.register_forward_hook(failing)
    assert gpu_sections._saturated(made, options) == NotMeasured("no time left")
