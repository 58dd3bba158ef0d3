"""What a device shows: each message once, of twins the greater, in order."""

import pytest

from tidings.bench.transcript import Line, Name, Transcript
from tidings.protocol.frames import Message
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId

ALICE, BOB = DeviceId(1), DeviceId(2)


def name(device: DeviceId, number: int) -> Name:
    return device, ClientId(number.to_bytes(16, "big"))


def transcript(*lines: tuple[DeviceId, int, int]) -> Transcript:
    """Of writer, number and place."""
    shown = Transcript()
    for device, number, place in lines:
        shown.add(name(device, number), Line(MessageId(place), number))
    return shown


def test_a_message_is_taken_by_its_name_and_its_number() -> None:
    content = (7).to_bytes(8, "big") + b"and more"
    named = name(ALICE, 3)
    message = Message(
        MessageId(50), ConversationId(bytes(16)), UserId(9), *named, 1, 0, "text", content, created_at=0
    )
    shown = Transcript()
    shown.take(message)
    shown.take(message)
    assert shown.lines == {named: Line(MessageId(50), 7)}
    assert shown.repeats == 1


def test_the_order_is_that_of_the_places() -> None:
    shown = transcript((ALICE, 0, 10), (BOB, 0, 30), (ALICE, 1, 20))
    assert shown.order() == [name(ALICE, 0), name(ALICE, 1), name(BOB, 0)]


@pytest.mark.parametrize("places", [(10, 30), (30, 10)])
def test_of_twins_the_greater_is_shown_whatever_came_first(places: tuple[int, int]) -> None:
    shown = transcript(*((ALICE, 0, place) for place in places), (BOB, 0, 20))
    assert shown.order() == [name(BOB, 0), name(ALICE, 0)]
    assert shown.repeats == 1


def test_what_came_in_an_entry_of_its_own_stands_where_that_says() -> None:
    shown = transcript((ALICE, 0, 30), (BOB, 0, 20))
    shown.add(name(ALICE, 0), Line(MessageId(10), 0), stands=True)
    assert shown.order() == [name(ALICE, 0), name(BOB, 0)]


def test_what_is_after_a_place() -> None:
    shown = transcript((ALICE, 0, 10), (ALICE, 1, 20), (BOB, 0, 30))
    assert shown.after(MessageId(10)).order() == [name(ALICE, 1), name(BOB, 0)]


def test_one_message_under_two_names_is_seen() -> None:
    shown = transcript((ALICE, 0, 10), (BOB, 0, 20))
    assert shown.twice() == []
    shown.add(name(ALICE, 99), Line(MessageId(30), 0))
    assert shown.twice() == [name(ALICE, 99)]


def test_overtaking_counts_among_messages_of_one_writer() -> None:
    shown = transcript((ALICE, 0, 10), (BOB, 1, 20), (ALICE, 1, 30), (BOB, 0, 40))
    assert shown.overtaken() == [name(BOB, 0)]
