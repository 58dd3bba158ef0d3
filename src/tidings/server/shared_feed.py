"""The feed where other nodes write to the inbox too: what is live is a hint, what is read is the truth.

Publications come out of order, late or not at all, and rows may become readable later than rows with
greater ids. So a live entry is sent and remembered, and moves nothing. What moves the cursor is a read
of all that came since: as far as it has come, but no nearer to the present than `MARGIN_S`, since until
then rows may still appear. Such a read is made while draining, `FIRST_REREAD_S` after going live, after
`REREAD_ACKS` acknowledgements, each `REREAD_S`, and when something may have been lost. It passes over
what was sent to this device already. Where that is more than can be remembered nothing is sent, until
the present has moved on.

spec §6.4
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tidings.domain.inboxes import FANOUT_ENTRY, Entry
from tidings.domain.peers import MARGIN_S
from tidings.protocol import ids
from tidings.protocol.ids import DeviceId, EntryId
from tidings.protocol.limits import Limits
from tidings.server.feed import OLD_MS, Feed, Read, Recipient

FIRST_REREAD_S = 10.0
REREAD_S = 300.0
REREAD_ACKS = 1024
"""Each reads again what the margin of the one before covered: fewer would read most of a busy inbox twice.
However many they are, a margin lies between two reads."""
REMEMBERED = 32_768
"""Entries sent, and not yet behind what can be relied upon: 1,600 a second, and some 3 MB of one inbox."""
FULL_S = 2.0
"""After this it is looked whether more can be remembered."""
IDLE_MS = 3_600_000
"""An inbox in which nothing came is read from so long ago on."""
NEVER = float("inf")


class Present(NamedTuple):
    """What a node knows of the present."""

    now_ms: Callable[[], int]
    """the wall clock"""
    now_s: Callable[[], float]
    """a clock that only grows"""
    is_right: Callable[[], bool]
    """whether the wall clock can be relied upon"""


class SharedFeed(Feed):
    """Sends one device its inbox; see the module's text."""

    __slots__ = (
        "_acks",
        "_after_gap",
        "_began_ms",
        "_due_s",
        "_ended_s",
        "_greatest",
        "_is_full",
        "_left_out",
        "_present",
        "_remembered",
        "_rereading",
        "_safe",
        "_stored",
        "_whole",
    )

    def __init__(
        self,
        device: DeviceId,
        start: EntryId,
        recipient: Recipient,
        limits: Limits,
        present: Present,
        *,
        keeps: bool,
    ) -> None:
        super().__init__(device, margin_before(start), recipient, limits, keeps=keeps)
        self._present = present
        self._safe = self._greatest = self._position
        """`_safe`: all up to here was read, and nothing can appear there any more; `_greatest`: of
        what reads have returned"""
        self._stored = start
        """the cursor as it was stored last"""
        self._remembered: set[EntryId] | None = None
        """sent, and after `_safe`; None while there are none"""
        self._is_full = False
        """whether nothing is sent, since it could not be remembered"""
        self._due_s = NEVER
        self._ended_s = 0.0
        """when a read came to the end last"""
        self._after_gap = False
        self._rereading = False
        self._whole = True
        """whether what is being read began at `_safe`, not where an earlier read had stopped"""
        self._began_ms = 0
        """the wall clock when that began; 0: it did not begin at `_safe`, or the clock was in doubt then"""
        self._acks = 0
        self._left_out: EntryId | None = None
        """the least of the entries that came live, were not sent, and are to be read"""

    @property
    def has_room(self) -> bool:
        return not self._is_full and super().has_room

    @property
    def is_stalled(self) -> bool:
        return self._rereading or not self._live

    @property
    def complete_to(self) -> EntryId:
        return self._safe

    def is_due(self, now_s: float) -> bool:
        if now_s < self._due_s or (self._whole and not self._is_full):
            return False  # one that has begun goes to its end first
        self._due_s = NEVER
        self._acks = 0
        self._is_full = False
        self._rereading = self._whole = True
        self._position = self._safe
        return True

    def lose(self, due_s: float) -> None:
        self._due_s = min(self._due_s, due_s)
        self._after_gap = True

    def has_lost(self) -> bool:
        after_gap, self._after_gap = self._after_gap, False
        return after_gap

    def acknowledge(self, up_to: int) -> list[Entry]:
        stored = super().acknowledge(up_to)
        self._acks += len(stored)
        if self._acks >= REREAD_ACKS:
            self._due_s = min(self._due_s, self._ended_s + MARGIN_S)
        return stored

    def cursor(self, stored: list[Entry]) -> EntryId | None:  # noqa: ARG002 - what was acknowledged moves nothing
        return self._settled()

    def passed_over(self, floor: EntryId, *, first: bool) -> EntryId | None:  # noqa: ARG002 - a read says it all
        return self._settled()

    def is_old(self, now_ms: int) -> bool:  # noqa: ARG002 - a read says it all
        return False

    def offer(self, entry: Entry) -> None:
        if self._live and self._is_beyond_memory(entry):
            self._live = False
            self._is_full = self._overflow = True
            self._due_s = min(self._due_s, self._present.now_s())
        super().offer(entry)
        if self._overflow:
            self._leave_out([entry])

    def _hold(self, entry: Entry) -> None:
        held = self._held
        super()._hold(entry)
        if self._overflow:
            self._leave_out(held or ())

    def _leave_out(self, entries: Sequence[Entry]) -> None:
        """Entries came live and are read instead."""
        for entry in entries:
            self._left_out = min(self._left_out or entry.entry_id, entry.entry_id)

    async def drain(self, read: Read) -> bool:
        present = self._present
        while self.has_room:
            if self._whole and self._position == self._safe:
                # Looked at before the first read: what this moment's margin covers is readable by then.
                self._began_ms = present.now_ms() if present.is_right() else 0
            self._overflow = False
            if self._left_out is not None:
                # It may stand before what has been read already: another node's clock may be ahead.
                self._position = EntryId(max(self._safe, min(self._position, self._left_out - 1)))
                self._left_out = None
            room = self._limits.window_entries - len(self._unacked or ())
            room_bytes = self._limits.window_bytes - self._unacked_bytes
            rereading = self._rereading
            entries = await read(self._position, room, room_bytes)
            if self._rereading is not rereading:
                continue  # a whole read became due meanwhile, and begins elsewhere
            if not entries and not self._overflow:
                self._end_read()
                return self._go_live()
            for entry in entries:
                if self._is_beyond_memory(entry):
                    self._is_full = True
                    break
                self._position = entry.entry_id
                self._pass(entry)
                if not self.has_room:
                    break
            self._settle()
            self._greatest = max(self._greatest, self._position)
            await asyncio.sleep(0)
        self._leave_out(self._held or ())
        self._held = None
        return False

    def _go_live(self) -> bool:
        with_own = self._with_own
        first = super()._go_live()
        # What an old copy of the device has asked for may be accepted only now: its own comes on until
        # the next read has come to the end.
        self._with_own = with_own and first
        return first

    def _bound(self) -> EntryId:
        """Up to where what is read and passed need not be read again; 0: nowhere."""
        if not (self._began_ms and self._present.is_right()):
            return EntryId(0)
        return margin_before(EntryId(ids.first_at(self._began_ms)))

    def _is_beyond_memory(self, entry: Entry) -> bool:
        """Whether it would have to be remembered, and cannot."""
        remembered = self._remembered
        if remembered is None or len(remembered) < REMEMBERED or entry.entry_id in remembered:
            return False
        return entry.entry_id > max(self._safe, self._bound())

    def _settle(self) -> None:
        """A read has come to `_position`."""
        self._safe = EntryId(max(self._safe, min(self._position, self._bound())))
        if self._remembered is None or len(self._remembered) < REMEMBERED:
            return
        self._forget()
        self._is_full = self._is_full and len(self._remembered or ()) >= REMEMBERED
        if self._is_full:
            self._due_s = min(self._due_s, self._present.now_s() + FULL_S)

    def _end_read(self) -> None:
        began_ms, bound, was_whole = self._began_ms, self._bound(), self._whole
        self._rereading = self._whole = False
        self._began_ms = 0
        self._ended_s = self._present.now_s()
        if bound:
            read_up_to = max(self._greatest, ids.first_at(began_ms - IDLE_MS))
            self._safe = EntryId(max(self._safe, min(read_up_to, bound)))
            self._forget()
        wait_s = REREAD_S if self._drained and was_whole else FIRST_REREAD_S
        self._due_s = min(self._due_s, self._ended_s + wait_s)

    def _pass(self, entry: Entry) -> None:
        entry_id = entry.entry_id
        if entry.kind == FANOUT_ENTRY:
            self._recipient.heed(entry)
            return
        if entry_id <= self._safe or (entry.sender_device == self._device and not self._with_own):
            return
        if self._remembered is None:
            self._remembered = set()
        elif entry_id in self._remembered:
            return
        self._remembered.add(entry_id)
        self._dispatch(entry)

    def _forget(self) -> None:
        if self._remembered is not None:
            self._remembered = {entry_id for entry_id in self._remembered if entry_id > self._safe} or None

    def _settled(self) -> EntryId | None:
        """Where the stored cursor belongs now, if it is worth a write."""
        safe = self._safe
        is_news = self._greatest > self._stored or ids.unix_ms(safe) - ids.unix_ms(self._stored) > OLD_MS
        if safe <= self._stored or not is_news:
            return None
        if any(0 < entry.entry_id <= safe for entry in self._unacked or ()):
            return None
        self._stored = safe
        return safe


def margin_before(entry_id: EntryId) -> EntryId:
    """The id of so long before that nothing can appear any more behind it."""
    return EntryId(max(0, entry_id - (int(MARGIN_S * 1000) << ids.TIME_SHIFT)))
