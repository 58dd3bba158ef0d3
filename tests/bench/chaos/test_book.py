"""What is noted of a run, and how it is told."""

import json

from tidings.bench.chaos.book import FINDINGS_KEPT, Book, Finding, Kind, Silence
from tidings.bench.chaos.report import Facts, bars, longest, page_of, result_of, state_of
from tidings.bench.transcript import Line
from tidings.protocol.errors import GROUP_RIGHTS, STORE_FAILED
from tidings.protocol.frames import Error
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId

WHERE = ConversationId(b"conversation no1")
FACTS = Facts(("http://one", "http://two"), 3, 2, 2, (50,), 7, 20.0, 1.5)


class Story:
    """A book and its clock."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.book = Book(lambda: self.now_s)
        self._number = 0

    def write(self) -> tuple[DeviceId, ClientId]:
        self._number += 1
        name = (DeviceId(1), ClientId(self._number.to_bytes(16, "big")))
        self.book.wrote(name, WHERE)
        return name

    def answer(self, name: tuple[DeviceId, ClientId], who: str = "alice/1") -> None:
        self.book.answered(who, self.book.said[name], MessageId(self._number))


def test_waits_are_measured_from_writing_on() -> None:
    story = Story()
    first, second = story.write(), story.write()
    story.now_s += 0.2
    story.answer(first)
    story.now_s += 0.2
    story.answer(second, "bob/1")
    assert [round(one, 3) for one in story.book.answer_s] == [0.2, 0.4]
    assert {who: round(wait_s, 3) for who, wait_s in story.book.longest_s.items()} == {
        "alice/1": 0.2,
        "bob/1": 0.4,
    }
    assert story.book.unanswered == []


def test_a_stretch_without_an_answer_is_noted_if_one_was_waited_for() -> None:
    story = Story()
    story.answer(story.write())
    story.now_s += 5.0  # nobody wants anything
    name = story.write()
    story.now_s += 2.0
    story.answer(name)
    assert story.book.silences == [Silence(5.0, 7.0)]
    story.write()
    story.now_s += 3.0
    story.book.end()
    assert story.book.silences[1:] == [Silence(7.0, 10.0)]


def test_a_copy_counts_for_the_time_under_way_if_its_device_was_there() -> None:
    story = Story()
    name = story.write()
    story.now_s += 0.5
    story.book.came(name, present_s=0.0)
    story.book.came(name, present_s=None)
    story.book.came(name, present_s=0.3)
    assert list(story.book.travel_s) == [0.5]
    assert story.book.received == 3


def test_each_second_is_counted_and_connections_last() -> None:
    story = Story()
    story.book.connected(2)
    story.answer(story.write())
    story.now_s += 2.0
    story.book.trouble("connection refused", lost=False)
    assert [(one.acknowledged, one.connected, one.errors) for one in story.book.seconds] == [
        (1, 2, 0),
        (0, 2, 0),
        (0, 2, 1),
    ]


def test_what_was_before_the_beginning_does_not_count() -> None:
    story = Story()
    story.book.refused(Error(STORE_FAILED.code, "", retry_after=1.0))
    story.book.trouble("no answer", lost=True)
    story.book.find(Finding(Kind.FOREIGN, "alice/1", ""))
    story.now_s += 9.0
    story.book.mark("node 2 killed")
    story.book.begin()
    assert (story.book.refusals, story.book.troubles, story.book.found, story.book.broken) == ({}, {}, {}, 0)
    assert story.book.marks == [(0.0, "node 2 killed")]
    assert story.book.now() == 0.0


def test_two_versions_of_one_message_are_a_finding() -> None:
    story = Story()
    for who, version in (("alice/1", 3), ("bob/1", 3), ("bob/2", 4)):
        story.book.versioned(who, WHERE, MessageId(5), version)
    (finding,) = story.book.findings
    assert (finding.kind, finding.who, finding.message_id) == (Kind.MEMBERSHIP, "bob/2", 5)


def test_findings_are_bounded_and_all_counted() -> None:
    book = Book()
    for _ in range(FINDINGS_KEPT + 10):
        book.find(Finding(Kind.LOST, "alice/1", ""))
    assert (len(book.findings), book.found[Kind.LOST]) == (FINDINGS_KEPT, FINDINGS_KEPT + 10)


def test_what_all_devices_show_is_kept_once() -> None:
    book = Book()
    one, other = (DeviceId(1), ClientId(bytes(16))), (DeviceId(1), ClientId(bytes(16)))
    name, line = book.shared(one, Line(MessageId(5), 0))
    assert book.shared(other, Line(MessageId(5), 0)) == (name, line)
    assert book.shared(other, Line(MessageId(5), 0))[0] is one
    assert book.shared(other, Line(MessageId(5), 0))[1] is line
    assert book.shared(other, Line(MessageId(6), 0)) == (name, Line(MessageId(6), 0)), "of a twin"


# --- the report ---------------------------------------------------------------------------------


def told() -> Story:
    """A run with a bit of everything."""
    story = Story()
    story.book.connected(3)
    story.answer(story.write())
    story.book.mark("node 2 killed")
    name = story.write()
    story.now_s += 3.0
    story.book.connected(-2)
    story.answer(name)
    story.book.came(name, 0.0)
    story.book.refused(Error(STORE_FAILED.code, "", retry_after=1.0))
    story.book.refused(Error(GROUP_RIGHTS.code, ""))
    story.book.trouble("closed with 1006", lost=True)
    story.book.find(Finding(Kind.LOST, "bob/1", "is gone", WHERE, name, MessageId(2)))
    return story


def test_the_result_is_json_and_has_it_all() -> None:
    result = result_of(told().book, FACTS)
    assert json.loads(json.dumps(result)) == result
    assert (result["clean"], result["acknowledged"], result["received"]) == (False, 2, 1)
    assert result["refusals"] == {
        "store_failed": {"times": 1, "retryable": True},
        "group_rights": {"times": 1, "retryable": False},
    }
    assert (result["troubles"], result["connections_broken"]) == ({"closed with 1006": 1}, 1)
    assert result["nothing_acknowledged"] == [{"from_s": 0.0, "to_s": 3.0}]
    assert result["send_to_sent_s"] == {"p50": 3.0, "p99": 3.0, "max": 3.0}
    assert result["marks"] == [{"at_s": 0.0, "text": "node 2 killed"}]
    assert result["time_line"] == {
        "acknowledged": [1, 0, 0, 1],
        "received": [0, 0, 0, 1],
        "connected": [3, 3, 3, 1],
        "errors": [0, 0, 0, 3],
    }
    assert result_of(Story().book, FACTS)["clean"] is True


def test_the_page_names_what_broke_and_what_was_done() -> None:
    page = page_of(told().book, FACTS)
    assert page.startswith("# Chaos: promises were broken\n")
    assert "| acknowledged, and never came to a device | 1 |" in page
    assert "- bob/1: is gone (conversation_id `" in page
    assert "message_id `2`)" in page
    assert "- from 0:00 on, for 3.0 s (node 2 killed)" in page
    assert "`a` 0:00 node 2 killed: 3 errors, 1 connected at least" in page
    assert "| refused: group_rights | 1 | not to be retried |" in page
    assert page_of(Story().book, FACTS).startswith("# Chaos: every promise was kept\n")


def test_the_line_while_it_runs() -> None:
    story = told()
    story.write()
    story.now_s += 7.0
    assert state_of(story.book) == (
        "0:10, 2 acknowledged, 1 delivered, 1 connected, 1 broken, slowest 7.0 s, "
        "store_failed 1, group_rights 1, closed with 1006 1, LOST 1"
    )


def test_bars_show_what_little_there_is() -> None:
    assert bars([0, 1, 50, 100]) == " ▁▄█"
    assert bars([0, 0]) == "  "


def test_the_longest_silences_are_told_in_order() -> None:
    silences = [Silence(float(at), at + 1.0 + at % 3) for at in range(20)]
    some = longest(silences)
    assert some == sorted(some)
    assert min(one.to_s - one.from_s for one in some) >= 2.0
