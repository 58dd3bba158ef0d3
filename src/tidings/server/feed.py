"""The feed: a session's inbox on its way to the device.

```
 draining --(a read comes back empty)--> live --(the window is full)--> draining
```

Draining reads the inbox from the device's cursor and holds back what arrives meanwhile; when
a read finds nothing more, what was held follows and the feed is live in the same turn of the
loop. A live entry is a hint: one that finds no room in the window is simply read again later.
The feed never has more than a window of unacknowledged entries out.

This is the feed of a lone node, which sees every write; `shared_feed` is that of one among others.

spec §6.4
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from tidings.domain.inboxes import FANOUT_ENTRY, Entry
from tidings.protocol import ids
from tidings.protocol.errors import INVALID, ProtocolError
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, MessageId
from tidings.protocol.limits import Limits

OLD_MS = 86_400_000
HELD_MAX = 256
"""Entries held back while draining; beyond it they are dropped and read."""

Read = Callable[[EntryId, int, int], Awaitable[list[Entry]]]
"""Entries after one, at most so many and about so many bytes; empty means that there are none."""


class Recipient(Protocol):
    """Who the entries are sent to."""

    def send_entry(self, entry: Entry) -> None:
        """Send an inbox entry."""

    def heed(self, entry: Entry) -> None:
        """A group is read otherwise from here on; no device is told."""


class Feed:
    """Sends one device its inbox, in order, within a window; see the module's text."""

    __slots__ = (
        "_acked",
        "_device",
        "_drained",
        "_held",
        "_held_bytes",
        "_limits",
        "_live",
        "_overflow",
        "_position",
        "_recipient",
        "_sent",
        "_start",
        "_unacked",
        "_unacked_bytes",
        "_with_own",
    )

    def __init__(
        self,
        device: DeviceId,
        start: EntryId,
        recipient: Recipient,
        limits: Limits,
        *,
        keeps: bool,
    ) -> None:
        """`keeps`: the device keeps what it is sent and drops what it has. While draining it is sent its own
        messages too: it may be an old copy of itself, to which they are news."""
        self._device = device
        self._start = self._position = start
        """the entry that was sent or passed over last"""
        self._recipient = recipient
        self._limits = limits
        self._with_own = keeps
        self._live = False
        self._drained = False
        self._held: list[Entry] | None = None
        self._held_bytes = 0
        self._overflow = False
        self._unacked: list[Entry] | None = None
        """None while there are none: most connections are idle most of the time"""
        self._unacked_bytes = 0
        self._sent = 0
        self._acked = 0

    @property
    def has_room(self) -> bool:
        """Whether the window takes another entry."""
        if self._unacked is None:
            return True
        limits = self._limits
        return len(self._unacked) < limits.window_entries and self._unacked_bytes < limits.window_bytes

    @property
    def is_stalled(self) -> bool:
        """Whether entries may be waiting in the store while nobody reads them."""
        return not self._live

    def offer(self, entry: Entry) -> None:
        """An entry became durable: send it if live, else see that it is not missed."""
        if self._live:
            if self._unacked is None or self.has_room:
                self._pass(entry)
            else:
                self._live = False
                self._overflow = True
        elif not self._overflow:
            self._hold(entry)

    async def drain(self, read: Read) -> bool:
        """Send what the inbox has until the window is full or the feed is live.

        Returns True when the inbox was found empty for the first time (`Drained` is due).
        """
        while self.has_room:
            self._overflow = False
            room = self._limits.window_entries - len(self._unacked or ())
            room_bytes = self._limits.window_bytes - self._unacked_bytes
            entries = await read(self._position, room, room_bytes)
            if not entries and not self._overflow:
                return self._go_live()
            for entry in entries:
                self._pass(entry)
                if not self.has_room:
                    break
            # A long run of entries that are passed over must not keep everybody else waiting.
            await asyncio.sleep(0)
        self._held = None
        return False

    def acknowledge(self, up_to: int) -> list[Entry]:
        """The entries that the device has now stored. Raises ProtocolError (invalid)."""
        if up_to > self._sent:
            raise ProtocolError(INVALID, f"acknowledges frame {up_to} of {self._sent}")
        count = up_to - self._acked
        unacked = self._unacked
        if count <= 0 or unacked is None:
            return []
        self._acked = up_to
        if count == len(unacked):
            # Nearly always: a device acknowledges all that it has at once.
            self._unacked, self._unacked_bytes = None, 0
            return unacked
        stored = unacked[:count]
        del unacked[:count]
        for entry in stored:
            self._unacked_bytes -= entry.size
        return stored

    def push(self, entry: Entry) -> None:
        """Send a message that stands in no inbox; the caller has looked whether there is room."""
        self._dispatch(entry)

    def unacked_of(self, conversation_id: ConversationId) -> list[MessageId]:
        """What was pushed of a conversation and is not acknowledged."""
        return [
            entry.message_id
            for entry in self._unacked or ()
            if not entry.entry_id and entry.conversation_id == conversation_id
        ]

    def cursor(self, stored: list[Entry]) -> EntryId | None:
        """Where the device's cursor belongs after `stored` was acknowledged; None: where it is."""
        newest: EntryId | None = stored[-1].entry_id
        if not newest:
            newest = next((entry.entry_id for entry in reversed(stored) if entry.entry_id), None)
        return newest if newest is None or self._unacked else self._position

    def passed_over(self, floor: EntryId, *, first: bool) -> EntryId | None:
        """Where the cursor belongs, for all since it may have been the device's own: no Ack will move it.

        Called after a read came to the end, the `first` one or a later one; everything up to `floor`
        was read.
        """
        if self._unacked is not None or not first:
            return None
        position = max(self._position, floor)
        return position if position > self._start else None

    @property
    def complete_to(self) -> EntryId:
        """Up to where a device has all once it has what was sent; 0: up to the newest that was sent."""
        return EntryId(0)

    def is_due(self, now_s: float) -> bool:  # noqa: ARG002 - in a lone node every write is seen
        """Whether it is time to read again; once."""
        return False

    def lose(self, due_s: float) -> None:
        """Entries may have been lost: read again at this moment."""

    def has_lost(self) -> bool:
        """Whether a read has become due because something may have been lost; told once."""
        return False

    def is_old(self, now_ms: int) -> bool:
        """Whether the cursor has not moved for a day, and should even if nothing comes."""
        return not self._drained and now_ms - ids.unix_ms(self._start) > OLD_MS

    def _hold(self, entry: Entry) -> None:
        if self._held is None:
            self._held = []
            self._held_bytes = 0
        self._held_bytes += entry.size
        # With a full window nobody is reading: what comes is read when there is room again.
        if self.has_room and len(self._held) < HELD_MAX and self._held_bytes <= self._limits.window_bytes:
            self._held.append(entry)
        else:
            self._held = None
            self._overflow = True

    def _go_live(self) -> bool:
        held, self._held = self._held, None
        self._live = True
        for entry in held or ():
            self.offer(entry)
        first = not self._drained
        self._drained = True
        self._with_own = False
        return first

    def _pass(self, entry: Entry) -> None:
        """Send an entry, unless it was sent or is the device's own."""
        if entry.entry_id <= self._position:
            return
        self._position = entry.entry_id
        if entry.kind == FANOUT_ENTRY:
            self._recipient.heed(entry)
            return
        if entry.sender_device == self._device and not self._with_own:
            return
        self._dispatch(entry)

    def _dispatch(self, entry: Entry) -> None:
        self._sent += 1
        if self._unacked is None:
            self._unacked = [entry]
        else:
            self._unacked.append(entry)
        self._unacked_bytes += entry.size
        self._recipient.send_entry(entry)
