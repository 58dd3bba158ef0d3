"""The record of a group: every change that was ever stored, in its true order, and who was in it when.

It is taken from what is set by comparing, at the moment at which that happens, and folds the changes as a
client would. What is stored beside them must agree: then whoever is told of all changes knows the group.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tidings.domain.fanout import Fanout
from tidings.protocol.frames import ConversationKind, GroupAction, GroupChange, GroupRole
from tidings.protocol.ids import ConversationId, UserId
from tidings.store.schema import GroupHead, RosterRow

COMES = (GroupAction.ADD, GroupAction.JOIN)
GOES = (GroupAction.REMOVE, GroupAction.LEAVE)


class Stay(NamedTuple):
    """From which version on somebody was in a group, and up to which."""

    user: UserId
    first: int
    end: int | None

    def covers(self, version: int) -> bool:
        """Whether a message of a version is theirs."""
        return self.first <= version and (self.end is None or version < self.end)


class Sleep(NamedTuple):
    """When a member was dormant: nothing was written to their inbox."""

    user: UserId
    begin_s: float
    end_s: float
    """infinite: still is"""


class State(NamedTuple):
    """A group from some moment on."""

    at_s: float
    head: GroupHead
    roles: dict[UserId, int]

    @property
    def change(self) -> GroupChange:
        """What made it so."""
        assert self.head.change is not None
        return self.head.change


class Record:
    """One group's; see the module's text."""

    def __init__(self, conversation: ConversationId) -> None:
        self.conversation = conversation
        self.states: list[State] = []
        """one for each version"""
        self.stays: list[Stay] = []
        self.fanouts: list[tuple[float, Fanout]] = []
        """how its messages went to the members, from when on"""
        self.sleeps: list[Sleep] = []
        self._stored: dict[UserId, RosterRow] = {}

    @property
    def now(self) -> State:
        """The group as it is."""
        return self.states[-1]

    @property
    def is_channel(self) -> bool:
        """Whether only its staff writes."""
        return self.now.head.kind == ConversationKind.CHANNEL

    @property
    def was_read(self) -> bool:
        """Whether its messages were ever read from the log."""
        return any(fanout.is_read for _, fanout in self.fanouts)

    def add(self, row: RosterRow, also: Sequence[RosterRow], now_s: float) -> Iterator[str]:
        """What was stored; yields what is wrong with it."""
        head = row.head
        assert head is not None
        for one in also:
            self._note_sleep(one, now_s)
            self._stored[one.user_id] = one
        if not self.fanouts or self.fanouts[-1][1] != head.fanout:
            self.fanouts.append((now_s, Fanout(head.fanout)))
        if self.states and head.version == self.now.head.version:
            if head.change != self.now.change:
                yield f"version {head.version} became another one"
            self.states[-1] = self.now._replace(head=head)
        else:
            yield from self._follow(head, now_s)
        yield from self._compared(head)

    def is_entitled(self, user: UserId, version: int) -> bool:
        """Whether a message of a version is a user's."""
        return any(stay.user == user and stay.covers(version) for stay in self.stays)

    def stay_of(self, user: UserId) -> Stay | None:
        """Of somebody who is in it now."""
        return next((stay for stay in self.stays if stay.user == user and stay.end is None), None)

    def has_come_back(self, user: UserId, version: int) -> bool:
        """Whether somebody who was there at a version has left since, and was there again."""
        return any(stay.user == user and stay.covers(version) and self.came_back(stay) for stay in self.stays)

    def came_back(self, stay: Stay) -> bool:
        """Whether somebody who left is, or was, there again."""
        return any(other.user == stay.user and other.first > stay.first for other in self.stays)

    def concerned(self, version: int) -> list[UserId]:
        """Whom a change was about: they are told of it, wherever they are after it."""
        state = self.states[version - 1]
        change = state.change
        if change.action == GroupAction.CREATE:
            return [state.head.made_by, *change.users]
        return change.users if change.action in (*COMES, *GOES) else []

    def during(self, since_s: float, until_s: float) -> Iterator[State]:
        """What the group was at some time between two moments."""
        for place, state in enumerate(self.states):
            end_s = self.states[place + 1].at_s if place + 1 < len(self.states) else float("inf")
            if state.at_s <= until_s and since_s <= end_s:
                yield state

    def version_at(self, at_s: float) -> int:
        """The version at a moment."""
        return max((state.head.version for state in self.states if state.at_s <= at_s), default=0)

    # --- inside -----------------------------------------------------------------------------

    def _note_sleep(self, row: RosterRow, now_s: float) -> None:
        before = self._stored.get(row.user_id)
        was_dormant = before is not None and before.dormant
        if row.dormant and not was_dormant:
            self.sleeps.append(Sleep(row.user_id, now_s, float("inf")))
        elif was_dormant and not row.dormant:
            self.sleeps = [
                one._replace(end_s=now_s) if one.user == row.user_id and one.end_s > now_s else one
                for one in self.sleeps
            ]

    def _follow(self, head: GroupHead, now_s: float) -> Iterator[str]:
        change = head.change
        before = self.now.head.version if self.states else 0
        if head.version != before + 1:
            yield f"version {head.version} comes after {before}"
        if change is None or change.version != head.version:
            yield f"version {head.version} has the change {change}"
            return
        roles = dict(self.now.roles) if self.states else {}
        yield from self._fold(roles, head, change)
        self.states.append(State(now_s, head, roles))

    def _fold(self, roles: dict[UserId, int], head: GroupHead, change: GroupChange) -> Iterator[str]:
        version = head.version
        if change.action == GroupAction.CREATE:
            roles[head.made_by] = GroupRole.OWNER
            self.stays.append(Stay(head.made_by, version, None))
        if change.action in (GroupAction.CREATE, *COMES):
            for user in change.users:
                if user in roles:
                    yield f"{user} came twice, in version {version}"
                roles[user] = GroupRole.MEMBER
                self.stays.append(Stay(user, version, None))
        elif change.action in GOES:
            for user in change.users:
                if roles.pop(user, None) is None:
                    yield f"{user} went and was not there, in version {version}"
            self.stays = [
                stay._replace(end=version) if stay.end is None and stay.user in change.users else stay
                for stay in self.stays
            ]
        elif change.action == GroupAction.ROLE:
            if any(user not in roles for user in change.users):
                yield f"somebody who is not there got a role, in version {version}"
            roles.update(dict.fromkeys(change.users, change.role))
            if change.role == GroupRole.OWNER:
                roles[head.changed_by] = GroupRole.ADMIN

    def _compared(self, head: GroupHead) -> Iterator[str]:
        """What is stored, against what follows from the changes."""
        roles, version = self.now.roles, head.version
        if head.count != len(roles):
            yield f"it counts {head.count} members and has {len(roles)}, in version {version}"
        owners = sum(role == GroupRole.OWNER for role in roles.values())
        if owners != bool(roles):
            yield f"it has {owners} owners, in version {version}"
        if head.kind == ConversationKind.CHANNEL:
            if head.staff != {user: role for user, role in roles.items() if role}:
                yield f"its staff is stored as {head.staff}, in version {version}"
            return
        present = {row.user_id: row.role for row in self._stored.values() if row.left_version is None}
        if present != roles:
            yield f"its members are stored as {present}, in version {version}"
        for stay in self.stays:
            row = self._stored.get(stay.user)
            if self.came_back(stay):
                continue
            if row is None or (row.joined_version, row.left_version) != (stay.first, stay.end):
                yield f"{stay} is stored as {row}, in version {version}"
