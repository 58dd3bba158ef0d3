"""The sealer: from a message as it was written to what crosses the wire.

What is sealed is kept with the message until that is answered: a repeat sends the same bytes, so that
no ratchet steps twice for one message, and none of its keys is used twice.

spec §6.16
"""

import sqlite3
from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec

from tidings.client.sealing import chains, lists, own, sessions
from tidings.client.sealing.inside import SEALED_TYPE, Inside, Outside, Wrapped, seal
from tidings.client.sealing.lists import Listed
from tidings.client.sealing.own import Own
from tidings.protocol.frames import Reference, Relation, Scheme
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, UserId
from tidings.protocol.keys import ListedDevice


class Writing(NamedTuple):
    """A message to be sealed."""

    conversation_id: ConversationId
    peer_id: UserId
    """0 in a group"""
    client_id: ClientId
    content_type: str
    content: bytes
    relation: int
    relates_to: Reference | None
    silent: bool
    expires_at: int | None


class Sealed(msgspec.Struct, array_like=True, frozen=True):
    """What crosses the wire, and the key, for devices that ask for it later."""

    content: bytes
    envelopes: dict[int, bytes]
    keys_at: int
    key: bytes
    content_type: str = SEALED_TYPE
    version: int = 0
    """of the group, whose members at that it is for; 0: of two"""

    def bytes(self) -> bytes:
        """As it is kept."""
        return msgspec.msgpack.encode(self)


class Lacking(NamedTuple):
    """What must be asked of the server first."""

    lists_of: list[UserId]
    devices: list[tuple[UserId, ListedDevice]]


class Unsealable(Exception):
    """It cannot be sealed, and repeating that is of no use: why, and what to do."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason, hint)
        self.reason, self.hint = reason, hint


class NotYet(Unsealable):
    """The user has another identity since, and another device is about to send it to this one."""


class Self(NamedTuple):
    """Who seals."""

    user_id: UserId
    device_id: DeviceId


def sealed(data: bytes) -> Sealed:
    """The inverse of `Sealed.bytes`."""
    return msgspec.msgpack.decode(data, type=Sealed)


def seal_message(
    database: sqlite3.Connection, me: Self, writing: Writing, now_ms: int, without: Collection[DeviceId] = ()
) -> Sealed | Lacking:
    """Seal a message for all devices of both users. Raises Unsealable.

    `without`: devices of which the server has no bundle; they ask for the key when they are back.
    """
    mine, both = _ready(database, me, writing.peer_id)
    if isinstance(both, Lacking):
        return both
    targets = [(one.user_id, device) for one in both for device in one.devices]
    wanted = [(user, device) for user, device in targets if device.device_id not in (me.device_id, *without)]
    lacking = [target for target in wanted if not sessions.has(database, target[1].device_id)]
    if lacking:
        return Lacking([], lacking)
    about = writing.relates_to
    if writing.relation == Relation.DELETE and about is not None:
        chains.erased(database, me.device_id, about)
    at = chains.place(database, writing.conversation_id, writing.client_id, mine.generation)
    key, content = seal(inside_of(database, writing, at, now_ms), outside_of(me, writing, Scheme.DIRECT))
    chains.said(database, writing.conversation_id, writing.client_id, at, content, writing.expires_at)
    envelopes = wrap_for(database, Wrapped(writing.client_id, key), [device for _, device in wanted])
    return Sealed(content, envelopes, min(one.keys_at for one in both), key)


def seal_key(
    database: sqlite3.Connection,
    me: Self,
    peer_id: UserId,
    wrapped: Wrapped,
    devices: Collection[DeviceId],
    since_ms: int,
    without: Collection[DeviceId] = (),
) -> Sealed | Lacking:
    """Seal a message's key once more, for devices of its set, over sessions made since. Raises Unsealable."""
    _, both = _ready(database, me, peer_id)
    if isinstance(both, Lacking):
        return both
    wanted = [
        (one.user_id, device)
        for one in both
        for device in one.devices
        if device.device_id in devices and device.device_id not in (me.device_id, *without)
    ]
    if not wanted:
        raise Unsealable("the device that asked is not in any list", "")
    lacking = [target for target in wanted if not sessions.has(database, target[1].device_id, since_ms)]
    if lacking:
        return Lacking([], lacking)
    envelopes = wrap_for(database, wrapped, [device for _, device in wanted])
    return Sealed(b"", envelopes, min(one.keys_at for one in both), wrapped.key, "")


def wrap_for(
    database: sqlite3.Connection, wrapped: Wrapped, devices: Iterable[ListedDevice]
) -> dict[int, bytes]:
    """A key, for each of some devices."""
    data = wrapped.bytes()
    return {int(device.device_id): sessions.wrap(database, device.device_id, data) for device in devices}


def linked(database: sqlite3.Connection) -> Own:
    """This device's keys. Raises Unsealable if it has not the user's identity."""
    mine = own.load(database)
    if mine is None or mine.identity is None:
        raise Unsealable(
            "this device is not linked to the account yet",
            "show its code with `tidings link`, and approve it on a device that is in: `tidings link CODE`",
        )
    return mine


def check_own(me: Self, mine: Own, listed: Listed) -> None:
    """Raise Unsealable if this device does not stand in its user's list, or has another identity."""
    is_listed = any(device.device_id == me.device_id for device in listed.devices)
    if not is_listed or mine.identity is None or listed.identity != mine.identity.public:
        raise (NotYet if is_listed else Unsealable)(
            "this device is not in the account's device list any more", "link it again: `tidings link`"
        )


def blocked(who: str) -> Unsealable:
    """Why nothing is sealed for whoever has another identity, while the user wants to be asked."""
    return Unsealable(
        f"{who} identity has changed, and you wanted to be asked",
        "compare the safety number with `tidings verify`, or accept it: `tidings verify --accept`",
    )


def _ready(database: sqlite3.Connection, me: Self, peer_id: UserId) -> tuple[Own, list[Listed] | Lacking]:
    """This device's keys, and the lists of both users. Raises Unsealable."""
    mine = linked(database)
    known = {user: lists.known(database, user) for user in (me.user_id, peer_id)}
    unknown = [user for user, listed in known.items() if listed is None]
    if unknown:
        return mine, Lacking(unknown, [])
    both = [listed for listed in known.values() if listed is not None]
    check_own(me, mine, both[0])
    if both[1].is_blocked:
        raise blocked("their")
    return mine, both


def inside_of(database: sqlite3.Connection, writing: Writing, at: chains.Place, now_ms: int) -> Inside:
    """What is sealed of a message."""
    return Inside(
        epoch=at.epoch,
        counter=at.counter,
        previous=at.previous,
        sent_at=now_ms,
        content_type=writing.content_type,
        content=writing.content,
        expires_at=writing.expires_at,
        excused=chains.excuses(database, writing.conversation_id, at),
    )


def outside_of(me: Self, writing: Writing, scheme: int) -> Outside:
    """What stands in the clear of it."""
    return Outside(
        writing.conversation_id,
        me.user_id,
        me.device_id,
        writing.client_id,
        writing.relation,
        writing.relates_to,
        writing.silent,
        scheme,
    )
