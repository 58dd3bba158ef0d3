"""The outbox's rule: order and attempts, whatever the server and the connection do, and over restarts."""

import asyncio
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.at_rest import KEY
from tidings.client import vault
from tidings.client.connection import Answer
from tidings.client.conversations import Conversations
from tidings.client.errors import ConnectionLost, Refused
from tidings.client.outbox import ClientIds, Draft, next_attempt
from tidings.client.profile import FileLock
from tidings.client.server_time import ServerTime
from tidings.client.surroundings import SystemClock, connect
from tidings.client.transcript import Self
from tidings.client.transmitter import Transmitter
from tidings.client.vault import Vault
from tidings.protocol import errors, frames
from tidings.protocol.frames import Frame, Member, OpenDirect, Send, Sent
from tidings.protocol.ids import ClientId, DeviceId, MessageId, UserId, direct_conversation_id

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
