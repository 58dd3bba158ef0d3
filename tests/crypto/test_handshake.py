"""How a session begins, and what a server in between cannot do to it."""

from typing import Any

import pytest
from tidings_core import BadKey, BadSignature, CryptoError, Malformed, Session, Undecryptable, handshake_of

from crypto.phones import CONTEXT, KEM_ID, ONE_TIME_ID, PREKEY_ID, Phone, reloaded

LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]
"""X25519 points that give everybody the same secret (RFC 7748 §6.1)."""


@pytest.fixture
def alice() -> Phone:
    return Phone()


@pytest.fixture
def bob() -> Phone:
    return Phone()


@pytest.mark.parametrize("spare", [True, False])
def test_a_first_message_arrives(alice: Phone, bob: Phone, *, spare: bool) -> None:
    hers = alice.call(bob, spare=spare)
    his, said = bob.answer(hers.encrypt(b"hello"), spare=spare)
    assert said == b"hello"
    assert his.session_id == hers.session_id
    assert (his.peer_signing, his.peer_agreement) == (alice.device.signing, alice.device.agreement)
    assert (hers.peer_signing, hers.peer_agreement) == (bob.device.signing, bob.device.agreement)
    assert (hers.is_answered, his.is_answered) == (False, True)
    assert hers.decrypt(his.encrypt(b"yes?")) == b"yes?"
    assert hers.is_answered


def test_the_handshake_is_repeated_until_it_is_answered(alice: Phone, bob: Phone) -> None:
    hers = alice.call(bob)
    messages = [hers.encrypt(bytes([n])) for n in range(5)]
    shakes = [handshake_of(message) for message in messages]
    assert {shake.session_id for shake in shakes if shake} == {hers.session_id}
    shake = shakes[0]
    assert shake is not None
    assert (shake.prekey_id, shake.kem_id, shake.one_time_id) == (PREKEY_ID, KEM_ID, ONE_TIME_ID)
    assert (shake.signing, shake.agreement) == (alice.device.signing, alice.device.agreement)
    his, said = bob.answer(messages[3])
    assert said == b"\3"
    assert [his.decrypt(messages[n]) for n in (4, 0, 2, 1)] == [b"\4", b"\0", b"\2", b"\1"]
    answer = his.encrypt(b"answer")
    assert handshake_of(answer) is None
    hers.decrypt(answer)
    assert handshake_of(hers.encrypt(b"on we go")) is None


def test_a_handshake_without_one_time_prekey_says_so(alice: Phone, bob: Phone) -> None:
    shake = handshake_of(alice.call(bob, spare=False).encrypt(b""))
    assert shake is not None
    assert shake.one_time_id is None


def test_a_handshake_that_comes_again_names_the_same_session(alice: Phone, bob: Phone) -> None:
    message = alice.call(bob).encrypt(b"once")
    his, _ = bob.answer(message)
    shake = handshake_of(message)
    assert shake is not None
    assert shake.session_id == his.session_id
    with pytest.raises(Undecryptable):
        his.decrypt(message)
    with pytest.raises(Undecryptable):
        bob.answer(message, spare=False)  # its secret is deleted with the first answer


def test_two_handshakes_on_one_one_time_prekey_are_two_sessions(alice: Phone, bob: Phone) -> None:
    first, second = alice.call(bob), alice.call(bob)
    assert first.session_id != second.session_id
    assert bob.answer(first.encrypt(b"1"))[1] == b"1"
    assert bob.answer(second.encrypt(b"2"))[1] == b"2"


def test_both_sides_agree_on_the_context(alice: Phone, bob: Phone) -> None:
    message = alice.call(bob).encrypt(b"hello")
    for other in (b"", CONTEXT + b"!", CONTEXT[:-1]):
        with pytest.raises(Undecryptable):
            bob.answer(message, context=other)


def test_other_secrets_open_nothing(alice: Phone, bob: Phone) -> None:
    message, other = alice.call(bob).encrypt(b"hello"), Phone()
    good: list[Any] = [bob.device, message, bob.prekey, bob.kem, bob.one_time, CONTEXT]
    for place, wrong in [
        (0, other.device),
        (2, other.prekey),
        (3, other.kem),
        (4, other.one_time),
        (4, None),
    ]:
        with pytest.raises(Undecryptable):
            Session.inbound(*[*good[:place], wrong, *good[place + 1 :]])
    assert Session.inbound(*good)[1] == b"hello"


def test_a_one_time_prekey_that_was_not_asked_for_opens_nothing(alice: Phone, bob: Phone) -> None:
    with pytest.raises(Undecryptable):
        bob.answer(alice.call(bob, spare=False).encrypt(b"hello"), spare=True)


@pytest.mark.parametrize("field", ["signing", "agreement", "prekey", "kem", "prekey_id", "kem_id"])
def test_a_server_that_swaps_a_signed_key_is_seen(alice: Phone, bob: Phone, field: str) -> None:
    mallory = Phone().published()
    changed = bob.published()[field] + 1 if field.endswith("id") else mallory[field]
    bundle = bob.bundle(**{field: changed})
    with pytest.raises(BadSignature):
        bundle.verify()
    with pytest.raises(BadSignature):
        Session.outbound(alice.device, bundle, CONTEXT)


@pytest.mark.parametrize("field", ["agreement_signature", "prekey_signature", "kem_signature"])
def test_a_server_that_swaps_a_signature_is_seen(alice: Phone, bob: Phone, field: str) -> None:
    bundle = bob.bundle(**{field: alice.published()[field]})
    with pytest.raises(BadSignature):
        bundle.verify()


def test_a_signature_for_one_kind_of_prekey_serves_no_other(bob: Phone) -> None:
    signature = bob.device.sign_kem_prekey(PREKEY_ID, bob.prekey.public)
    with pytest.raises(BadSignature):
        bob.bundle(prekey_signature=signature).verify()


def test_a_swapped_one_time_prekey_opens_nothing(alice: Phone, bob: Phone) -> None:
    bundle = bob.bundle(one_time=Phone().one_time.public)
    message = Session.outbound(alice.device, bundle, CONTEXT).encrypt(b"hello")
    with pytest.raises(Undecryptable):
        bob.answer(message)


def test_a_swapped_one_time_id_opens_nothing(alice: Phone, bob: Phone) -> None:
    message = Session.outbound(alice.device, bob.bundle(one_time_id=5), CONTEXT).encrypt(b"hello")
    shake = handshake_of(message)
    assert shake is not None
    assert shake.one_time_id == 5
    renumbered = message.replace((5).to_bytes(8, "big"), (6).to_bytes(8, "big"), 1)
    with pytest.raises(Undecryptable):
        bob.answer(renumbered)


@pytest.mark.parametrize("bad", LOW_ORDER)
@pytest.mark.parametrize("field", ["agreement", "prekey", "one_time"])
def test_a_point_of_small_order_is_refused_though_it_is_signed(
    alice: Phone, bob: Phone, field: str, bad: bytes
) -> None:
    changed: dict[str, Any] = {field: bad}
    if field == "prekey":
        changed["prekey_signature"] = bob.device.sign_prekey(PREKEY_ID, bad)
    if field == "agreement":
        changed["agreement_signature"] = bob.device.sign("agreement", bad)
    with pytest.raises(BadKey):
        Session.outbound(alice.device, bob.bundle(**changed), CONTEXT)


@pytest.mark.parametrize("bad", [bytes(1568), b"\xff" * 1568])
def test_a_kem_key_that_is_none_is_refused_though_it_is_signed(alice: Phone, bob: Phone, bad: bytes) -> None:
    bundle = bob.bundle(kem=bad, kem_signature=bob.device.sign_kem_prekey(KEM_ID, bad))
    with pytest.raises(BadKey):
        Session.outbound(alice.device, bundle, CONTEXT)


def test_zeros_are_no_signing_key(bob: Phone) -> None:
    with pytest.raises(BadKey):
        bob.bundle(signing=bytes(32)).verify()


@pytest.mark.parametrize("field", ["signing", "agreement", "prekey", "kem", "kem_signature", "one_time"])
def test_a_bundle_knows_its_lengths(bob: Phone, field: str) -> None:
    good = bob.published()[field]
    for wrong in (b"", good[:-1], good + b"\0"):
        changed: dict[str, Any] = {field: wrong}
        with pytest.raises(Malformed):
            bob.bundle(**changed)


def test_a_one_time_prekey_and_its_id_come_together(bob: Phone) -> None:
    with pytest.raises(Malformed):
        bob.bundle(one_time=None)
    with pytest.raises(Malformed):
        bob.bundle(one_time_id=None)


@pytest.mark.slow
def test_every_byte_of_a_first_message_counts(alice: Phone, bob: Phone) -> None:
    message = alice.call(bob).encrypt(b"hello")
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1
        with pytest.raises(CryptoError):
            bob.answer(bytes(changed))
    assert bob.answer(message)[1] == b"hello"


def test_a_lost_session_is_replaced_by_a_new_one(alice: Phone, bob: Phone) -> None:
    hers = alice.call(bob)
    his, _ = bob.answer(hers.encrypt(b"hello"))
    hers.decrypt(his.encrypt(b"yes"))
    later = hers.encrypt(b"to a session that Bob has lost")
    assert handshake_of(later) is None
    again = alice.call(bob, spare=False)
    fresh, said = bob.answer(again.encrypt(b"hello again"), spare=False)
    assert said == b"hello again"
    with pytest.raises(Undecryptable):
        fresh.decrypt(later)


def test_both_may_begin_at_once(alice: Phone, bob: Phone) -> None:
    hers, his = alice.call(bob), bob.call(alice)
    to_bob, to_alice = hers.encrypt(b"from alice"), his.encrypt(b"from bob")
    assert bob.answer(to_bob)[1] == b"from alice"
    assert alice.answer(to_alice)[1] == b"from bob"


def test_a_session_that_waits_for_its_answer_survives_a_restart(alice: Phone, bob: Phone) -> None:
    hers = reloaded(alice.call(bob))
    first = hers.encrypt(b"1")
    second = reloaded(hers).encrypt(b"2")
    his, _ = bob.answer(first)
    his = reloaded(his)
    assert his.decrypt(second) == b"2"
    assert reloaded(hers).decrypt(his.encrypt(b"3")) == b"3"
