"""A full disk, many processes at once, and a client that is closed under its callers."""

import asyncio
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from client.rig import PATIENCE_S, TIDINGS, People, environment, watching
from tidings.client import (
    CaughtUpEvent,
    Client,
    ClientClosed,
    ClientError,
    ConnectionEvent,
    Refused,
    StorageFull,
    Surroundings,
)
from tidings.client.surroundings import connect

pytestmark = pytest.mark.slow


def small_disk(path: Path, key: bytes) -> sqlite3.Connection:
    """A database that cannot grow by more than a few pages."""
    database = connect(path, key)
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 20}")
    return database


async def test_a_full_disk_is_said_acknowledges_nothing_and_loses_nothing(people: People) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    texts = [f"{number} {'x' * 4000}" for number in range(100)]
    async with Client.open(alice) as a:
        await asyncio.gather(*(a.send(people.handle("bob"), text) for text in texts))
    async with watching(bob, Surroundings(connect=small_disk)) as b:
        with pytest.raises(StorageFull, match="the disk is full"):
            await b.until(lambda w: False)
        with pytest.raises(StorageFull):
            await b.client.send("@x", "x")
        seen = b.texts
    async with watching(bob) as b:
        await b.until(lambda w: w.of(CaughtUpEvent))
        assert seen + b.texts == texts


async def test_many_processes_send_on_one_profile_while_another_listens(people: People) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    async with watching(alice) as a, watching(bob) as b:
        await a.until(lambda w: w.of(CaughtUpEvent))
        processes = [
            subprocess.Popen(
                [TIDINGS, "send", people.handle("bob"), f"from {n}", "--profile", alice, "--json"],
                stdout=subprocess.PIPE,
                env=environment(),
            )
            for n in range(6)
        ]
        own = asyncio.gather(*(a.client.send(people.handle("bob"), f"own {n}") for n in range(50)))
        answers = []
        for process in processes:
            out, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
            assert process.returncode == 0
            answers.append(json.loads(out)["message_id"])
        sent = await own
        await b.until(lambda w: len(w.texts) >= 56)
        assert sorted(b.texts) == sorted([f"from {n}" for n in range(6)] + [f"own {n}" for n in range(50)])
        assert [text for text in b.texts if text.startswith("own")] == [f"own {n}" for n in range(50)]
        expected = sorted([*map(int, answers), *(one.message_id for one in sent)])
        await a.until(lambda w: len(ticked(w.events)) == 56)
        assert sorted(ticked(a.events)) == expected
        assert len(a.of(ConnectionEvent)) == 1


def ticked(events: Sequence[object]) -> list[int]:
    return [one for event in events for one in getattr(event, "message_ids", ())]


async def test_closing_leaves_no_call_waiting(people: People) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    async with Client.open(bob):
        client = await Client.open(alice).__aenter__()
        await client.send(people.handle("bob"), "so that he is known")
        calls = [
            asyncio.ensure_future(client.history(people.handle("bob"))),
            asyncio.ensure_future(client.send("@somebody-unknown", "x")),
            asyncio.ensure_future(_all_events(client)),
        ]
        await asyncio.sleep(0)
        await client.close()
        async with asyncio.timeout(10):
            results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[0], ClientError | list)
        assert isinstance(results[1], ClientError)
        assert isinstance(results[2], list)
        for late in (client.send("@x", "x"), client.history(people.handle("bob")), client.flushed()):
            with pytest.raises(ClientClosed):
                await late
        await client.close()


async def _all_events(client: Client) -> list[object]:
    return [event async for event in client.events()]


@pytest.mark.parametrize("size", [70_000, 1_000_000])
async def test_what_is_too_large_is_refused_and_harms_nothing(people: People, size: int) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    async with Client.open(alice) as me:
        with pytest.raises(Refused) as refusal:
            await me.send(people.handle("bob"), "x" * size)
        assert refusal.value.name == "too_large"
        await me.send(people.handle("bob"), "short")
    async with watching(bob) as watcher:
        await watcher.until(lambda watcher: watcher.texts == ["short"])


async def test_a_server_restored_from_a_backup_is_told_of_a_conversation_again(
    own_people: People, tmp_path: Path
) -> None:
    server = own_people.server
    alice, bob = await own_people.register("alice"), await own_people.register("bob")
    server.stop()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    server.start()
    async with Client.open(alice) as me:
        await me.send(own_people.handle("bob"), "lost with the server")
    server.stop()
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    server.start()
    async with Client.open(alice) as me:
        await me.send(own_people.handle("bob"), "hello again")
    async with watching(bob) as watcher:
        await watcher.until(lambda watcher: watcher.texts == ["hello again"])
