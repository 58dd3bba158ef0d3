"""Nothing that a server has, or that crosses the wire, lets anybody read what was said.

With the data folder, the log, the metrics and every frame and request in hand: not one of a thousand
texts, in no encoding; no private key; no password.
"""

import asyncio
import base64
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from client.at_rest import database_of
from integration.server import TIDINGS, Server
from tidings.client import Client, MessageEvent, Surroundings
from tidings.client.socket import Socket, dial
from tidings.client.surroundings import request

pytestmark = pytest.mark.slow

TEXTS = 1000
WINDOW = 20
"""sent at once"""
PASSWORD = "correct horse battery staple"
WORDS = (
    "meet",
    "river",
    "candle",
    "seven",
    "doctor",
    "Lisbon",
    "envelope",
    "garden",
    "Tuesday",
    "salt",
    "Über",
)
KEY_BYTES = 16
"""shorter values of a profile's key columns are no keys"""


class Wire:
    """All that crosses the wire, in both directions."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(dial=self._dial, request=self._request)

    async def _dial(self, url: str) -> Socket:
        return Tapped(await dial(url), self.parts.append)

    async def _request(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        status, answer = await request(method, url, body, headers)
        self.parts += [url.encode(), body or b"", answer]
        return status, answer


class Tapped:
    """A socket that is listened to."""

    def __init__(self, inner: Socket, heard: Callable[[bytes], None]) -> None:
        self._inner = inner
        self._heard = heard

    async def send(self, data: bytes) -> None:
        self._heard(data)
        await self._inner.send(data)

    async def receive(self) -> bytes:
        data = await self._inner.receive()
        self._heard(data)
        return data

    async def close(self, code: int, reason: str) -> None:
        await self._inner.close(code, reason)


def texts() -> list[str]:
    """A thousand texts, no two alike, each with words that stand nowhere else in this order."""
    random = Random(20_000)
    return [f"{' '.join(random.choice(WORDS) for _ in range(6))} no. {n:04} ✓" for n in range(TEXTS)]


def forms(text: str) -> Iterator[bytes]:
    """A text as it might be found: in Unicode's encodings, in base64 at each alignment, deflated."""
    plain = text.encode()
    yield plain
    yield text.encode("utf-16-le")
    yield text.encode("utf-16-be")
    for shift in range(3):
        # The first and the last letters depend on what stands beside.
        yield base64.b64encode(bytes(shift) + plain)[4:-4]
    raw = zlib.compressobj(wbits=-15)
    yield raw.compress(plain) + raw.flush()


def found(haystack: bytes, needles: list[bytes]) -> list[bytes]:
    return [needle for needle in needles if needle in haystack]


def secrets_of(profile: Path) -> list[bytes]:
    """The private keys of a profile, and their parts."""
    keys: list[bytes] = []
    with database_of(profile) as database:
        for query in (
            "SELECT device, identity FROM own_keys",
            "SELECT secret FROM prekeys",
            "SELECT substr(key, 1, 32) FROM message_keys",  # the hash behind it is no secret
        ):
            for row in database.execute(query):
                keys += [bytes(value) for value in row if len(value) >= KEY_BYTES]
    database.close()
    # A device's state is a version byte and two keys.
    return keys + [key[at : at + 32] for key in keys for at in range(0, len(key) - 31, 1) if len(key) <= 72]


async def talk(server: Server, folder: Path, wire: Wire, said: list[str]) -> None:
    """alice says it all to bob, in several ways."""
    for name in ("alice", "bob"):
        await Client.register(server.url, handle=name, password=PASSWORD, profile=folder / name)
    async with (
        Client.open(folder / "alice", surroundings=wire.surroundings) as alice,
        Client.open(folder / "bob", surroundings=wire.surroundings) as bob,
    ):
        hearing = asyncio.ensure_future(hear(bob, len(said)))
        for start in range(0, len(said), WINDOW):
            window = said[start : start + WINDOW]
            sent = await asyncio.gather(*(alice.send("@bob", text) for text in window))
            await alice.messages.react(sent[0], window[0][:20])
            await alice.messages.edit(sent[1], window[1] + "!")
        await alice.chats.draft("@bob", said[0])
        assert sorted(await hearing) == sorted(said)
        assert [one.text for one in await bob.history("@alice", limit=3)]


async def hear(bob: Client, count: int) -> list[str]:
    heard = []
    async for event in bob.events():
        if isinstance(event, MessageEvent):
            heard.append(event.text)
            if len(heard) == count:
                break
    return heard


def test_a_server_has_nothing_to_read(tmp_path: Path) -> None:
    server, wire, said = Server(tmp_path, config={"log": "debug"}), Wire(), texts()
    server.start()
    asyncio.run(talk(server, tmp_path, wire, said))
    metrics = subprocess.run(
        [TIDINGS, "admin", "metrics", "--data", server.data], capture_output=True, check=True
    ).stdout
    backup = tmp_path / "backup"
    subprocess.run(
        [TIDINGS, "backup", "--data", server.data, "--to", backup], capture_output=True, check=True
    )
    server.stop()
    disk = b"".join(
        path.read_bytes() for folder in (server.data, backup) for path in folder.rglob("*") if path.is_file()
    )
    everything = b"\n".join([disk, server.log.encode(), metrics, *wire.parts])
    needles = [form for text in said for form in forms(text)]
    assert found(
        b"".join(form for text in said[:3] for form in forms(text)), needles[:21]
    )  # it would be seen
    assert not found(everything, needles)
    assert not found(everything, [PASSWORD.encode(), base64.b64encode(PASSWORD.encode())])
    keys = [key for name in ("alice", "bob") for key in secrets_of(tmp_path / name)]
    assert len(keys) > TEXTS
    assert not found(everything, keys)
    assert not found(everything, [base64.b64encode(key)[:-4] for key in keys])
