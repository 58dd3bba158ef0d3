"""Centrifugo with Redis: channels with a bounded history, one for each user's messages and one for receipts.

It is a transport, not a chat server. What a chat needs on top is done here by its clients: the receiver
publishes a receipt into the sender's channel, and whoever comes back reads the history by pages.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tidings.bench.peers.contract import Missing, RivalClient, Used
from tidings.bench.peers.daemons import Daemon, program, used, version_of
from tidings.bench.peers.websocket import TextSocket, content, name_of
from tidings.bench.process import free_port

FOLDER = Path("build/peers/bin").absolute()
BINARY = FOLDER / "centrifugo"
REQUEST_S = 60.0
HISTORY_MESSAGES = 5000
HISTORY_TTL = "72h"
PAGE = 250
TOKEN_S = 86_400
KEY = "of a server that lives for one benchmark"
Json = dict[str, Any]
Fsync = Literal["always", "everysec"]
SYNCED: dict[Fsync, str] = {
    "always": "Redis syncs its log before it answers",
    "everysec": "Redis syncs its log each second: a power cut loses up to a second of what was acknowledged",
}
PROMISES = (
    f"history is bounded ({HISTORY_MESSAGES:,} messages and {HISTORY_TTL} a channel), nothing is kept of "
    "how far a device has read, and receipts are none of its concern: the receiving client publishes one "
    "here (delivered, not read; not stored)"
)


def config(port: int, redis_port: int) -> Json:
    """Of the server: two kinds of channels, `in` with history and `receipts` without."""
    allowed = {"allow_subscribe_for_client": True, "allow_publish_for_client": True}
    kept = {"history_size": HISTORY_MESSAGES, "history_ttl": HISTORY_TTL, "allow_history_for_client": True}
    recovering = {"force_recovery": True, "force_positioning": True}
    return {
        "http_server": {"address": "127.0.0.1", "port": str(port)},
        "log": {"level": "warn"},
        "engine": {"type": "redis", "redis": {"address": f"redis://127.0.0.1:{redis_port}"}},
        "client": {"token": {"hmac_secret_key": KEY}, "allowed_origins": ["*"]},
        "channel": {
            "namespaces": [
                {"name": "in", **allowed, **kept, **recovering},
                {"name": "receipts", **allowed},
            ]
        },
    }


def token(user: int, now_s: float) -> str:
    """A JSON Web Token (HS256) that says who connects."""
    claims = json.dumps({"sub": str(user), "exp": int(now_s) + TOKEN_S}).encode()
    signed = _base64url(b'{"typ":"JWT","alg":"HS256"}') + b"." + _base64url(claims)
    signature = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + _base64url(signature)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class CentrifugoClient(TextSocket):
    """Its JSON protocol: newline-separated objects; an answer carries the id of its request."""

    def __init__(self, user: int) -> None:
        super().__init__()
        self._user = user
        self._requests = 0
        self._asked: dict[int, asyncio.Future[Json]] = {}
        self._published: dict[int, str] = {}

    def heard(self, text: str) -> None:
        for line in text.split("\n"):
            if line == "{}":
                self.write("{}")  # its ping
            elif line:
                self._take(json.loads(line))

    def _take(self, said: Json) -> None:
        number = said.get("id")
        if number is None:
            self._push(said.get("push", {}))
        elif number in self._asked:
            self._asked.pop(number).set_result(said)
        elif "error" in said:
            raise RuntimeError(f"Centrifugo refused: {said['error']}")
        elif (name := self._published.pop(number, "")) != "":
            self.on_taken(name)

    def _push(self, push: Json) -> None:
        published = push.get("pub")
        if published is None:
            return
        data = published["data"]
        if "receipt" in data:
            self.on_receipt(data["receipt"])
            return
        name = name_of(data["text"])
        self.on_message(name)
        if self.gives_receipts:
            self._requests += 1
            self._publish(f"receipts:{data['from']}", {"receipt": name})

    def send(self, to: int, name: str, content_bytes: int) -> None:
        """Publish into the inbox channel of a user."""
        self._requests += 1
        self._published[self._requests] = name
        self._publish(f"in:{to}", {"from": self._user, "text": content(name, content_bytes)})

    def _publish(self, channel: str, data: Json) -> None:
        self.write(json.dumps({"id": self._requests, "publish": {"channel": channel, "data": data}}))

    async def ask(self, kind: str, request: Json) -> Json:
        """One request and its answer. Raises RuntimeError where it is refused."""
        self._requests += 1
        answered = self._asked[self._requests] = asyncio.get_running_loop().create_future()
        self.write(json.dumps({"id": self._requests, kind: request}))
        answer: Json = await asyncio.wait_for(answered, REQUEST_S)
        if "error" in answer:
            raise RuntimeError(f"Centrifugo refused {kind}: {answer['error']}")
        result: Json = answer[kind]
        return result

    async def login(self, url: str) -> None:
        """Connect and subscribe to the user's two channels."""
        await self.open(url)
        await self.ask("connect", {"token": token(self._user, time.time())})
        await self.ask("subscribe", {"channel": f"in:{self._user}"})
        await self.ask("subscribe", {"channel": f"receipts:{self._user}"})

    async def fetch(self, expected: int, on_message: Callable[[str], None]) -> None:
        """Read the history of the inbox from its beginning, a page at a time."""
        channel = f"in:{self._user}"
        start = await self.ask("history", {"channel": channel, "limit": 0})
        offset, epoch, found = 0, start["epoch"], 0
        while found < expected:
            since = {"offset": offset, "epoch": epoch}
            page = await self.ask("history", {"channel": channel, "limit": PAGE, "since": since})
            publications = page.get("publications") or []
            for publication in publications:
                on_message(name_of(publication["data"]["text"]))
            found += len(publications)
            if len(publications) < PAGE:
                return
            offset = publications[-1]["offset"]


class Centrifugo:
    """A rival. How durable it is, is decided by how often its Redis syncs its log of changes."""

    def __init__(self, fsync: Fsync) -> None:
        self._fsync: Fsync = fsync
        self.name = "Centrifugo" if fsync == "always" else "Centrifugo, fsync each second"
        self.promises = f"{SYNCED[fsync]}; {PROMISES}"
        self._daemons: list[Daemon] = []
        self._url = ""

    def version(self) -> str:
        try:
            built = (FOLDER / "version").read_text().strip()
        except FileNotFoundError:
            raise Missing("Centrifugo is not set up: run scripts/peers") from None
        return f"{built}, Redis {version_of(program('redis-server'), '--version')}"

    async def start(self, folder: Path, users: int) -> None:  # noqa: ARG002 - whoever has a token is a user
        redis_port, port = free_port(), free_port()
        written = folder / "centrifugo.json"
        written.write_text(json.dumps(config(port, redis_port)))
        redis = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(redis_port)]
        redis += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", self._fsync, "--save", ""]
        self._daemons = [
            Daemon("redis", redis, folder, port=redis_port),
            Daemon("centrifugo", [str(BINARY), "-c", str(written)], folder, port=port),
        ]
        self._url = f"ws://127.0.0.1:{port}/connection/websocket"
        try:
            for daemon in self._daemons:
                await daemon.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for daemon in self._daemons:  # the last one first
                stack.push_async_callback(daemon.stop)

    def used(self) -> Used:
        return used(daemon.pid for daemon in self._daemons)

    async def connect(self, user: int) -> RivalClient:
        client = CentrifugoClient(user)
        await client.login(self._url)
        return client

    async def drain(self, user: int, expected: int, on_message: Callable[[str], None]) -> RivalClient:
        client = CentrifugoClient(user)
        await client.login(self._url)
        await client.fetch(expected, on_message)
        return client
