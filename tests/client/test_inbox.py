"""What is stored of what arrives: once, with the greater of twins, and ticks that only rise."""

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.client import copies, inbox, receipts, transcript
from tidings.client.events import MessageEvent, SentEvent
from tidings.client.outbox import ClientIds, Draft, Posting, Row, append, record_sent
from tidings.client.tables import SCHEMA
from tidings.client.transcript import Self
from tidings.protocol.frames import Deliver, Message, Receipt, Reference, Scheme, Sent, Status
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId

ALICE, BOB = UserId(100), UserId(7)
LAPTOP, PHONE, BOBS = DeviceId(101), DeviceId(102), DeviceId(8)
Step = Callable[[sqlite3.Connection], object]
ME = Self(ALICE, LAPTOP, "alice")
THERE = ConversationId(b"c" * 16)
POSTING = Posting(ClientIds(b"p" * 8), b"w" * 16)
NOW_MS = 1_800_000_000_000


def make() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(SCHEMA)
    database.execute("INSERT INTO conversations VALUES (?, 1, ?, 'bob')", (THERE, BOB))
    return database


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    made = make()
    yield made
    made.close()


def name(number: int) -> ClientId:
    return ClientId(number.to_bytes(16, "big"))


def deliver(number: int, message_id: int, *, device: DeviceId = BOBS, sender: UserId = BOB) -> Deliver:
    message = Message(
        MessageId(message_id), THERE, sender, device, name(number), 1, 0, "text/plain", b"m%d" % number, 5
    )
    return Deliver(EntryId(message_id), message)


def receipt(delivered: int, read: int) -> Receipt:
    return Receipt(THERE, BOB, MessageId(delivered), MessageId(read), 1)


def texts(database: sqlite3.Connection) -> list[str]:
    return [event.text for event in told(database)]


def told(database: sqlite3.Connection) -> list[MessageEvent]:
    waiting, _ = inbox.waiting(database, ME, 100)
    return [one.event for one in waiting if isinstance(one.event, MessageEvent)]


def write_and_send(database: sqlite3.Connection, number: int, message_id: int) -> None:
    append(database, name(number), Draft("bob", "text/plain", b"x"), b"w" * 16)
    (row_id,) = database.execute("SELECT max(row_id) FROM outbox").fetchone()
    row = Row(row_id, name(number), Draft("bob", "text/plain", b"x"), 1)
    record_sent(database, row, Sent(name(number), MessageId(message_id)), THERE, ME, POSTING, NOW_MS)


def test_what_comes_again_is_dropped_also_when_it_was_consumed(database: sqlite3.Connection) -> None:
    inbox.store(database, [deliver(1, 10), deliver(2, 11)], ME, POSTING, NOW_MS)
    (first, _), _ = inbox.waiting(database, ME, 100)
    inbox.consume(database, first)
    inbox.store(database, [deliver(1, 10), deliver(2, 11), deliver(3, 12)], ME, POSTING, NOW_MS)
    assert texts(database) == ["m2", "m3"]


def test_of_twins_the_greater_id_counts_and_one_is_shown(database: sqlite3.Connection) -> None:
    for order in ([20, 10], [30, 40]):
        inbox.store(database, [deliver(order[0], order[0]), deliver(order[0], order[1])], ME, POSTING, NOW_MS)
    assert [event.message_id for event in told(database)] == [20, 40]


def test_what_comes_in_an_entry_of_its_own_stands_where_that_says(database: sqlite3.Connection) -> None:
    anew = deliver(1, 10)
    anew.entry_id = EntryId(30)
    inbox.store(database, [deliver(1, 20), anew, deliver(1, 10)], ME, POSTING, NOW_MS)
    assert [event.message_id for event in told(database)] == [10]
    write_and_send(database, 2, 40)
    own = deliver(2, 35, device=LAPTOP, sender=ALICE)
    own.entry_id = EntryId(50)
    inbox.store(database, [own], ME, POSTING, NOW_MS)
    assert transcript.place_of(database, Reference(LAPTOP, name(2))) == 35


def test_own_messages_of_another_device_are_shown_and_of_this_one_are_not(
    database: sqlite3.Connection,
) -> None:
    write_and_send(database, 1, 10)
    append(database, name(2), Draft("bob", "text/plain", b"x"), b"w" * 16)
    arrived = [
        deliver(1, 10, device=LAPTOP, sender=ALICE),
        deliver(2, 11, device=LAPTOP, sender=ALICE),
        deliver(3, 12, device=PHONE, sender=ALICE),
        deliver(4, 13, device=LAPTOP, sender=ALICE),
    ]
    inbox.store(database, arrived, ME, POSTING, NOW_MS)
    # The fourth was written by this device before it was restored from a backup: news to it.
    assert texts(database) == ["m3", "m4"]
    assert all(event.own and event.sender == "alice" for event in told(database))
    # What it wrote now is told as sent, also where the inbox was quicker than the answer.
    sent = [one.event for one in inbox.waiting(database, ME, 9)[0] if isinstance(one.event, SentEvent)]
    assert [event.message_id for event in sent] == [10, 11]


def test_the_newest_entry_and_what_was_received_are_known(database: sqlite3.Connection) -> None:
    assert inbox.newest_received(database, THERE) is None
    inbox.store(database, [deliver(1, 10), deliver(2, 12, device=PHONE, sender=ALICE)], ME, POSTING, NOW_MS)
    assert inbox.newest_received(database, THERE) == 10
    assert receipts.mark(database, "newest_entry") == 12


def test_a_tick_that_came_before_the_answer_is_not_lost(database: sqlite3.Connection) -> None:
    inbox.store(database, [receipt(10, 0)], ME, POSTING, NOW_MS)
    write_and_send(database, 1, 10)
    (event,) = receipts.untold(database)
    assert (event.state, event.message_ids, event.peer) == ("delivered", [10], "bob")
    receipts.tell(database, event)
    assert receipts.untold(database) == []
    inbox.store(database, [receipt(10, 10)], ME, POSTING, NOW_MS)
    (event,) = receipts.untold(database)
    assert (event.state, event.up_to) == ("read", 10)


marks = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: receipt(max(pair), min(pair)))


@given(st.lists(marks, max_size=8), st.lists(st.integers(1, 30), max_size=8, unique=True), st.randoms())
def test_any_order_of_receipts_and_answers_ends_the_same(
    sent_marks: list[Receipt], ids: list[int], random: Random
) -> None:
    states = []
    for _ in range(2):
        database = make()
        steps: list[Step] = [
            partial(inbox.store, arrived=[mark], me=ME, posting=POSTING, now_ms=NOW_MS) for mark in sent_marks
        ]
        steps += [partial(write_and_send, number=one, message_id=one) for one in ids]
        random.shuffle(steps)
        told: dict[int, list[str]] = {}
        for step in steps:
            step(database)
            for event in receipts.untold(database):
                for one in event.message_ids:
                    told.setdefault(one, []).append(event.state)
                receipts.tell(database, event)
        states.append(database.execute("SELECT message_id, state FROM outgoing ORDER BY 1").fetchall())
        database.close()
        # What is told only rises, and each step is told once.
        assert all(rise in (["delivered"], ["read"], ["delivered", "read"]) for rise in told.values())
    assert states[0] == states[1]
    delivered = max([mark.delivered_up_to for mark in sent_marks], default=0)
    read = max([mark.read_up_to for mark in sent_marks], default=0)
    expected = {
        one: Status.READ if one <= read else Status.DELIVERED if one <= delivered else Status.SENT
        for one in ids
    }
    assert dict(states[0]) == expected


@given(st.permutations(list(itertools.chain(range(5), range(3)))))
def test_however_often_they_come_each_is_stored_once(numbers: list[int]) -> None:
    database = make()
    for number in numbers:
        inbox.store(database, [deliver(number, number + 1)], ME, POSTING, NOW_MS)
    assert texts(database) == [f"m{number}" for number in dict.fromkeys(numbers)]
    database.close()


def test_who_is_sent_what_it_wrote_in_another_life_keeps_no_key_of_what_waited(
    database: sqlite3.Connection,
) -> None:
    waiting = append(database, name(1), Draft("bob", "text/plain", b"x"), b"w" * 16)
    theirs = deliver(2, 20, device=LAPTOP, sender=ALICE)
    theirs = Deliver(theirs.entry_id, msgspec.structs.replace(theirs.message, scheme=Scheme.DIRECT))
    inbox.store(database, [theirs], ME, POSTING, NOW_MS)
    later = append(database, name(3), Draft("bob", "text/plain", b"x"), b"w" * 16)
    assert copies.was_sent(database, waiting.row_id, NOW_MS)
    assert not copies.was_sent(database, waiting.row_id, NOW_MS + 1)
    assert not copies.may_be_sent(database, later.row_id)
