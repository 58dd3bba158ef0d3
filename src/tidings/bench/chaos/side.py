"""What a device has of a conversation."""

import msgspec

from tidings.bench.transcript import NUMBER_BYTES, Line, Transcript
from tidings.protocol.frames import CHANGE_TYPE, GroupChange, Message, MessageTally, Send
from tidings.protocol.ids import ConversationId, DeviceId, MessageId

NOBODY = DeviceId(0)
"""whose device tells of a group's changes: the server's"""


class Marks(msgspec.Struct):
    """The greatest watermarks that were told of somebody."""

    delivered: MessageId = MessageId(0)
    read: MessageId = MessageId(0)


class Side:
    """A device's side of a conversation."""

    def __init__(self, conversation: ConversationId, version: int) -> None:
        self.conversation = conversation
        self.version = version
        """of the membership, as far as this device knows"""
        self.is_in = True
        """whether the user is a member, as far as this device knows"""
        self.shown = Transcript()
        self.send: Send | None = None
        """on its way, or waiting for a connection"""
        self.written = 0
        """as many messages; the next one has this number"""
        self.newest = MessageId(0)
        self.to_read = MessageId(0)
        """the newest message of others"""
        self.reading = MessageId(0)
        """up to where it was read; to be said until that is answered"""
        self.read = MessageId(0)
        """up to where it was answered that it is durable"""
        self.tallies: dict[MessageId, MessageTally] = {}
        """the greatest counts that were told of own messages"""


def line_of(message: Message) -> Line:
    """How a message is shown."""
    if message.sender_device == NOBODY:
        change = change_of(message)
        return Line(message.message_id, 0 if change is None else change.version)
    return Line(message.message_id, int.from_bytes(message.content[:NUMBER_BYTES], "big"))


def change_of(message: Message) -> GroupChange | None:
    """What a message by the server tells of its group."""
    if message.content_type != CHANGE_TYPE:
        return None
    return msgspec.msgpack.decode(message.content, type=GroupChange)
