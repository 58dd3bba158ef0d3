"""Who came and who went, as notices tell it in any order, and what those wrote who have gone since."""

import sqlite3

import msgspec
import pytest

from tidings.client import comings, contents, known_groups, transcript
from tidings.client.sealing import rosters
from tidings.client.tables import SCHEMA
from tidings.client.transcript import Origin, Self
from tidings.protocol import frames
from tidings.protocol.frames import ConversationKind, GroupAction, GroupChange, Message, Scheme
from tidings.protocol.ids import TIME_SHIFT, ConversationId, DeviceId, EntryId, MessageId, UserId

GROUP = ConversationId(b"g" * 16)
ALICE, BOB, CAROL = UserId(1), UserId(2), UserId(3)
ME = Self(ALICE, DeviceId(11), "alice")
HOUR = MessageId(3_600_000 << TIME_SHIFT)


@pytest.fixture
def database() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(SCHEMA)
    return made


def notice(version: int, action: GroupAction, *users: UserId, by: UserId = ALICE) -> Message:
    """What the server tells of a change; each an hour after the one before."""
    content = msgspec.msgpack.encode(GroupChange(version, action, list(users)))
    name = known_groups.name_of(GROUP, version)
    at = MessageId(version * HOUR)
    return Message(at, GROUP, by, DeviceId(0), name, version, Scheme.PLAIN, contents.CHANGE, content, 0)


def hear(database: sqlite3.Connection, *notices: Message) -> None:
    for one in notices:
        comings.tell_members(database, one, ME)
        transcript.add(database, one, ME, Origin.INBOX)


def known(database: sqlite3.Connection, *members: UserId, version: int, removal_at: int) -> None:
    """What the server says that the group is now."""
    state = frames.Group(
        0, Scheme.SENDER_KEY, b"", EntryId(0), frames.GroupRules(), len(members), ALICE, 0, 0, removal_at
    )
    told = [frames.Member(one, f"user{one}") for one in members]
    about = frames.Conversation(0, GROUP, ConversationKind.GROUP, version, told, group=state)
    known_groups.keep(database, about, ALICE)


def said(version: int, at: int, by: UserId = CAROL) -> Message:
    name = known_groups.name_of(GROUP, 99)
    return Message(MessageId(at), GROUP, by, DeviceId(31), name, version, Scheme.SENDER_KEY, "", b"sealed", 0)


CREATED = notice(1, GroupAction.CREATE, BOB, CAROL)
REMOVED = notice(2, GroupAction.REMOVE, CAROL)
BACK = notice(3, GroupAction.ADD, CAROL)


def test_what_the_history_tells_later_changes_nothing_that_came_after_it(
    database: sqlite3.Connection,
) -> None:
    known(database, ALICE, BOB, version=2, removal_at=2)
    hear(database, REMOVED, CREATED)
    roster = rosters.of(database, GROUP)
    assert roster is not None
    rosters.untold(database, roster)
    assert not rosters.untold(database, roster), "carol came before she went"
    hear(database, BACK)
    assert rosters.untold(database, roster).went == [CAROL], "she is back, and the profile does not know"


def test_who_went_wrote_before_that_and_for_a_moment_after_it(database: sqlite3.Connection) -> None:
    """Also where it was never told that they came: this device is new."""
    known(database, ALICE, BOB, version=2, removal_at=2)
    hear(database, REMOVED)
    moment = 9_000 << TIME_SHIFT
    for at, may in ((0, True), (REMOVED.message_id + moment, True), (REMOVED.message_id + 2 * moment, False)):
        assert rosters.may_speak(database, GROUP, CAROL, MessageId(at)) is may


def test_as_long_as_a_removal_is_not_told_somebody_may_have_been_there(database: sqlite3.Connection) -> None:
    known(database, ALICE, BOB, version=2, removal_at=2)
    hear(database, CREATED)
    assert comings.may_have_gone(database, said(1, 5))
    assert not comings.may_have_gone(database, said(2, 5)), "after it they were not"
    hear(database, REMOVED)
    assert not comings.may_have_gone(database, said(1, 5))


def test_a_stay_that_was_over_before_it_could_be_asked_about(database: sqlite3.Connection) -> None:
    def was_never_told(at: int) -> bool:
        return rosters.was_never_told(database, GROUP, ALICE, MessageId(at))

    moment = 9_000 << TIME_SHIFT
    known_groups.meet(database, GROUP)
    assert was_never_told(HOUR)
    known(database, ALICE, BOB, version=2, removal_at=2)
    assert not was_never_told(HOUR)
    known_groups.leave(database, GROUP)
    assert not was_never_told(HOUR)
    hear(database, notice(4, GroupAction.ADD, ALICE, by=BOB))
    assert was_never_told(5 * HOUR)
    # What is given once more, or whose key comes, when it is told that the stay is over.
    hear(database, notice(5, GroupAction.REMOVE, ALICE, by=BOB))
    assert was_never_told(5 * HOUR - 1)
    assert was_never_told(5 * HOUR + moment)
    assert not was_never_told(5 * HOUR + 2 * moment)


def test_of_a_stay_that_was_asked_about_it_is_known_who_was_there(database: sqlite3.Connection) -> None:
    known(database, ALICE, BOB, version=2, removal_at=2)
    roster = rosters.of(database, GROUP)
    assert roster is not None
    rosters.untold(database, roster)
    known_groups.leave(database, GROUP)
    hear(database, notice(3, GroupAction.REMOVE, ALICE, by=BOB))
    assert not rosters.was_never_told(database, GROUP, ALICE, MessageId(2 * HOUR))
    assert rosters.may_speak(database, GROUP, BOB, MessageId(2 * HOUR))
    assert not rosters.may_speak(database, GROUP, CAROL, MessageId(2 * HOUR))


def test_what_comes_late_of_a_stay_that_is_over_is_heard(database: sqlite3.Connection) -> None:
    known(database, ALICE, BOB, version=2, removal_at=2)
    hear(database, CREATED, REMOVED, notice(3, GroupAction.REMOVE, ALICE, by=BOB))
    assert rosters.may_speak(database, GROUP, CAROL, MessageId(REMOVED.message_id - 1))
    assert not rosters.may_speak(database, GROUP, CAROL, MessageId(3 * HOUR))


def test_who_moved_since_a_row(database: sqlite3.Connection) -> None:
    hear(database, CREATED)
    seq = transcript.newest_seq(database)
    assert comings.moved_since(database, GROUP, seq) == set()
    hear(database, REMOVED)
    assert comings.moved_since(database, GROUP, seq) == {CAROL}
