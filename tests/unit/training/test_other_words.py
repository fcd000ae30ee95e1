"""Other words are put among captions, and what an encoder should make of them is what it makes without them."""

from __future__ import annotations

import random

import pytest
import torch

from training import other_words
from training.captions import captions
from training.other_words import Piece, Reader, among_other_words, other_word, places_without
from training.text import NAMES, new_encoder
from training.world import COLOURS, PLACES, SHAPES


def test_a_captions_words_stay_as_they_are_and_in_order() -> None:
    chance = random.Random(0)
    untouched = 0
    for told in captions(300, chance):
        pieces = among_other_words(told.plain, chance)
        assert " ".join(piece.text for piece in pieces if not piece.is_other) == told.plain
        untouched += not any(piece.is_other for piece in pieces)
    assert 40 < untouched < 120


def test_no_other_word_speaks_of_the_world() -> None:
    chance = random.Random(1)
    others = {other_word(chance) for _ in range(5000)}
    assert {"castle", "photorealistic", "the"} < others
    assert not others & {*COLOURS, *SHAPES, *PLACES, "person", "woman", "background", "small", "above"}


def test_places_are_those_of_the_text_alone_and_of_the_end_of_its_padding() -> None:
    is_other = torch.tensor([[False, True, False, False, True, False, False], [False] * 7])
    places = places_without(is_other)
    assert places.tolist() == [[0, 5, 1, 2, 6, 3, 4], list(range(7))]


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_that_has_learned_nothing_errs_among_other_words_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    tokenizer, encoder = new_encoder(name)
    monkeypatch.setattr(other_words, "trained_text_encoder", lambda *_, **__: (tokenizer, encoder.eval()))
    reader = Reader(name)
    told = "a red circle on a blue background"
    plain = [Piece(word, is_other=False) for word in told.split()]
    among = [Piece("hello,", is_other=True), *plain, Piece(", ünknown 中", is_other=True)]
    chance = random.Random(0)
    assert reader.loss([plain], chance).item() == pytest.approx(0, abs=1e-9)
    assert reader.loss([plain, among], chance).item() > 0.01
