"""What a device shows of a conversation: each message once, of twins the greater, in order. spec §6.3"""

from typing import NamedTuple

from tidings.protocol.frames import Message
from tidings.protocol.ids import ClientId, DeviceId, MessageId

Name = tuple[DeviceId, ClientId]
"""what a message is referred to by, everywhere"""
NUMBER_BYTES = 8


class Line(NamedTuple):
    """A message, without its content."""

    message_id: MessageId
    number: int
    """its writer's, in this conversation: the first 8 bytes of the content"""


class Transcript:
    """See the module's text."""

    def __init__(self) -> None:
        self.lines: dict[Name, Line] = {}
        self.repeats = 0
        """came again, and is not shown again"""

    def take(self, message: Message, *, stands: bool = False) -> None:
        """A message came. `stands`: in an entry of its own, so that its place is certain."""
        number = int.from_bytes(message.content[:NUMBER_BYTES], "big")
        self.add((message.sender_device, message.client_id), Line(message.message_id, number), stands=stands)

    def add(self, name: Name, line: Line, *, stands: bool = False) -> None:
        """As `take`."""
        earlier = self.lines.get(name)
        if earlier is None:
            self.lines[name] = line
            return
        self.repeats += 1
        if stands or earlier.message_id < line.message_id:
            self.lines[name] = line

    def after(self, place: MessageId) -> "Transcript":
        """What is shown after a place."""
        later = Transcript()
        later.lines = {name: line for name, line in self.lines.items() if line.message_id > place}
        return later

    def order(self) -> list[Name]:
        """The names of what is shown, from the oldest to the newest."""
        return sorted(self.lines, key=lambda name: self.lines[name].message_id)

    def twice(self) -> list[Name]:
        """Messages that stand there under an earlier name, too."""
        written: set[tuple[DeviceId, int]] = set()
        found = []
        for name in self.order():
            device, number = name[0], self.lines[name].number
            if (device, number) in written:
                found.append(name)
            written.add((device, number))
        return found

    def overtaken(self) -> list[Name]:
        """Messages that stand right behind one that their writer wrote later."""
        newest: dict[DeviceId, int] = {}
        found = []
        for name in self.order():
            device, number = name[0], self.lines[name].number
            if number < newest.get(device, 0):
                found.append(name)
            newest[device] = number
        return found
