"""The vault: group commit, and what happens when a job or the disk fails."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tidings.client import ClientClosed, ProfileDamaged, ProfileTooNew, StorageFailed, StorageFull
from tidings.client.parts import data_version
from tidings.client.profile import FORMAT
from tidings.client.surroundings import connect
from tidings.client.tables import KEEP_MS
from tidings.client.vault import Vault, create


def put(name: str, value: int):  # type: ignore[no-untyped-def]
    return lambda database: database.execute("INSERT INTO marks VALUES (?, ?)", (name, value))


def marks(database: sqlite3.Connection) -> dict[str, int]:
    return dict(database.execute("SELECT name, value FROM marks"))


async def opened(folder: Path, connecting=connect) -> Vault:  # type: ignore[no-untyped-def]
    path = folder / "profile.db"
    if not path.exists():
        create(path)
    return await Vault.open(path, connecting, now_ms=0)


async def test_jobs_submitted_together_are_one_transaction_in_order(tmp_path: Path) -> None:
    commits = []

    def counting(path: Path) -> sqlite3.Connection:
        database = connect(path)
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
    def small(path: Path) -> sqlite3.Connection:
        database = connect(path)
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
    with sqlite3.connect(tmp_path / "profile.db") as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
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


async def test_what_was_consumed_long_ago_is_dropped(tmp_path: Path) -> None:
    vault = await opened(tmp_path)
    row = "INSERT INTO inbox VALUES (NULL, 1, ?, 1, x'00', 1, '', x'', 0, 0, ?, ?)"
    rows = [(b"old", 0, 1), (b"waiting", 0, 0), (b"new", KEEP_MS, 1)]
    await vault.write(lambda database: database.executemany(row, rows))
    await vault.close()
    vault = await Vault.open(tmp_path / "profile.db", connect, now_ms=KEEP_MS + 1)
    names = await vault.read(
        lambda database: database.execute("SELECT client_id FROM inbox ORDER BY seq").fetchall()
    )
    assert names == [(b"waiting",), (b"new",)]
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
