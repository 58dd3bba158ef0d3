"""Sending to a group that was changed meanwhile: asked anew, sent again, and nobody notices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from client.at_rest import KEY
from tidings.client import vault
from tidings.client.connection import Answer
from tidings.client.conversations import Conversations
from tidings.client.errors import Refused
from tidings.client.group_info import GroupInfo
from tidings.client.group_values import group_peer
from tidings.client.outbox import ClientIds, Draft
from tidings.client.profile import FileLock
from tidings.client.server_time import ServerTime
from tidings.client.surroundings import SystemClock, connect
from tidings.client.transcript import Self
from tidings.client.transmitter import Transmitter
from tidings.client.vault import Vault
from tidings.protocol import errors, frames
from tidings.protocol.frames import Describe, Frame, Group, GroupRules, Member, Scheme, Send, Sent
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId

ME = Self(UserId(1), DeviceId(9), "alice")
HERE = ConversationId(b"g" * 16)


class FakeServer:
    """A connection to a server on which somebody was removed from a group, version after version."""

    def __init__(self, *, version: int, known: list[int], scheme: Scheme = Scheme.PLAIN) -> None:
        """`known`: what a node says that the version is, time after time, if it is behind."""
        self.welcome = frames.Welcome(ME.user_id, ME.device_id, "alice", 0, 30.0, 10.0, 256, 65_536)
        self.seen: list[Send] = []
        self.version = version
        self.is_member = True
        self._known = known
        self._scheme = scheme

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        request = make(1)
        assert isinstance(request, Describe)
        if not self.is_member:
            raise Refused(errors.NO_SUCH_CONVERSATION.code, "no_such_conversation", "you are no member")
        version = self._known.pop(0) if self._known else self.version
        info = msgspec.msgpack.encode(GroupInfo("Family"))
        group = Group(0, self._scheme, info, EntryId(0), GroupRules(), 1, ME.user_id, 0, 1, self.version)
        return frames.Conversation(1, HERE, 2, version, [Member(ME.user_id, "alice")], group)

    async def transmit(self, send: Send) -> Sent:
        self.seen.append(send)
        if not self.is_member:
            raise Refused(errors.NO_SUCH_CONVERSATION.code, "no_such_conversation", "you are no member")
        if send.version < self.version:
            raise Refused(errors.GROUP_CHANGED.code, "group_changed", "behind a removal")
        return Sent(send.client_id, MessageId(len(self.seen)), created_at=1)


@contextlib.asynccontextmanager
async def sending(folder: Path, server: FakeServer) -> AsyncIterator[Transmitter]:
    vault.create(folder / "profile.db", KEY)
    opened = await Vault.open(folder / "profile.db", KEY, connect, now_ms=0)
    conversations = Conversations(opened, ME.user_id)
    await conversations.asked(HERE, server.ask)
    transmitter = Transmitter(
        opened,
        conversations,
        FileLock(folder / "outbox.lock"),
        ME,
        ClientIds(b"c" * 8),
        b"w" * 16,
        SystemClock(),
        ServerTime(SystemClock(), 0),
        None,
        lambda _: None,
    )
    run = asyncio.ensure_future(transmitter.run(server))  # type: ignore[arg-type]
    yield transmitter
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    await opened.close()


async def send(transmitter: Transmitter) -> None:
    async with asyncio.timeout(10):
        await transmitter.send(Draft(group_peer(HERE), "text/plain", b"hello"))


async def test_a_message_behind_a_removal_is_sent_again_by_itself(tmp_path: Path) -> None:
    server = FakeServer(version=1, known=[])
    async with sending(tmp_path, server) as transmitter:
        await send(transmitter)
        server.version = 4
        await send(transmitter)
    assert [one.version for one in server.seen] == [1, 1, 4]
    first, second = server.seen[1:]
    assert (first.client_id, first.attempt, second.attempt) == (second.client_id, 1, 2)


@pytest.mark.slow
async def test_a_node_that_is_behind_is_asked_again(tmp_path: Path) -> None:
    server = FakeServer(version=1, known=[1, 1, 1])
    async with sending(tmp_path, server) as transmitter:
        server.version = 2
        await send(transmitter)
    assert [one.version for one in server.seen] == [1, 1, 1, 2]


async def test_who_is_no_member_any_more_is_told_so_for_good(tmp_path: Path) -> None:
    server = FakeServer(version=1, known=[])
    async with sending(tmp_path, server) as transmitter:
        server.is_member = False
        with pytest.raises(Refused, match="no_such_conversation"):
            await send(transmitter)
        server.is_member = True
        await send(transmitter)
    assert len({one.client_id for one in server.seen}) == 2


async def test_nothing_goes_in_plain_to_a_group_that_is_encrypted(tmp_path: Path) -> None:
    server = FakeServer(version=1, known=[], scheme=Scheme.SENDER_KEY)
    async with sending(tmp_path, server) as transmitter:
        with pytest.raises(Refused, match="unsealable"):
            await send(transmitter)
    assert server.seen == []
