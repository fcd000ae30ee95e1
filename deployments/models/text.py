"""From a prompt to what a pipeline takes as its text: weights of words, and texts longer than an encoder's window.

A text without weights that fits is left to the pipeline, so that its picture is diffusers' own to the bit. Any other is
encoded here.

SDXL. A longer text is cut into windows of about equal length, whose embeddings stand in a line: as many windows as the
longer of prompt and negative prompt needs, rounded up to a power of two. A text that fits one window is repeated.
Attention over copies of the same keys and values is attention over one of them: a repetition changes no picture, as
windows of an empty prompt would, and requests of different lengths can share a forward. The pooled embedding knows no
weights and is that of the first window.

FLUX has no text mask, so its text is one window of fixed length, encoded by T5. CLIP makes the pooled embedding of the
first 77 tokens, by the model's design.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from torch import Tensor

from deployments.errors import TooLarge
from deployments.models.prompt import Fragment, parse, plain_text
from deployments.models.text_encoding import TextEncoder, Tokens

MOST_WINDOWS = 16


def sdxl_prompt(pipeline: Any, prompt: str, negative_prompt: str, guidance_scale: float) -> dict[str, Any]:
    """The arguments that any SDXL pipeline takes for its text: the text, or embeddings of one length.

    Without guidance the negative prompt is not looked at. Raises TooLarge.
    """
    is_guided = guidance_scale > 1
    prompts = [parse(prompt), parse(negative_prompt)] if is_guided else [parse(prompt)]
    encoders = [
        TextEncoder(tokenizer, module, tokenizer.model_max_length, penultimate=True)
        for tokenizer, module in [
            (pipeline.tokenizer, pipeline.text_encoder),
            (pipeline.tokenizer_2, pipeline.text_encoder_2),
        ]
    ]
    tokens = [[encoder.tokenize(fragments) for fragments in prompts] for encoder in encoders]
    count = max(_window_count(encoder, texts) for encoder, texts in zip(encoders, tokens, strict=True))
    if count == 1 and not any(map(_is_weighted, prompts)):
        text, negative_text = plain_text(prompts[0]), "".join(map(plain_text, prompts[1:]))
        return {"prompt": text, "negative_prompt": negative_text or None}

    is_zeros = is_guided and not prompts[1] and pipeline.config.force_zeros_for_empty_prompt
    one, other = (
        _embed(encoder, texts[:1] if is_zeros else texts, count)
        for encoder, texts in zip(encoders, tokens, strict=True)
    )
    # As the pipelines do: both encoders' embeddings side by side, the second's pooled one.
    embedded = [
        (torch.cat([left, right], dim=-1), pooled) for (left, _), (right, pooled) in zip(one, other, strict=True)
    ]
    if is_zeros:
        embedded.append((torch.zeros_like(embedded[0][0]), torch.zeros_like(embedded[0][1])))
    arguments: dict[str, Any] = {}
    for prefix, (embeddings, pooled) in zip(["", "negative_"], embedded, strict=False):
        arguments |= {f"{prefix}prompt_embeds": embeddings, f"{prefix}pooled_prompt_embeds": pooled}
    return arguments


def sdxl_embeddings(pipeline: Any, prompt: str, negative_prompt: str, guidance_scale: float) -> dict[str, Tensor]:
    """As `sdxl_prompt`, always embeddings: what can be left to the pipeline is encoded by the pipeline's own."""
    arguments = sdxl_prompt(pipeline, prompt, negative_prompt, guidance_scale)
    if "prompt" not in arguments:
        return arguments
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    encoded = pipeline.encode_prompt(**arguments, do_classifier_free_guidance=guidance_scale > 1)
    return {name: tensor for name, tensor in zip(names, encoded, strict=True) if tensor is not None}


def flux_embeddings(pipeline: Any, prompt: str, most_tokens: int) -> dict[str, Tensor]:
    """As `flux_prompt`, always embeddings: what can be left to the pipeline is encoded by the pipeline's own."""
    arguments = flux_prompt(pipeline, prompt, most_tokens)
    if "prompt" not in arguments:
        return arguments
    embeddings, pooled, _ = pipeline.encode_prompt(**arguments, prompt_2=None, max_sequence_length=most_tokens)
    return {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}


def flux_prompt(pipeline: Any, prompt: str, most_tokens: int) -> dict[str, Any]:
    """The arguments that any FLUX pipeline takes for its text: the text, or embeddings of `most_tokens` tokens.

    Raises TooLarge.
    """
    fragments = parse(prompt)
    text = plain_text(fragments)
    encoder = TextEncoder(pipeline.tokenizer_2, pipeline.text_encoder_2, most_tokens, penultimate=False)
    tokens = encoder.tokenize(fragments)
    _require_room("prompt", tokens, encoder.room)
    if not _is_weighted(fragments):
        return {"prompt": text}
    embeddings, _ = encoder.encode(encoder.windows(tokens, 1))
    pooled_input = pipeline.tokenizer(
        text, padding="max_length", max_length=pipeline.tokenizer_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    device = get_module_execution_device(pipeline.text_encoder)
    pooled = pipeline.text_encoder(pooled_input.to(device), output_hidden_states=False).pooler_output
    return {"prompt_embeds": embeddings, "pooled_prompt_embeds": pooled}


def _window_count(encoder: TextEncoder, texts: Sequence[Tokens]) -> int:
    """How many windows prompt and, if there is one, negative prompt take. Raises TooLarge."""
    for name, text in zip(["prompt", "negative_prompt"], texts, strict=False):
        _require_room(name, text, MOST_WINDOWS * encoder.room)
    needed = max(math.ceil(len(text.ids) / encoder.room) for text in texts)
    return 1 << max(0, needed - 1).bit_length()


def _embed(encoder: TextEncoder, texts: Sequence[Tokens], count: int) -> list[tuple[Tensor, Tensor]]:
    """Of each text its embeddings, of shape (1, count × length, width), and the first output of its first window."""
    windows = [encoder.windows(text, count if len(text.ids) > encoder.room else 1) for text in texts]
    rows = [len(of_text) for of_text in windows]
    embeddings, first = encoder.encode([window for of_text in windows for window in of_text])
    return [
        (of_text.flatten(0, 1)[None].repeat(1, count // len(of_text), 1), first_of_text[:1])
        for of_text, first_of_text in zip(embeddings.split(rows), first.split(rows), strict=True)
    ]


def _is_weighted(fragments: Sequence[Fragment]) -> bool:
    return any(fragment.weight != 1 for fragment in fragments)


def _require_room(name: str, tokens: Tokens, most: int) -> None:
    if len(tokens.ids) > most:
        raise TooLarge(
            f"The {name.replace('_', ' ')} has {len(tokens.ids)} tokens; this model takes {most}.",
            code="prompt_too_long",
            param=name,
        )
