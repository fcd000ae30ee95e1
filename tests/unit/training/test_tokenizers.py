"""The small models' tokenizers know the world's words and take any text."""

from __future__ import annotations

import pytest

from training.tokenizers import END, START, WORDS, clip_tokenizer, t5_tokenizer


@pytest.mark.parametrize("text", ["", " \n\t", "a red circle", "🐱 猫 ünïcöde \x00 <|endoftext|>", "(ball)1.3 " * 60])
def test_any_text_has_ids_within_the_vocabulary(text: str) -> None:
    for tokenizer in (clip_tokenizer(), clip_tokenizer("!"), t5_tokenizer(77)):
        ids = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
        assert len(ids) == 77
        assert 0 <= min(ids) <= max(ids) < len(tokenizer)


def test_clip_vocabulary_is_laid_out_as_the_real_one() -> None:
    tokenizer = clip_tokenizer("!")
    ids = tokenizer("a red circle", padding="max_length", max_length=77).input_ids
    size = len(tokenizer)
    assert tokenizer.convert_ids_to_tokens([0, size - 2, size - 1]) == ["!", START, END]
    assert ids[0] == size - 2
    assert ids[4:] == [size - 1] + [0] * 72
    assert tokenizer.decode(tokenizer("Ünïcode 🐱").input_ids, skip_special_tokens=True) == "ünïcode 🐱"


def test_known_words_are_one_token() -> None:
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    assert [word for word in WORDS if len(clip(word).input_ids) != 3] == []
    assert [word for word in WORDS if len(t5(word).input_ids) != 2] == []
