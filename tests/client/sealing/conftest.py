"""Two who are lied to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.sealing.lying import Victims
from client.sealing.malice import Choir, Pair
from client.sealing.test_clients import texts
from client.sealing.test_group_clients import texts as group_texts
from tidings.testing.world import World


@pytest.fixture
async def victims(tmp_path: Path) -> AsyncIterator[Victims]:
    world = await World.start()
    yield Victims(world, tmp_path)
    assert not world.complaints


@pytest.fixture
async def pair(victims: Victims) -> AsyncIterator[Pair]:
    """alice and bob, who have talked. It is alice who is lied to, unless a test says otherwise."""
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "1", "2")
        yield alice, bob


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is told at once."""
    monkeypatch.setattr("tidings.client.receiver.GAPS_S", 0.02)
    monkeypatch.setattr("tidings.client.sealing.chains.LATE_MS", 0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are asked for at once, and nobody waits for what the server does not say."""
    monkeypatch.setattr("tidings.client.sealing.group_asking.WAIT_MS", 0)
    monkeypatch.setattr("tidings.client.sealing.group_asking.JITTER_MS", 1)
    monkeypatch.setattr("tidings.client.receiver.ASK_S", 0.02)
    monkeypatch.setattr("tidings.client.sealing.group_press.TOLD_S", 0.1)


@pytest.fixture
async def choir(victims: Victims, hasty: None) -> AsyncIterator[Choir]:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("carol") as carol,
    ):
        peer = (await alice.client.groups.create("Choir", ["@bob"])).peer
        await alice.client.send(peer, "1")
        await group_texts(bob, peer, "1")
        await bob.client.send(peer, "2")
        await group_texts(alice, peer, "1", "2")
        yield Choir(alice, bob, carol, peer)
