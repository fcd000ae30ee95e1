"""What memory of a GPU each model takes: computed of full-size architectures on torch's meta device, without weights.

    python -m benchmarks.memory

Prints what weights take, also where the service's own rule quantizes them; what a forward needs beside them, which is
the most bytes of tensors that are alive at one time; and how many rows would then fit into GPUs of some sizes, by the
engine's own rule. Attention counts as the kernels of GPUs have it, without the matrix of scores. Not counted: what the
kernels of convolutions and products take for themselves, and the rows that the engine copies together. What the driver
takes is assumed. Needs torch, transformers, diffusers and greenlet, and neither a GPU nor a download.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from benchmarks import forwards, full_size
from benchmarks.measuring import GIBIBYTE, print_table
from deployments.engine.memory import MemoryModel
from deployments.models.quantization import linears_of_blocks

SIZE = 1024  # of a picture's sides
GPUS = (15, 22, 31, 40, 44)  # GiB
OF_THE_DRIVER = GIBIBYTE  # assumed; of a replica that runs, `easel_device_memory_bytes` tells it as `foreign`
MOST_ROWS = {"sdxl": 32, "sdxl-pose": 32, "flux-schnell": 8, "flux-fill": 8}  # by `max_running`, SDXL guided
BESIDE_A_ROW = 5  # bytes that torchao keeps for each row of a weight in 8 bits: a scale and a zero point


class Weights:
    """Bytes of a pipeline's modules, by kind: `denoiser`, with its ControlNet, `texts` and `vae`."""

    def __init__(self, pipeline: Any) -> None:
        modules = _modules(pipeline)
        self._denoisers = [each for name, each in modules.items() if name in ("unet", "controlnet", "transformer")]
        self._encoders = [each for name, each in modules.items() if name.startswith("text_encoder")]
        for denoiser in self._denoisers:  # a ControlNet does not say so; see `accelerate`
            denoiser._repeated_blocks = self._denoisers[0]._repeated_blocks
        self.denoiser = sum(map(_size, self._denoisers))
        self.texts = sum(map(_size, self._encoders))
        self.vae = _size(modules["vae"])

    def denoiser_in_8_bits(self, kind: Any) -> int:
        """With `quantization`."""
        return self.denoiser - sum(_saved(linears_of_blocks(denoiser, kind)) for denoiser in self._denoisers)

    def texts_in_8_bits(self) -> int:
        """With `text_encoder_quantization`."""
        layers = (layer for encoder in self._encoders for layer in encoder.modules())
        return self.texts - _saved(layer for layer in layers if isinstance(layer, nn.Linear))

    def layer(self) -> int:
        """The largest of those that `group_offload` moves."""
        layers = (layer for module in (*self._denoisers, *self._encoders) for layer in module.modules())
        return max(_size(layer) for layer in layers if not list(layer.children()))


def needed(run: Callable[[], object], there: Iterable[Tensor]) -> int:
    """Bytes that `run` needs beside the tensors that are there: the most that is alive at one time."""
    with torch.no_grad(), _AttentionWithoutScores(), _Alive(there) as alive:
        run()
    return alive.most


def rows_that_fit(left: int, of_rows: Mapping[int, int]) -> int:
    """Into the bytes that weights leave, by the engine's own rule. `of_rows`: the bytes that some numbers of rows need.

    The driver's are taken off.
    """
    model, free = MemoryModel(), left - OF_THE_DRIVER
    for rows, size in of_rows.items():
        model.observe("shape", rows, size)
    return (model.row_cap("shape", free) or 0) if free >= min(of_rows.values()) else 0


def main() -> None:
    weights: dict[str, Weights] = {}
    steps: dict[str, dict[int, int]] = {}
    decodings: dict[str, dict[int, int]] = {}
    for family in full_size.FAMILIES:
        pipeline = full_size.build(family, torch.device("meta"))
        weights[family] = Weights(pipeline)
        there = [tensor for module in _modules(pipeline).values() for tensor in _tensors(module)]
        steps[family] = {rows: needed(forwards.step(pipeline, SIZE, rows), there) for rows in (1, 2)}
        decodings[family] = {rows: needed(forwards.decoding(pipeline, SIZE, rows), there) for rows in (1, 2)}
    _print_weights(weights)
    print_table(
        f"GiB that a forward needs beside them, at {SIZE}x{SIZE}",
        ("", "a step, 1 row", "each further row", "decoding, 1 picture", "each further one"),
        [
            [family, *(_gibibytes(size) for of in (steps, decodings) for size in _first_and_further(of[family]))]
            for family in weights
        ],
    )
    print_table(
        f"Rows of a step at once, at {SIZE}x{SIZE}, in a GPU of",
        ("", *(f"{gpu} GiB" for gpu in GPUS)),
        [
            [
                f"{family}{options}",
                *(_fitting(family, gpu * GIBIBYTE - held, steps[family], decodings[family]) for gpu in GPUS),
            ]
            for family, each in weights.items()
            for options, held in _held(each)
        ],
    )


def _print_weights(weights: Mapping[str, Weights]) -> None:
    print_table(
        "GiB of weights, in 16 bits and of those that are quantized in 8",
        ("", "denoiser", "int8_weight_only", "dynamic", "text encoders", "int8_weight_only", "VAE", "all in 16 bits"),
        [
            [
                family,
                *map(
                    _gibibytes,
                    (
                        each.denoiser,
                        each.denoiser_in_8_bits("int8_weight_only"),
                        each.denoiser_in_8_bits("fp8_dynamic"),
                        each.texts,
                        each.texts_in_8_bits(),
                        each.vae,
                        each.denoiser + each.texts + each.vae,
                    ),
                ),
            ]
            for family, each in weights.items()
        ],
    )


def _held(weights: Weights) -> Iterator[tuple[str, int]]:
    """Bytes of weights on the GPU by what options there are."""
    in_8_bits = weights.denoiser_in_8_bits("int8_weight_only") + weights.vae
    yield "", weights.denoiser + weights.texts + weights.vae
    yield ", quantization", in_8_bits + weights.texts
    yield ", and of the text encoders", in_8_bits + weights.texts_in_8_bits()
    yield ", group_offload", 2 * weights.layer() + weights.vae  # one layer is used, and the next one comes


def _fitting(family: str, left: int, step: Mapping[int, int], decoding: Mapping[int, int]) -> str:
    rows = rows_that_fit(left, step)
    if rows == 0 or rows_that_fit(left, decoding) == 0:
        return "–"
    return str(rows) if rows < MOST_ROWS[family] else "all"


def _first_and_further(of_rows: Mapping[int, int]) -> tuple[int, int]:
    return of_rows[1], of_rows[2] - of_rows[1]


def _saved(layers: Iterable[nn.Linear]) -> int:
    return sum(
        layer.weight.numel() * (layer.weight.itemsize - 1) - layer.out_features * BESIDE_A_ROW for layer in layers
    )


def _gibibytes(size: int) -> str:
    return f"{size / GIBIBYTE:.2f}"


def _modules(pipeline: Any) -> dict[str, Any]:
    return {name: each for name, each in pipeline.components.items() if isinstance(each, nn.Module)}


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _size(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in _tensors(module))


class _Alive(TorchDispatchMode):
    """Counts what is made within, but for views."""

    def __init__(self, there: Iterable[Tensor]) -> None:
        super().__init__()
        self.most = 0
        self._now = 0
        self._known = WeakIdKeyDictionary({tensor.untyped_storage(): 0 for tensor in there})

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage() not in self._known:
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        self._known[storage] = size = storage.nbytes()
        self._now += size
        self.most = max(self.most, self._now)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self._now -= size


class _AttentionWithoutScores(TorchFunctionMode):
    """In the place of a GPU's kernel: on the meta device torch would multiply the matrices out."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0] if args else kwargs["query"])
        return func(*args, **(kwargs or {}))


if __name__ == "__main__":
    main()
