"""Identifiers: how they are built, read and compared.

Snowflakes (user, device, message, entry) are 63-bit integers that sort by time: 41 bits of
milliseconds since 2024-01-01, 12 of node, 10 of sequence. Conversation and client ids are
16 opaque bytes. This module holds the arithmetic only; who may give an id, and when, is
`tidings.domain.clock`'s business. It reads no clock.

spec §3
"""

import hashlib
import struct
from typing import NewType

UserId = NewType("UserId", int)
DeviceId = NewType("DeviceId", int)
MessageId = NewType("MessageId", int)
EntryId = NewType("EntryId", int)
ConversationId = NewType("ConversationId", bytes)
ClientId = NewType("ClientId", bytes)

SNOWFLAKES = frozenset({UserId, DeviceId, MessageId, EntryId})
"""The id types that JSON carries as strings, since a double cannot hold them."""

EPOCH_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z in Unix milliseconds: the zero of every snowflake."""

NODE_BITS = 12
SEQUENCE_BITS = 10
TIME_SHIFT = NODE_BITS + SEQUENCE_BITS
SEQUENCE_MAX = (1 << SEQUENCE_BITS) - 1
NODE_MAX = (1 << NODE_BITS) - 1
SNOWFLAKE_MAX = (1 << 63) - 1

CONVERSATION_ID_BYTES = 16
CLIENT_ID_BYTES = 16
CLIENT_ID_PREFIX_BYTES = 8

_DIRECT_CONTEXT = b"tidings direct conversation v1"
_GROUP_CONTEXT = b"group"


def snowflake(unix_ms: int, node: int, sequence: int) -> int:
    """Pack a time in Unix milliseconds, a node and a sequence number into a snowflake."""
    assert 0 <= node <= NODE_MAX
    assert 0 <= sequence <= SEQUENCE_MAX
    return (unix_ms - EPOCH_MS) << TIME_SHIFT | node << SEQUENCE_BITS | sequence


def unix_ms(snowflake_id: int) -> int:
    """The Unix time in milliseconds at which a snowflake was given."""
    return (snowflake_id >> TIME_SHIFT) + EPOCH_MS


def first_at(at_ms: int) -> int:
    """The smallest snowflake of a moment (0 for moments before the epoch)."""
    return max(0, at_ms - EPOCH_MS) << TIME_SHIFT


def direct_conversation_id(one: UserId, other: UserId) -> ConversationId:
    """The one conversation of two users: SHA-256 over both ids in ascending order, cut to 16 bytes.

    The same for both sides and on every node, so that opening it needs no coordination.
    """
    low, high = sorted((one, other))
    digest = hashlib.sha256(_DIRECT_CONTEXT + struct.pack(">QQ", low, high)).digest()
    return ConversationId(digest[:CONVERSATION_ID_BYTES])


def group_conversation_id(maker: UserId, nonce: bytes) -> ConversationId:
    """The conversation of a group that a user makes under a nonce.

    Whoever makes it knows the id before the server is asked: what the group is called is sealed for it.
    """
    digest = hashlib.sha256(_GROUP_CONTEXT + struct.pack(">Q", maker) + nonce).digest()
    return ConversationId(digest[:CONVERSATION_ID_BYTES])


def client_id(prefix: bytes, counter: int) -> ClientId:
    """A message's name, given by the device that wrote it: 8 random bytes and a counter.

    The prefix is drawn anew at each connection, so that a restored profile or a copied machine
    never repeats one.
    """
    assert len(prefix) == CLIENT_ID_PREFIX_BYTES
    return ClientId(prefix + struct.pack(">Q", counter))
