"""What nodes tell each other over the bus, as structs.

It is internal: all nodes of a system run the same version, or the one before during an upgrade. So
fields are only added, at the end and with a default, and an unknown kind is passed over.
"""

from typing import Union

import msgspec

from tidings.domain.inboxes import MESSAGE_ENTRY, Entry
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId, UserId


class Delivered(msgspec.Struct, array_like=True, tag=1, gc=False):
    """An inbox entry became durable."""

    users: list[UserId]
    entry_id: EntryId
    conversation_id: ConversationId
    message_id: MessageId
    sender_id: UserId
    sender_device: DeviceId
    payload: bytes
    envelopes: dict[DeviceId, bytes] = {}
    kind: int = MESSAGE_ENTRY


class Told(msgspec.Struct, array_like=True, tag=2, gc=False):
    """A frame that no inbox holds, in MessagePack."""

    users: list[UserId]
    frame: bytes
    skip: DeviceId | None = None


class Replaced(msgspec.Struct, array_like=True, tag=3, gc=False):
    """A device has begun a session elsewhere."""

    user_id: UserId
    device_id: DeviceId
    session: int
    """what has a lesser number is over"""


class Expelled(msgspec.Struct, array_like=True, tag=4, gc=False):
    """A device, or (None) all of a user, are out."""

    user_id: UserId
    device_id: DeviceId | None = None


class Published(msgspec.Struct, array_like=True, gc=False):
    """A message of a group that is read from its log, as it goes to the group's topic."""

    node: int
    """by which node"""
    version: int
    """of the group"""
    conversation_id: ConversationId
    message_id: MessageId
    sender_id: UserId
    sender_device: DeviceId
    payload: bytes
    count: int = 0
    """by its node, of those to the topic; 0: by an older version, which does not count"""


Passed = Union[Delivered, Told, Replaced, Expelled]  # noqa: UP007 - evaluated by the decoder

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Passed).decode


def delivered(entry: Entry, users: list[UserId]) -> Delivered:
    """An entry on its way to another node."""
    return Delivered(
        users,
        entry.entry_id,
        entry.conversation_id,
        entry.message_id,
        entry.sender_id,
        entry.sender_device,
        entry.payload,
        entry.envelopes,
        entry.kind,
    )


def entry_of(passed: Delivered) -> Entry:
    """The entry that another node sent."""
    return Entry(
        passed.entry_id,
        passed.conversation_id,
        passed.message_id,
        passed.sender_id,
        passed.sender_device,
        passed.payload,
        passed.envelopes,
        passed.kind,
    )
