"""A backup taken under load, restored after the loss of everything else.

What was acknowledged before the backup began is there. Devices come back with what they remember
of the time after it, settle, and show nothing twice.
"""

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import pytest

from cli.rig import tidings
from client.rig import PASSWORD, Watcher, watching
from integration.people import Speaker
from integration.server import Server
from tidings.client import Client
from tidings.protocol.close import CloseCode
from tidings.protocol.frames import Hello, Welcome

pytestmark = pytest.mark.slow

LOAD_BEFORE = 200
LOAD_MEANWHILE = 100
"""messages that must have been acknowledged before the backup begins, and after it has begun"""
AT_ONCE = 8


class Load:
    """Messages from one to the other, many at once, and which of them were acknowledged."""

    def __init__(self, sender: Client, peer: str) -> None:
        self.acknowledged: list[str] = []
        self._sender = sender
        self._peer = peer
        self._count = 0
        self._workers = [asyncio.ensure_future(self._send()) for _ in range(AT_ONCE)]

    async def until(self, count: int) -> None:
        """Wait until so many were acknowledged."""
        async with asyncio.timeout(60):
            while len(self.acknowledged) < count:
                for worker in self._workers:
                    if worker.done():
                        worker.result()
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Send no more, and wait for what is under way."""
        self._peer = ""
        await asyncio.gather(*self._workers)

    async def _send(self) -> None:
        while self._peer:
            self._count += 1
            text = f"to {self._peer} {self._count}"
            await self._sender.send(self._peer, text)
            self.acknowledged.append(text)


async def both(alice: Watcher, bob: Watcher, text: str) -> None:
    """One message each way arrives."""
    await alice.client.send("bob", f"{text} from alice")
    await bob.client.send("alice", f"{text} from bob")
    await alice.until(lambda one: f"{text} from bob" in one.texts)
    await bob.until(lambda one: f"{text} from alice" in one.texts)


async def texts_on_server(client: Client, peer: str) -> set[str]:
    """All of a conversation, page by page."""
    found: set[str] = set()
    before = None
    while True:
        page = await client.history(peer, limit=100, before=before)
        messages = list(page)
        if not messages:
            return found
        found.update(message.text for message in messages)
        before = min(message.message_id for message in messages)


async def test_a_backup_under_load_is_whole_and_its_people_settle(tmp_path: Path) -> None:
    server = Server(tmp_path, config={"strangers": "deliver"})
    server.start()
    profiles = {handle: tmp_path / handle for handle in ("alice", "bob")}
    try:
        for handle, profile in profiles.items():
            await Client.register(server.url, handle=handle, password=PASSWORD, profile=profile)
        async with watching(profiles["alice"]) as alice, watching(profiles["bob"]) as bob:
            loads = [Load(alice.client, "bob"), Load(bob.client, "alice")]
            for load in loads:
                await load.until(LOAD_BEFORE)
            before = {text for load in loads for text in load.acknowledged}
            done = await asyncio.to_thread(
                tidings, "backup", "--data", server.data, "--to", tmp_path / "backup"
            )
            assert done.code == 0, done.err
            for load in loads:
                await load.until(len(load.acknowledged) + LOAD_MEANWHILE)
                await load.end()
            await both(alice, bob, "after the backup")
            server.kill()
            shutil.rmtree(server.data)
            done = await asyncio.to_thread(
                tidings, "restore", "--from", tmp_path / "backup", "--data", server.data
            )
            assert done.code == 0, done.err
            await asyncio.to_thread(server.start)
            await both(alice, bob, "after the restore")
            for one, peer in ((alice, "bob"), (bob, "alice")):
                assert before <= await texts_on_server(one.client, peer)
            seen = [Counter(one.texts) for one in (alice, bob)]
        # Their programs start anew, on the same profiles.
        async with watching(profiles["alice"]) as alice, watching(profiles["bob"]) as bob:
            await both(alice, bob, "after a new start")
            for counts, one in zip(seen, (alice, bob), strict=True):
                counts.update(one.texts)
        for counts in seen:
            assert [text for text, times in counts.items() if times > 1] == []
        for load, counts in zip(loads, reversed(seen), strict=True):
            assert set(load.acknowledged) & before <= set(counts)
        server.stop()
        done = await asyncio.to_thread(tidings, "check", "--data", server.data)
        assert done.code == 0, done.out
    finally:
        server.discard()


async def test_a_device_is_given_another_token_and_the_old_one_holds_until_then(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        token = server.register("alice")["token"]
        assert await welcomed(server, token) is None
        for verb in (
            ("backup", "--data", server.data, "--to", tmp_path / "backup"),
            ("restore", "--from", tmp_path / "backup", "--data", tmp_path / "new"),
        ):
            done = await asyncio.to_thread(tidings, *verb)
            assert done.code == 0, done.err
        server.stop()
        server.data = tmp_path / "new"
        server.start()
        new = await welcomed(server, token)
        assert new is not None
        assert new != token
        assert await welcomed(server, token) == new  # its answer may have been lost
        assert await welcomed(server, new) is None
        async with await Speaker.connect(server.port) as speaker:
            speaker.say(Hello(token))
            assert (await speaker.closing()).code == CloseCode.NOT_ALLOWED
        assert await welcomed(server, new) is None
        server.stop()
    finally:
        server.discard()


async def welcomed(server: Server, token: str) -> str | None:
    """Connect with a token; the one that is to replace it."""
    async with await Speaker.connect(server.port) as speaker:
        speaker.say(Hello(token))
        return (await speaker.expect(Welcome)).token
