"""Tallies: what is told of how many members have a message."""

import sqlite3

import pytest

from tidings.client import tallies
from tidings.client.tables import SCHEMA
from tidings.protocol.frames import MessageTally, Tallies
from tidings.protocol.ids import ConversationId, MessageId

GROUP = ConversationId(b"g" * 16)
ONE = MessageId(7)


@pytest.fixture
def database() -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.executescript(SCHEMA)
    return made


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 0, 2), (1, 1, 1)])
def test_what_is_counted_first_is_told_once(
    database: sqlite3.Connection, counts: tuple[int, int, int]
) -> None:
    """Of nobody, too: all others have left."""
    tallies.apply(database, Tallies(GROUP, [MessageTally(ONE, *counts)]))
    (event,) = tallies.untold(database)
    assert (event.message_id, event.tally) == (ONE, counts)
    tallies.tell(database, event)
    assert tallies.untold(database) == []
    tallies.apply(database, Tallies(GROUP, [MessageTally(ONE, *counts)]))
    assert tallies.untold(database) == []
