"""Sealed content and padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidings_core import BadKey, Malformed, TooNew, Undecryptable, open_sealed, pad, seal, unpad


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_what_was_sealed_opens(plaintext: bytes, aad: bytes) -> None:
    key, sealed = seal(plaintext, aad)
    assert open_sealed(key, sealed, aad) == plaintext
    assert len(sealed) == 1 + 32 + len(plaintext) + 16


def test_each_message_has_its_own_key() -> None:
    assert len({seal(b"same", b"")[0] for _ in range(100)}) == 100


def test_every_byte_of_it_counts() -> None:
    key, sealed = seal(b"hello", b"aad")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 0x80
        with pytest.raises(TooNew if place == 0 else Undecryptable):
            open_sealed(key, bytes(changed), b"aad")
    for length in range(len(sealed)):
        with pytest.raises((Malformed, Undecryptable)):
            open_sealed(key, sealed[:length], b"aad")
    with pytest.raises(Undecryptable):
        open_sealed(key, sealed, b"bad")


def test_another_key_is_seen_by_the_commitment() -> None:
    (key, sealed), (other, others) = seal(b"a", b""), seal(b"b", b"")
    with pytest.raises(Undecryptable, match="another key"):
        open_sealed(other, sealed, b"")
    with pytest.raises(Undecryptable):
        open_sealed(key, sealed[:33] + others[33:], b"")


def test_a_key_is_32_bytes_and_not_zeros() -> None:
    _, sealed = seal(b"", b"")
    with pytest.raises(Malformed):
        open_sealed(b"short", sealed, b"")
    with pytest.raises(BadKey):
        open_sealed(bytes(32), sealed, b"")


@given(st.binary(max_size=3000))
def test_what_was_padded_comes_back(plaintext: bytes) -> None:
    padded = pad(plaintext)
    assert unpad(padded) == plaintext
    least = max(128, len(plaintext) + 5)
    assert least <= len(padded) <= least * 1.125


@given(st.integers(0, 200_000))
def test_lengths_are_few_and_cheap(length: int) -> None:
    """Padmé keeps about log₂ log₂ n bits of a length, and adds 12 % at most."""
    padded = len(pad(bytes(length)))
    assert padded >= 128
    shift = padded.bit_length() - 1 - (padded.bit_length() - 1).bit_length()
    assert padded % (1 << shift) == 0


def test_short_messages_look_alike() -> None:
    assert {len(pad(bytes(length))) for length in range(124)} == {128}


@given(st.binary(min_size=0, max_size=200))
def test_padding_has_one_form(plaintext: bytes) -> None:
    padded = pad(plaintext)
    for changed in (padded + b"\0", padded[:-1]):
        with pytest.raises(Malformed):
            unpad(changed)
    if len(plaintext) + 5 < len(padded):
        with pytest.raises(Malformed):
            unpad(padded[:-1] + b"\1")


def test_a_newer_padding_is_named() -> None:
    with pytest.raises(TooNew):
        unpad(b"\2" + pad(b"")[1:])
