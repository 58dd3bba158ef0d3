"""What a profile knows of groups: changes in their order, whoever missed one asks, and nobody is misled."""

import sqlite3
from collections.abc import Iterator

import msgspec
import pytest

from tidings.client import contents, group_info, inbox, known_groups, names, tallies, transcript
from tidings.client.connection import Arrival
from tidings.client.events import DeleteEvent, MessageEvent, TallyEvent
from tidings.client.group_info import GroupInfo
from tidings.client.group_values import Tally, group_peer
from tidings.client.outbox import ClientIds, Posting
from tidings.client.tables import SCHEMA
from tidings.client.transcript import Self
from tidings.protocol import frames
from tidings.protocol.frames import (
    CreateGroup,
    Deliver,
    Drained,
    Group,
    GroupAction,
    GroupChange,
    GroupRole,
    GroupRules,
    Member,
    MessageTally,
    Reference,
    Relation,
    Status,
    Tallies,
)
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId

ALICE, BOB, CAROL, DAVE = UserId(100), UserId(7), UserId(9), UserId(11)
LAPTOP, BOBS = DeviceId(101), DeviceId(8)
ME = Self(ALICE, LAPTOP, "alice")
HERE, ELSEWHERE, DIRECT = (ConversationId(name * 16) for name in (b"g", b"h", b"d"))
POSTING = Posting(ClientIds(b"p" * 8), b"w" * 16)
NOW_MS = 1_800_000_000_000
HANDLES = {ALICE: "alice", BOB: "bob", CAROL: "carol", DAVE: "dave"}


def told(version: int, *users: UserId, conversation: ConversationId = HERE) -> frames.Conversation:
    info = msgspec.msgpack.encode(GroupInfo("Family", "all of us"))
    group = Group(2, 0, info, EntryId(0), GroupRules(), len(users), ALICE, NOW_MS, 1, 0)
    members = [Member(user, HANDLES[user], 0, 2 if user == ALICE else 0) for user in users]
    return frames.Conversation(0, conversation, 2, version, members, group)


def change(
    version: int, action: GroupAction, *users: UserId, by: UserId = ALICE, **fields: object
) -> Deliver:
    content = msgspec.msgpack.encode(GroupChange(version, action, list(users), **fields))
    message = frames.Message(
        MessageId(1000 + version),
        HERE,
        by,
        DeviceId(0),
        known_groups.name_of(HERE, version),
        version,
        0,
        contents.CHANGE,
        content,
        NOW_MS,
    )
    return Deliver(EntryId(1000 + version), message)


def said(
    number: int, *, by: UserId = BOB, where: ConversationId = HERE, entry: int = 0, **fields: object
) -> Deliver:
    message = frames.Message(
        MessageId(2000 + number),
        where,
        by,
        BOBS if by == BOB else DeviceId(by + 1),
        ClientId(number.to_bytes(16, "big")),
        1,
        0,
        "text/plain",
        b"hello",
        NOW_MS,
    )
    return Deliver(EntryId(entry), msgspec.structs.replace(message, **fields))  # type: ignore[arg-type]


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(SCHEMA)
    known_groups.keep(made, told(1, ALICE, BOB, CAROL), ALICE)
    yield made
    made.close()


def come(database: sqlite3.Connection, *frames_: Arrival) -> None:
    inbox.store(database, frames_, ME, POSTING, NOW_MS)


def row(database: sqlite3.Connection) -> known_groups.Row:
    found = known_groups.find(database, HERE)
    assert found is not None
    return found


def handles(database: sqlite3.Connection) -> list[str] | None:
    found = known_groups.members(database, HERE)
    return None if found is None else sorted(one.handle for one in found)


def lines(database: sqlite3.Connection, conversation: ConversationId = HERE) -> list[str]:
    shown = transcript.shown(database, ME, conversation, limit=50)
    return [f"{one.sender}: {one.text}" for one in shown]


def test_changes_that_follow_are_applied(database: sqlite3.Connection) -> None:
    names.note(database, [(DAVE, "dave")])
    come(database, change(2, GroupAction.ADD, DAVE), change(3, GroupAction.REMOVE, BOB))
    info = msgspec.msgpack.encode(GroupInfo("Clan"))
    come(database, change(4, GroupAction.INFO, info=info), change(5, GroupAction.PICTURE, picture=EntryId(9)))
    found = known_groups.shown(database, row(database))
    assert (found.version, found.name, found.count, found.picture) == (5, "Clan", 3, 9)
    assert handles(database) == ["alice", "carol", "dave"]
    assert lines(database) == [
        "alice: alice added dave",
        "alice: alice removed bob",
        "alice: alice calls the group “Clan”",
        "alice: alice changed the picture",
    ]
    assert not any(one.own for one in transcript.shown(database, ME, HERE, limit=9))


def test_what_comes_again_or_late_changes_nothing(database: sqlite3.Connection) -> None:
    known_groups.keep(database, told(5, ALICE, CAROL), ALICE)
    come(database, change(2, GroupAction.ADD, BOB), change(2, GroupAction.ADD, BOB))
    known_groups.keep(database, told(3, ALICE, BOB), ALICE)
    assert (row(database).version, handles(database)) == (5, ["alice", "carol"])
    assert lines(database) == ["alice: alice added bob"]


def test_who_missed_a_change_is_in_doubt(database: sqlite3.Connection) -> None:
    def doubtful(*deliveries: Deliver) -> dict[ConversationId, int]:
        return known_groups.heard_of(database, [one.message for one in deliveries], ALICE)

    assert doubtful(change(2, GroupAction.ADD, DAVE), change(3, GroupAction.REMOVE, DAVE)) == {}
    assert doubtful(change(3, GroupAction.ADD, DAVE)) == {HERE: 3}
    assert doubtful(change(2, GroupAction.LINK)) == {HERE: 2}
    assert doubtful(change(2, GroupAction.ROLE, BOB, role=GroupRole.ADMIN)) == {HERE: 2}
    assert doubtful(change(1, GroupAction.ROLE, BOB)) == {}
    assert doubtful(said(1)) == {}
    assert doubtful(said(1, version=4)) == {HERE: 4}
    assert doubtful(change(2, GroupAction.REMOVE, ALICE, by=BOB), said(1, version=4)) == {}
    come(database, change(2, GroupAction.REMOVE, ALICE, by=BOB))
    assert row(database).is_left
    assert doubtful(change(4, GroupAction.ADD, ALICE, by=BOB)) == {HERE: 4}
    assert doubtful(change(4, GroupAction.ADD, DAVE, by=BOB)) == {}


def test_whose_members_are_not_all_known_asks(database: sqlite3.Connection) -> None:
    summary = frames.ConversationSummary(
        HERE, 2, 2, [], MessageId(0), MessageId(0), 0, told(2, ALICE, BOB).group
    )
    known_groups.keep(database, summary, ALICE)
    assert handles(database) is None
    assert known_groups.unlisted(database) == [HERE]
    assert known_groups.heard_of(database, [change(3, GroupAction.ADD, DAVE).message], ALICE) == {HERE: 3}
    known_groups.keep(database, told(2, ALICE, BOB), ALICE)
    assert handles(database) == ["alice", "bob"]


def test_what_was_asked_before_they_left_brings_nobody_back(database: sqlite3.Connection) -> None:
    come(database, change(2, GroupAction.REMOVE, ALICE, by=BOB))
    known_groups.keep(database, told(1, ALICE, BOB), ALICE)
    assert row(database).is_left


def test_a_program_is_told_of_the_version_by_which_it_left_also_once_it_knows_that(
    database: sqlite3.Connection,
) -> None:
    def told_programs() -> list[int]:
        groups = known_groups.untold(database)
        for found, _ in groups:
            known_groups.tell(database, found)
        return [group.version for _, group in groups]

    known_groups.leave(database, HERE)
    assert told_programs() == [1]
    come(database, change(2, GroupAction.LEAVE, by=ALICE))
    assert told_programs() == [2]
    come(database, change(2, GroupAction.LEAVE, by=ALICE))
    assert told_programs() == []


def test_who_leaves_and_comes_back(database: sqlite3.Connection) -> None:
    come(database, change(2, GroupAction.LEAVE, by=ALICE))
    assert row(database).is_left
    known_groups.keep(database, told(4, ALICE, BOB), ALICE)
    come(database, change(2, GroupAction.LEAVE, by=ALICE))
    assert not row(database).is_left


def test_nobody_but_the_server_tells_of_changes(database: sqlite3.Connection) -> None:
    forged = change(2, GroupAction.REMOVE, BOB)
    other_name = msgspec.structs.replace(forged.message, client_id=ClientId(b"x" * 16))
    by_device = msgspec.structs.replace(forged.message, sender_device=BOBS)
    elsewhere = msgspec.structs.replace(forged.message, conversation_id=ELSEWHERE)
    broken = msgspec.structs.replace(forged.message, content=b"\xc1")
    for message in (other_name, elsewhere, broken):
        come(database, Deliver(EntryId(9), message))
    assert lines(database) == lines(database, ELSEWHERE) == []
    come(database, Deliver(EntryId(9), by_device))
    (shown,) = transcript.shown(database, ME, HERE, limit=9)
    assert shown.change is None
    assert handles(database) == ["alice", "bob", "carol"]


def test_an_action_of_a_newer_version_is_stored_and_shows_nothing_wrong(database: sqlite3.Connection) -> None:
    come(database, change(2, 99))  # type: ignore[arg-type]
    assert row(database).version == 2
    assert handles(database) == ["alice", "bob", "carol"]


def test_a_message_without_an_entry_moves_no_cursor(database: sqlite3.Connection) -> None:
    come(database, said(1, entry=77), said(2), Drained(NOW_MS))
    assert inbox.have(database) == 77
    come(database, said(2, entry=78))  # it comes the other way, too
    assert lines(database) == ["bob: hello", "bob: hello"]
    assert inbox.have(database) == 78
    waiting, _ = inbox.waiting(database, ME, 9)
    assert [type(one.event) for one in waiting] == [MessageEvent, MessageEvent]


def test_a_name_that_was_heard_stays_and_is_nobody_elses(database: sqlite3.Connection) -> None:
    come(database, said(1))
    names.note(database, [(BOB, "robert"), (DAVE, "bob")])
    come(database, said(2, by=DAVE))
    assert lines(database) == ["bob: hello", f"user {DAVE}: hello"]
    warned = database.execute("SELECT kind FROM warnings").fetchall()
    assert warned == [("name_taken",)]


def test_an_admin_deletes_in_the_group_and_nowhere_else(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO conversations VALUES (?, 1, ?, 'bob')", (DIRECT, BOB))
    come(database, said(1), said(2, where=DIRECT))
    for number, target in ((3, said(1)), (4, said(2))):
        name = Reference(target.message.sender_device, target.message.client_id)
        deleting = said(
            number, by=CAROL, content=b"", content_type="", relation=Relation.DELETE, relates_to=name
        )
        come(database, deleting)
    assert [one.deleted for one in transcript.shown(database, ME, HERE, limit=9)] == [True]
    assert [one.deleted for one in transcript.shown(database, ME, DIRECT, limit=9)] == [False]
    told_ = [one.event for one in inbox.waiting(database, ME, 9)[0]]
    assert sum(isinstance(event, DeleteEvent) for event in told_) == 1


def test_counts_rise_and_those_who_are_counted_shrink(database: sqlite3.Connection) -> None:
    mine = said(1, by=ALICE)
    come(database, mine)
    place = mine.message.message_id

    def count(delivered: int, read: int, of: int) -> None:
        come(database, Tallies(HERE, [MessageTally(place, delivered, read, of)]))

    def shown() -> tuple[Tally | None, Status]:
        (one,) = transcript.shown(database, ME, HERE, limit=9)
        return one.tally, one.status

    assert shown() == (None, Status.SENT)
    count(1, 0, 3)
    assert shown() == (Tally(1, 0, 3), Status.SENT)
    assert tallies.unfinished(database) == {HERE: [place]}
    count(2, 1, 2)
    count(1, 0, 2)
    assert shown() == (Tally(2, 1, 2), Status.DELIVERED)
    events = tallies.untold(database)
    assert events == [TallyEvent(HERE, group_peer(HERE), place, Tally(2, 1, 2))]
    tallies.tell(database, events[0])
    assert tallies.untold(database) == []
    count(2, 1, 1)  # told before it was known that who left had it
    assert shown() == (Tally(2, 1, 2), Status.DELIVERED)
    count(2, 2, 2)
    assert shown() == (Tally(2, 2, 2), Status.READ)
    assert tallies.unfinished(database) == {}


def test_counts_may_come_before_the_message(database: sqlite3.Connection) -> None:
    mine = said(1, by=ALICE)
    come(database, Tallies(HERE, [MessageTally(mine.message.message_id, 2, 2, 2)]), mine)
    (one,) = transcript.shown(database, ME, HERE, limit=9)
    assert one.status == Status.READ


def test_a_group_of_which_nothing_is_known(database: sqlite3.Connection) -> None:
    known_groups.meet(database, ELSEWHERE)
    known_groups.meet(database, ELSEWHERE)
    come(database, said(1, where=ELSEWHERE))
    assert lines(database, ELSEWHERE) == ["bob: hello"]
    found = known_groups.find(database, ELSEWHERE)
    assert found is not None
    assert found.is_left


def test_groups_are_called_by_name_or_the_beginning_of_an_id(database: sqlite3.Connection) -> None:
    def named(text: str) -> list[ConversationId]:
        return [one.conversation_id for one in known_groups.named(database, text)]

    assert named("family") == named(HERE.hex()) == named(HERE.hex()[:6]) == [HERE]
    assert named("676") == named("nobody") == []
    known_groups.keep(database, told(1, ALICE, conversation=ELSEWHERE), ALICE)
    assert named("FAMILY") == [HERE, ELSEWHERE]
    known_groups.leave(database, ELSEWHERE)
    assert named("Family") == [HERE]


def test_a_group_is_told_when_it_has_changed(database: sqlite3.Connection) -> None:
    (one,) = known_groups.untold(database)
    assert one[1].name == "Family"
    known_groups.tell(database, one[0])
    known_groups.keep(database, told(1, ALICE, BOB, CAROL), ALICE)
    assert known_groups.untold(database) == []
    come(database, change(2, GroupAction.ADD, DAVE))
    assert [group.version for _, group in known_groups.untold(database)] == [2]


@pytest.mark.parametrize("info", [b"", b"\xc1", b"Family", msgspec.msgpack.encode([1, 2])])
def test_an_info_that_cannot_be_read_is_empty(info: bytes) -> None:
    assert group_info.unsealed(info) == group_info.NOTHING


def test_foundings_that_wait_can_be_read_again() -> None:
    wanted = CreateGroup(0, ClientId(bytes(16)), users=[BOB], rules=GroupRules(write=1))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(wanted), type=CreateGroup) == wanted
