"""What happened, as it happened: what was written and answered, how long everything took, what went wrong.

All devices of a run write into one book. It knows no server; seconds count from its beginning.
"""

import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tidings.bench.transcript import Line, Name
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import Error
from tidings.protocol.ids import ConversationId, MessageId

NOWHERE = ConversationId(b"")
UNPLACED = MessageId(0)
SILENCE_S = 0.5
"""a stretch without an acknowledgement, while one was waited for, is told from this length on"""
FINDINGS_KEPT = 100
"""of a kind; all are counted"""


class Kind(StrEnum):
    """A broken promise."""

    LOST_LIVE = "lost_live"
    """acknowledged, and did not come to a device that was connected; it came once the device reconnected"""
    LOST = "lost"
    """acknowledged, and never came to a device that was entitled to it, nor upon reconnecting"""
    LOST_IN_HISTORY = "lost_in_history"
    SHOWN_TWICE = "shown_twice"
    OUT_OF_ORDER = "out_of_order"
    """two do not show the same order, or one of a writer's messages stands behind a later one"""
    BEFORE_ITS_CAUSE = "before_its_cause"
    """stands before a message that its writer had when writing it"""
    FOREIGN = "foreign"
    """came to somebody who was no member"""
    MEMBERSHIP = "membership"
    """a message's version, or the chain of a group's changes, is not what was answered"""
    WATERMARK_FELL = "watermark_fell"
    READ_NOT_DELIVERED = "read_not_delivered"
    """more was read than delivered, or more delivered than there are members"""
    TALLY_BEHIND = "tally_behind"
    """all have read a message, and its writer is not told so"""
    REFUSED_FOR_GOOD = "refused_for_good"
    """an error that was not to be retried, to something that was right"""
    CLOSED_FOR_GOOD = "closed_for_good"
    """a connection was closed with a code that says not to come back"""
    INBOX_EXPIRED = "inbox_expired"
    NEVER_ANSWERED = "never_answered"
    """a message without an answer, though all was well again for long enough"""
    NEVER_BACK = "never_back"
    """a device that could not connect any more"""


class Finding(NamedTuple):
    """One of them."""

    kind: Kind
    who: str
    """the device, or whose history it is"""
    what: str
    conversation: ConversationId = NOWHERE
    name: Name | None = None
    message_id: MessageId = UNPLACED

    def told(self) -> dict[str, object]:
        """As the report says it."""
        told: dict[str, object] = {"kind": self.kind.value, "who": self.who, "what": self.what}
        if self.conversation:
            told["conversation_id"] = self.conversation.hex()
        if self.name is not None:
            told |= {"sender_device": str(self.name[0]), "client_id": self.name[1].hex()}
        if self.message_id:
            told["message_id"] = str(self.message_id)
        return told


@dataclass(slots=True, eq=False)
class Said:
    """A message that somebody wrote."""

    name: Name
    conversation: ConversationId
    wanted_s: float
    """when it was written; it may have waited for a connection"""
    first_s: float | None = None
    """when it was sent for the first time"""
    acked_s: float | None = None
    place: MessageId = UNPLACED
    """as `Sent` told it"""


@dataclass(slots=True)
class Second:
    """What one second saw."""

    acknowledged: int = 0
    received: int = 0
    connected: int = 0
    """devices, at its end"""
    errors: int = 0
    """refusals, failed tries to connect, and connections that were lost"""


class Silence(NamedTuple):
    """Nothing was acknowledged to anybody, though it was waited for."""

    from_s: float
    to_s: float


class Mark(NamedTuple):
    """Something that was done to the server meanwhile."""

    at_s: float
    text: str


class Book:
    """See the module's text."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = clock()
        self.seconds: list[Second] = []
        self.marks: list[Mark] = []
        self.said: dict[Name, Said] = {}
        self.refusals: Counter[str] = Counter()
        """errors that the server answered, by name"""
        self.troubles: Counter[str] = Counter()
        """why tries to connect failed and connections were lost"""
        self.broken = 0
        """connections that were lost"""
        self.received = 0
        self.again = 0
        """came more than once; shown once"""
        self.answer_s = array("d")
        """of each message: from its writing to its `Sent`"""
        self.travel_s = array("d")
        """of each copy that came to a device that was not away by choice: from writing to receiving"""
        self.longest_s: Counter[str] = Counter()
        """of each device: the longest wait for an answer or a connection"""
        self.silences: list[Silence] = []
        self.findings: list[Finding] = []
        self.found: Counter[Kind] = Counter()
        self.versions: dict[MessageId, int] = {}
        """which version of its group each message has, as the server tells it"""
        self._known: dict[Name, tuple[Name, Line]] = {}
        self._outstanding: dict[Name, float] = {}
        self._last_ack_s = 0.0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began_s

    def begin(self) -> None:
        """Now is the beginning: what was before does not count."""
        assert not self.said
        self._began_s = self._clock()
        self.received = self.again = self.broken = 0
        self.marks = [Mark(0.0, mark.text) for mark in self.marks]
        for kept in (self.seconds, self.refusals, self.troubles, self.longest_s, self.findings, self.found):
            kept.clear()

    def second(self) -> Second:
        """The present one."""
        while len(self.seconds) <= self.now():
            connected = self.seconds[-1].connected if self.seconds else 0
            self.seconds.append(Second(connected=connected))
        return self.seconds[-1]

    def connected(self, devices: int) -> None:
        """So many more devices (or less) are connected now."""
        self.second().connected += devices

    def mark(self, text: str) -> None:
        """Something is done to the server now."""
        self.marks.append(Mark(self.now(), text))

    # --- messages ---------------------------------------------------------------------------

    def wrote(self, name: Name, conversation: ConversationId) -> Said:
        """Somebody wants to send a message."""
        now_s = self.now()
        said = self.said[name] = Said(name, conversation, now_s)
        self._outstanding[name] = now_s
        return said

    def answered(self, who: str, said: Said, place: MessageId) -> None:
        """It was acknowledged."""
        now_s = self.now()
        oldest_s = next(iter(self._outstanding.values()))
        silent_s = max(self._last_ack_s, oldest_s)
        if now_s - silent_s >= SILENCE_S:
            self.silences.append(Silence(silent_s, now_s))
        self._last_ack_s = now_s
        del self._outstanding[said.name]
        said.acked_s, said.place = now_s, place
        self.second().acknowledged += 1
        self.answer_s.append(now_s - said.wanted_s)
        self.waited(who, now_s - said.wanted_s)

    def end(self) -> None:
        """Nothing more will be answered: what lasts until now is noted."""
        if self._outstanding:
            oldest_s = next(iter(self._outstanding.values()))
            self.silences.append(Silence(max(self._last_ack_s, oldest_s), self.now()))

    def given_up(self, said: Said) -> None:
        """It was refused for good, or nobody will answer it any more."""
        self._outstanding.pop(said.name, None)
        del self.said[said.name]

    def came(self, name: Name, present_s: float | None) -> None:
        """It came to a device for the first time, which has wanted to be connected since `present_s`."""
        self.received += 1
        self.second().received += 1
        said = self.said.get(name)
        if said is not None and present_s is not None and present_s <= said.wanted_s:
            self.travel_s.append(self.now() - said.wanted_s)

    def shared(self, name: Name, line: Line) -> tuple[Name, Line]:
        """The same, of which there is one for all devices: they are the most of what a run has in memory."""
        known = self._known.setdefault(name, (name, line))
        return known if known[1] == line else (known[0], line)

    def waited(self, who: str, seconds: float) -> None:
        """A device waited for something that it wanted."""
        self.longest_s[who] = max(self.longest_s[who], seconds)  # type: ignore[assignment]

    @property
    def unanswered(self) -> list[Said]:
        """What waits for an answer, the oldest first."""
        return [self.said[name] for name in self._outstanding]

    def versioned(self, who: str, conversation: ConversationId, place: MessageId, version: int) -> None:
        """A message is told with a version: all must be told the same."""
        known = self.versions.setdefault(place, version)
        if known != version:
            what = f"told with version {version}, to others with {known}"
            self.find(Finding(Kind.MEMBERSHIP, who, what, conversation, message_id=place))

    # --- what goes wrong --------------------------------------------------------------------

    def refused(self, error: Error) -> str:
        """The server refused something; returns the error's name."""
        kind = REGISTRY.get(error.code)
        name = f"error_{error.code}" if kind is None else kind.name
        self.refusals[name] += 1
        self.second().errors += 1
        return name

    def trouble(self, why: str, *, lost: bool) -> None:
        """A try to connect failed, or a connection was `lost`."""
        self.troubles[why] += 1
        self.broken += lost
        self.second().errors += 1

    def find(self, finding: Finding) -> None:
        """A promise was broken."""
        self.found[finding.kind] += 1
        if self.found[finding.kind] <= FINDINGS_KEPT:
            self.findings.append(finding)
