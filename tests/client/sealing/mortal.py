"""A program that talks, and is killed with kill -9 at the chosen write to its profile.

`python mortal.py PROFILE PEER WRITE before|after` sends two messages that name the write, waits for an
answer to each, and says on its output how many writes there were. It is killed before, or just after, the
WRITE-th commit; 0: never.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tidings.client import Client, MessageEvent, Surroundings
from tidings.client.surroundings import connect


class MortalDatabase:
    """Passes everything on, counts commits, and ends the process at one."""

    def __init__(self, inner: sqlite3.Connection, write: int, *, before: bool) -> None:
        self._inner, self._write, self._before = inner, write, before
        self.writes = 0

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement != "COMMIT":
            return self._inner.execute(statement, *arguments)
        changes = self._inner.total_changes
        is_write = changes != getattr(self, "_changes", changes)
        self._changes = changes
        self.writes += is_write
        is_last = is_write and self.writes == self._write
        if is_last and self._before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = self._inner.execute(statement, *arguments)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def main(profile: Path, peer: str, write: int, *, before: bool) -> None:
    opened: list[MortalDatabase] = []

    def mortal(path: Path, key: bytes) -> sqlite3.Connection:
        opened.append(MortalDatabase(connect(path, key), write, before=before))
        return opened[-1]  # type: ignore[return-value]

    texts = [f"{write} {sys.argv[4]} {part}" for part in "ab"]
    async with Client.open(profile, surroundings=Surroundings(connect=mortal)) as me:
        for text in texts:
            await me.send(peer, text)
        awaited = {f"re: {text}" for text in texts}
        async for event in me.events():
            if isinstance(event, MessageEvent):
                awaited.discard(event.text)
            if not awaited:
                break
    print(sum(database.writes for database in opened))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), before=sys.argv[4] == "before"))
