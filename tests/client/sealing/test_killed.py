"""Killed at each write to its profile, a client loses no message, and uses no key twice."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from client.rig import PATIENCE_S, People, Watcher, environment, watching
from tidings.client import Client, Fault, Message, MessageEvent, OpenedEvent, WarningEvent

pytestmark = pytest.mark.slow

MORTAL = Path(__file__).parent / "mortal.py"
EACH = 3
"""every so many-th write is tried, from another one on each time the machine is asked for all of them"""


def run_mortal(profile: Path, peer: str, write: int, when: str) -> int | None:
    """Run it; how many writes it made, or None if it was killed."""
    done = subprocess.run(
        [sys.executable, MORTAL, profile, peer, str(write), when],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


async def answer(me: Watcher, peer: str, seen: list[str]) -> None:
    """Answer each message, once."""
    told = iter(range(sys.maxsize))
    while True:
        number = next(told)
        await me.until(lambda watcher, number=number: len(watcher.events) > number)  # type: ignore[misc]
        for event in me.events[number : number + 1]:
            if isinstance(event, MessageEvent | OpenedEvent) and not event.own and not event.fault:
                seen.append(event.text)
                await me.client.send(peer, f"re: {event.text}")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_client_is_killed_at_each_write(people: People, when: str) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    to_bob, to_alice = people.handle("bob"), people.handle("alice")
    seen: list[str] = []
    async with watching(bob) as b:
        answering = asyncio.ensure_future(answer(b, to_alice, seen))
        writes = await asyncio.to_thread(run_mortal, alice, to_bob, 0, when)
        assert writes is not None
        for write in range(1, writes + 1, EACH):
            await asyncio.to_thread(run_mortal, alice, to_bob, write, when)
        # What waits in the outbox goes out, and the last of it is answered.
        await asyncio.to_thread(run_mortal, alice, to_bob, 0, "end")
        assert not [event for event in b.events if isinstance(event, WarningEvent)]
        answering.cancel()
    counts = Counter(seen)
    assert all(count == 1 for count in counts.values()), counts
    async with Client.open(alice) as a:
        shown = await a.messages.recent(to_bob, limit=10_000)
    assert_whole(shown, counts)


def assert_whole(shown: list[Message], seen: Counter[str]) -> None:
    """All that alice has written came to bob, and his answers to her."""
    assert all(message.fault == Fault.NONE for message in shown)
    written = [message.text for message in shown if message.own]
    assert Counter(written) == seen
    assert Counter(message.text for message in shown if not message.own) == Counter(
        f"re: {text}" for text in written
    )
