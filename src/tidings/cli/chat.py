"""`tidings chat`: talk to somebody, or in a group, in a terminal, or through pipes.

Plain lines in, plain lines out: what arrives is printed, what is typed is sent, and the own
lines get their ticks as they come. Lines are read on a thread, since standard input may be a
terminal, a pipe or a file.
"""

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from tidings.cli.room import Room
from tidings.cli.running import LATER, PeerArgument, ProfileOption, patience, run
from tidings.cli.scribe import Scribe
from tidings.cli.titles import title
from tidings.cli.unlocking import opened
from tidings.cli.wording import at
from tidings.client.group_values import is_group

LEAVE_S = 10.0
"""how long to wait at the end for what is not sent yet"""


def chat(peer: PeerArgument, profile: ProfileOption) -> None:
    """Talk to somebody, or in a group: type a line to send it, /help tells what else, Ctrl-D leaves."""
    run(_chat(profile, peer))


async def _chat(profile: Path, peer: str) -> None:
    async with opened(profile) as me:
        if is_group(peer):
            async with patience(me, LEAVE_S, f"find {peer}"):
                peer = (await me.groups.get(peer)).peer
            name = await title(me, peer)
            talking = f"talking in {name}"
        else:
            peer = peer.removeprefix("@").lower()
            talking = f"talking to {at(peer)}"
        scribe = Scribe(me, peer)
        room = Room(me, peer, scribe)
        print(f"— you are {at(me.handle)}, {talking}; /help helps, Ctrl-D leaves —", flush=True)
        showing = asyncio.create_task(room.show())
        typing = asyncio.create_task(_take_lines(room, scribe))
        watching = asyncio.create_task(room.watch())
        try:
            await asyncio.wait({showing, typing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (showing, typing):
                if task.done():
                    task.result()
            async with patience(me, LEAVE_S, "reach the server", hint=LATER):
                await scribe.finish()
        finally:
            for task in (showing, typing, watching):
                task.cancel()
            await asyncio.gather(showing, typing, watching, return_exceptions=True)


async def _take_lines(room: Room, scribe: Scribe) -> None:
    # What is typed before would come to stand among what was said before, a second time.
    await room.begun.wait()
    async for line in _typed():
        if line.strip():
            scribe.take(line)


async def _typed() -> AsyncIterator[str]:
    """The lines of standard input, until it ends."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def hand_over(line: str | None) -> None:
        # The loop may be gone: the chat was left while this waited for a line.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lines.put_nowait, line)

    def read() -> None:
        try:
            for line in sys.stdin:
                hand_over(line.rstrip("\r\n"))
        finally:
            hand_over(None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while (line := await lines.get()) is not None:
        yield line
