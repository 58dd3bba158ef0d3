"""A device keeps what it promised, over a power cut: its outbox, its inbox, its account.

The SDK acknowledges only what it has stored, and sends only what it has stored. Here the device is
killed, its files are cut to what was synced of them, and what is left is looked at without
a server, since a server would send again whatever the device no longer has.
"""

import asyncio
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from client.at_rest import database_of
from client.rig import People, ServerProcess, watching
from durability.shim import Shim
from tidings.client import Client

DEVICE = Path(__file__).with_name("device.py")

pytestmark = pytest.mark.slow


@pytest.fixture
def shim(library: Path, tmp_path: Path) -> Shim:
    return Shim(library, tmp_path / "cut", tmp_path)


def promised(shim: Shim, profile: Path, count: int, *arguments: str) -> list[str]:
    """What a device promised until it was killed, at any moment after `count` promises."""
    command = [sys.executable, str(DEVICE), str(profile), *arguments]
    with subprocess.Popen(command, env=shim.environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            lines = [child.stdout.readline() for _ in range(count)]
        finally:
            child.kill()
        lines += child.stdout.readlines()
    shim.cut()
    assert lines
    assert all(line.endswith("\n") for line in lines[:count]), "the device ended by itself"
    return [line.removesuffix("\n") for line in lines if line.endswith("\n")]


def register(shim: Shim, own_server: ServerProcess, handle: str) -> Path:
    """An account whose profile was made under the shim."""
    profile = shim.directory / handle
    assert promised(shim, profile, 1, "register", "safe", own_server.url, handle) == ["registered"]
    return profile


async def send_lines(profile: Path, peer: str, count: int) -> None:
    async with Client.open(profile) as me:
        await asyncio.gather(*(me.send(peer, f"line {number}") for number in range(count)))


def messages(profile: Path, table: str) -> dict[str, str]:
    """The texts in a table of the vault, by the messages' names, as they are on the disk."""
    with closing(database_of(profile)) as opened:
        rows = opened.execute(f"SELECT client_id, content FROM {table}")
        return {client_id.hex(): content.decode() for client_id, content in rows}


async def test_an_account_outlives_a_power_cut(shim: Shim, own_server: ServerProcess, tmp_path: Path) -> None:
    profile = register(shim, own_server, "bob")
    alice = await People(own_server, tmp_path).register("alice")
    await send_lines(alice, "@bob", 1)
    async with watching(profile) as bob:
        await bob.until(lambda watcher: watcher.texts == ["line 0"])


@pytest.mark.parametrize("seed", range(2), ids=lambda seed: f"seed-{seed}")
async def test_what_was_acknowledged_is_on_the_device(
    shim: Shim, own_server: ServerProcess, tmp_path: Path, seed: int
) -> None:
    profile = register(shim, own_server, "bob")
    alice = await People(own_server, tmp_path).register("alice")
    await send_lines(alice, "@bob", 600)
    acked = promised(shim, profile, random.Random(seed).randint(1, 500), "receive", "safe")
    stored = messages(profile, "messages")
    assert set(acked) <= set(stored)
    assert {stored[name] for name in acked} <= {f"line {number}" for number in range(600)}
    async with watching(profile) as bob:
        await bob.until(lambda watcher: len(watcher.texts) >= 600)
    assert bob.texts == [f"line {number}" for number in range(600)]


@pytest.mark.parametrize("seed", range(2), ids=lambda seed: f"seed-{seed}")
async def test_what_was_sent_is_in_the_outbox_until_it_is_answered(
    shim: Shim, own_server: ServerProcess, tmp_path: Path, seed: int
) -> None:
    profile = register(shim, own_server, "bob")
    people = People(own_server, tmp_path)
    alice = await people.register("alice")
    heard = random.Random(seed).randint(0, 50)
    sent = promised(shim, profile, heard + 1, "send", "safe", people.handle("alice"), "60", str(heard))
    waiting = messages(profile, "outbox")
    assert sent[-1] == next(iter(waiting))
    assert [*waiting.values()] == [f"line {number}" for number in range(heard, 60)]
    async with Client.open(profile, receive=False) as bob:
        await bob.flushed()
    async with watching(alice) as watcher:
        await watcher.until(lambda watcher: len(watcher.texts) >= 60)
    assert watcher.texts == [f"line {number}" for number in range(60)]


async def test_the_shim_has_the_power_to_show_a_loss(
    shim: Shim, own_server: ServerProcess, tmp_path: Path
) -> None:
    profile = register(shim, own_server, "bob")
    people = People(own_server, tmp_path)
    alice = await people.register("alice")
    await send_lines(alice, "@bob", 300)
    acked = promised(shim, profile, 200, "receive", "unsafe")
    (sent,) = promised(shim, profile, 1, "send", "unsafe", people.handle("alice"), "60", "0")
    assert not set(acked) <= set(messages(profile, "messages"))
    assert sent not in messages(profile, "outbox")
