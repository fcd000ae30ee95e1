"""What memory models take, computed: against what torch and torchao really hold, and as docs/sizing.md quotes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from benchmarks import forwards, full_size, memory
from benchmarks.gpu_sections import PLAIN
from benchmarks.measuring import GIBIBYTE
from benchmarks.pictures import small
from deployments.models.acceleration import accelerate

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")


def held(*modules: nn.Module) -> int:
    """Bytes of what is stored, also of quantized tensors."""

    def parts(tensor: Any) -> Iterator[Tensor]:
        if hasattr(tensor, "__tensor_flatten__"):
            for name in tensor.__tensor_flatten__()[0]:
                yield from parts(getattr(tensor, name))
        else:
            yield tensor

    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    return sum(part.numel() * part.itemsize for tensor in tensors for part in parts(tensor))


@pytest.mark.parametrize("kind", ["int8_weight_only", "int8_dynamic"])
@pytest.mark.parametrize("family", ["sdxl-pose", "flux-schnell"])
def test_weights_in_8_bits_are_what_torchao_makes_of_them(family: str, kind: str) -> None:
    pipeline: Any = small(family, CPU)
    weights = memory.Weights(pipeline)
    denoisers = [pipeline.transformer] if family == "flux-schnell" else [pipeline.unet, pipeline.controlnet]
    encoders = [pipeline.text_encoder, pipeline.text_encoder_2]
    assert (weights.denoiser, weights.texts, weights.vae) == (held(*denoisers), held(*encoders), held(pipeline.vae))
    computed = weights.denoiser_in_8_bits(kind), weights.texts_in_8_bits()
    options = PLAIN | {"quantization": kind, "text_encoder_quantization": "int8_weight_only"}
    accelerate(pipeline, SimpleNamespace(**options), CPU)  # type: ignore[arg-type]
    assert computed == (held(*denoisers), held(*encoders))
    assert computed[0] < weights.denoiser
    assert computed[1] < weights.texts


class TestNeeded:
    def test_is_the_most_that_is_alive_at_one_time(self) -> None:
        there = torch.zeros(1000, device="meta")

        def run() -> Tensor:
            first = there.view(10, 100) + 1  # 4 kB
            second = first.view(1000) * 2  # 4 kB
            del first
            second.add_(there)
            return second[:500] + 1  # 2 kB

        assert memory.needed(run, [there]) == 8000

    def test_attention_keeps_no_scores(self) -> None:
        there = query, key, value = tuple(torch.zeros(1, 2, 1000, 8, device="meta") for _ in range(3))
        attention = F.scaled_dot_product_attention
        assert memory.needed(lambda: attention(query, key, value=value), there) == query.nbytes
        assert memory.needed(lambda: attention(query=query, key=key, value=value), there) == query.nbytes
        assert memory.needed(lambda: query @ key.transpose(2, 3), there) == 2 * 1000 * 1000 * 4


class TestRowsThatFit:
    @pytest.mark.parametrize(
        ("left", "rows"),
        [(3 * GIBIBYTE, 14), (GIBIBYTE + 2**28, 1), (GIBIBYTE + 2**27, 1), (GIBIBYTE + 2**26, 0), (0, 0)],
    )
    def test_leaves_some_to_the_driver_and_the_allocator(self, left: int, rows: int) -> None:
        assert memory.rows_that_fit(left, {1: 2**27, 2: 2**28}) == rows


def test_no_more_rows_are_counted_than_are_let_run() -> None:
    applications = yaml.safe_load((ROOT / "config" / "serve.yaml").read_bytes())["applications"]
    models = [each for each in applications if each["import_path"] == "deployments.diffusion:build"]
    running = {
        each["args"]["family"]: each["deployments"][0]["user_config"]["batching"]["max_running"] for each in models
    }
    rows_of_a_picture = {"sdxl": 2, "sdxl-pose": 2, "flux-schnell": 1, "flux-fill": 1}
    assert {family: rows * running[family] for family, rows in rows_of_a_picture.items()} == memory.MOST_ROWS


@pytest.mark.parametrize("family", full_size.FAMILIES)
def test_the_gpus_that_the_manifests_ask_for_suffice(family: str) -> None:
    workers = yaml.safe_load((ROOT / "k8s" / "overlays" / "production" / "workers.yaml").read_bytes())
    (group,) = [
        each
        for each in workers["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        if each["groupName"] == family.partition("-")[0]
    ]
    required = group["template"]["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    ((selector,),) = [term["matchExpressions"] for term in required["nodeSelectorTerms"]]
    assert (selector["key"], selector["operator"]) == ("nvidia.com/gpu.memory", "Gt")
    pipeline: Any = full_size.build(family, torch.device("meta"))
    weights = memory.Weights(pipeline)
    left = int(selector["values"][0]) * 2**20 - weights.denoiser - weights.texts - weights.vae
    decoding = memory.needed(forwards.decoding(pipeline, 1024, 1), pipeline.vae.parameters())
    assert memory.rows_that_fit(left, {1: decoding}) >= 4


@pytest.mark.long("builds every model, a quarter of a minute")
def test_the_documentation_quotes_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    memory.main()
    printed = capsys.readouterr().out.strip("\n")
    assert f"```\n{printed}\n```" in (ROOT / "docs" / "sizing.md").read_text()
