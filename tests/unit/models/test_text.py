"""What pipelines are given for text: the text where that is enough, and embeddings where it is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionXLPipeline

from config.schema import ModelConfig, Weights
from deployments.engine.collate import MergeRules, ModuleCall, run_merged
from deployments.engine.coroutine import Coroutine
from deployments.engine.shared_module import share
from deployments.engine.workload import Role
from deployments.errors import TooLarge
from deployments.models.loading import load_pipeline
from deployments.models.merging import TEXT_ENCODER_METHODS
from deployments.models.text import flux_prompt, sdxl_prompt

WEIGHTED = "a photorealistic(1.5) image of a cat playing with a (ball)0.5 in a (forest)1.0"
PLAIN = "a photorealistic image of a cat playing with a ball in a forest"
FOREST = "a cat in a forest, "  # six tokens


@pytest.fixture(scope="module")
def sdxl() -> Any:
    return load_pipeline(
        StableDiffusionXLPipeline, ModelConfig(family="sdxl", weights=Weights(source="small:sdxl"), device="cpu")
    )


@pytest.fixture(scope="module")
def flux() -> Any:
    weights = Weights(source="small:flux-schnell")
    return load_pipeline(FluxPipeline, ModelConfig(family="flux-schnell", weights=weights, device="cpu"))


@pytest.fixture(autouse=True)
def no_grad() -> Any:
    with torch.no_grad():
        yield


def picture(pipeline: Any, **arguments: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return pipeline(
        **arguments, num_inference_steps=2, width=64, height=64, generator=generator, output_type="np"
    ).images[0]


def own_embeddings(sdxl: Any, prompt: str, negative_prompt: str | None = None) -> Any:
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    return dict(zip(names, sdxl.encode_prompt(prompt, negative_prompt=negative_prompt), strict=True))


@pytest.mark.parametrize(
    ("prompt", "negative_prompt", "text"),
    [
        ("a cat", "", {"prompt": "a cat", "negative_prompt": None}),
        ("a (cat)1.0 (in) C++", "a (dog:1)", {"prompt": "a cat (in) C++", "negative_prompt": "a dog"}),
        ("cat " * 75, "dog " * 75, {"prompt": "cat " * 75, "negative_prompt": "dog " * 75}),
    ],
)
def test_what_needs_no_embeddings_is_left_to_the_pipeline(
    sdxl: Any, prompt: str, negative_prompt: str, text: dict[str, Any]
) -> None:
    assert sdxl_prompt(sdxl, prompt, negative_prompt, 5.0) == text
    assert sdxl_prompt(sdxl, prompt, negative_prompt, 1.0) == text | {"negative_prompt": None}
    own = picture(sdxl, prompt=text["prompt"], negative_prompt=text["negative_prompt"], guidance_scale=5.0)
    assert np.array_equal(picture(sdxl, guidance_scale=5.0, **sdxl_prompt(sdxl, prompt, negative_prompt, 5.0)), own)


def test_both_encoders_weigh_and_the_pooled_embedding_knows_no_weight(sdxl: Any) -> None:
    own = own_embeddings(sdxl, PLAIN, "a bad dog")
    arguments = sdxl_prompt(sdxl, WEIGHTED, "a (bad)1.5 dog", 5.0)
    assert {name: value.shape for name, value in arguments.items()} == {name: own[name].shape for name in own}
    for name in ("pooled_prompt_embeds", "negative_pooled_prompt_embeds"):
        assert torch.allclose(arguments[name], own[name], atol=1e-6)
    for name in ("prompt_embeds", "negative_prompt_embeds"):
        for of_encoder, unweighted in zip(arguments[name].chunk(2, dim=-1), own[name].chunk(2, dim=-1), strict=True):
            assert (of_encoder - unweighted).abs().max() > 0.05


def test_weights_change_the_picture_and_their_size_decides_how_much(sdxl: Any) -> None:
    def changed(weight: float) -> float:
        arguments = sdxl_prompt(sdxl, f"a cat with a (ball){weight} in a forest", "", 5.0)
        own = picture(sdxl, prompt="a cat with a ball in a forest", guidance_scale=5.0)
        return float(np.abs(picture(sdxl, guidance_scale=5.0, **arguments) - own).mean())

    assert changed(1.0) == 0
    assert 0 < changed(1.01) < changed(1.2) < changed(2.0)
    assert 0 < changed(0.95) < changed(0.0)


def test_an_empty_negative_prompt_is_what_it_is_to_the_pipeline(sdxl: Any) -> None:
    zeros = sdxl_prompt(sdxl, WEIGHTED, "", 5.0)
    assert not zeros["negative_prompt_embeds"].any()
    assert not zeros["negative_pooled_prompt_embeds"].any()
    assert zeros["negative_prompt_embeds"].shape == zeros["prompt_embeds"].shape
    other = StableDiffusionXLPipeline(**sdxl.components, force_zeros_for_empty_prompt=False)
    own = own_embeddings(other, PLAIN)
    encoded = sdxl_prompt(other, WEIGHTED, "", 5.0)
    for name in ("negative_prompt_embeds", "negative_pooled_prompt_embeds"):
        assert torch.allclose(encoded[name], own[name], atol=1e-6)


def test_without_guidance_there_is_no_negative_prompt(sdxl: Any) -> None:
    arguments = sdxl_prompt(sdxl, WEIGHTED, "(dog)1.5 " * 2000, 1.0)
    assert set(arguments) == {"prompt_embeds", "pooled_prompt_embeds"}
    assert picture(sdxl, guidance_scale=1.0, **arguments).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("words", "negative_words", "windows"),
    [(76, 0, 2), (76, 75, 2), (10, 76, 2), (150, 1, 2), (151, 1, 4), (151, 400, 8), (1200, 1200, 16)],
)
def test_prompt_and_negative_prompt_get_equally_many_windows(
    sdxl: Any, words: int, negative_words: int, windows: int
) -> None:
    lengths = {"prompt": words, "negative_prompt": negative_words}
    texts = {name: "cat " * (length - 1) + "dog" * (length > 0) for name, length in lengths.items()}
    arguments = sdxl_prompt(sdxl, **texts, guidance_scale=5.0)
    assert arguments["prompt_embeds"].shape == arguments["negative_prompt_embeds"].shape == (1, windows * 77, 128)
    for name, length in lengths.items():
        first, last = arguments[f"{name}_embeds"][:, :77], arguments[f"{name}_embeds"][:, -77:]
        assert torch.equal(first, last) == (length <= 75)


def test_a_short_text_beside_a_long_one_is_its_own_encoding_repeated(sdxl: Any) -> None:
    own = own_embeddings(sdxl, "a cat", "a dog")
    arguments = sdxl_prompt(sdxl, FOREST * 30, "a dog", 5.0)
    expected = own["negative_prompt_embeds"].repeat(1, 4, 1)
    assert torch.allclose(arguments["negative_prompt_embeds"], expected, atol=1e-6)
    expected = own["negative_pooled_prompt_embeds"]
    assert torch.allclose(arguments["negative_pooled_prompt_embeds"], expected, atol=1e-6)


def test_a_long_text_is_read_to_its_end(sdxl: Any) -> None:
    one, other = (sdxl_prompt(sdxl, FOREST * 30 + end, "", 5.0)["prompt_embeds"] for end in ("a moon", "a river"))
    assert one.shape[1] == 4 * 77
    assert torch.equal(one[:, : 3 * 77], other[:, : 3 * 77])
    assert not torch.allclose(one[:, 3 * 77 :], other[:, 3 * 77 :], atol=1e-2)


def test_the_pooled_embedding_of_a_long_text_is_that_of_its_first_window(sdxl: Any) -> None:
    arguments = sdxl_prompt(sdxl, "cat " * 40 + "(dog)1.5 " * 40, "", 5.0)
    expected = own_embeddings(sdxl, "cat " * 40)["pooled_prompt_embeds"]
    assert torch.allclose(arguments["pooled_prompt_embeds"], expected, atol=1e-6)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_more_than_all_windows_hold_is_refused(sdxl: Any, field: str) -> None:
    with pytest.raises(TooLarge, match=r"1201 tokens.* 1200") as refused:
        sdxl_prompt(sdxl, **{"prompt": "a", "negative_prompt": "", field: "cat " * 1201}, guidance_scale=5.0)
    assert (refused.value.param, refused.value.code) == (field, "prompt_too_long")


def unet_arguments(sdxl: Any, text: torch.Tensor) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    rows = text.shape[0]
    return {
        "sample": torch.randn(rows, 4, 8, 8, generator=generator),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": text,
        "added_cond_kwargs": {"text_embeds": torch.ones(rows, 64), "time_ids": torch.ones(rows, 6)},
    }


def test_a_repeated_text_is_the_same_to_the_unet_and_one_with_an_empty_window_is_not(sdxl: Any) -> None:
    text, empty = (own_embeddings(sdxl, prompt)["prompt_embeds"] for prompt in (PLAIN, ""))

    def noise(text: torch.Tensor) -> torch.Tensor:
        prediction: torch.Tensor = sdxl.unet(**unet_arguments(sdxl, text)).sample
        return prediction

    for copies in (2, 4, 16):
        assert torch.allclose(noise(text.repeat(1, copies, 1)), noise(text), atol=1e-5)
    assert not torch.allclose(noise(torch.cat([text, empty], dim=1)), noise(text), atol=1e-3)


def test_texts_of_different_lengths_share_a_forward_of_the_unet(sdxl: Any) -> None:
    rules = MergeRules(per_row=frozenset({"timestep"}), repeatable=frozenset({"encoder_hidden_states"}))
    texts = [
        own_embeddings(sdxl, PLAIN)["prompt_embeds"],
        sdxl_prompt(sdxl, FOREST * 20, "", 5.0)["prompt_embeds"],
        sdxl_prompt(sdxl, FOREST * 100, "", 5.0)["prompt_embeds"],
    ]
    calls = [
        ModuleCall(sdxl.unet, "unet.forward", sdxl.unet, unet_arguments(sdxl, text), rules, role=Role.DENOISES)
        for text in texts
    ]
    assert len({call.key for call in calls}) == 1
    for call, together in zip(calls, run_merged(calls), strict=True):
        assert torch.allclose(together.sample, call.run().sample, atol=1e-5)


def test_each_encoder_is_called_once(sdxl: Any) -> None:
    components = sdxl.components | {
        name: share(sdxl.components[name], name, TEXT_ENCODER_METHODS) for name in ("text_encoder", "text_encoder_2")
    }
    pipeline = StableDiffusionXLPipeline(**components)
    prompts = (FOREST * 30 + "(moon)1.5", FOREST * 10, 5.0)
    paused, calls = Coroutine(lambda: sdxl_prompt(pipeline, *prompts)), []
    call = paused.resume()
    while call is not None:
        calls.append(call)
        call = paused.resume(call.run())
    assert paused.error is None
    assert [call.name for call in calls] == ["text_encoder.forward", "text_encoder_2.forward"]
    assert calls[0].rows == 4 + 1 + 1  # prompt, negative prompt, empty prompt
    assert torch.equal(paused.result["prompt_embeds"], sdxl_prompt(sdxl, *prompts)["prompt_embeds"])


def test_flux_without_weights_is_left_to_the_pipeline(flux: Any) -> None:
    assert flux_prompt(flux, "a (cat)1.0 (in) C++", 256) == {"prompt": "a cat (in) C++"}
    assert flux_prompt(flux, "cat " * 255, 256) == {"prompt": "cat " * 255}


def test_flux_weighs_t5_and_pools_the_plain_text(flux: Any) -> None:
    own, own_pooled, _ = flux.encode_prompt(PLAIN, max_sequence_length=256)
    arguments = flux_prompt(flux, WEIGHTED, 256)
    assert set(arguments) == {"prompt_embeds", "pooled_prompt_embeds"}
    assert torch.equal(arguments["pooled_prompt_embeds"], own_pooled)
    assert arguments["prompt_embeds"].shape == own.shape
    assert (arguments["prompt_embeds"] - own).abs().max() > 0.05
    slightly = flux_prompt(flux, WEIGHTED.replace("1.5", "1.0001").replace("0.5", "1.0"), 256)["prompt_embeds"]
    assert torch.allclose(slightly, own, atol=1e-3)

    def painted(**text: Any) -> Any:
        return picture(flux, guidance_scale=0.0, max_sequence_length=256, **text)

    assert np.array_equal(painted(prompt_embeds=own, pooled_prompt_embeds=own_pooled), painted(prompt=PLAIN))
    assert np.abs(painted(**arguments) - painted(prompt=PLAIN)).max() > 1e-4


def test_flux_never_cuts_a_text(flux: Any) -> None:
    for prompt in ("cat " * 256, "cat " * 255 + "(dog)1.5"):
        with pytest.raises(TooLarge, match=r"256 tokens.* 255") as refused:
            flux_prompt(flux, prompt, 256)
        assert (refused.value.param, refused.value.code) == ("prompt", "prompt_too_long")
    assert flux_prompt(flux, "cat " * 400 + "(dog)1.5", 512)["prompt_embeds"].shape == (1, 512, 64)
