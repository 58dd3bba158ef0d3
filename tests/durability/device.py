"""A device that does one thing, says what it has promised, and is killed meanwhile.

`python device.py PROFILE MODE safe|unsafe [ARGUMENT ...]`; a line is printed once it holds:

- `receive`: the name of each message that was acknowledged to the server;
- `send PEER COUNT HEARD`: the name of each message that went to the server, of whose answers only the
  first `HEARD` arrive;
- `register URL HANDLE`: `registered`.

`unsafe` never syncs, so that a test can show its power.
"""

import asyncio
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any, cast

from tidings.client import Client, Surroundings
from tidings.client.database import connect
from tidings.client.socket import Socket, dial
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Ack, Deliver, Send, Sent

PASSWORD = "a long secret"


class TellingSocket:
    """Passes frames on, and prints what they promise."""

    def __init__(self, inner: Socket, heard: int, *, receives: bool) -> None:
        self._inner = inner
        self._receives = receives
        """else what is acknowledged beside sending is not what this is about"""
        self._heard = heard
        self._delivered: list[str] = []
        self._acked = 0

    async def send(self, data: bytes) -> None:
        frame = MSGPACK.decode_client(data)
        if isinstance(frame, Send):
            print(frame.client_id.hex(), flush=True)
        await self._inner.send(data)
        if isinstance(frame, Ack) and self._receives:
            for text in self._delivered[self._acked : frame.up_to]:
                print(text, flush=True)
            self._acked = frame.up_to

    async def receive(self) -> bytes:
        while True:
            data = await self._inner.receive()
            frame = MSGPACK.decode_server(data)
            if isinstance(frame, Deliver):
                self._delivered.append(frame.message.client_id.hex())
            if isinstance(frame, Sent):
                self._heard -= 1
            if not isinstance(frame, Sent) or self._heard >= 0:
                return data

    async def close(self, code: int, reason: str) -> None:
        await self._inner.close(code, reason)


class Unsynced:
    """A connection that does not let anybody ask for an fsync."""

    def __init__(self, inner: sqlite3.Connection) -> None:
        self._inner = inner

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql.startswith("PRAGMA synchronous"):
            sql = "PRAGMA synchronous = OFF"
        return self._inner.execute(sql, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def connect_unsynced(path: Path, key: bytes) -> sqlite3.Connection:
    return cast(sqlite3.Connection, Unsynced(connect(path, key)))


async def main(profile: Path, mode: str, safety: str, *rest: str) -> None:
    heard = int(rest[2]) if mode == "send" else 0

    async def telling_dial(url: str) -> TellingSocket:
        return TellingSocket(await dial(url), heard, receives=mode == "receive")

    if safety == "unsafe":
        os.fsync = os.fdatasync = lambda _: None  # type: ignore[assignment]
        surroundings = Surroundings(dial=telling_dial, connect=connect_unsynced)
    else:
        surroundings = Surroundings(dial=telling_dial)
    if mode == "register":
        url, handle = rest
        await Client.register(url, handle=handle, password=PASSWORD, profile=profile)
        print("registered", flush=True)
        await asyncio.Event().wait()
    async with Client.open(profile, surroundings=surroundings) as me:
        if mode == "send":
            peer, count, _ = rest
            await asyncio.gather(*(me.send(peer, f"line {number}") for number in range(int(count))))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
