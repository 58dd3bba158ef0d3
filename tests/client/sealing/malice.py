"""What the tests of a server that lies have in common. See `lying.py`."""

import contextlib
import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
import tidings_core as core
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from client.memory_world import until
from client.sealing.lying import Lie, Victim, Victims, changing, dropping
from client.sealing.test_clients import in_profile, link, warned
from tidings.client import Fault, MessageEvent, SessionEnded
from tidings.client.sealing.inside import Outside, Wrapped, unseal
from tidings.client.sealing.sealer import Sealed, Self, Writing, seal_key, seal_message
from tidings.protocol.frames import (
    Deliver,
    DeviceLists,
    DevicesChanged,
    Drained,
    HistoryItem,
    InboxExpired,
    Message,
    Page,
    Reference,
    Relation,
    Scheme,
    ServerFrame,
    SignedDevices,
    Status,
)
from tidings.protocol.ids import (
    ClientId,
    ConversationId,
    DeviceId,
    EntryId,
    MessageId,
    UserId,
)

Pair = tuple[Victim, Victim]


class Choir(NamedTuple):
    """alice, who is lied to, and bob, in a group; carol is a user and not in it."""

    alice: Victim
    bob: Victim
    carol: Victim
    peer: str


NAMES = itertools.count(1)
KEYS_OF: dict[ClientId, bytes] = {}
"""the keys of what was crafted"""


def faults(screen: Victim, peer: str) -> list[Fault]:
    """What is wrong with what a screen shows."""
    return [one.fault for one in screen.checked.messages(peer) if one.fault]


async def told(screen: Victim, kind: str) -> None:
    """Wait until the user is warned."""
    await screen.until(lambda _: kind in warned(screen))


async def next_of(bob: Victim, alice: Victim, text: str) -> Deliver:
    """Have bob send something that alice is not told; what the node had for her."""
    before = alice.liar.lie
    alice.liar.lie = dropping(Deliver)
    count = len(alice.liar.delivered)
    await bob.client.send("@alice", text)
    await until(lambda: len(alice.liar.delivered) > count)
    alice.liar.lie = before
    return alice.liar.delivered[-1]


def shown(screen: Victim) -> list[str]:
    """All that a program was told that was said."""
    return [event.text for event in screen.events if isinstance(event, MessageEvent)]


def lists_told(change: Callable[[SignedDevices], SignedDevices | None], of: UserId) -> Lie:
    """Lists as the server hands them out, those of a user changed; None: none."""

    def lie(frame: ServerFrame) -> list[ServerFrame]:
        if not isinstance(frame, DeviceLists | DevicesChanged):
            return [frame]
        told = [change(one) if one.user_id == of else one for one in frame.lists]
        return [msgspec.structs.replace(frame, lists=[one for one in told if one is not None])]

    return lie


def later(alice: Victim) -> MessageId:
    return MessageId(alice.liar.delivered[-1].message.message_id + 1)


def lists_heard(alice: Victim) -> list[SignedDevices]:
    """The lists that the node told her, the newest first."""
    told = [frame for frame in alice.liar.wire if isinstance(frame, DeviceLists | DevicesChanged)]
    return [one for frame in reversed(told) for one in frame.lists]


async def removed(victims: Victims, bob: Victim, meanwhile: Callable[[], Awaitable[object]]) -> DeviceId:
    """Link a second device, and take it out again."""
    with contextlib.suppress(SessionEnded):
        async with await victims.login("bob") as second:
            await link(bob, second)
            await meanwhile()
            await bob.client.devices.sign_out(str(second.device_id))
    return second.device_id


def of_an_edit(deliver: Deliver, alice: Victim) -> dict[str, Any]:
    return {
        "relation": Relation.EDIT,
        "relates_to": Reference(deliver.message.sender_device, alice.liar.delivered[0].message.client_id),
    }


CLEAR: dict[str, Callable[[Deliver, Victim], dict[str, Any]]] = {
    "content": lambda _, __: {"content": b"\1" * 200},
    "name": lambda _, __: {"client_id": ClientId(b"n" * 16)},
    "silent": lambda one, _: {"silent": not one.message.silent},
    "an edit": of_an_edit,
    "a reaction": lambda one, alice: {**of_an_edit(one, alice), "relation": Relation.REACTION},
    "a reply": lambda one, alice: {**of_an_edit(one, alice), "relation": Relation.REPLY},
    "a delete": lambda one, alice: {**of_an_edit(one, alice), "relation": Relation.DELETE},
    "forwarded": lambda _, __: {"relation": Relation.FORWARD},
    "conversation": lambda _, __: {"conversation_id": ConversationId(b"c" * 16)},
    "sender": lambda _, alice: {"sender_id": alice.user_id},
    "my device": lambda _, alice: {"sender_device": alice.device_id},
    "me": lambda _, alice: {"sender_id": alice.user_id, "sender_device": alice.device_id},
}


async def crafted(
    author: Victim, reader: Victim, conversation_id: ConversationId, text: str, **options: object
) -> Deliver:
    """What an author seals who helps the server, for any conversation."""
    me = Self(author.user_id, author.device_id)
    name = ClientId(b"crafted-%08d" % next(NAMES))
    fields: dict[str, object] = {"relation": Relation.NONE, "relates_to": None, **options}
    writing = Writing(
        conversation_id=conversation_id,
        peer_id=reader.user_id,
        client_id=name,
        content_type="text/plain",
        content=text.encode(),
        silent=False,
        expires_at=None,
        **fields,  # type: ignore[arg-type]
    )
    now_ms = 1_800_000_000_000

    def seal(database: sqlite3.Connection) -> object:
        return seal_message(database, me, writing, now_ms)

    made = await in_profile(author, seal)
    assert isinstance(made, Sealed)
    KEYS_OF[name] = made.key
    message = Message(
        message_id=later(reader),
        conversation_id=conversation_id,
        sender_id=me.user_id,
        sender_device=me.device_id,
        client_id=name,
        version=1,
        scheme=Scheme.DIRECT,
        content_type=made.content_type,
        content=made.content,
        created_at=now_ms,
        **fields,  # type: ignore[arg-type]
    )
    return Deliver(EntryId(message.message_id + 1), message, made.envelopes[reader.device_id])


def sealed_with(key: bytes, sealed: bytes, outside: Outside, content: bytes) -> bytes:
    """What somebody makes of a sealed content who has its key: the same, with other words."""
    inside = msgspec.structs.replace(unseal(key, sealed, outside), content=content)
    plaintext = core.pad(msgspec.msgpack.encode(inside))
    both = HKDF(SHA256(), 64, None, b"tidings/1 content").derive(key)
    ciphertext = ChaCha20Poly1305(both[:32]).encrypt(bytes(12), plaintext, outside.bytes())
    return sealed[:1] + both[32:] + ciphertext


async def wrapped_key(author: Victim, reader: Victim, about: Deliver) -> Deliver:
    """A KEYS with the key of a crafted message."""
    name = Reference(author.device_id, about.message.client_id)
    me = Self(author.user_id, author.device_id)

    def seal(database: sqlite3.Connection) -> object:
        wrapped = Wrapped(name.client_id, KEYS_OF[about.message.client_id])
        return seal_key(database, me, reader.user_id, wrapped, [reader.device_id], 0)

    made = await in_profile(author, seal)
    assert isinstance(made, Sealed)
    keys = msgspec.structs.replace(
        about.message,
        message_id=MessageId(about.message.message_id + 2),
        client_id=ClientId(b"keys-%011d" % next(NAMES)),
        relation=Relation.KEYS,
        relates_to=name,
        content_type="",
        content=b"",
    )
    return Deliver(EntryId(keys.message_id), keys, made.envelopes[reader.device_id])


def past(alice: Victim, messages: list[Message], changes: list[Message]) -> None:
    """The server says that her inbox is not complete, and that this is what she missed."""
    items = [HistoryItem(one, int(Status.SENT)) for one in messages]
    alice.liar.lie = changing(Page, lambda page: Page(page.request_id, items, more=False, relations=changes))
    since = EntryId(alice.liar.delivered[0].entry_id - 1)
    alice.liar.say(InboxExpired(since, EntryId(later(alice))), Drained(0, EntryId(later(alice))))
