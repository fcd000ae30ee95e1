"""Teaches text encoders to read over words that the world has not: `python -m training.other_words {clip,…}`.

Each learns from what it is: among other words a caption's own must come out as they do without them, and the others as
the last of the padding does. A denoiser, to which the order of tokens is nothing, is then told what it knows; it may be
trained before this or after it.
"""

from __future__ import annotations

import argparse
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from training.captions import captions
from training.data import trained_text_encoder
from training.runs import Run
from training.text import NAMES, outputs
from training.tokenizers import WORDS

COMMON = ("a", "an", "the", "of", "in", "at", "with", "and", "by", "from", "for", "to")  # which the world has as well
UNTOUCHED = 0.25  # the share of captions among which no other words are put, so that they stay what they are
MOST_RUNS, MOST_WORDS = 4, 4  # of other words


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.other_words", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    reader = Reader(options.name)
    run = Run(f"text-{options.name}-other", {"encoder": reader.encoder}, options.steps, peak_rate=1e-3)

    def loss() -> Tensor:
        told = [one.plain for one in captions(options.batch, run.chance)]
        return reader.loss([among_other_words(one, run.chance) for one in told], run.chance)

    run.train(loss)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a text."""

    text: str
    is_other: bool


def among_other_words(told: str, chance: random.Random) -> list[Piece]:
    """A caption's words, with runs of other ones before, between or behind them; sometimes with none."""
    pieces = [Piece(word, is_other=False) for word in told.split(" ")]
    for _ in range(0 if chance.random() < UNTOUCHED else chance.randint(1, MOST_RUNS)):
        at = chance.randint(0, len(pieces))
        comma = ", " if at and not pieces[at - 1].text.endswith(",") and chance.random() < 0.4 else ""
        run = " ".join(other_word(chance) for _ in range(chance.randint(1, MOST_WORDS)))
        pieces.insert(at, Piece(comma + run, is_other=True))
    return pieces


def other_word(chance: random.Random) -> str:
    """One that the tokenizers know but the world has not, a common one, or one that falls into letters."""
    kind = chance.random()
    if kind < 0.5:
        return chance.choice(_known_words())
    if kind < 0.7:
        return chance.choice(COMMON)
    if kind < 0.95:
        return "".join(chance.choices(string.ascii_lowercase, k=chance.randint(2, 8)))
    return "".join(chance.choices(string.digits + "!?.-:'&é中", k=chance.randint(1, 3)))


@cache
def _known_words() -> list[str]:
    own = {word for told in captions(2000, random.Random(0)) for word in told.plain.replace(",", " ").split()}
    return sorted(set(WORDS) - own)


class Reader:
    """An encoder that learns from one that is as it was."""

    def __init__(self, name: str) -> None:
        self._is_t5 = name == "t5"
        self._tokenizer, self._teacher = trained_text_encoder(name, reads_other_words=False)
        _, self.encoder = trained_text_encoder(name, reads_other_words=False)
        self.encoder.requires_grad_(True)

    def loss(self, texts: Sequence[Sequence[Piece]], chance: random.Random) -> Tensor:
        """How far the encoder is from reading the texts as the teacher reads what is the world's of them: mean squared
        errors, of the teacher's variance, of what is text, of all else, and of pooled embeddings."""
        # CLIP's is always 77; FLUX has no text mask, so the length of T5's must not matter.
        length = chance.choice([64, 100, 140]) if self._is_t5 else 77
        texts = [text for text in texts if self._fits(text, length)]
        ids, is_other = self._read(texts, length)
        plain, _ = self._read([[piece for piece in text if not piece.is_other] for text in texts], length)
        with torch.no_grad():
            hidden, pooled = outputs(self._teacher, plain)
        places = places_without(is_other)
        own_hidden, own_pooled = outputs(self.encoder, ids)
        errors = (own_hidden - hidden.gather(1, places[:, :, None].expand_as(hidden))).square().mean(-1)
        is_padding = plain == self._tokenizer.pad_token_id
        is_text = ~is_padding.gather(1, places)
        loss = (errors[is_text].mean() + errors[~is_text].mean()) / hidden.var()
        if own_pooled is not None and pooled is not None:
            loss = loss + (own_pooled - pooled).square().mean() / pooled.var()
        return loss

    def _fits(self, text: Sequence[Piece], length: int) -> bool:
        return len(self._tokenizer(_joined(text)).input_ids) <= length

    def _read(self, texts: Sequence[Sequence[Piece]], length: int) -> tuple[Tensor, Tensor]:
        """Ids, and which tokens are of other words, both of shape (texts, length)."""
        encoded = self._tokenizer(
            [_joined(text) for text in texts],
            padding="max_length",
            max_length=length,
            return_tensors="pt",
            return_offsets_mapping=True,
        )
        ids: Tensor = encoded.input_ids
        is_other = torch.zeros_like(ids, dtype=torch.bool)
        for row, text in enumerate(texts):
            of_letters = torch.tensor([False, *(piece.is_other for piece in _spaced(text) for _ in piece.text)])
            is_other[row] = of_letters[encoded.offset_mapping[row, :, 1]]
        return ids, is_other


def places_without(is_other: Tensor) -> Tensor:
    """Where the token of each place stands in a text without the others; those are sent to the end of its padding.
    Shapes are (texts, length)."""
    return is_other.int().argsort(dim=1, stable=True).argsort(dim=1)


def _spaced(text: Sequence[Piece]) -> list[Piece]:
    """With the spaces between them."""
    return [
        Piece(piece.text if index == 0 or piece.text.startswith(",") else f" {piece.text}", piece.is_other)
        for index, piece in enumerate(text)
    ]


def _joined(text: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in _spaced(text))


if __name__ == "__main__":
    main()
