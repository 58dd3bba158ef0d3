"""The verdict finds each kind of broken promise, and only that."""

from collections.abc import Callable

import pytest

from bench.test_transcript import ALICE, BOB, name, transcript
from tidings.bench.transcript import Line, Transcript
from tidings.bench.verdict import Seen, Verdict, judge
from tidings.protocol.ids import MessageId

LINES = [(ALICE, 0, 10), (BOB, 0, 20), (ALICE, 1, 30), (BOB, 1, 40)]


class Both:
    """A conversation that all show alike, until a test spoils it."""

    def __init__(self) -> None:
        self.alice, self.bob, self.history_of_alice, self.history_of_bob = (
            transcript(*LINES) for _ in range(4)
        )

    @property
    def all(self) -> tuple[Transcript, ...]:
        return self.alice, self.bob, self.history_of_alice, self.history_of_bob

    def judged(self) -> Verdict:
        acked = {
            device: {name(device, number) for writer, number, _ in LINES if writer == device}
            for device in (ALICE, BOB)
        }
        return judge(
            Seen(ALICE, self.alice, self.history_of_alice, acked[ALICE]),
            Seen(BOB, self.bob, self.history_of_bob, acked[BOB]),
        )


def lose_at_the_receiver(both: Both) -> None:
    del both.bob.lines[name(ALICE, 1)]


def lose_in_a_history(both: Both) -> None:
    del both.history_of_bob.lines[name(BOB, 0)]


def lose_everywhere(both: Both) -> None:
    for shown in both.all:
        del shown.lines[name(BOB, 1)]


def double(both: Both) -> None:
    for shown in both.all:
        shown.add(name(ALICE, 77), Line(MessageId(50), 1))


def swap(both: Both) -> None:
    for shown in both.all:
        shown.add(name(ALICE, 0), Line(MessageId(35), 0))


def keep_the_lesser_twin(both: Both) -> None:
    for shown in (both.bob, both.history_of_alice, both.history_of_bob):
        shown.add(name(ALICE, 1), Line(MessageId(45), 1))


CLEAN = Verdict(acked=4)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lose_at_the_receiver, CLEAN._replace(lost=1, disagreeing=1)),
        (lose_in_a_history, CLEAN._replace(lost=1, disagreeing=1)),
        (lose_everywhere, CLEAN._replace(lost=1)),
        (double, CLEAN._replace(duplicates=1)),
        (swap, CLEAN._replace(out_of_order=1, twins=1)),
        (keep_the_lesser_twin, CLEAN._replace(disagreeing=1, twins=1)),
    ],
)
def test_a_broken_promise_is_found(spoil: Callable[[Both], None], expected: Verdict) -> None:
    both = Both()
    spoil(both)
    assert both.judged() == expected
    assert not both.judged().is_clean


def test_what_all_show_alike_is_clean() -> None:
    assert Both().judged() == CLEAN
    assert CLEAN.is_clean


def test_twins_of_which_all_show_the_greater_are_clean() -> None:
    both = Both()
    for shown in both.all:
        shown.add(name(BOB, 1), Line(MessageId(60), 1))
    assert both.judged() == CLEAN._replace(twins=1)
    assert both.judged().is_clean


def test_verdicts_add_up() -> None:
    assert sum([Verdict(1, 2, 3, 4, 5, 6), Verdict(10, 20, 30, 40, 50, 60)], Verdict()) == Verdict(
        11, 22, 33, 44, 55, 66
    )
