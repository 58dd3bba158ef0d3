"""What was lost, doubled, misplaced or shown to the wrong people, from what everybody shows in the end.

Pure: it is given what all devices show of a conversation and what the history shows to each of its members.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tidings.bench.chaos.book import Finding, Kind
from tidings.bench.chaos.membership import Span, Spans
from tidings.bench.chaos.side import NOBODY
from tidings.bench.transcript import Line, Name, Transcript
from tidings.protocol.ids import ConversationId, MessageId, UserId


class Room(NamedTuple):
    """A conversation."""

    conversation: ConversationId
    spans: Spans | None
    """when its members were members; None: it could not be found out, and who may see what is not judged"""
    versions: Mapping[MessageId, int]
    acked: Mapping[Name, MessageId]
    """messages that were acknowledged, and as what"""
    forgets: bool = False
    """it is so large that a device which leaves and comes back may miss what was said before"""


class Seen(NamedTuple):
    """A conversation, as a device has it, or as the history shows it to somebody."""

    who: str
    user: UserId
    shown: Transcript
    is_history: bool = False


def judge(room: Room, seen: Sequence[Seen]) -> list[Finding]:
    """Everything that is wrong."""
    findings: list[Finding] = []
    place_of = _places(seen, room.acked)
    reference = max(seen, key=lambda one: (one.is_history, len(one.shown.lines)))
    ranks = {name: rank for rank, name in enumerate(reference.shown.order())}
    for one in seen:
        if room.spans is not None:
            findings += _missing(room, one, place_of, Kind.LOST_IN_HISTORY if one.is_history else Kind.LOST)
            findings += _foreign(room, one)
        findings += _misplaced(room, one, ranks, reference)
        for name in one.shown.twice():
            findings.append(
                _finding(room, one, name, Kind.SHOWN_TWICE, "stands there under another name, too")
            )
        for name in one.shown.overtaken():
            if name[0] != NOBODY:
                what = "stands behind one that its writer wrote later"
                findings.append(_finding(room, one, name, Kind.OUT_OF_ORDER, what))
    return findings


def missing(room: Room, seen: Sequence[Seen]) -> list[Finding]:
    """What was acknowledged and has not come to a device yet."""
    if room.spans is None:
        return []
    place_of = _places(seen, room.acked)
    return [finding for one in seen for finding in _missing(room, one, place_of, Kind.LOST_LIVE)]


def _places(seen: Sequence[Seen], acked: Mapping[Name, MessageId]) -> dict[Name, MessageId]:
    """Where each message stands: of twins the greater, whoever shows it."""
    places = dict(acked)
    for one in seen:
        for name, line in one.shown.lines.items():
            if line.message_id > places.get(name, 0):
                places[name] = line.message_id
    return places


def _spans(room: Room, one: Seen, *, of_all: bool) -> Sequence[Span]:
    assert room.spans is not None
    spans = room.spans.get(one.user, ())
    return spans if of_all else spans[-1:]


def _missing(room: Room, one: Seen, place_of: Mapping[Name, MessageId], kind: Kind) -> Iterator[Finding]:
    spans = _spans(room, one, of_all=not (one.is_history or room.forgets))
    if one.is_history and spans and spans[-1].left is not None:
        return  # to who has left, there is no such group
    for name in room.acked:
        if name in one.shown.lines:
            continue
        version = room.versions.get(place_of[name])
        # One that nobody was told of has no version: everybody lacks it.
        if version is None or any(span.covers(version) for span in spans):
            what = "was acknowledged, and is not there"
            yield Finding(kind, one.who, what, room.conversation, name, room.acked[name])


def _foreign(room: Room, one: Seen) -> Iterator[Finding]:
    spans = _spans(room, one, of_all=not one.is_history)
    for name, line in one.shown.lines.items():
        if name[0] == NOBODY:
            continue  # who is removed is told of that
        version = room.versions.get(line.message_id)
        if version is None or any(span.covers(version) for span in spans):
            continue  # without a version it was only answered to who wrote it, and is lost
        what = f"is of version {version}, they were members {_words(spans)}"
        yield Finding(Kind.FOREIGN, one.who, what, room.conversation, name, line.message_id)


def _misplaced(room: Room, one: Seen, ranks: Mapping[Name, int], other: Seen) -> Iterator[Finding]:
    greatest = -1
    for name in one.shown.order():
        rank = ranks.get(name)
        if rank is None or _are_twins_apart(room, one, other, name):
            continue
        if rank < greatest:
            yield _finding(room, one, name, Kind.OUT_OF_ORDER, f"stands elsewhere than with {other.who}")
        greatest = max(greatest, rank)


def _are_twins_apart(room: Room, one: Seen, other: Seen, name: Name) -> bool:
    """Whether the lesser of twins is shown to who was no member any more when the greater was written.

    Nobody tells them of that one: to them the message stands where its first attempt got to.
    """
    lesser, greater = sorted((one, other), key=lambda seen: seen.shown.lines[name].message_id)
    place = greater.shown.lines[name].message_id
    if lesser.shown.lines[name].message_id == place or room.spans is None:
        return False
    version = room.versions.get(place)
    spans = _spans(room, lesser, of_all=not lesser.is_history)
    return version is not None and not any(span.covers(version) for span in spans)


def _finding(room: Room, one: Seen, name: Name, kind: Kind, what: str) -> Finding:
    line: Line = one.shown.lines[name]
    return Finding(kind, one.who, what, room.conversation, name, line.message_id)


def _words(spans: Sequence[Span]) -> str:
    return (
        ", ".join(f"from {one.joined} to {'now' if one.left is None else one.left}" for one in spans)
        or "never"
    )
