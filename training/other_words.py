"""Teaches text encoders to ignore words that the world has not: `python -m training.other_words {clip,…}`.

Each learns from what it is: among other words a caption's own must come out as they do without them, and the others as
the last of the padding does. A denoiser, to which the order of tokens is nothing, is then told what it knows.
"""

from __future__ import annotations

import argparse
import copy
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from training.captions import captions, with_spaces
from training.data import text_run, trained_text_encoder
from training.runs import Run, load_trained
from training.text import NAMES, outputs
from training.tokenizers import WORDS

COMMON = ("a", "an", "the", "of", "on", "in", "at", "with", "and", "to")  # the world's own, which mean nothing alone
STRANGE = (
    string.digits
    + string.punctuation.replace(",", "")
    + "".join(map(chr, (*range(0xA1, 0x180), *range(0x391, 0x450), *range(0x4E00, 0x4E80), *range(0x1F300, 0x1F680))))
)
UNTOUCHED = 0.25  # the share of captions among which no other words are put, so that they stay what they are
MOST_STRETCHES = 4  # of other words
MOST_WORDS = 4  # in each
T5_LENGTHS = (40, 100, 256, 512)  # as text encoders and denoisers are trained, and as schnell and Fill are served
TOKENS = 48 * 77  # of a step, padding and all


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.other_words", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--steps", type=int, default=7000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lesson = Lesson(options.name)
    name = text_run(options.name, ignores_other_words=True)
    run = Run(name, {"encoder": lesson.encoder}, options.steps, peak_rate=1e-3)

    def texts(length: int, chance: random.Random, share_untouched: float = UNTOUCHED) -> list[list[Piece]]:
        told = captions(TOKENS // length, chance)
        return [among_other_words(one.plain, chance, share_untouched) for one in told]

    def loss() -> Tensor:
        length = run.chance.choice(lesson.lengths)
        return lesson.loss(texts(length, run.chance), length)

    run.train(loss)
    load_trained(lesson.encoder, name, "encoder")
    chance = random.Random(1_000_000)  # no step's
    for length in lesson.lengths:
        with torch.no_grad():
            alone, among = (lesson.loss(texts(length, chance, share), length).item() for share in (1.0, 0.0))
        print(f"{length} tokens: error of captions alone {alone:.3f}, among other words {among:.3f}")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text."""

    text: str
    is_other: bool


def among_other_words(told: str, chance: random.Random, share_untouched: float = UNTOUCHED) -> list[Piece]:
    """A caption's words, with stretches of other ones before, between or behind them; sometimes with none."""
    pieces = [Piece(word, is_other=False) for word in told.split(" ")]
    for _ in range(0 if chance.random() < share_untouched else chance.randint(1, MOST_STRETCHES)):
        at = chance.randint(0, len(pieces))
        comma = ", " if at and not pieces[at - 1].text.endswith(",") and chance.random() < 0.4 else ""
        words = " ".join(other_word(chance) for _ in range(chance.randint(1, MOST_WORDS)))
        pieces.insert(at, Piece(comma + words, is_other=True))
    return pieces


def other_word(chance: random.Random) -> str:
    """One that the tokenizers know but the world has not, a common one, or one that falls into characters."""
    kind = chance.random()
    if kind < 0.45:
        return chance.choice(_known_words())
    if kind < 0.65:
        return chance.choice(COMMON)
    if kind < 0.9:
        word = "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 8)))
        return chance.choice([word, word, word.capitalize(), word.upper()])
    return "".join(chance.choices(STRANGE, k=chance.randint(1, 3)))


@cache
def _known_words() -> list[str]:
    own = {word for told in captions(2000, random.Random(0)) for word in told.plain.replace(",", " ").split()}
    return sorted(set(WORDS) - own)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of texts, all of shape (texts, length)."""

    ids: Tensor
    is_text: Tensor  # rather than padding
    is_other: Tensor  # of other words


def tokens(tokenizer: Any, texts: Sequence[Sequence[Piece]], length: int) -> Tokens:
    """Padded to that length. Texts that fill it are left out, as they may have been cut."""
    spaced = [with_spaces([piece.text for piece in text]) for text in texts]
    encoded = tokenizer(
        ["".join(text) for text in spaced],
        padding="max_length",
        max_length=length,
        truncation=True,
        return_tensors="pt",
        return_offsets_mapping=True,
    )
    is_text = encoded.attention_mask.bool()
    is_other = torch.zeros_like(is_text)
    for row, text in enumerate(texts):
        # A token belongs where its last character does. Those that begin and end a text, and padding, have none.
        of_characters = [piece.is_other for piece, told in zip(text, spaced[row], strict=True) for _ in told]
        is_other[row] = torch.tensor([False, *of_characters])[encoded.offset_mapping[row, :, 1]]
    fits = ~is_text.all(1)
    return Tokens(encoded.input_ids[fits], is_text[fits], is_other[fits])


def places_without(is_other: Tensor) -> Tensor:
    """Where the token of each place stands when other words are sent to the end of the padding.
    Shapes are (texts, length)."""
    return is_other.int().argsort(dim=1, stable=True).argsort(dim=1)


class Lesson:
    """An encoder that learns from one that is as it was."""

    def __init__(self, name: str) -> None:
        self.lengths = T5_LENGTHS if name == "t5" else (77,)
        self._tokenizer, self._teacher = trained_text_encoder(name, ignores_other_words=False)
        self.encoder = copy.deepcopy(self._teacher).requires_grad_(True)

    def loss(self, texts: Sequence[Sequence[Piece]], length: int) -> Tensor:
        """How far the encoder is from making of texts what the teacher makes of them without other words: the sum of
        mean squared errors, each as a share of the teacher's variance, at places of text, at all others, and of pooled
        embeddings."""
        read = tokens(self._tokenizer, texts, length)
        places = places_without(read.is_other)
        ids = read.ids.masked_fill(read.is_other, self._tokenizer.pad_token_id)
        with torch.no_grad():
            hidden, pooled = outputs(self._teacher, torch.empty_like(ids).scatter(1, places, ids))
        own_hidden, own_pooled = outputs(self.encoder, read.ids)
        errors = (own_hidden - hidden.gather(1, places[:, :, None].expand_as(hidden))).square().mean(-1)
        is_own = read.is_text & ~read.is_other
        loss = (errors[is_own].mean() + errors[~is_own].mean()) / hidden.var()
        if own_pooled is not None and pooled is not None:
            loss = loss + (own_pooled - pooled).square().mean() / pooled.var()
        return loss


if __name__ == "__main__":
    main()
