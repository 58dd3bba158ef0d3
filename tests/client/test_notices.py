"""Changes of a group that were told without what it was called are told once more when that can be read."""

import sqlite3

import msgspec
import pytest

from tidings.client import contents, groups, known_groups, notices, transcript
from tidings.client.sealing import infos
from tidings.client.tables import SCHEMA
from tidings.client.transcript import Origin, Self
from tidings.protocol.frames import GroupAction, GroupChange, Message, Scheme
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId

GROUP = ConversationId(b"g" * 16)
ME = Self(UserId(1), DeviceId(11), "alice")


def profile() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(SCHEMA)
    return made


@pytest.fixture
def database() -> sqlite3.Connection:
    return profile()


@pytest.fixture
def other() -> sqlite3.Connection:
    """Who gave the group its name."""
    return profile()


def renamed(version: int, info: bytes) -> Message:
    content = msgspec.msgpack.encode(GroupChange(version, GroupAction.INFO, [], info=info))
    name = known_groups.name_of(GROUP, version)
    at = MessageId(version)
    return Message(
        at, GROUP, UserId(2), DeviceId(0), name, version, Scheme.PLAIN, contents.CHANGE, content, 0
    )


def tell(database: sqlite3.Connection, *changes: Message) -> None:
    """The program is told, and done with it."""
    for one in changes:
        transcript.add(database, one, ME, Origin.INBOX)
    database.execute("UPDATE messages SET consumed = 1")


def told_again(database: sqlite3.Connection) -> list[int]:
    rows = database.execute(
        "SELECT message_id, origin FROM messages WHERE consumed = 0 ORDER BY seq"
    ).fetchall()
    assert all(origin == Origin.OPENED for _, origin in rows)
    return [message_id for message_id, _ in rows]


def test_an_invite_link_opens_what_was_told_of_an_earlier_stay(
    database: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    first = infos.seal_info(other, GROUP, b"the choir", 0)
    infos.open_info(other, GROUP, first)
    second = infos.seal_info(other, GROUP, b"the choir of old", 0)
    elsewhere = infos.seal_info(profile(), GROUP, b"with another key", 0)
    tell(database, renamed(2, first), renamed(3, second), renamed(4, elsewhere))
    groups._learn(database, GROUP, infos.key_of(other, GROUP))
    assert told_again(database) == [2, 3]
    database.execute("UPDATE messages SET consumed = 1")
    groups._learn(database, GROUP, infos.key_of(other, GROUP))
    assert told_again(database) == [], "the same key says nothing new"


def test_a_change_that_was_told_while_its_key_came_is_told_again(
    database: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    info = infos.seal_info(other, GROUP, b"the choir", 0)
    tell(database, renamed(2, info))
    notices.check(database, transcript.newest_seq(database))
    assert told_again(database) == []
    infos.learn(database, GROUP, infos.key_of(other, GROUP))
    notices.check(database, transcript.newest_seq(database))
    assert told_again(database) == [2]
