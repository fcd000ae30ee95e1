"""Reads the weights of words out of a prompt. Pure: the standard library only.

Three forms carry a weight, and no other text does:

    (some words)0.5        a group, then its number
    word(1.5)              a word, then its number in parentheses
    (some words:1.3)       a group that ends with its number

Groups nest, and their weights multiply. A number below 0 counts as 0 and one above 2 as 2, and so does a product.
`\\(` and `\\)` are literal parentheses. Where text and weight could be confused:

- What ends a weight must be followed by the end, a space or punctuation, and not by a number that goes on:
  `(cat)2nd`, `(a)1.2.3`, `(a)0,5` and `H(2)O` are text.
- A word is what stands between spaces, parentheses, commas and semicolons; punctuation alone is none: `:-(2)` is text.
- `(16:9)` and `(at 12:30)` are text: after a digit, the number that ends a group needs a decimal point.
- A group of nothing but spaces is text, and so is a parenthesis without its partner.

Invariants: `parse` never raises and takes time proportional to the prompt; text without a form comes out unchanged, and
the number of a weight never comes out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

MOST_WEIGHT = 2.0

_NUMBER = r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_END = r"(?![.,][0-9])(?=[\s,.;:!?()\[\]{}\"'\\…、。，；：！？]|\Z)"
_PARENTHESIS = re.compile(r"\\[()]|[()]")
_NUMBER_OF_WORD = re.compile(rf"\(({_NUMBER})\){_END}")
_NUMBER_OF_GROUP = re.compile(rf"({_NUMBER}){_END}")
_NUMBER_IN_GROUP = re.compile(r"(?:(?<![0-9]):(-?[0-9]+)|:(-?[0-9]*\.[0-9]+))\Z")
_WORD_BACKWARDS = re.compile(r"[^\s(),;]*")
_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]*")


class Fragment(NamedTuple):
    """A stretch of the prompt and how much it counts."""

    text: str  # as the encoder is to read it
    weight: float  # 0 … 2


def parse(prompt: str) -> list[Fragment]:
    """The prompt in stretches of one weight each, none of them empty and neighbours of different weights."""
    stretches = _stretches(prompt, sorted(_marks(prompt), key=lambda mark: mark.start))
    same_weight = groupby((stretch for stretch in stretches if stretch.text), key=lambda stretch: stretch.weight)
    return [Fragment(plain_text(stretches), weight) for weight, stretches in same_weight]


def plain_text(fragments: Iterable[Fragment]) -> str:
    """What the encoder is to read."""
    return "".join(fragment.text for fragment in fragments)


class _Mark(NamedTuple):
    """A place where something is left out of the text, or the weight changes."""

    start: int
    end: int  # prompt[start:end] is left out
    opens: float | None = None  # from here on all counts so many times
    closes: bool = False  # what was opened last ends here


def _marks(prompt: str) -> Iterator[_Mark]:
    """Of one prompt, in no order. No two start at one place, and what they open and close is properly nested."""
    open_groups: list[tuple[int, int]] = []  # where each one's parenthesis stands, and where the word before it starts
    read = 0  # the end of the last parenthesis or weight; nothing before it is looked at again
    for parenthesis in _PARENTHESIS.finditer(prompt):
        at, end = parenthesis.span()
        if parenthesis[0] == "(":
            open_groups.append((at, _start_of_word(prompt, read, at)))
        elif parenthesis[0] != ")":
            yield _Mark(at, at + 1)  # the backslash
        elif open_groups:
            start, word = open_groups.pop()
            of_word = _NUMBER_OF_WORD.match(prompt, start) if word < start else None
            in_group = _NUMBER_IN_GROUP.search(prompt[read:at])
            of_group = _NUMBER_OF_GROUP.match(prompt, end)
            text_end = read + in_group.start() if in_group else at
            if of_word:
                yield _Mark(word, word, opens=_weight(of_word[1]))
                yield _Mark(start, end, closes=True)
            elif (in_group or of_group) and (read > start + 1 or prompt[read:text_end].strip()):
                inner = _weight(in_group[1] or in_group[2]) if in_group else 1.0
                outer = _weight(of_group[1]) if of_group else 1.0
                end = of_group.end() if of_group else end
                yield _Mark(start, start + 1, opens=inner * outer)
                yield _Mark(text_end, end, closes=True)
        read = end


def _start_of_word(prompt: str, start: int, end: int) -> int:
    """Where the word starts that ends at `end`, no earlier than `start`; `end` itself if there is none."""
    backwards = _WORD_BACKWARDS.match(prompt[start:end][::-1])
    assert backwards is not None
    return end if _PUNCTUATION.fullmatch(backwards[0]) else end - backwards.end()


def _weight(number: str) -> float:
    return min(MOST_WEIGHT, max(0.0, float(number)))


def _stretches(prompt: str, marks: Iterable[_Mark]) -> Iterator[Fragment]:
    position, factors = 0, [1.0]
    for mark in marks:
        yield Fragment(prompt[position : mark.start], min(MOST_WEIGHT, factors[-1]))
        position = mark.end
        if mark.opens is not None:
            # A thousand groups of weight 2 would make infinity, which times 0 is not a number.
            factors.append(min(sys.float_info.max, factors[-1] * mark.opens))
        elif mark.closes:
            factors.pop()
    yield Fragment(prompt[position:], min(MOST_WEIGHT, factors[-1]))
