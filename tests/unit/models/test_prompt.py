from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.models.prompt import Fragment, parse, plain_text

# What decides about forms, so that random text is full of near misses.
TRICKY = st.text(st.sampled_from("()()\\:.,;- 0125a🎨é"), max_size=60)
SIMPLE = st.text(st.characters(exclude_characters="()\\"))


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        (
            "a photorealistic(1.5) image of a cat playing with a (ball)0.5 in a (forest)1.0",
            [
                ("a ", 1),
                ("photorealistic", 1.5),
                (" image of a cat playing with a ", 1),
                ("ball", 0.5),
                (" in a forest", 1),
            ],
        ),
        ("(some words)0.5", [("some words", 0.5)]),
        ("(some words:1.3)", [("some words", 1.3)]),
        ("red,photo-realistic(1.5).", [("red,", 1), ("photo-realistic", 1.5), (".", 1)]),
        ("C++(1.5)", [("C++", 1.5)]),
        ("(猫)1.5、(犬)0.5", [("猫", 1.5), ("、", 1), ("犬", 0.5)]),
        # Where a number may end.
        ("(a)2, (b)0.5. (c)1.5", [("a", 2), (", ", 1), ("b", 0.5), (". ", 1), ("c", 1.5)]),
        ("(a)0.5(b).25", [("a", 0.5), ("b", 0.25)]),
        ('"(a)0.5"', [('"', 1), ("a", 0.5), ('"', 1)]),
        # Nested.
        ("((a cat)1.2 and b(1.5))0.5 c", [("a cat", 0.6), (" and ", 0.5), ("b", 0.75), (" c", 1)]),
        ("((red:1.5) cat:0.5)", [("red", 0.75), (" cat", 0.5)]),
        ("((a)1.5)1.5", [("a", 2)]),
        ("(((a)2)2)0.25 (9 lives:9)0.5", [("a 9 lives", 1)]),
        ("(cat:1.5)0.5", [("cat", 0.75)]),
        ("((cat)) (sat)0.5", [("((cat)) ", 1), ("sat", 0.5)]),
        # Outside 0 … 2.
        ("(a)9 (b)-1 c(2024)", [("a", 2), (" ", 1), ("b", 0), (" ", 1), ("c", 2)]),
        ("(a:" + "9" * 400 + ")", [("a", 2)]),
        ("(" * 1500 + "(a)0" + ")2" * 1500, [("a", 0)]),
        # Literal parentheses.
        (r"\(a\)0.5", [("(a)0.5", 1)]),
        (r"(a \(b\))0.5", [("a (b)", 0.5)]),
        (r"a\b \\(c", [(r"a\b \(c", 1)]),
        # Unbalanced ones.
        ("((a)0.5", [("(", 1), ("a", 0.5)]),
        (")(a)0.5)", [(")", 1), ("a", 0.5), (")", 1)]),
        ("(16:9) (route 66:1.5)", [("(16:9) ", 1), ("route 66", 1.5)]),
    ],
)
def test_weights_are_read_and_their_numbers_vanish(prompt: str, fragments: list[tuple[str, float]]) -> None:
    parsed = parse(prompt)
    assert [fragment.text for fragment in parsed] == [text for text, _ in fragments]
    assert [fragment.weight for fragment in parsed] == pytest.approx([weight for _, weight in fragments])


@pytest.mark.parametrize(
    "prompt",
    [
        "C++",
        ":-) ;-( :-(2)",
        "f(x)",
        "(smiling)",
        "a (cat) in 1999",
        "(1.5)",
        "H(2)O",
        "(cat)2nd",
        "(a)1.2.3",
        "(a)0,5",
        "(a)50%",
        "(a) 0.5",
        "word (1.5)",
        "(aspect 16:9) (at 12:30)",
        "(note: this) (a:b)",
        "()0.5 ( )1.5 (:1.5)",
        "(((((",
        ")))))",
        "(cat]0.5",
        'rock- "quoted" a.swap(b) (a, b).blend(0.5, 0.5)x',
    ],
)
def test_other_text_is_unchanged(prompt: str) -> None:
    assert parse(prompt) == [Fragment(prompt, 1.0)]


def test_nothing_is_nothing() -> None:
    assert parse("") == []


@given(SIMPLE)
def test_without_parentheses_nothing_changes(text: str) -> None:
    assert plain_text(parse(text)) == text
    assert all(fragment.weight == 1 for fragment in parse(text))


@given(TRICKY)
@example("(" * 4000)
@example(")" * 4000)
@example("(" * 2000 + ")2" * 2000)
@example("(a" * 1000 + ")0" * 1000)
def test_it_never_raises_and_only_leaves_out(prompt: str) -> None:
    fragments = parse(prompt)
    assert all(fragment.text and 0 <= fragment.weight <= 2 for fragment in fragments)
    assert all(one.weight != other.weight for one, other in pairwise(fragments))
    rest = iter(prompt)
    assert all(character in rest for character in plain_text(fragments))  # in order


@given(SIMPLE, st.integers(0, 40), SIMPLE)
def test_text_outside_of_weights_is_unchanged(before: str, weight: int, after: str) -> None:
    fragments = parse(f"{before}(some words){weight / 20:.2f} {after}")
    assert plain_text(fragments) == f"{before}some words {after}"
    around = [fragment.text for fragment in fragments if fragment.text != "some words"]
    assert weight == 20 or "".join(around) == f"{before} {after}"
    assert {fragment.weight for fragment in fragments} == {1.0, weight / 20}


@given(st.text(st.sampled_from("ab :.,;0"), min_size=1), st.floats(0, 2))
def test_escaped_text_has_no_weights(text: str, weight: float) -> None:
    escaped = f"\\({text}\\){weight:.2f}"
    assert plain_text(parse(escaped)) == escaped.replace("\\", "")
    assert {fragment.weight for fragment in parse(escaped)} == {1.0}


@given(st.lists(st.tuples(st.text("abc é", min_size=1).filter(str.strip), st.integers(0, 40)), min_size=1))
def test_groups_in_a_row_come_out_as_they_were_put_in(groups: list[tuple[str, int]]) -> None:
    for form in ("({text}){weight:.2f}", "({text}:{weight:.2f})"):
        fragments = parse(" ".join(form.format(text=text, weight=weight / 20) for text, weight in groups))
        assert plain_text(fragments) == " ".join(text for text, _ in groups)
        of_characters = [fragment.weight for fragment in fragments for _ in fragment.text]
        starts = [sum(len(text) + 1 for text, _ in groups[:index]) for index in range(len(groups))]
        assert [of_characters[start] for start in starts] == [weight / 20 for _, weight in groups]


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 400_000,
        "(" * 200_000 + ")" * 200_000,
        "(" * 100_000 + "a" + ")2" * 100_000,
        "a(" * 200_000,
        "a" * 400_000 + "(1)",
        "(a)" + "1" * 400_000,
        "(:1" * 130_000 + ")" * 130_000,
        "((a" + ":1" * 200_000 + ")",
        "\\(" * 200_000,
    ],
    ids=lambda prompt: prompt[:6],
)
def test_hostile_prompts_take_no_longer_than_their_length(prompt: str) -> None:
    """A hundred times the longest prompt: what took quadratic time would run into the time limit of the tests."""
    assert len(plain_text(parse(prompt))) <= len(prompt)
