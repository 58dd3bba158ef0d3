"""The outbox's rule: order and attempts, whatever the server and the connection do, and over restarts."""

import asyncio
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.at_rest import KEY
from tidings.client import vault
from tidings.client.connection import Answer, Connection, SealedForOthers
from tidings.client.conversations import Conversations, Known
from tidings.client.errors import ConnectionLost, Refused
from tidings.client.outbox import ClientIds, Draft, Row, next_attempt
from tidings.client.profile import FileLock
from tidings.client.sealing.sealer import Sealed
from tidings.client.server_time import ServerTime
from tidings.client.surroundings import SystemClock, connect
from tidings.client.transcript import Self
from tidings.client.transmitter import Transmitter
from tidings.client.vault import Vault
from tidings.client.worker import Work
from tidings.protocol import errors, frames
from tidings.protocol.frames import DevicesChanged, Frame, Member, OpenDirect, Send, Sent
from tidings.protocol.ids import ClientId, DeviceId, EntryId, MessageId, UserId, direct_conversation_id

ME = UserId(1)
PEERS = {"bob": UserId(2), "carol": UserId(3)}

OUTCOMES = st.sampled_from(["sent", "sent", "sent", "busy", "refused", "lost", "sent and lost"])


class FakeServer:
    """Takes messages as a script says; remembers all that it saw."""

    def __init__(self, script: list[str]) -> None:
        self._script = script
        self.seen: list[Send] = []
        self.accepted: dict[ClientId, Sent] = {}
        self.refused: set[ClientId] = set()

    def take(self, send: Send) -> str:
        self.seen.append(send)
        if send.client_id in self.accepted:
            assert send.attempt > 1, "an accepted message came again as a first attempt"
            return "sent"
        outcome = self._script.pop(0) if self._script else "sent"
        if outcome in ("sent", "sent and lost"):
            count = len(self.accepted) + 1
            self.accepted[send.client_id] = Sent(send.client_id, MessageId(count), created_at=count)
        if outcome == "refused":
            self.refused.add(send.client_id)
        return outcome


class FakeConnection:
    """What the transmitter needs of a `Connection`."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self.is_lost = False
        self.welcome = frames.Welcome(ME, DeviceId(9), "alice", 0, 30.0, 10.0, 256, 65_536)

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        request = make(1)
        assert isinstance(request, OpenDirect)
        peer_id = PEERS[request.handle]
        members = [Member(ME, "alice"), Member(peer_id, request.handle)]
        return frames.Conversation(1, direct_conversation_id(ME, peer_id), 1, 1, members)

    async def transmit(self, send: Send) -> Sent:
        if self.is_lost:
            raise ConnectionLost(1006, "")
        outcome = self._server.take(send)
        await asyncio.sleep(0)
        if "lost" in outcome or self.is_lost:
            self.is_lost = True
            raise ConnectionLost(1006, "")
        if outcome == "busy":
            raise Refused(errors.OVERLOADED.code, "overloaded", "busy", 0.001)
        if outcome == "refused":
            raise Refused(errors.TOO_LARGE.code, "too_large", "too large")
        return self._server.accepted[send.client_id]


async def play(
    batches: list[list[str]], script: list[str], folder: Path
) -> tuple[FakeServer, list[ClientId]]:
    """Each batch is written by a process of its own, which is connected a few times and then gone."""
    server = FakeServer(script)
    vault.create(folder / "profile.db", KEY)
    written: list[ClientId] = []
    for number, batch in enumerate([*batches, []]):
        opened = await Vault.open(folder / "profile.db", KEY, connect, now_ms=0)
        names = ClientIds(number.to_bytes(8, "big"))
        transmitter = Transmitter(
            opened,
            Conversations(opened, ME),
            FileLock(folder / "outbox.lock"),
            Self(ME, DeviceId(9), "alice"),
            names,
            number.to_bytes(16, "big"),
            SystemClock(),
            ServerTime(SystemClock(), 0),
            None,
            lambda _: None,
        )
        sends = [asyncio.ensure_future(transmitter.send(Draft(peer, "text/plain", b"x"))) for peer in batch]
        written += [
            ClientId(number.to_bytes(8, "big") + n.to_bytes(8, "big")) for n in range(1, len(batch) + 1)
        ]
        await asyncio.sleep(0)
        connections = 100 if number == len(batches) else 2
        for _ in range(connections):
            run = asyncio.ensure_future(transmitter.run(FakeConnection(server)))  # type: ignore[arg-type]
            while not run.done() and not await opened.read(
                lambda d: not list(d.execute("SELECT 1 FROM outbox"))
            ):
                await asyncio.sleep(0)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
        for send in sends:
            send.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        await opened.close()
    return server, written


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(sorted(PEERS)), max_size=6), min_size=1, max_size=3),
    st.lists(OUTCOMES, max_size=20),
)
def test_order_and_attempts(batches: list[list[str]], script: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server, written = asyncio.run(play(batches, script, Path(folder)))
    # All that was written is accepted or refused, nothing else.
    assert set(written) == set(server.accepted) | server.refused
    by_conversation: dict[bytes, list[ClientId]] = defaultdict(list)
    attempts: dict[ClientId, list[int]] = defaultdict(list)
    for send in server.seen:
        if send.client_id not in by_conversation[send.conversation_id]:
            by_conversation[send.conversation_id].append(send.client_id)
        attempts[send.client_id].append(send.attempt)
    order = {name: place for place, name in enumerate(written)}
    for names in by_conversation.values():
        # Nobody is overtaken in a conversation, not even by waiting for a busy server.
        assert names == sorted(names, key=order.__getitem__)
    accepted = list(server.accepted)
    for names in by_conversation.values():
        mine = [name for name in accepted if name in names]
        assert mine == sorted(mine, key=order.__getitem__)
    for tried in attempts.values():
        assert tried == sorted(set(tried)), "attempts rise"


@given(st.integers(1, 9), st.booleans(), st.booleans())
def test_only_a_writers_first_try_is_a_first_attempt(stored: int, is_writer: bool, was_tried: bool) -> None:
    attempt = next_attempt(stored, is_writer=is_writer, was_tried=was_tried)
    assert (attempt == 1) == (stored == 1 and is_writer and not was_tried)
    assert attempt >= stored


def test_names_are_never_given_twice() -> None:
    names = ClientIds(b"a" * 8)
    given_out = {next(names) for _ in range(100)}
    names.renew(b"b" * 8)
    assert len(given_out | {next(names) for _ in range(100)}) == 200


# --- what is sealed -------------------------------------------------------------------------


class AtOnce:
    """Implements `client.worker.Worker`: does together what it was given in one turn of the loop."""

    def start(self, work: Work) -> None:
        self._work = work
        self._pieces: list[Any] = []

    def give(self, piece: Any) -> None:
        if not self._pieces:
            asyncio.get_running_loop().call_soon(self._do)
        self._pieces.append(piece)

    def join(self) -> None:
        """Nothing goes on beside."""

    def _do(self) -> None:
        pieces, self._pieces = self._pieces, []
        self._work(pieces)


class FakePress:
    """What the transmitter needs of a `Press`: nothing has to be asked for, and it is told in which order."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def seal_at_once(self, _: sqlite3.Connection | None, row: Row, __: Known) -> Row:
        self.order.append(row.draft.content.decode())
        return row._replace(sealed=Sealed(row.draft.content, {}, 0, b""), after=MessageId(0))

    async def seal(self, _: Connection, row: Row, known: Known) -> Row:
        return row if row.sealed is not None else self.seal_at_once(None, row, known)

    async def changed(self, row: Row, _: DevicesChanged) -> Row:
        return row._replace(sealed=None)


class Refusing(FakeConnection):
    """Refuses what bob is written; then what carol is written must be sealed again, while she is written."""

    def __init__(self, write: Callable[[], None]) -> None:
        super().__init__(FakeServer([]))
        self._write = write
        self._both = asyncio.Barrier(2)
        self._refused = asyncio.Event()

    async def transmit(self, send: Send) -> Sent:
        if send.content == b"to bob":
            await self._both.wait()
            self._write()
            await asyncio.sleep(0)
            self._refused.set()
            raise Refused(errors.TOO_LARGE.code, "too_large", "too large")
        if send.content == b"to carol" and not self._refused.is_set():
            await self._both.wait()
            await self._refused.wait()
            raise SealedForOthers(DevicesChanged(send.client_id, EntryId(0), []))
        return await super().transmit(send)


async def test_nothing_is_sealed_before_what_is_to_be_sealed_again(tmp_path: Path) -> None:
    vault.create(tmp_path / "profile.db", KEY)
    opened = await Vault.open(tmp_path / "profile.db", KEY, connect, 0, AtOnce)
    conversations, press = Conversations(opened, ME), FakePress()
    transmitter = Transmitter(
        opened,
        conversations,
        FileLock(tmp_path / "outbox.lock"),
        Self(ME, DeviceId(9), "alice"),
        ClientIds(b"c" * 8),
        b"w" * 16,
        SystemClock(),
        ServerTime(SystemClock(), 0),
        press,  # type: ignore[arg-type]
        lambda _: None,
    )

    def send(peer: str, text: str) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(transmitter.send(Draft(peer, "text/plain", text.encode())))

    connection = Refusing(lambda: sends.append(send("carol", "after that")))
    for peer in PEERS:
        await conversations.with_peer(peer, connection.ask)
    sends = [send("bob", "to bob"), send("carol", "to carol")]
    run = asyncio.ensure_future(transmitter.run(connection))  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        with pytest.raises(Refused):
            await sends[0]
        for sent in sends[1:]:
            await sent
    assert press.order == ["to bob", "to carol", "to carol", "after that"]
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await opened.close()
