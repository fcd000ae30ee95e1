"""One text encoder: weighted tokens in, embeddings out. A window is what it reads at once.

What a token contributes is how far it is from the empty prompt, and its weight multiplies that. A weight below one also
lets the token fade from what the others see of it, so that at 0 they are encoded as if it were not there. Tokens of
weight 1 are as the encoder made them. All windows are rows of one call like the pipelines' own, so that the engine can
merge it with those.

This is compel's method, which the tests compare it with, but not its code: compel tokenizes a prompt in pieces, whose
tokens are not those of the text; it cuts long ones where it likes; and it makes a call for every window and every word
below one, thousands for a hostile prompt, among which a single weight of 0 drowns all other weights below one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from torch import Tensor

from deployments.models.prompt import Fragment, plain_text

_MOST_ROWS = 64  # in one call, to bound its memory
_FADING_STEPS = 20  # from weight 0 to 1, to bound how many rows the fading of many words takes


@dataclass(frozen=True)
class Tokens:
    """Of a text."""

    ids: list[int]
    weights: list[float]  # 0 … 2
    follow_space: list[bool]  # the places where the text can be cut


@dataclass(frozen=True)
class Window:
    """As many tokens as the encoder reads, with the special ones and padding."""

    ids: list[int]
    weights: list[float]


@dataclass(frozen=True)
class TextEncoder:
    """A module with its tokenizer, and what of its output the pipeline takes for embeddings."""

    tokenizer: Any
    module: Any
    length: int  # of a window
    penultimate: bool  # embeddings are the output of the layer before the last, or else of the last

    @property
    def room(self) -> int:
        """Tokens of text in a window."""
        return self.length - len(self._special)

    @cached_property
    def _special(self) -> list[int]:
        """All but the last stand before the text."""
        ids: list[int] = self.tokenizer("").input_ids
        return ids

    def tokenize(self, fragments: Sequence[Fragment]) -> Tokens:
        """The tokens of the plain text, wherever its fragments meet; each has the weight of its last character."""
        weights = [fragment.weight for fragment in fragments for _ in fragment.text]
        encoded = self.tokenizer(
            plain_text(fragments), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        spans = encoded.offset_mapping
        return Tokens(
            encoded.input_ids,
            [weights[end - 1] for _, end in spans],
            [start > end for (_, end), (start, _) in pairwise([(0, 0), *spans])],
        )

    def windows(self, tokens: Tokens, count: int) -> list[Window]:
        """The text in `count` windows of about equal length, cut at spaces where these are within reach.

        It must fit, and several windows want a token each.
        """
        windows, start, total = [], 0, len(tokens.ids)
        for rest in reversed(range(count)):  # how many windows come after this one
            even = start + round((total - start) / (rest + 1))
            lowest, highest = max(start + 1, total - rest * self.room), min(start + self.room, total - rest)
            spaces = [place for place in range(lowest, highest + 1) if rest and tokens.follow_space[place]]
            _, end = min(((abs(place - even), place) for place in spaces), default=(0, even))
            windows.append(self._window(tokens.ids[start:end], tokens.weights[start:end]))
            start = end
        return windows

    def _window(self, ids: list[int], weights: list[float]) -> Window:
        *before, after = self._special
        padding = self.room - len(ids)
        return Window(
            [*before, *ids, after, *[self.tokenizer.pad_token_id] * padding],
            [*[1.0] * len(before), *weights, *[1.0] * (1 + padding)],
        )

    def encode(self, windows: Sequence[Window]) -> tuple[Tensor, Tensor]:
        """Weighted embeddings of shape (windows, length, width), and the module's first output, which is not weighted.

        Both are on the module's device and of its dtype.
        """
        weights = [window.weights for window in windows]
        is_weighted = any(weight != 1 for of_window in weights for weight in of_window)
        read = [*windows, self._window([], [])] if is_weighted else list(windows)
        fades = [fade for index, window in enumerate(read) for fade in _fades(index, window.weights)]
        hidden, first = self._forward(
            [window.ids for window in read] + [read[fade.window].ids for fade in fades],
            [[1] * self.length for _ in read] + [fade.mask for fade in fades],
        )
        plain = hidden[: len(read)].float()
        seen = plain.clone()
        for fade, faded in zip(fades, hidden[len(read) :].float(), strict=True):
            seen[fade.window] += fade.share * (faded - plain[fade.window])
        if is_weighted:
            factors = torch.tensor(weights, device=seen.device)[:, :, None]
            seen = torch.lerp(seen[-1:], seen[:-1], factors)  # at a factor of 1 it is the latter to the bit
        return seen.to(hidden.dtype), first[: len(windows)]

    def _forward(self, ids: list[list[int]], masks: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Of rows of tokens, and of which of them are seen: embeddings, and the module's first output."""
        device = get_module_execution_device(self.module)
        calls: list[dict[str, Tensor]] = [
            {"input_ids": rows} for rows in torch.tensor(ids, device=device).split(_MOST_ROWS)
        ]
        if not all(map(all, masks)):  # the pipelines pass no mask, and only what is called alike is merged
            for call, rows in zip(calls, torch.tensor(masks, device=device).split(_MOST_ROWS), strict=True):
                call["attention_mask"] = rows
        read = [self._embeddings_of(call) for call in calls]
        return torch.cat([hidden for hidden, _ in read]), torch.cat([first for _, first in read])

    def _embeddings_of(self, call: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Copies, since what the module returns holds the outputs of all its layers, and others' rows."""
        output = self.module(**call, output_hidden_states=self.penultimate)
        hidden = output.hidden_states[-2] if self.penultimate else output[0]
        return hidden.clone(), output[0].clone()


@dataclass(frozen=True)
class _Fade:
    """A part of a window's embedding that has not seen some of its tokens."""

    window: int
    share: float  # of the embedding, 0 … 1
    mask: list[int]  # 0 at those tokens


def _fades(window: int, weights: Sequence[float]) -> Iterator[_Fade]:
    """The parts that make each token seen as much as its weight says, if that is below one.

    For a single weight that is compel's blend. With several, a token is unseen in the shares of all weights up to its
    own, so that each fades as if it were alone.
    """
    steps = [min(1.0, round(weight * _FADING_STEPS) / _FADING_STEPS) for weight in weights]
    for step, next_step in pairwise(sorted({*steps, 1.0})):
        yield _Fade(window, _visibility(next_step) - _visibility(step), [int(of > step) for of in steps])


def _visibility(weight: float) -> float:
    """How much is seen of a token whose weight is at most one; compel's curve, from 0 at 0 to 1 at 1."""
    return 1 / (1 + math.tan((1 - weight) * math.pi / 2))
