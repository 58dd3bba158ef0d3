"""The ratchet: order, loss, replays, changes, restarts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidings_core import Malformed, Session, TooNew, Undecryptable

from crypto.phones import Phone, reloaded, talking

KEPT_KEYS = 40
"""How many keys of skipped messages a chain keeps (vodozemac, `receiver_chain.rs`)."""
LONGEST_GAP = 2_000
"""How far ahead in its chain a message may be."""


@pytest.fixture
def pair() -> tuple[Session, Session]:
    return talking()


def fails_unchanged(session: Session, message: bytes, kind: type[Exception] = Undecryptable) -> None:
    before = session.save()
    with pytest.raises(kind):
        session.decrypt(message)
    assert session.save() == before


def test_they_talk(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    for n in range(20):
        speaker, listener = (hers, his) if n % 3 else (his, hers)
        assert listener.decrypt(speaker.encrypt(b"%d" % n)) == b"%d" % n


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 4096, 1_000_000])
def test_any_length_goes_through(pair: tuple[Session, Session], length: int) -> None:
    hers, his = pair
    assert his.decrypt(hers.encrypt(b"x" * length)) == b"x" * length


def test_order_does_not_matter(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    messages = [hers.encrypt(bytes([n])) for n in range(10)]
    for n in (9, 0, 5, 4, 8, 1, 2, 3, 7, 6):
        assert his.decrypt(messages[n]) == bytes([n])


def test_order_does_not_matter_across_turns(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    late = [hers.encrypt(b"late 0")]
    for n in range(1, 4):
        assert hers.decrypt(his.encrypt(b"")) == b""
        late.append(hers.encrypt(b"late %d" % n))
        assert his.decrypt(hers.encrypt(b"prompt")) == b"prompt"
    assert [his.decrypt(message) for message in late] == [b"late %d" % n for n in range(4)]


def test_a_chain_is_forgotten_five_turns_later(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    late = hers.encrypt(b"late")
    his.decrypt(hers.encrypt(b"prompt"))
    for _ in range(5):
        hers.decrypt(his.encrypt(b""))
        his.decrypt(hers.encrypt(b""))
    fails_unchanged(his, late)


def test_a_replay_is_refused(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    messages = [hers.encrypt(b"a"), hers.encrypt(b"b")]
    for message in reversed(messages):
        his.decrypt(message)
    for message in messages:
        fails_unchanged(his, message)


def test_every_byte_of_a_message_counts(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    message = hers.encrypt(b"from a chain that he has not seen")
    before = his.save()
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1
        with pytest.raises((Malformed, TooNew, Undecryptable)):
            his.decrypt(bytes(changed))
        assert his.save() == before, place
    assert his.decrypt(message).startswith(b"from a chain")


def test_a_failure_changes_nothing_whoever_spoke_last(pair: tuple[Session, Session]) -> None:
    """Where it is the listener's turn, the ratchet under it would step before it looks at the MAC."""
    stranger, _ = talking()
    for session in pair:
        fails_unchanged(session, stranger.encrypt(b""))
    hers, his = pair
    assert his.decrypt(hers.encrypt(b"still")) == b"still"
    assert hers.decrypt(his.encrypt(b"here")) == b"here"


def test_cut_and_grown_messages_are_refused(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    message = hers.encrypt(b"hello")
    for length in range(len(message)):
        with pytest.raises((Malformed, Undecryptable)):
            his.decrypt(message[:length])
    with pytest.raises((Malformed, Undecryptable)):
        his.decrypt(message + b"\0")
    assert his.decrypt(message) == b"hello"


def test_one_message_has_one_encoding(pair: tuple[Session, Session]) -> None:
    """A field that nobody knows would pass the MAC, which is over what was understood."""
    hers, his = pair
    message = hers.encrypt(b"hello")
    unknown_field = b"\x78\x01"
    fails_unchanged(his, message[:3] + unknown_field + message[3:], Malformed)
    longer_index = message.replace(b"\x10\x00\x22", b"\x10\x80\x00\x22", 1)
    assert longer_index != message
    fails_unchanged(his, longer_index, Malformed)


def test_a_newer_version_is_named(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    fails_unchanged(his, b"\2" + hers.encrypt(b"")[1:], TooNew)
    with pytest.raises(TooNew):
        Session.load(b"\2" + hers.save()[1:])


def test_a_handshake_of_another_session_is_refused(pair: tuple[Session, Session]) -> None:
    _, his = pair
    fails_unchanged(his, Phone().call(Phone()).encrypt(b"hello"))


def test_a_chain_keeps_forty_skipped_keys(pair: tuple[Session, Session]) -> None:
    """With 41 skipped, the oldest is gone and says so; the other forty are read."""
    hers, his = pair
    messages = [hers.encrypt(bytes([n])) for n in range(KEPT_KEYS + 2)]
    assert his.decrypt(messages[-1]) == bytes([KEPT_KEYS + 1])
    fails_unchanged(his, messages[0])
    for n in range(1, KEPT_KEYS + 1):
        assert his.decrypt(messages[n]) == bytes([n])


def test_a_second_gap_pushes_out_the_keys_of_the_first(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    messages = [hers.encrypt(bytes([n])) for n in range(50)]
    his.decrypt(messages[30])
    his.decrypt(messages[49])  # 30 + 18 skipped: the first eight are gone
    fails_unchanged(his, messages[7])
    assert his.decrypt(messages[8]) == b"\x08"


def test_a_gap_may_be_two_thousand(pair: tuple[Session, Session]) -> None:
    hers, his = pair
    his.decrypt(hers.encrypt(b""))
    messages = [hers.encrypt(b"") for _ in range(LONGEST_GAP + 2)]
    fails_unchanged(his, messages[LONGEST_GAP + 1])
    assert his.decrypt(messages[LONGEST_GAP]) == b""
    assert his.decrypt(messages[LONGEST_GAP + 1]) == b""


def test_a_state_comes_back_at_every_step() -> None:
    alice, bob = Phone(), Phone()
    hers = reloaded(alice.call(bob))
    his, _ = bob.answer(hers.encrypt(b""))
    late = []
    for n in range(30):
        hers, his = reloaded(hers), reloaded(his)
        assert reloaded(hers).save() == hers.save()
        speaker, listener = (hers, his) if n % 4 < 2 else (his, hers)
        if speaker is hers:
            late.append(hers.encrypt(b"late"))
        assert listener.decrypt(speaker.encrypt(b"%d" % n)) == b"%d" % n
        assert hers.session_id == his.session_id
    assert his.decrypt(late[-1]) == b"late"


def test_a_copy_that_was_restored_cannot_read_on(pair: tuple[Session, Session]) -> None:
    """A state from before the last turn has keys that the peer has left behind."""
    hers, his = pair
    old = hers.save()
    his.decrypt(hers.encrypt(b"1"))
    hers.decrypt(his.encrypt(b"2"))
    his.decrypt(hers.encrypt(b"3"))
    fails_unchanged(Session.load(old), his.encrypt(b"4"))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=40), st.randoms(use_true_random=False))
def test_whatever_the_network_does(steps: list[tuple[bool, int]], network: object) -> None:
    """Messages arrive in any order, twice or never; each is read once, and only then."""
    sides = talking()
    on_the_way: list[tuple[int, bytes, bytes]] = []
    read: set[bytes] = set()
    for number, (from_first, arriving) in enumerate(steps):
        sender = 0 if from_first else 1
        text = b"%d" % number
        on_the_way.append((1 - sender, text, sides[sender].encrypt(text)))
        for _ in range(arriving):
            reader, text, message = network.choice(on_the_way)  # type: ignore[attr-defined]
            try:
                assert sides[reader].decrypt(message) == text
                assert text not in read
            except Undecryptable:
                # Within one chain and forty keys nothing else is refused but what was read.
                assert text in read or len(steps) > 5
            read.add(text)
