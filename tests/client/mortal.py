"""A program that listens and is killed, with kill -9, at a chosen moment.

`python mortal.py PROFILE MOMENT` prints the texts of the messages it gets, one a line. Moments:
`before-ack` (stored, not acknowledged), `after-ack` (acknowledged, nothing printed yet),
`before-sent` (a message was written and sent, its answer not looked at; the text is argument 4).
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tidings.client import Client, MessageEvent, Surroundings
from tidings.client.socket import Socket, dial
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Ack, Send


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class MortalSocket:
    """Passes everything on until the moment has come."""

    def __init__(self, inner: Socket, moment: str) -> None:
        self._inner = inner
        self._moment = moment
        self._is_dying = False

    async def send(self, data: bytes) -> None:
        frame = MSGPACK.decode_client(data)
        if self._moment == "before-ack" and isinstance(frame, Ack):
            die()
        await self._inner.send(data)
        if self._moment == "after-ack" and isinstance(frame, Ack):
            die()
        if self._moment == "before-sent" and isinstance(frame, Send):
            self._is_dying = True

    async def receive(self) -> bytes:
        data = await self._inner.receive()
        if self._is_dying:
            die()
        return data

    async def close(self, code: int, reason: str) -> None:
        await self._inner.close(code, reason)


async def main(profile: Path, moment: str, rest: list[str]) -> None:
    async def mortal_dial(url: str) -> MortalSocket:
        return MortalSocket(await dial(url), moment)

    async with Client.open(profile, surroundings=Surroundings(dial=mortal_dial)) as me:
        if rest:
            await me.send(*rest)
        async for event in me.events():
            if isinstance(event, MessageEvent):
                print(event.text, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
