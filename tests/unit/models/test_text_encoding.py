"""Weights are proven by distances between embeddings, and against diffusers and compel where these are right."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from compel import ReturnedEmbeddingsType
from compel.embeddings_provider import EmbeddingsProvider
from diffusers import DiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from deployments.engine.coroutine import Coroutine
from deployments.engine.shared_module import share
from deployments.models.merging import TEXT_ENCODER_METHODS
from deployments.models.prompt import parse
from deployments.models.small import small_model
from deployments.models.text_encoding import TextEncoder, Tokens

WEIGHTS = [0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.2, 1.6, 2.0]


def load(name: str) -> Any:
    return DiffusionPipeline.from_pretrained(small_model(name), dtype=torch.float32)


def of_pipelines() -> dict[str, TextEncoder]:
    sdxl, flux = load("sdxl"), load("flux-schnell")
    return {
        "clip": TextEncoder(sdxl.tokenizer, sdxl.text_encoder.eval(), 77, penultimate=True),
        "clip 2": TextEncoder(sdxl.tokenizer_2, sdxl.text_encoder_2.eval(), 77, penultimate=True),
        "t5": TextEncoder(flux.tokenizer_2, flux.text_encoder_2.eval(), 64, penultimate=False),
    }


ENCODERS = of_pipelines()
every_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())


@torch.no_grad()
def encode(encoder: TextEncoder, prompt: str) -> Tensor:
    """Shape (length, width)."""
    embeddings, _ = encoder.encode(encoder.windows(encoder.tokenize(parse(prompt)), 1))
    return embeddings[0]


def weighted(weight: float, word: str = "ball") -> str:
    return f"a cat and a ({word}){weight} in a forest"


def places(encoder: TextEncoder, word: str) -> list[int]:
    """Where the tokens of `word`, which is one, are in a window of `weighted`."""
    (wanted,) = encoder.tokenizer(word, add_special_tokens=False).input_ids
    tokens = encoder.tokenizer("a cat and a ball in a forest").input_ids
    return [place for place, token in enumerate(tokens) if token == wanted]


@every_encoder
def test_without_weights_it_is_the_pipelines_own_encoding(encoder: TextEncoder) -> None:
    text = "a cat, playing (with) a C++ ünïcode 🎨 ball :-)"
    ids = encoder.tokenizer(text, padding="max_length", max_length=encoder.length, return_tensors="pt").input_ids
    with torch.no_grad():
        output = encoder.module(ids, output_hidden_states=True)
    own = output.hidden_states[-2] if encoder.penultimate else output[0]
    assert torch.equal(encode(encoder, text), own[0])


@every_encoder
@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("(a cat)1.0, (ball:1)", "a cat, ball"),
        ("a (cat)1.5, (ball)0.5", "a cat, ball"),
        ("(pla)2.ground\\)", "pla.ground)"),
    ],
)
def test_the_tokens_are_those_of_the_text_wherever_weights_begin(encoder: TextEncoder, prompt: str, text: str) -> None:
    tokens = encoder.tokenize(parse(prompt))
    assert tokens.ids == encoder.tokenizer(text, add_special_tokens=False).input_ids
    assert len(tokens.weights) == len(tokens.ids)


@every_encoder
def test_the_more_weight_the_farther_from_the_empty_prompt(encoder: TextEncoder) -> None:
    own = places(encoder, "ball")
    empty, plain = encode(encoder, "")[own], encode(encoder, weighted(1.0))
    distances = {weight: float((encode(encoder, weighted(weight))[own] - empty).norm()) for weight in WEIGHTS}
    assert distances[0.0] < 1e-4 * distances[1.0]
    assert all(distances[less] < distances[more] for less, more in pairwise(WEIGHTS))
    for weight in WEIGHTS[WEIGHTS.index(1.0) :]:  # in proportion, and nothing else moves
        assert distances[weight] == pytest.approx(weight * distances[1.0], rel=1e-4)
        others = encode(encoder, weighted(weight))
        others[own] = plain[own]
        assert torch.equal(others, plain)


@every_encoder
def test_the_less_weight_the_nearer_to_a_prompt_without_the_word(encoder: TextEncoder) -> None:
    """The whole prompt is, the other words included: at 0 nobody can tell which word it was."""
    without = encode(encoder, weighted(0.0))
    distances = [float((encode(encoder, weighted(weight)) - without).norm()) for weight in WEIGHTS if weight <= 1]
    assert all(nearer < farther for nearer, farther in pairwise(distances))
    assert torch.allclose(encode(encoder, weighted(0.0, "tree")), without, atol=1e-5)
    assert not torch.allclose(encode(encoder, weighted(0.05, "tree")), without, atol=1e-5)


@every_encoder
def test_words_fade_side_by_side(encoder: TextEncoder) -> None:
    prompts = [f"a (cat){cat} and a (ball)0 and a (moon)1.5" for cat in WEIGHTS]
    without = encode(encoder, prompts[0])
    distances = [float((encode(encoder, prompt) - without).norm()) for prompt in prompts]
    assert all(nearer < farther for nearer, farther in pairwise(distances))
    for prompt in prompts:
        assert torch.allclose(encode(encoder, prompt), encode(encoder, prompt.replace("ball", "tree")), atol=1e-5)


@every_encoder
@pytest.mark.parametrize("weight", WEIGHTS)
def test_it_is_compels_weighting(encoder: TextEncoder, weight: float) -> None:
    layer = "PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED" if encoder.penultimate else "LAST_HIDDEN_STATES_NORMALIZED"
    compel = EmbeddingsProvider(
        encoder.tokenizer,
        encoder.module,
        returned_embeddings_type=ReturnedEmbeddingsType[layer],
        model_max_length=encoder.length,
    )
    with torch.no_grad():
        (theirs,) = compel.get_embeddings_for_weighted_prompt_fragments(
            [["a cat and a", "ball", "in a forest"]], [[1.0, weight, 1.0]]
        )
    assert torch.allclose(encode(encoder, weighted(weight)), theirs, atol=1e-4)


@given(st.sampled_from([1, 2, 4, 8, 16]), st.floats(0, 1), st.integers(1, 100))
def test_windows_hold_all_of_the_text_in_order(count: int, full: float, word: int) -> None:
    encoder = ENCODERS["clip"]
    total = count + round(full * count * (encoder.room - 1))
    tokens = Tokens(list(range(1, total + 1)), [1.5] * total, [place % word == 0 for place in range(total)])
    windows = encoder.windows(tokens, count)
    texts = [
        [token for token, weight in zip(window.ids, window.weights, strict=True) if weight != 1] for window in windows
    ]
    assert [token for text in texts for token in text] == tokens.ids
    assert len(windows) == count
    assert all(text for text in texts)
    assert all(len(window.ids) == len(window.weights) == encoder.length for window in windows)


def test_windows_are_about_equal_and_cut_at_spaces() -> None:
    encoder = ENCODERS["clip"]
    tokens = encoder.tokenize(parse("a cat, playing " * 35))  # four tokens, of which a comma follows no space
    windows = encoder.windows(tokens, 4)
    texts = [[token for token in window.ids if token < 1081] for window in windows]
    assert all(abs(len(text) - 35) <= 1 for text in texts)
    (comma,) = encoder.tokenizer(",", add_special_tokens=False).input_ids
    assert comma not in [text[0] for text in texts]
    solid = encoder.tokenize(parse("猫" * 60))  # several tokens each, and no space anywhere
    assert len(encoder.windows(solid, 4)) == 4


@every_encoder
def test_all_windows_are_rows_of_one_call(encoder: TextEncoder) -> None:
    prompts = ["a (cat)1.5", "a (cat)0.5 and a (dog)0.1", "a ball"]
    windows = [window for prompt in prompts for window in encoder.windows(encoder.tokenize(parse(prompt)), 1)]
    shared = TextEncoder(
        encoder.tokenizer, share(encoder.module, "encoder", TEXT_ENCODER_METHODS), encoder.length, encoder.penultimate
    )
    paused = Coroutine(lambda: shared.encode(windows))
    call = paused.resume()
    assert call is not None
    assert call.rows == 3 + 2 + 1  # the windows, two words that fade and the empty prompt
    with torch.no_grad():
        assert paused.resume(call.run()) is None
        together, first = paused.result
        assert first.shape[0] == 3
        for embeddings, prompt in zip(together, prompts, strict=True):
            assert torch.allclose(embeddings, encode(encoder, prompt), atol=1e-5)


@every_encoder
def test_without_fading_words_the_call_is_like_the_pipelines(encoder: TextEncoder) -> None:
    """So that the engine merges the two."""
    module = share(encoder.module, "encoder", TEXT_ENCODER_METHODS)
    shared = TextEncoder(encoder.tokenizer, module, encoder.length, encoder.penultimate)
    windows = encoder.windows(encoder.tokenize(parse("a (cat)1.5")), 1)
    own = Coroutine(lambda: shared.encode(windows)).resume()
    ids = torch.zeros(1, encoder.length, dtype=torch.long)
    pipelines = Coroutine(lambda: module(ids, output_hidden_states=encoder.penultimate)).resume()
    assert own is not None
    assert pipelines is not None
    assert own.key == pipelines.key


def test_a_hostile_prompt_takes_few_rows() -> None:
    encoder = ENCODERS["clip"]
    prompt = " ".join(f"(a)0.{37 * index % 100:02}" for index in range(600))
    windows = encoder.windows(encoder.tokenize(parse(prompt)), 8)
    rows: list[int] = []
    with torch.no_grad(), encoder.module.register_forward_hook(lambda *call: rows.append(len(call[-1][0]))):
        encoder.encode(windows)
    assert 64 < sum(rows) <= 8 * 21 + 1
    assert max(rows) <= 64


def test_the_dtype_is_the_encoders() -> None:
    sdxl = load("sdxl").to(torch.bfloat16)
    encoder = TextEncoder(sdxl.tokenizer_2, sdxl.text_encoder_2.eval(), 77, penultimate=True)
    for prompt in ("a cat", "a (cat)0.5 (dog)1.5"):
        with torch.no_grad():
            embeddings, first = encoder.encode(encoder.windows(encoder.tokenize(parse(prompt)), 1))
        assert embeddings.dtype == first.dtype == torch.bfloat16
