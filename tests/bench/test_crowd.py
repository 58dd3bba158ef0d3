"""Who talks with whom, and when nothing is on its way between them."""

from collections import Counter
from typing import cast

from bench.test_transcript import ALICE, BOB, transcript
from tidings.bench.crowd import Dialogue, ring
from tidings.bench.person import Person, Side
from tidings.protocol.frames import Scheme, Send
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId

WHERE = ConversationId(b"conversation no1")


def side(*lines: tuple[DeviceId, int, int]) -> Side:
    one = Side(WHERE)
    one.shown = transcript(*lines)
    return one


def between(mine: Side, theirs: Side) -> Dialogue:
    nobody = cast(Person, None)
    return Dialogue((nobody, mine), (nobody, theirs))


def test_what_both_have_is_settled() -> None:
    lines = ((ALICE, 0, 10), (BOB, 0, 20))
    assert between(side(*lines), side(*lines)).is_settled
    assert not between(side(*lines), side(*lines[:1])).is_settled


def test_as_many_on_both_sides_are_not_settled_if_one_each_way_is_under_way() -> None:
    assert not between(side((ALICE, 0, 10)), side((BOB, 0, 20))).is_settled


def test_what_waits_for_its_answer_is_not_settled() -> None:
    mine = side()
    mine.waiting = Send(ClientId(bytes(16)), 1, WHERE, 1, EntryId(0), Scheme.PLAIN, "text", b"")
    assert not between(mine, side()).is_settled
    assert not between(side(), mine).is_settled


def test_a_ring_gives_everybody_as_many_conversations() -> None:
    links = ring(7, 4)
    assert len({frozenset(link) for link in links}) == len(links) == 14
    assert set(Counter(who for link in links for who in link).values()) == {4}
