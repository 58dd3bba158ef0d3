"""What was lost, doubled or misplaced in a conversation of two, from what both and the history show."""

from collections.abc import Set
from typing import NamedTuple

from tidings.bench.person import Person, Side
from tidings.bench.transcript import Name, Transcript
from tidings.protocol.ids import DeviceId, MessageId


class Verdict(NamedTuple):
    """Numbers of messages, but for `disagreeing`."""

    acked: int = 0
    lost: int = 0
    """acknowledged, and missing at the other side or in a history"""
    duplicates: int = 0
    """shown under two names, by somebody"""
    out_of_order: int = 0
    """shown before one that its writer wrote earlier, by somebody"""
    disagreeing: int = 0
    """conversations that both sides and both histories do not show alike"""
    twins: int = 0
    """in a history twice under one name; shown once"""

    def __add__(self, other: "Verdict") -> "Verdict":  # type: ignore[override]
        return Verdict(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.duplicates or self.out_of_order or self.disagreeing)


class Seen(NamedTuple):
    """A conversation, as one of its two members has it."""

    device: DeviceId
    shown: Transcript
    history: Transcript
    acked: Set[Name]
    """own messages that were acknowledged"""


def judge(one: Seen, other: Seen) -> Verdict:
    """Compare what everybody shows, once nothing is on its way any more."""
    seen = (one, other)
    shown = [showing for each in seen for showing in (each.shown, each.history)]
    orders = [showing.order() for showing in shown]
    acked = one.acked | other.acked
    return Verdict(
        acked=len(acked),
        lost=len({name for name in acked if any(name not in showing.lines for showing in shown)}),
        duplicates=max(len(showing.twice()) for showing in shown),
        out_of_order=max(len(showing.overtaken()) for showing in shown),
        disagreeing=int(any(order != orders[0] for order in orders)),
        twins=one.history.repeats,
    )


async def judge_both(one: tuple[Person, Side], other: tuple[Person, Side], after: MessageId) -> Verdict:
    """As `judge`, of what is shown after a place, with both histories as they are now."""
    return judge(*[await _seen(*each, after) for each in (one, other)])


async def _seen(person: Person, side: Side, after: MessageId) -> Seen:
    history = await person.history(side.conversation, after)
    shown = side.shown.after(after)
    acked = {(person.device_id, name) for name in side.acked}
    # One that its writer shows before that place was judged already.
    return Seen(person.device_id, shown, history, acked & shown.lines.keys())
