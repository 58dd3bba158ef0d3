"""Replays: what a device does that is given once more, in the end, what it was given in the run.

It is tried on copies of the profiles, as the inbox would take it: the same again is the same; under another
name, in another conversation or of another device it is not shown; a key that came again changes nothing.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from tidings.client import inbox
from tidings.client.outbox import ClientIds, Posting
from tidings.client.transcript import Self
from tidings.protocol.frames import UNSHOWN, Deliver, Message, Relation
from tidings.protocol.ids import ConversationId, DeviceId, MessageId
from tidings.testing.simulation.machines import EPOCH_MS
from tidings.testing.simulation.sealed.checks import wanted
from tidings.testing.simulation.sealed.disk import opened

if TYPE_CHECKING:
    from tidings.testing.simulation.sealed.device import Device
    from tidings.testing.simulation.sealed.run import Sealed

REPLAYED = "2 replays are refused"
MESSAGES = 4
"""of a device that are told again, of all that it shows"""


def check(simulation: "Sealed") -> None:
    """Find all that is broken."""
    for device in wanted(simulation):
        _Again(simulation, device).check()


class _Again:
    def __init__(self, simulation: "Sealed", device: "Device") -> None:
        self._simulation = simulation
        self._device = device
        self._database = opened(device.disk.copied())
        self._me = Self(device.user.user_id, device.device_id, device.user.handle)
        self._posting = Posting(ClientIds(b"replayed"), b"replays")

    def check(self) -> None:
        """All of it, on one copy."""
        frames = self._simulation.spy.delivered[self._device.device_id]
        keys = [frame for frame in frames if frame.message.relation == Relation.SENDER_KEY]
        before = self._keys()
        self._give(keys)  # what was not taken in the run, since it came too early, may be taken now
        once = self._keys()
        self._give(keys)
        if self._keys() != once or any(once[name] != since for name, since in before.items()):
            self._broken("keys that came again are taken")
        shown = [frame for frame in frames if self._is_shown(frame.message)]
        some = shown[:: max(len(shown) // MESSAGES, 1)]
        rows = self._rows()
        self._give(some)
        if self._rows() != rows:
            self._broken("what came again is something else")
        for frame in some:
            for what, other in self._others(frame.message):
                self._give([msgspec.structs.replace(frame, message=other)])
                if self._is_shown(other) and self._text(other) == self._text(frame.message):
                    self._broken(f"a message is shown {what}")

    def _others(self, message: Message) -> Iterator[tuple[str, Message]]:
        """The same as another message."""
        changed = msgspec.structs.replace
        name = next(self._posting.names)
        yield "under another name", changed(message, client_id=name)
        later = MessageId(message.message_id + 1)
        yield (
            "later, under another name",
            changed(message, client_id=next(self._posting.names), message_id=later),
        )
        conversations = self._database.execute(
            "SELECT conversation_id FROM conversations WHERE conversation_id <> ?", (message.conversation_id,)
        ).fetchall()
        for (conversation,) in conversations:
            moved = changed(message, conversation_id=ConversationId(conversation))
            yield "elsewhere", changed(moved, client_id=next(self._posting.names))
        for device in self._simulation.devices:
            if device is not self._device and device.device_id != message.sender_device:
                yield (
                    "of another",
                    changed(message, sender_id=device.user.user_id, sender_device=DeviceId(device.device_id)),
                )

    def _give(self, frames: list[Deliver]) -> None:
        now_ms = EPOCH_MS + int(self._simulation.loop.now_s * 1000)
        inbox.store(self._database, frames, self._me, self._posting, now_ms)

    def _is_shown(self, message: Message) -> bool:
        """Whether it was written by somebody, and can be read."""
        return bool(message.sender_device) and message.relation not in UNSHOWN and bool(self._text(message))

    def _text(self, message: Message) -> bytes:
        row = self._database.execute(
            "SELECT content FROM messages WHERE sender_device = ? AND client_id = ? AND fault = 0",
            (message.sender_device, message.client_id),
        ).fetchone()
        return b"" if row is None else bytes(row[0])

    def _rows(self) -> list[tuple[object, ...]]:
        return self._database.execute(
            "SELECT sender_device, client_id, message_id, content, fault FROM messages ORDER BY seq"
        ).fetchall()

    def _keys(self) -> dict[tuple[int, bytes], int]:
        rows = self._database.execute("SELECT device_id, key_id, since FROM heard_keys").fetchall()
        return {(device, key_id): since for device, key_id, since in rows}

    def _broken(self, text: str) -> None:
        self._simulation.broken(REPLAYED, f"{self._device.name}: {text}")
