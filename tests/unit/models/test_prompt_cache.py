from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from config.schema import ModelConfig, Weights
from deployments.models.assembly import load_model
from deployments.models.prompt_cache import PromptCache
from deployments.models.protocol import CacheUse, DiffusionModel
from tests.unit.models.conftest import Parity, inputs

SIXTEEN_BYTES = {"prompt_embeds": torch.zeros(4)}


def test_a_key_is_encoded_once() -> None:
    cache, encoded = PromptCache(), []
    for key in ("otter", "cat", "otter"):
        cache.get((key,), lambda key=key: encoded.append(key) or SIXTEEN_BYTES)  # type: ignore[func-returns-value,misc]
    assert encoded == ["otter", "cat"]
    assert cache.use == CacheUse(hits=1, misses=2)


def test_texts_are_not_confused() -> None:
    cache = PromptCache()
    first = cache.get(("a", "b c"), lambda: {"x": torch.tensor(1)})
    assert cache.get(("a b", "c"), lambda: {"x": torch.tensor(2)}) is not first


def test_what_was_not_used_for_longest_makes_room() -> None:
    cache, encoded = PromptCache(most_bytes=32), []
    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get((key,), lambda key=key: encoded.append(key) or SIXTEEN_BYTES)  # type: ignore[func-returns-value,misc]
    assert encoded == ["a", "b", "c", "b"]


def test_what_is_larger_than_the_cache_is_encoded_each_time() -> None:
    assert PromptCache(most_bytes=8).get(("a",), lambda: SIXTEEN_BYTES) is SIXTEEN_BYTES


def test_what_two_encode_at_once_is_counted_once() -> None:
    """One waits amid its encoding, as engines let it, and another begins."""
    cache, encoded = PromptCache(most_bytes=32), []
    cache.get(("a",), lambda: cache.get(("a",), lambda: SIXTEEN_BYTES))
    for key in ("b", "a", "b"):
        cache.get((key,), lambda key=key: encoded.append(key) or SIXTEEN_BYTES)  # type: ignore[func-returns-value,misc]
    assert encoded == ["b"]


def test_no_prompt_is_kept() -> None:
    cache = PromptCache()
    cache.get(("a secret",), lambda: SIXTEEN_BYTES)
    assert "secret" not in repr(cache.__dict__)


def test_a_failure_is_not_remembered() -> None:
    cache = PromptCache()
    with pytest.raises(ZeroDivisionError):
        cache.get(("a",), lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    assert cache.get(("a",), lambda: SIXTEEN_BYTES) is SIXTEEN_BYTES


@pytest.fixture(scope="module", params=["sdxl", "flux-schnell"])
def model(request: Any) -> DiffusionModel:
    weights = Weights(source=f"small:{request.param}")
    return load_model(ModelConfig(family=request.param, weights=weights, device="cpu"))


@pytest.mark.parametrize("prompt", ["a red circle", "a (red)1.5 circle"])
def test_the_second_picture_of_a_prompt_is_the_first_without_encoding(
    parity: Parity, model: DiffusionModel, prompt: str
) -> None:
    def encodings() -> int:
        forwards = parity.engine.statistics().forwards
        return sum(made.calls for label, made in forwards.items() if label.startswith("text_encoder"))

    asked = inputs(prompt=prompt, negative_prompt="a dog", steps=2)
    first, before = parity.alone(model, asked), encodings()
    assert before
    assert np.array_equal(parity.alone(model, asked), first)
    assert encodings() == before
    parity.alone(model, inputs(prompt=prompt + "s", steps=2))
    assert encodings() > before
