"""The record of a group: it folds the changes, and finds what is stored otherwise."""

import msgspec
import pytest

from tidings.protocol.frames import GroupAction, GroupChange, GroupRole, GroupRules
from tidings.protocol.ids import ConversationId, UserId
from tidings.store.schema import HEAD_MEMBER, GroupHead, RosterRow
from tidings.testing.simulation.groups.record import Record

GROUP = ConversationId(b"g" * 16)
ALICE, BOB, CAROL = UserId(1), UserId(2), UserId(3)


def head(change: GroupChange, count: int, by: UserId = ALICE) -> GroupHead:
    return GroupHead(2, 0, change.version, ALICE, 0, count, GroupRules(), changed_by=by, change=change)


def row(of: GroupHead) -> RosterRow:
    return RosterRow(GROUP, HEAD_MEMBER, head=of)


def member(user: UserId, joined: int, left: int | None = None, role: int = 0) -> RosterRow:
    return RosterRow(GROUP, user, role=role, joined_version=joined, left_version=left)


MADE = head(GroupChange(1, GroupAction.CREATE, [BOB]), 2)
MEMBERS = [member(ALICE, 1, role=GroupRole.OWNER), member(BOB, 1)]


def made() -> Record:
    record = Record(GROUP)
    assert list(record.add(row(MADE), MEMBERS, 0.0)) == []
    return record


def test_who_was_there_is_entitled_to_what_was_said_then() -> None:
    record = made()
    added = head(GroupChange(2, GroupAction.ADD, [CAROL]), 3)
    assert list(record.add(row(added), [member(CAROL, 2)], 1.0)) == []
    gone = head(GroupChange(3, GroupAction.REMOVE, [BOB]), 2)
    assert list(record.add(row(gone), [member(BOB, 1, 3)], 2.0)) == []
    entitled = {user: [record.is_entitled(user, version) for version in (1, 2, 3)] for user in (BOB, CAROL)}
    assert entitled == {BOB: [True, True, False], CAROL: [False, True, True]}
    assert [state.head.version for state in record.during(0.5, 1.5)] == [1, 2]
    assert (record.concerned(2), record.concerned(3)) == ([CAROL], [BOB])


def test_a_group_that_is_handed_over_has_one_owner() -> None:
    record = made()
    handed = head(GroupChange(2, GroupAction.ROLE, [BOB], GroupRole.OWNER), 2)
    rows = [member(ALICE, 1, role=GroupRole.ADMIN), member(BOB, 1, role=GroupRole.OWNER)]
    assert list(record.add(row(handed), rows, 1.0)) == []
    assert record.now.roles == {ALICE: GroupRole.ADMIN, BOB: GroupRole.OWNER}


@pytest.mark.parametrize(
    ("of", "rows"),
    [
        pytest.param(head(GroupChange(3, GroupAction.INFO), 2), [], id="a version is missing"),
        pytest.param(head(GroupChange(2, GroupAction.ADD, [CAROL]), 2), [member(CAROL, 2)], id="miscounted"),
        pytest.param(head(GroupChange(2, GroupAction.ADD, [CAROL]), 3), [], id="no row of who came"),
        pytest.param(head(GroupChange(2, GroupAction.REMOVE, [CAROL]), 1), [], id="was not there"),
        pytest.param(head(GroupChange(2, GroupAction.INFO), 2), [member(BOB, 1, role=2)], id="two owners"),
        pytest.param(head(GroupChange(1, GroupAction.INFO), 2), [], id="another change of one version"),
    ],
)
def test_what_is_wrong_is_found(of: GroupHead, rows: list[RosterRow]) -> None:
    assert list(made().add(row(of), rows, 1.0)) != []


def test_a_crossing_makes_no_version() -> None:
    record = made()
    crossing = msgspec.structs.replace(MADE, fanout=1)
    assert list(record.add(row(crossing), [], 1.0)) == []
    assert (len(record.states), record.was_read) == (1, True)
