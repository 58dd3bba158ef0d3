"""The judge finds each kind of broken promise in a made-up conversation, and names the messages."""

from collections.abc import Callable

import pytest

from bench.test_transcript import ALICE, BOB, name, transcript
from tidings.bench.chaos.book import Finding, Kind
from tidings.bench.chaos.judge import Room, Seen, judge, missing
from tidings.bench.chaos.membership import ALWAYS, Span
from tidings.bench.transcript import Line, Name, Transcript
from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId

WHERE = ConversationId(b"conversation no1")
ALICES, BOBS, CAROLS = UserId(1), UserId(2), UserId(3)
CAROL = DeviceId(31)
SERVER = DeviceId(0)
LINES = [(ALICE, 0, 10), (BOB, 0, 20), (ALICE, 1, 30), (BOB, 1, 40)]


class Talk:
    """A conversation of alice (two devices) and bob that all show alike, until a test spoils it."""

    def __init__(self) -> None:
        self.phone, self.laptop, self.bob = (transcript(*LINES) for _ in range(3))
        self.alices_history, self.bobs_history = (transcript(*LINES) for _ in range(2))
        self.spans = {ALICES: ALWAYS, BOBS: ALWAYS}
        self.versions = {MessageId(place): 1 for place in range(1, 100)}
        self.acked = {name(writer, number): MessageId(place) for writer, number, place in LINES}

    @property
    def seen(self) -> list[Seen]:
        return [
            Seen("phone", ALICES, self.phone),
            Seen("laptop", ALICES, self.laptop),
            Seen("bob", BOBS, self.bob),
            Seen("history of alice", ALICES, self.alices_history, is_history=True),
            Seen("history of bob", BOBS, self.bobs_history, is_history=True),
        ]

    @property
    def all(self) -> list[Transcript]:
        return [one.shown for one in self.seen]

    @property
    def room(self) -> Room:
        return Room(WHERE, self.spans, self.versions, self.acked)

    def judged(self) -> list[tuple[Kind, str, Name | None]]:
        return [(finding.kind, finding.who, finding.name) for finding in judge(self.room, self.seen)]


def test_what_all_show_alike_is_clean() -> None:
    assert Talk().judged() == []


def lose_at_a_device(talk: Talk) -> None:
    del talk.laptop.lines[name(BOB, 0)]


def lose_in_a_history(talk: Talk) -> None:
    del talk.bobs_history.lines[name(ALICE, 1)]


def double_at_a_device(talk: Talk) -> None:
    talk.bob.add(name(ALICE, 77), Line(MessageId(50), 1))


def swap_at_a_device(talk: Talk) -> None:
    talk.phone.lines[name(BOB, 0)] = Line(MessageId(35), 0)


def keep_the_lesser_twin(talk: Talk) -> None:
    for shown in talk.all:
        if shown is not talk.bob:
            shown.add(name(ALICE, 1), Line(MessageId(45), 1))


def overtake(talk: Talk) -> None:
    for shown in talk.all:
        shown.lines[name(ALICE, 0)] = Line(MessageId(35), 0)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lose_at_a_device, [(Kind.LOST, "laptop", name(BOB, 0))]),
        (lose_in_a_history, [(Kind.LOST_IN_HISTORY, "history of bob", name(ALICE, 1))]),
        (double_at_a_device, [(Kind.SHOWN_TWICE, "bob", name(ALICE, 77))]),
        (swap_at_a_device, [(Kind.OUT_OF_ORDER, "phone", name(BOB, 0))]),
        (keep_the_lesser_twin, [(Kind.OUT_OF_ORDER, "bob", name(BOB, 1))]),
    ],
)
def test_a_broken_promise_is_found(
    spoil: Callable[[Talk], None], expected: list[tuple[Kind, str, Name]]
) -> None:
    talk = Talk()
    spoil(talk)
    assert talk.judged() == expected


def test_who_was_removed_before_the_greater_twin_may_keep_the_lesser() -> None:
    talk = Talk()
    keep_the_lesser_twin(talk)
    talk.versions[MessageId(45)] = 2
    talk.bobs_history.lines[name(ALICE, 1)] = Line(MessageId(30), 1)
    talk.spans[BOBS] = (Span(0, 2), Span(3))
    assert (Kind.OUT_OF_ORDER, "bob", name(BOB, 1)) not in talk.judged()
    talk.spans[BOBS] = (Span(0, 3),)
    assert (Kind.OUT_OF_ORDER, "bob", name(BOB, 1)) in talk.judged()


def test_what_is_nowhere_is_missed_by_everybody() -> None:
    talk = Talk()
    for shown in talk.all:
        del shown.lines[name(BOB, 1)]
    del talk.versions[MessageId(40)]
    assert talk.judged() == [
        (Kind.LOST, "phone", name(BOB, 1)),
        (Kind.LOST, "laptop", name(BOB, 1)),
        (Kind.LOST, "bob", name(BOB, 1)),
        (Kind.LOST_IN_HISTORY, "history of alice", name(BOB, 1)),
        (Kind.LOST_IN_HISTORY, "history of bob", name(BOB, 1)),
    ]


def test_a_message_that_its_writer_wrote_earlier_must_not_stand_behind() -> None:
    talk = Talk()
    overtake(talk)
    assert {(kind, who) for kind, who, _ in talk.judged()} == {
        (Kind.OUT_OF_ORDER, one.who) for one in talk.seen
    }


def test_what_was_not_acknowledged_may_be_anywhere_or_nowhere() -> None:
    talk = Talk()
    del talk.acked[name(BOB, 1)]
    del talk.bob.lines[name(BOB, 1)]
    assert talk.judged() == []


def test_a_finding_says_where_the_message_is() -> None:
    talk = Talk()
    lose_at_a_device(talk)
    (finding,) = judge(talk.room, talk.seen)
    assert finding.told() == {
        "kind": "lost",
        "who": "laptop",
        "what": "was acknowledged, and is not there",
        "conversation_id": WHERE.hex(),
        "sender_device": str(BOB),
        "client_id": name(BOB, 0)[1].hex(),
        "message_id": "20",
    }


def test_what_is_still_missing_is_told_before_all_is_over() -> None:
    talk = Talk()
    devices = talk.seen[:3]
    assert missing(talk.room, devices) == []
    lose_at_a_device(talk)
    assert [(one.kind, one.who) for one in missing(talk.room, devices)] == [(Kind.LOST_LIVE, "laptop")]


# --- groups -------------------------------------------------------------------------------------


class Circle(Talk):
    """The same as a group. Carol was a member from version 1 to 3, and again from version 5 on."""

    def __init__(self) -> None:
        super().__init__()
        self.versions = {MessageId(10): 1, MessageId(20): 2, MessageId(30): 3, MessageId(40): 5}
        self.spans = {
            ALICES: [Span(1)],
            BOBS: [Span(1)],
            CAROLS: [Span(1, 3), Span(5)],
        }
        self.carol = transcript((ALICE, 0, 10), (BOB, 0, 20), (BOB, 1, 40))
        self.carols_history = transcript((BOB, 1, 40))

    @property
    def seen(self) -> list[Seen]:
        return [
            *super().seen,
            Seen("carol", CAROLS, self.carol),
            Seen("history of carol", CAROLS, self.carols_history, is_history=True),
        ]


def test_who_was_away_has_what_was_said_before_and_after() -> None:
    assert Circle().judged() == []


def test_who_was_no_member_must_not_get_it() -> None:
    circle = Circle()
    circle.carol.add(name(ALICE, 1), Line(MessageId(30), 1))
    circle.carols_history.add(name(ALICE, 0), Line(MessageId(10), 0))
    assert circle.judged() == [
        (Kind.FOREIGN, "carol", name(ALICE, 1)),
        (Kind.FOREIGN, "history of carol", name(ALICE, 0)),
    ]


def test_who_was_a_member_must_get_it() -> None:
    circle = Circle()
    del circle.carol.lines[name(BOB, 0)]
    assert circle.judged() == [(Kind.LOST, "carol", name(BOB, 0))]
    large = circle.room._replace(forgets=True)
    assert judge(large, circle.seen) == [], "what was said before may be forgotten by who was away"
    del circle.carol.lines[name(BOB, 1)]
    assert [finding.name for finding in judge(large, circle.seen)] == [name(BOB, 1)]


def test_who_left_sees_no_history() -> None:
    circle = Circle()
    circle.spans[CAROLS] = [Span(1, 3)]
    circle.carol = transcript((ALICE, 0, 10), (BOB, 0, 20))
    circle.carols_history = transcript()
    assert circle.judged() == []


def test_what_the_server_tells_of_the_group_is_shown_to_who_is_removed() -> None:
    circle = Circle()
    for shown in (*circle.all,):
        if shown is not circle.carols_history:
            shown.add((SERVER, name(CAROL, 9)[1]), Line(MessageId(25), 3))
    circle.versions[MessageId(25)] = 3
    assert circle.judged() == []


def test_where_membership_is_not_known_the_order_is_judged_all_the_same() -> None:
    circle = Circle()
    unknown = circle.room._replace(spans=None)
    assert judge(unknown, circle.seen) == missing(unknown, circle.seen[:3]) == []
    swap_at_a_device(circle)
    assert [one.kind for one in judge(unknown, circle.seen)] == [Kind.OUT_OF_ORDER]


def test_without_a_history_the_devices_are_compared() -> None:
    talk = Talk()
    swap_at_a_device(talk)
    found: list[Finding] = judge(talk.room, talk.seen[1:3] + talk.seen[:1])
    assert [(one.kind, one.who) for one in found] == [(Kind.OUT_OF_ORDER, "phone")]
