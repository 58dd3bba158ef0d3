"""Sender keys: one ciphertext for a group."""

import pytest
from tidings_core import BadKey, BadSignature, Malformed, ReceivedSenderKey, SenderKey, TooNew, Undecryptable


@pytest.fixture
def key() -> SenderKey:
    return SenderKey.generate()


def test_members_read_in_any_order(key: SenderKey) -> None:
    received = ReceivedSenderKey(key.share())
    messages = [key.encrypt(b"%d" % n) for n in range(5)]
    for n in (3, 0, 4, 1, 2):
        assert received.decrypt(messages[n]) == (b"%d" % n, n)
    assert key.index == 5


def test_who_comes_later_reads_from_there_on(key: SenderKey) -> None:
    before = key.encrypt(b"before")
    late = ReceivedSenderKey(key.share())
    assert late.first_index == 1
    with pytest.raises(Undecryptable):
        late.decrypt(before)
    assert late.decrypt(key.encrypt(b"after")) == (b"after", 1)


def test_a_message_is_read_as_often_as_asked(key: SenderKey) -> None:
    """History is read again; that an index was seen with another message is the caller's to see."""
    received = ReceivedSenderKey(key.share())
    message = key.encrypt(b"again")
    assert received.decrypt(message) == received.decrypt(message) == (b"again", 0)


def test_states_come_back(key: SenderKey) -> None:
    received = ReceivedSenderKey.load(ReceivedSenderKey(key.share()).save())
    for n in range(4):
        key = SenderKey.load(key.save())
        received = ReceivedSenderKey.load(received.save())
        assert received.decrypt(key.encrypt(b"")) == (b"", n)
    assert received.first_index == 0


def test_every_byte_of_a_message_counts(key: SenderKey) -> None:
    received = ReceivedSenderKey(key.share())
    message = key.encrypt(b"hello")
    before = received.save()
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1
        with pytest.raises((Malformed, TooNew, Undecryptable)):
            received.decrypt(bytes(changed))
        assert received.save() == before
    for length in range(len(message)):
        with pytest.raises((Malformed, Undecryptable)):
            received.decrypt(message[:length])


def test_macs_are_of_full_length(key: SenderKey) -> None:
    """Version, index and ciphertext of 16 bytes, a MAC of 32, a signature of 64."""
    assert len(key.encrypt(b"")) == 1 + 1 + 2 + 2 + 16 + 32 + 64


def test_another_key_reads_nothing(key: SenderKey) -> None:
    with pytest.raises(Undecryptable):
        ReceivedSenderKey(key.share()).decrypt(SenderKey.generate().encrypt(b""))


def test_a_shared_key_that_was_changed_is_refused(key: SenderKey) -> None:
    shared = key.share()
    for place in range(2, len(shared)):
        changed = bytearray(shared)
        changed[place] ^= 1
        with pytest.raises((BadKey, BadSignature, Malformed)):
            ReceivedSenderKey(bytes(changed))
    for wrong in (shared[:-1], shared + b"\0", b"", b"\1"):
        with pytest.raises(Malformed):
            ReceivedSenderKey(wrong)
    with pytest.raises(TooNew):
        ReceivedSenderKey(b"\2" + shared[1:])


def test_a_far_index_is_reached(key: SenderKey) -> None:
    received = ReceivedSenderKey(key.share())
    for _ in range(3000):
        message = key.encrypt(b"far")
    assert received.decrypt(message) == (b"far", 2999)
