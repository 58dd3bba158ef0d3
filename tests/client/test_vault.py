"""The vault: group commit, and what happens when a job or the disk fails."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from client.at_rest import KEY
from tidings.client import ClientClosed, ProfileDamaged, ProfileTooNew, StorageFailed, StorageFull, access
from tidings.client.parts import data_version
from tidings.client.profile import FORMAT
from tidings.client.surroundings import connect
from tidings.client.tables import KEEP_MS, KEEP_REMOVED_MS
from tidings.client.vault import Vault, create
from tidings.protocol.ids import EPOCH_MS, first_at


def put(name: str, value: int):  # type: ignore[no-untyped-def]
    return lambda database: database.execute("INSERT INTO marks VALUES (?, ?)", (name, value))


def marks(database: sqlite3.Connection) -> dict[str, int]:
    return dict(database.execute("SELECT name, value FROM marks"))


async def opened(folder: Path, connecting=connect) -> Vault:  # type: ignore[no-untyped-def]
    path = folder / "profile.db"
    if not path.exists():
        create(path, KEY)
    return await Vault.open(path, KEY, connecting, now_ms=0)


async def test_jobs_submitted_together_are_one_transaction_in_order(tmp_path: Path) -> None:
    commits = []

    def counting(path: Path, key: bytes) -> sqlite3.Connection:
        database = connect(path, key)
        database.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        return database

    vault = await opened(tmp_path, counting)
    commits.clear()
    await asyncio.gather(*(vault.write(put(str(number), number)) for number in range(100)))
    assert len(commits) < 50
    assert await vault.read(marks) == {str(number): number for number in range(100)}
    await vault.close()
    await vault.close()
    with pytest.raises(ClientClosed):
        await vault.read(marks)
    again = await opened(tmp_path)
    assert len(await again.read(marks)) == 100
    await again.close()


async def test_what_nobody_waits_for_is_done_with_what_comes_next(tmp_path: Path) -> None:
    commits = []

    def counting(path: Path, key: bytes) -> sqlite3.Connection:
        database = connect(path, key)
        database.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        return database

    vault = await opened(tmp_path, counting)
    commits.clear()
    put_off = [vault.later(put(str(number), number)) for number in range(3)]
    assert await vault.read(marks, ahead=True) == {}
    await vault.write(put("ahead", 9), ahead=True)
    assert not any(one.done() for one in put_off)
    assert await vault.read(marks) == {"0": 0, "1": 1, "2": 2, "ahead": 9}
    assert len(commits) == 3
    # What is durable is passed by nothing that writes: it was asked for first.
    vault.later(put("durable", 3), durable=True)
    await vault.write(put("next", 4), ahead=True)
    assert await vault.read(lambda database: list(marks(database))[-2:], ahead=True) == ["durable", "next"]
    # Without anything else it is done soon; what is left is done at the end.
    await vault.later(put("soon", 5))
    last = vault.later(put("last", 6))
    await vault.close()
    assert last.done()
    with pytest.raises(ClientClosed):
        vault.later(put("late", 7))
    again = await opened(tmp_path)
    assert {"soon", "last"} <= (await again.read(marks)).keys()
    await again.close()


async def test_a_job_that_fails_spoils_no_other(tmp_path: Path) -> None:
    vault = await opened(tmp_path)

    def fail(database: sqlite3.Connection) -> None:
        put("half", 1)(database)
        raise ZeroDivisionError

    jobs = [vault.write(put("a", 1)), vault.write(fail), vault.write(put("b", 2)), vault.write(put("a", 3))]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(results[1], ZeroDivisionError)
    assert isinstance(results[3], StorageFailed)
    assert await vault.read(marks) == {"a": 1, "b": 2}
    await vault.close()


async def test_a_full_disk_is_said_and_costs_nothing_that_was_stored(tmp_path: Path) -> None:
    def small(path: Path, key: bytes) -> sqlite3.Connection:
        database = connect(path, key)
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages + 2}")
        return database

    vault = await opened(tmp_path, small)
    await vault.write(put("kept", 1))
    with pytest.raises(StorageFull, match="the disk is full") as full:
        await vault.write(put("x" * 100_000, 2))
    assert "comes again" in full.value.hint
    assert await vault.read(marks) == {"kept": 1}
    await vault.close()


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    with closing(connect(tmp_path / "profile.db", KEY)) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(ProfileTooNew, match="this version knows"):
        await opened(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000])
async def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "profile.db").write_bytes(content)
    with pytest.raises(ProfileDamaged, match="damaged"):
        await opened(tmp_path)


async def test_a_damaged_page_is_refused(tmp_path: Path) -> None:
    vault = await opened(tmp_path)
    await vault.write(put("x" * 50_000, 1))
    await vault.close()
    path = tmp_path / "profile.db"
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 100] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(ProfileDamaged):
        await opened(tmp_path)


async def test_two_processes_may_write(tmp_path: Path) -> None:
    one, other = await opened(tmp_path), await opened(tmp_path)
    await asyncio.gather(
        *(
            vault.write(put(f"{name}{number}", 1))
            for number in range(50)
            for name, vault in (("a", one), ("b", other))
        )
    )
    assert len(await one.read(marks)) == 100
    await one.close()
    await other.close()


async def test_messages_stay_and_what_is_of_no_more_use_goes(tmp_path: Path) -> None:
    vault = await opened(tmp_path)
    now_ms = EPOCH_MS + KEEP_REMOVED_MS + KEEP_MS
    rows = {
        "messages (sender_device, client_id, message_id, conversation_id, sender_id, content_type, content,"
        " created_at, own, consumed, expires_at)": [
            (1, b"read long ago", 1, b"c", 1, "t", b"said", 0, 0, 1, None),
            (1, b"had its time", 2, b"c", 1, "t", b"said", 0, 0, 1, now_ms),
            (1, b"has time left", 3, b"c", 1, "t", b"said", 0, 0, 1, now_ms + 1),
        ],
        "refused": [(b"old", 1, "", 0), (b"new", 1, "", now_ms)],
        "settings": [
            (1, "removed long ago", b"", b"", first_at(EPOCH_MS + KEEP_MS) - 1, 0, b""),
            (1, "just removed", b"", b"", first_at(now_ms), 0, b""),
            (1, "set long ago", b"1", b"1", 1, 0, b""),
        ],
    }
    for table, values in rows.items():
        marks_ = ", ".join("?" * len(values[0]))
        await vault.write(
            lambda database, into=table, marks_=marks_, values=values: database.executemany(
                f"INSERT INTO {into} VALUES ({marks_})", values
            )
        )
    await vault.close()
    vault = await Vault.open(tmp_path / "profile.db", KEY, connect, now_ms=now_ms)

    async def found(query: str) -> list[object]:
        return [row[0] for row in await vault.read(lambda database: database.execute(query).fetchall())]

    assert await found("SELECT content FROM messages ORDER BY message_id") == [b"said", b"", b"said"]
    assert await found("SELECT client_id FROM refused") == [b"new"]
    assert await found("SELECT key FROM settings ORDER BY key") == ["just removed", "set long ago"]
    await vault.close()


async def test_what_another_process_changed_is_noticed(tmp_path: Path) -> None:
    one, other = await opened(tmp_path), await opened(tmp_path)
    before = await one.read(data_version)
    await one.write(put("own", 1))
    assert await one.read(data_version) == before
    await other.write(put("other", 1))
    assert await one.read(data_version) != before
    await one.close()
    await other.close()


async def test_it_has_the_token_that_it_was_made_with_until_there_is_another(tmp_path: Path) -> None:
    create(tmp_path / "profile.db", KEY, "first")
    vault = await opened(tmp_path)
    assert await vault.read(access.token) == "first"
    await vault.write(lambda database: access.keep_token(database, "second"))
    await vault.close()
    vault = await opened(tmp_path)
    assert await vault.read(access.token) == "second"
    await vault.close()


async def test_another_key_opens_nothing_and_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await (await opened(tmp_path)).close()
    with pytest.raises(ProfileDamaged, match="file is not a database"):
        await Vault.open(tmp_path / "profile.db", KEY[::-1], connect, now_ms=0)
    assert capfd.readouterr() == ("", "")


async def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    vault = await opened(tmp_path)
    await vault.write(put("a", 1))
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()}
    assert modes == {"profile.db": "0o600", "profile.db-wal": "0o600", "profile.db-shm": "0o600"}
    await vault.close()
