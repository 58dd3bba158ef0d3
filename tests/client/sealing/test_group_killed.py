"""Killed at each write to its profile, a client that writes in a group skips nobody and loses nothing."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from client.rig import PATIENCE_S, People, Watcher, environment, watching
from client.sealing.test_killed import EACH, assert_whole
from tidings.client import Client, MessageEvent, OpenedEvent, WarningEvent

pytestmark = pytest.mark.slow

MORTAL = Path(__file__).parent / "mortal_group.py"
TESTS = Path(__file__).parents[2]


def run_mortal(profile: Path, peer: str, write: int, when: str) -> int | None:
    """Run it; how many writes it made, or None if it was killed."""
    done = subprocess.run(
        [sys.executable, MORTAL, profile, peer, str(write), when],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**environment(), "PYTHONPATH": f"{TESTS}:{TESTS.parent / 'src'}"},
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


async def answer(me: Watcher, peer: str, seen: list[str]) -> None:
    """Answer each message, once."""
    number = 0
    while True:
        await me.until(lambda watcher, number=number: len(watcher.events) > number)  # type: ignore[misc]
        event = me.events[number]
        number += 1
        is_said = isinstance(event, MessageEvent | OpenedEvent) and event.change is None
        if is_said and not event.own and not event.fault:  # type: ignore[union-attr]
            seen.append(event.text)  # type: ignore[union-attr]
            await me.client.send(peer, f"re: {event.text}")  # type: ignore[union-attr]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_client_is_killed_at_each_write_in_a_group(people: People, when: str) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    async with Client.open(alice) as first:
        peer = (await first.groups.create("Family", [people.handle("bob")])).peer
    seen: list[str] = []
    async with watching(bob) as b:
        answering = asyncio.ensure_future(answer(b, peer, seen))
        writes = await asyncio.to_thread(run_mortal, alice, peer, 0, when)
        assert writes is not None
        for write in range(1, writes + 1, EACH):
            await asyncio.to_thread(run_mortal, alice, peer, write, when)
        # What waits in the outbox goes out, and the last of it is answered.
        await asyncio.to_thread(run_mortal, alice, peer, 0, "end")
        assert not [event for event in b.events if isinstance(event, WarningEvent)]
        answering.cancel()
    counts = Counter(seen)
    assert all(count == 1 for count in counts.values()), counts
    async with Client.open(alice) as a:
        shown = await a.messages.recent(peer, limit=10_000)
    assert_whole([message for message in shown if message.change is None], counts)
