"""Who was in a group at which version, and whether that is what was answered."""

import pytest

from tidings.bench.chaos.membership import Asked, Span, allowed, broken_chain, once, spans_of
from tidings.protocol.frames import GroupAction, GroupChange
from tidings.protocol.ids import ClientId, UserId

MAKER, ALICE, BOB, CAROL = (UserId(number) for number in (1, 2, 3, 4))
CREATE, ADD, REMOVE = GroupAction.CREATE, GroupAction.ADD, GroupAction.REMOVE

CHANGES = [
    GroupChange(1, CREATE, [ALICE, BOB]),
    GroupChange(2, ADD, [CAROL]),
    GroupChange(3, REMOVE, [BOB]),
    GroupChange(4, ADD, [BOB]),
    GroupChange(5, REMOVE, [CAROL]),
]


def asked() -> list[Asked]:
    """What led from version 2 to 5, each change answered a second after it was asked for."""
    return [
        Asked(REMOVE, BOB, 10.0, 11.0),
        Asked(ADD, BOB, 20.0, 21.0),
        Asked(REMOVE, CAROL, 30.0, 31.0),
    ]


def test_spans_follow_from_the_changes() -> None:
    assert spans_of(MAKER, CHANGES) == {
        MAKER: [Span(1)],
        ALICE: [Span(1)],
        BOB: [Span(1, 3), Span(4)],
        CAROL: [Span(2, 5)],
    }


def test_what_is_there_already_changes_nothing() -> None:
    twice = [*CHANGES[:2], GroupChange(3, ADD, [CAROL]), GroupChange(4, REMOVE, [UserId(9)])]
    assert spans_of(MAKER, twice)[CAROL] == [Span(2)]


def test_a_change_that_was_told_twice_under_one_name_is_one() -> None:
    log = [(ClientId(b"%d" % change.version), change) for change in CHANGES]
    assert once([*log[:4], log[2], log[3], log[4]]) == CHANGES
    # Neither what one name has for two changes, nor what two names have for one.
    assert once([*log, (log[3][0], CHANGES[1])]) == [*CHANGES, CHANGES[1]]
    assert once([*log, (ClientId(b"other"), CHANGES[1])]) == [*CHANGES, CHANGES[1]]


@pytest.mark.parametrize(("version", "is_covered"), [(1, False), (2, True), (4, True), (5, False)])
def test_a_span_ends_before_the_version_of_leaving(version: int, is_covered: bool) -> None:
    assert Span(2, 5).covers(version) is is_covered


def test_a_chain_that_is_what_was_asked_for() -> None:
    assert list(broken_chain(CHANGES, asked())) == []
    assert list(broken_chain(CHANGES[:2], [])) == []


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (CHANGES[:3] + CHANGES[4:], "stands after one to 3"),
        (CHANGES[:4], "REMOVE of 4 was answered, and is in no history"),
        ([*CHANGES[:3], GroupChange(4, ADD, [CAROL]), CHANGES[4]], "was to be ADD of 3"),
        ([*CHANGES, GroupChange(6, ADD, [CAROL])], "nobody asked for"),
    ],
)
def test_a_chain_that_is_not(changes: list[GroupChange], what: str) -> None:
    assert what in "; ".join(broken_chain(changes, asked()))


@pytest.mark.parametrize(
    ("first_s", "acked_s", "versions"),
    [
        (1.0, 2.0, (2, 2)),
        (9.0, 10.5, (2, 3)),
        (10.5, 10.7, (2, 3)),
        (11.5, 12.0, (3, 3)),
        (11.5, 40.0, (3, 5)),
        (32.0, 33.0, (5, 5)),
    ],
)
def test_a_message_has_a_version_of_its_time(
    first_s: float, acked_s: float, versions: tuple[int, int]
) -> None:
    assert allowed(CHANGES, asked(), first_s, acked_s) == versions
