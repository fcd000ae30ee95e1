"""Signed links: only what was signed verifies, and for exactly its time."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from deployments.errors import Expired, Forbidden
from serve_app.images.signing import LinkSigner

SIGNER = LinkSigner(b"a secret of this test alone")
NAME = "1000-0123456789abcdef0123456789abcdef.png"
EXPIRES = 1000
SIGNATURE = SIGNER.sign(NAME, EXPIRES)


def test_a_signature_is_url_safe_and_without_padding() -> None:
    assert len(SIGNATURE) == 43
    assert SIGNATURE.replace("-", "").replace("_", "").isalnum()


def test_a_link_answers_for_exactly_its_time() -> None:
    SIGNER.verify(NAME, "1000", SIGNATURE, now=0)
    SIGNER.verify(NAME, "1000", SIGNATURE, now=999.999)
    for now in (1000, 1000.001, 1e12):
        with pytest.raises(Expired) as caught:
            SIGNER.verify(NAME, "1000", SIGNATURE, now=now)
        assert caught.value.code == "url_expired"


@pytest.mark.parametrize("now", [0, 2000])
@pytest.mark.parametrize(
    ("name", "expires", "signature"),
    [
        (NAME.replace("png", "jpg"), "1000", SIGNATURE),
        ("", "1000", SIGNATURE),
        (NAME, "1001", SIGNATURE),
        (NAME, None, SIGNATURE),
        (NAME, "", SIGNATURE),
        (NAME, "01000", SIGNATURE),
        (NAME, "+1000", SIGNATURE),
        (NAME, "-1000", SIGNATURE),
        (NAME, " 1000", SIGNATURE),
        (NAME, "1000 ", SIGNATURE),
        (NAME, "1000\n", SIGNATURE),
        (NAME, "1_000", SIGNATURE),
        (NAME, "1000.0", SIGNATURE),
        (NAME, "1e3", SIGNATURE),
        (NAME, "\u0661\u0660\u0660\u0660", SIGNATURE),
        (NAME, "9" * 10_000, SIGNATURE),
        (NAME, "1000", None),
        (NAME, "1000", ""),
        (NAME, "1000", SIGNATURE[:-1]),
        (NAME, "1000", SIGNATURE + "="),
        (NAME, "1000", SIGNATURE + "\n"),
        (NAME, "1000", SIGNATURE.swapcase()),
        (NAME, "1000", "é" * 43),
        (NAME, "1000", "\ud800"),
        ("\ud800", "1000", SIGNATURE),
        (NAME, "1000", LinkSigner(b"another secret").sign(NAME, EXPIRES)),
    ],
)
def test_anything_changed_is_forbidden(name: str, expires: str | None, signature: str | None, now: float) -> None:
    with pytest.raises(Forbidden) as caught:
        SIGNER.verify(name, expires, signature, now)
    with pytest.raises(Forbidden) as other:
        SIGNER.verify("other", None, None, 0)
    assert caught.value.message == other.value.message


def test_every_bit_of_the_signature_counts() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for position, character in enumerate(SIGNATURE):
        for other in alphabet.replace(character, ""):
            with pytest.raises(Forbidden):
                SIGNER.verify(NAME, "1000", SIGNATURE[:position] + other + SIGNATURE[position + 1 :], now=0)


def test_the_border_between_expiry_and_name_counts() -> None:
    signature = SIGNER.sign("2:x", 1)
    for name, expires in (("x", "1:2"), (":2:x", "1"), (":x", "12"), ("x", "12"), ("2x", "1")):
        with pytest.raises(Forbidden):
            SIGNER.verify(name, expires, signature, now=0)


OWNED = SIGNER.sign(NAME, EXPIRES, "otter")


def test_the_owner_is_signed_too() -> None:
    SIGNER.verify(NAME, "1000", OWNED, now=0, owner="otter")
    for owner in (None, "", "Otter", "otter ", "badger", "otter\0", "\ud800"):
        with pytest.raises(Forbidden):
            SIGNER.verify(NAME, "1000", OWNED, now=0, owner=owner)
    for owner in ("", "otter"):  # given to a link that has none
        with pytest.raises(Forbidden):
            SIGNER.verify(NAME, "1000", SIGNATURE, now=0, owner=owner)
    with pytest.raises(Expired):
        SIGNER.verify(NAME, "1000", OWNED, now=1000, owner="otter")


PART = st.none() | st.text()  # None leaves a part as it was signed
LINKS = st.tuples(st.text(), st.integers(0, 10**12 - 1))
NEAR_DIGITS = st.text(st.sampled_from("0123456789+- _:.e\u0663"), max_size=14)


@given(signed=LINKS, name=PART, expires=PART | NEAR_DIGITS, signature=PART)
@example(signed=("x", 5), name=None, expires="05", signature=None)
@example(signed=("2:x", 1), name="x", expires="1:2", signature=None)
def test_no_altered_link_verifies(
    signed: tuple[str, int], name: str | None, expires: str | None, signature: str | None
) -> None:
    genuine = (signed[0], str(signed[1]), SIGNER.sign(*signed))
    altered = tuple(old if new is None else new for old, new in zip(genuine, (name, expires, signature), strict=True))
    assume(altered != genuine)
    name, expires, signature = altered
    with pytest.raises(Forbidden):
        SIGNER.verify(name, expires, signature, now=-1)


@given(st.sampled_from(range(3)), st.data())
def test_no_link_verifies_that_one_character_was_changed_of(part: int, data: st.DataObject) -> None:
    parts = [NAME, str(EXPIRES), SIGNATURE]
    text = parts[part]
    place = data.draw(st.integers(0, len(text)))
    written = data.draw(st.characters() | st.sampled_from("0123456789abcdefABC-_=.") | st.just(""))
    parts[part] = text[:place] + written + text[place + data.draw(st.integers(0, 1)) :]
    assume(parts[part] != text)
    with pytest.raises(Forbidden):
        SIGNER.verify(*parts, now=0)


OWNERS = st.none() | st.text()


@given(first=st.tuples(LINKS, OWNERS), second=st.tuples(LINKS, OWNERS))
@example(first=(('x", "y', 1), "z"), second=(("x", 1), 'y", "z'))
@example(first=(("x", 1), None), second=(("x", 1), ""))
def test_no_two_links_have_one_signature(
    first: tuple[tuple[str, int], str | None], second: tuple[tuple[str, int], str | None]
) -> None:
    assume(first != second)
    assert SIGNER.sign(*first[0], first[1]) != SIGNER.sign(*second[0], second[1])


@given(LINKS)
def test_every_signed_link_verifies_until_it_ends(signed: tuple[str, int]) -> None:
    name, expires = signed
    SIGNER.verify(name, str(expires), SIGNER.sign(name, expires), now=expires - 0.001)
    with pytest.raises(Expired):
        SIGNER.verify(name, str(expires), SIGNER.sign(name, expires), now=expires)
