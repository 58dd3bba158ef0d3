"""Who was in a group, version by version: what the log tells of its changes, held against what was answered.

Pure: it is given what was seen.

spec §6.17
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tidings.protocol.frames import GroupAction, GroupChange
from tidings.protocol.ids import ClientId, UserId

COMES = (GroupAction.CREATE, GroupAction.ADD, GroupAction.JOIN)
GOES = (GroupAction.REMOVE, GroupAction.LEAVE)


class Span(NamedTuple):
    """From which version on somebody was a member, and from which on not any more."""

    joined: int
    left: int | None = None

    def covers(self, version: int) -> bool:
        """Whether they are entitled to a message of a version."""
        return self.joined <= version and (self.left is None or version < self.left)


ALWAYS = (Span(0),)

Spans = Mapping[UserId, Sequence[Span]]


@dataclass(slots=True, eq=False)
class Asked:
    """A change that was asked for, by the only one who changes the group."""

    action: GroupAction
    user: UserId
    asked_s: float
    done_s: float | None = None
    """when it was answered"""


def spans_of(maker: UserId, changes: Sequence[GroupChange]) -> Spans:
    """When everybody was a member, from a group's changes in their order."""
    spans: dict[UserId, list[Span]] = {}
    for change in changes:
        users = change.users
        if change.action == GroupAction.CREATE:
            users = [*users, maker]
        for user in dict.fromkeys(users):
            mine = spans.setdefault(user, [])
            is_in = bool(mine) and mine[-1].left is None
            if change.action in COMES and not is_in:
                mine.append(Span(change.version))
            elif change.action in GOES and is_in:
                mine[-1] = mine[-1]._replace(left=change.version)
    return spans


def once(log: Iterable[tuple[ClientId, GroupChange]]) -> list[GroupChange]:
    """A group's changes, from its log. One whose node failed may be told twice, under one name."""
    changes: list[GroupChange] = []
    told: dict[ClientId, GroupChange] = {}
    for name, change in log:
        if told.get(name) != change:
            told[name] = change
            changes.append(change)
    return changes


def broken_chain(changes: Sequence[GroupChange], asked: Sequence[Asked]) -> Iterator[str]:
    """What is wrong with a group's changes: their versions, or that they are not those asked for."""
    for earlier, later in pairwise(changes):
        if later.version != earlier.version + 1:
            yield f"a change to version {later.version} stands after one to {earlier.version}"
    told = made(changes)
    for number, one in enumerate(asked):
        if number >= len(told):
            yield f"{one.action.name} of {one.user} was {_answered(one)}, and is in no history"
        elif (told[number].action, told[number].users) != (one.action, [one.user]):
            change = told[number]
            yield f"change {number} was to be {one.action.name} of {one.user}, the history has {change}"
    for change in told[len(asked) :]:
        yield f"nobody asked for {change}"


def made(changes: Sequence[GroupChange]) -> list[GroupChange]:
    """The changes of those who go and come again: the first ones made the group."""
    first = next((place for place, one in enumerate(changes) if one.action in GOES), len(changes))
    return list(changes[first:])


def allowed(
    changes: Sequence[GroupChange], asked: Sequence[Asked], first_s: float, acked_s: float
) -> tuple[int, int]:
    """The least and the greatest version that a message can have which was sent and answered then."""
    told = made(changes)
    base = changes[-len(told) - 1].version if len(changes) > len(told) else 0
    least = greatest = base
    for one, change in zip(asked, told, strict=False):
        if one.done_s is not None and one.done_s < first_s:
            least = change.version
        if one.asked_s <= acked_s:
            greatest = change.version
    return least, greatest


def _answered(one: Asked) -> str:
    return "answered" if one.done_s is not None else "asked for"
