"""Profiles that earlier versions wrote open in this one, and lose nothing."""

import asyncio
import re
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from client.at_rest import KEY, database_of
from tidings.client import Client, ConnectionEvent, MessageEvent, ReceiptEvent, Status, Surroundings
from tidings.client.database import connect
from tidings.client.errors import ConnectionLost
from tidings.client.migrations import MIGRATIONS, migrate
from tidings.client.profile import FORMAT
from tidings.client.socket import Socket
from tidings.client.vault import create


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile of format 1: alice, who sent bob three messages that he read, and one that waits.

    Of bob's five she has read the first three, and the last two are stored and not yet told.
    """
    with tarfile.open(Path(__file__).parent / "data" / "profile1.tar.gz") as archive:
        archive.extractall(tmp_path / "alice", filter="data")
    return tmp_path / "alice"


async def offline(url: str) -> Socket:
    raise ConnectionLost(1006, "offline")


async def test_what_was_in_it_is_there_and_is_told_once(profile: Path) -> None:
    async with Client.open(profile, surroundings=Surroundings(dial=offline)) as me:
        (chat,) = await me.chats.list()
        assert (chat.peer, chat.unread) == ("bob", 0)
        assert [one.text for one in await me.messages.recent("bob")] == [f"from bob {n}" for n in range(5)]
        told = []
        async for event in me.events():
            if isinstance(event, ConnectionEvent):
                break
            told.append(event)
        assert [event.text for event in told if isinstance(event, MessageEvent)] == [
            "from bob 3",
            "from bob 4",
        ]
        assert not [event for event in told if isinstance(event, ReceiptEvent)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await me.flushed()
    with closing(database_of(profile)) as database:
        assert database.execute("SELECT content, attempt, relation FROM outbox").fetchall() == [
            (b"waits in the outbox", 1, 0)
        ]
        assert database.execute("SELECT DISTINCT state FROM outgoing").fetchall() == [(Status.READ,)]
        assert database.execute("SELECT count(*) FROM reads").fetchone() == (1,)
        # All settings are asked for anew.
        assert database.execute("SELECT name FROM marks WHERE name = 'synced_at'").fetchall() == []


def schema(database: sqlite3.Connection) -> dict[str, str]:
    with closing(database):
        rows = database.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
    return {name: re.sub(r"\s+", "", sql) for name, sql in rows}


async def test_a_migrated_profile_is_like_a_new_one(profile: Path, tmp_path: Path) -> None:
    create(tmp_path / "new.db", KEY)
    async with Client.open(profile, surroundings=Surroundings(dial=offline)):
        pass
    with closing(database_of(profile)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (FORMAT,)
    assert schema(database_of(profile)) == schema(connect(tmp_path / "new.db", KEY))


@pytest.mark.parametrize("after", range(12))
def test_a_kill_half_way_leaves_the_old_or_the_new(profile: Path, after: int) -> None:
    class Mortal(sqlite3.Connection):
        left = after

        def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:  # type: ignore[override]
            Mortal.left -= 1
            if Mortal.left < 0 and sql != "ROLLBACK":
                raise KeyboardInterrupt
            return super().execute(sql, *arguments)  # type: ignore[arg-type]

    database = sqlite3.connect(profile / "profile.db", isolation_level=None, factory=Mortal)
    with pytest.raises(KeyboardInterrupt):
        migrate(database, 1)
    database.close()
    again = sqlite3.connect(profile / "profile.db", isolation_level=None)
    migrate(again, again.execute("PRAGMA user_version").fetchone()[0])
    assert again.execute("SELECT count(*) FROM messages").fetchone() == (5,)
    again.close()


def test_every_older_format_has_a_way_to_this_one() -> None:
    assert set(MIGRATIONS) == set(range(1, FORMAT))
