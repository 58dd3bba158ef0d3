"""Safety numbers and codes."""

import hashlib

import pytest
from tidings_core import Malformed, SigningKey, TooNew, compare_safety_code, safety_code, safety_number

ALICE, BOB = SigningKey.load(b"\1" * 32).public, SigningKey.load(b"\2" * 32).public


def by_hand(user: bytes, identity: bytes) -> str:
    """One half, from the description of Signal's numeric fingerprint."""
    digest = b"tidings/1 safety number" + bytes(2) + identity + user
    for _ in range(5_200):
        digest = hashlib.sha512(digest + identity).digest()
    groups = [int.from_bytes(digest[n : n + 5], "big") % 100_000 for n in range(0, 30, 5)]
    return "".join(f"{group:05}" for group in groups)


def test_the_number_is_what_it_is_said_to_be() -> None:
    halves = sorted([by_hand(b"alice", ALICE), by_hand(b"bob", BOB)])
    assert safety_number(b"alice", ALICE, b"bob", BOB) == "".join(halves)


def test_both_see_the_same_number() -> None:
    assert safety_number(b"alice", ALICE, b"bob", BOB) == safety_number(b"bob", BOB, b"alice", ALICE)


def test_the_number_changes_with_the_user_and_with_the_identity() -> None:
    numbers = [
        safety_number(b"alice", ALICE, b"bob", BOB),
        safety_number(b"alice", ALICE, b"rob", BOB),
        safety_number(b"alice", ALICE, b"bob", SigningKey.load(b"\3" * 32).public),
    ]
    assert len(set(numbers)) == 3


def test_codes_fit_crosswise_alone() -> None:
    alices, bobs = safety_code(b"alice", ALICE, b"bob", BOB), safety_code(b"bob", BOB, b"alice", ALICE)
    assert compare_safety_code(mine_first=alices, scanned=bobs)
    assert not compare_safety_code(mine_first=alices, scanned=alices)
    mallory = safety_code(b"bob", SigningKey.generate().public, b"alice", ALICE)
    assert not compare_safety_code(mine_first=alices, scanned=mallory)


def test_what_is_no_code_is_refused() -> None:
    code = safety_code(b"alice", ALICE, b"bob", BOB)
    for wrong in (b"", code[:-1], code + b"\0"):
        with pytest.raises(Malformed):
            compare_safety_code(code, wrong)
    with pytest.raises(TooNew):
        compare_safety_code(code, b"\2" + code[1:])


def test_an_identity_has_its_length_and_a_user_an_id() -> None:
    with pytest.raises(Malformed):
        safety_number(b"alice", ALICE[:-1], b"bob", BOB)
    with pytest.raises(Malformed):
        safety_number(b"", ALICE, b"bob", BOB)
