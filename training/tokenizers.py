"""The tokenizers of the small models: CLIP's and T5's own classes and special tokens over a vocabulary of a few words.

Invariants: every word of `WORDS` is one token and every other text falls into pieces; the same input gives the same
vocabulary in every process. CLIP's ids are laid out as the real ones: bytes from "!" = 0, bytes that end a word,
merges, then start and end of text.
"""

from __future__ import annotations

import string
from collections import Counter
from itertools import pairwise

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, T5Tokenizer

WORDS = """
    a an the of on in at to and or with without by from for under over behind before beside between above below near
    next into its
    left right top bottom middle center centre side corner background foreground front
    red green blue yellow purple orange white black pink cyan gray brown gold silver
    circle square triangle star ring diamond cross heart hexagon ball cube line stripe dot shape shapes figure
    big small little tiny huge large tall short wide narrow round old young new bright dark light soft warm cold
    one two three four five many single empty full
    cat dog horse bird fish rabbit fox bear lion owl man woman person child girl boy face portrait hand hair eyes
    tree forest flower grass leaf river lake sea ocean beach mountain hill valley desert island sky cloud sun moon rain
    snow sunset sunrise night day morning winter summer spring autumn city street house castle tower bridge road
    room window door table chair lamp book cup car train boat ship plane bicycle robot astronaut dragon knight
    playing sitting standing running walking flying sleeping wearing dressed holding looking riding jumping
    photo photograph picture image painting drawing sketch illustration watercolor oil render poster logo
    photorealistic realistic cinematic detailed highly masterpiece quality best high low studio lighting sharp focus
    style minimal flat simple vintage modern fantasy anime cartoon abstract colorful
    blurry deformed ugly bad worst watermark text signature noisy grainy cropped
""".split()

START, END = "<|startoftext|>", "<|endoftext|>"


def clip_tokenizer(pad_token: str = END) -> CLIPTokenizer:
    """CLIP's tokenizer, 77 tokens long. Byte-level, so any text has ids; SDXL's second one pads with "!"."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = _merges_of_words()
    vocabulary = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), START, END]
    ids = {token: index for index, token in enumerate(vocabulary)}
    return CLIPTokenizer(vocab=ids, merges=merges, pad_token=pad_token, model_max_length=77)


def t5_tokenizer(max_length: int = 512) -> T5Tokenizer:
    """T5's tokenizer. As in the real one, a character outside the vocabulary is `<unk>`."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    # Scores are log-probabilities: letters spell any word, but are so improbable that no known word is spelled.
    words = [(f"▁{word}", -4.0) for word in WORDS]
    letters = [(letter, -8.0) for letter in ("▁", *string.ascii_letters, *string.digits, *string.punctuation)]
    return T5Tokenizer(vocab=[*specials, *words, *letters], extra_ids=0, model_max_length=max_length)


def _merges_of_words() -> list[tuple[str, str]]:
    """The merges, most frequent first, that make each word one token.

    Not trained by the `tokenizers` package: it breaks ties by the order of a hash map, which differs between processes.
    """
    spellings = [[*word[:-1], word[-1] + "</w>"] for word in WORDS]
    merges = []
    while pairs := Counter(pair for spelling in spellings for pair in pairwise(spelling)):
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        spellings = [_merge(spelling, merges[-1]) for spelling in spellings]
    return merges


def _merge(spelling: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in spelling:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
