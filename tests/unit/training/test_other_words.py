"""Other words are put among captions, and what an encoder should make of them is what it makes without them."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from training import other_words
from training.captions import captions
from training.other_words import COMMON, Lesson, Piece, among_other_words, other_word, places_without, tokens
from training.text import NAMES, new_encoder
from training.world import COLOURS, PLACES, SHAPES

TOLD = [Piece(word, is_other=False) for word in "a red circle on a blue background".split()]
STRANGE = [Piece("Hello, Zoë!", is_other=True), *TOLD, Piece(", 🎨 中 f/1.8", is_other=True)]


def test_a_captions_words_stay_as_they_are_and_in_order() -> None:
    chance = random.Random(0)
    untouched = 0
    for told in captions(300, chance):
        pieces = among_other_words(told.plain, chance)
        assert " ".join(piece.text for piece in pieces if not piece.is_other) == told.plain
        untouched += not any(piece.is_other for piece in pieces)
    assert 40 < untouched < 120


def test_of_the_worlds_words_others_have_only_those_that_mean_nothing_alone() -> None:
    chance = random.Random(1)
    others = {other_word(chance) for _ in range(5000)}
    own = {word for told in captions(500, chance) for word in told.plain.replace(",", " ").split()}
    assert {*COLOURS, *SHAPES, *PLACES, "person", "background"} < own
    assert others & own <= set(COMMON)
    assert {"castle", "photorealistic", "the"} < others


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_told_apart_and_the_worlds_are_what_they_are_alone(name: str) -> None:
    tokenizer, _ = new_encoder(name)
    chance = random.Random(2)
    told = [one.plain for one in captions(100, chance)]
    texts = [among_other_words(one, chance, share_untouched=0.0) for one in told]
    alone = tokens(tokenizer, [[Piece(one, is_other=False)] for one in told], 200)
    read = tokens(tokenizer, texts, 200)
    assert len(read.ids) == len(alone.ids) == 100
    assert read.is_other.any(1).all()
    assert not alone.is_other.any()
    assert not (read.is_other & ~read.is_text).any()
    for row in range(100):
        own = read.ids[row][read.is_text[row] & ~read.is_other[row]]
        assert own.tolist() == alone.ids[row][alone.is_text[row]].tolist(), texts[row]


def test_texts_that_may_have_been_cut_are_left_out() -> None:
    tokenizer, _ = new_encoder("t5")
    assert len(tokens(tokenizer, [TOLD, STRANGE], 12).ids) == 1
    assert len(tokens(tokenizer, [TOLD, STRANGE], 60).ids) == 2


def test_places_are_those_of_the_text_alone_and_of_the_end_of_its_padding() -> None:
    is_other = torch.tensor([[False, True, False, False, True, False, False], [False] * 7])
    assert places_without(is_other).tolist() == [[0, 5, 1, 2, 6, 3, 4], list(range(7))]


class Constant(torch.nn.Module):
    """Makes of each id the same wherever it stands, so that it errs only where ids do."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = torch.nn.Embedding(2000, 4)
        self.pooled = torch.nn.Embedding(2000, 4)

    def outputs(self, ids: Any) -> tuple[Any, Any]:
        return self.embeddings(ids), self.pooled(ids).mean(1)


@pytest.mark.parametrize("changed", ["embeddings", "pooled"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_is_to_be_as_without_other_words(
    name: str, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder that makes of other words what it makes of padding has nothing to learn."""
    tokenizer, _ = new_encoder(name)
    encoder = Constant()
    read = tokens(tokenizer, [STRANGE], 77)
    others = read.ids[read.is_other]
    with torch.no_grad():
        for table in (encoder.embeddings, encoder.pooled):
            table.weight[others] = table.weight[tokenizer.pad_token_id].clone()
    monkeypatch.setattr(other_words, "trained_text_encoder", lambda *_, **__: (tokenizer, encoder))
    monkeypatch.setattr(other_words, "outputs", Constant.outputs)
    lesson = Lesson(name)
    assert lesson.loss([TOLD, STRANGE], 77).item() < 1e-9
    with torch.no_grad():
        getattr(lesson.encoder, changed).weight[others[0]] += 1
    assert lesson.loss([TOLD, STRANGE], 77).item() > 1e-6
