"""The rules of groups, as properties: whatever is asked for by whomever, a group stays one."""

import msgspec
from hypothesis import given
from hypothesis import strategies as some

from tidings.domain import group_changes
from tidings.domain.group_changes import Planned
from tidings.domain.rosters import Roster
from tidings.protocol.errors import ProtocolError
from tidings.protocol.frames import (
    ChangeGroup,
    ConversationKind,
    GroupAction,
    GroupRole,
    GroupRules,
    Reference,
)
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId
from tidings.protocol.limits import Limits
from tidings.store.schema import HEAD_MEMBER, RosterRow

GROUP = ConversationId(b"g" * 16)
PEOPLE = [UserId(number) for number in range(1, 7)]
LIMITS = Limits(group_members=4, group_links=2, group_pins=2, group_waiting=2)
CODE_HASH = b"h" * 32

people = some.sampled_from(PEOPLE)
roles = some.integers(0, 2)
rules = some.builds(GroupRules, roles, roles, roles, some.booleans())
wishes = some.builds(
    ChangeGroup,
    some.just(1),
    some.just(GROUP),
    some.sampled_from([action for action in GroupAction if action != GroupAction.CREATE]),
    some.lists(people, max_size=3),
    roles,
    some.binary(max_size=3),
    some.none() | rules,
    some.sampled_from([b"h" * 32, b"i" * 32, b"j" * 32, b"short"]),
    some.integers(0, 20_000),
    some.sampled_from([MessageId(0), MessageId(7)]),
    some.none() | some.builds(Reference, some.just(DeviceId(1)), some.just(ClientId(b"c" * 16))),
)
steps = some.lists(some.tuples(people, wishes), max_size=40)


def made(kind: int = ConversationKind.GROUP) -> Roster:
    plan = group_changes.created(GROUP, PEOPLE[0], PEOPLE[1:3], kind, 0, b"", GroupRules(), 0, LIMITS)
    return after(Roster(RosterRow(GROUP, HEAD_MEMBER), plan.head, {}), plan)


def after(roster: Roster, plan: Planned) -> Roster:
    members = {**roster.members, **{row.user_id: row for row in plan.rows}}
    return Roster(roster.row, plan.head, members)


def step(roster: Roster, actor: UserId, wish: ChangeGroup, now_ms: int) -> Planned | None:
    match wish.action:
        case GroupAction.ASK:
            return group_changes.asked(roster, actor, CODE_HASH, now_ms, LIMITS)
        case GroupAction.JOIN:
            group_changes.check_link(roster, CODE_HASH, now_ms)
            return group_changes.added(roster, actor, GroupAction.JOIN, [actor], now_ms, LIMITS)
        case _:
            return group_changes.planned(roster, actor, wish, now_ms, LIMITS)


@given(steps, some.sampled_from([ConversationKind.GROUP, ConversationKind.CHANNEL]))
def test_a_group_stays_one_whatever_is_asked_for(
    asked: list[tuple[UserId, ChangeGroup]], kind: ConversationKind
) -> None:
    roster = made(kind)
    for now_ms, (actor, wish) in enumerate(asked):
        role = roster.role(actor)
        before = msgspec.msgpack.encode(roster.head)
        try:
            plan = step(roster, actor, wish, now_ms * 1000)
        except ProtocolError:
            plan = None
        assert msgspec.msgpack.encode(roster.head) == before  # what is judged is not changed
        if plan is None:
            continue
        was, roster = roster, after(roster, plan)
        head, present = roster.head, roster.present
        assert head.version == was.head.version + 1
        assert head.change is not None
        assert head.change.version == head.version
        assert head.count == len(present) == len({row.user_id for row in present})
        owners = [row for row in present if roster.role(row.user_id) == GroupRole.OWNER]
        assert len(owners) == (1 if present else 0)
        assert len(head.links) <= LIMITS.group_links
        assert len(head.pins) <= LIMITS.group_pins
        assert len(head.waiting) <= LIMITS.group_waiting
        assert not any(roster.role(user) is not None for user in head.waiting)
        if kind == ConversationKind.GROUP:
            assert head.count <= LIMITS.group_members
        else:
            assert head.rules.write >= GroupRole.ADMIN
            assert set(head.staff) == {row.user_id for row in present if roster.role(row.user_id)}
        gone = {row.user_id for row in was.present} - {row.user_id for row in present}
        assert head.removal_at == (head.version if gone else was.head.removal_at)
        if wish.action not in (GroupAction.JOIN, GroupAction.ASK):
            assert role is not None
        if gone - {actor}:
            assert role is not None
            assert all((was.role(user) or 0) < role for user in gone)


def changed_by(asked: list[tuple[UserId, ChangeGroup]]) -> Roster:
    """The group after these changes, without those that are refused."""
    roster = made()
    for now_ms, (actor, wish) in enumerate(asked):
        try:
            plan = step(roster, actor, wish, now_ms * 1000)
        except ProtocolError:
            continue
        roster = roster if plan is None else after(roster, plan)
    return roster


@given(steps)
def test_who_leaves_by_force_leaves_an_heir(asked: list[tuple[UserId, ChangeGroup]]) -> None:
    roster = changed_by(asked)
    for user in PEOPLE:
        was_there, steps_taken = roster.role(user) is not None, 0
        while (plan := group_changes.left(roster, user, 0, LIMITS, by_force=True)) is not None:
            roster = after(roster, plan)
            steps_taken += 1
        assert steps_taken <= 2
        assert bool(steps_taken) == was_there
        assert roster.role(user) is None
        owners = [row for row in roster.present if row.role == GroupRole.OWNER]
        assert len(owners) == (1 if roster.present else 0)
    assert roster.head.count == 0


@given(steps, some.sets(people))
def test_of_those_who_leave_by_force_none_takes_over(
    asked: list[tuple[UserId, ChangeGroup]], ending: set[UserId]
) -> None:
    roster = changed_by(asked)
    for user in ending:
        while (plan := group_changes.left(roster, user, 0, LIMITS, by_force=True, ending=ending)) is not None:
            roster = after(roster, plan)
            change = roster.head.change
            assert change is not None
            assert change.action == GroupAction.LEAVE or not ending & set(change.users)
            owners = [row for row in roster.present if row.role == GroupRole.OWNER]
            assert len(owners) == (1 if roster.present else 0)
    assert not ending & {row.user_id for row in roster.present}
