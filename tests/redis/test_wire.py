"""One connection, to a server that says what the test wants it to."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import hiredis
import pytest

from hub.rig import pass_time, until, warped
from tidings.redis import wire as wires
from tidings.redis.wire import RedisUnavailable, Wire

TIMEOUT_S = 2.0


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.pushes: list[Sequence[Any]] = []
        self.ends: list[str] = []

    def pushed(self, push: Sequence[Any]) -> None:
        self.pushes.append(push)

    def ended(self, wire: Wire, why: str) -> None:
        self.ends.append(why)


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False
        self.stuck_bytes = 0

    def writelines(self, list_of_data: Any) -> None:
        self.writes.append(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return self.stuck_bytes

    def abort(self) -> None:
        self.aborted = True


class Connected:
    """A connection, its owner, and what carries it."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.wire = Wire(self.owner, TIMEOUT_S)
        self.transport = Transport()
        self.wire.connection_made(self.transport)

    def hears(self, data: bytes) -> None:
        self.wire.data_received(data)


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    connected = Connected()
    yield connected
    connected.wire.abort("the test is over")


def packed(*command: str | bytes | int) -> bytes:
    data: bytes = hiredis.pack_command(command)
    return data


async def test_what_one_turn_sends_goes_out_together_in_order(connected: Connected) -> None:
    first = connected.wire.ask([(b"GET", b"a"), (b"GET", b"b")])
    second = connected.wire.ask([(b"GET", 3)])
    assert connected.transport.writes == []
    assert connected.wire.waiting_bytes == len(packed("GET", "a") * 3)
    await asyncio.sleep(0)
    assert connected.transport.writes == [packed("GET", "a") + packed("GET", "b") + packed("GET", "3")]
    connected.hears(b"$1\r\n1\r\n-ERR no\r\n:3\r\n")
    one, error = await first
    assert (one, str(error)) == (b"1", "ERR no")
    assert isinstance(error, connected.wire.error_type)
    assert await second == [3]


async def test_replies_may_come_in_any_pieces(connected: Connected) -> None:
    asked = connected.wire.ask([(b"HGETALL", b"a")] * 2)
    for byte in b"%2\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$0\r\n\r\n%0\r\n":
        connected.hears(bytes([byte]))
    assert await asked == [{b"a": b"b", b"c": b""}, {}]


async def test_all_that_ask_for_the_time_in_one_turn_share_it(connected: Connected) -> None:
    shared = [connected.wire.time() for _ in range(3)]
    shared[0].cancel()  # that one of them waits no more concerns no other
    await asyncio.sleep(0)
    later = connected.wire.time()
    await asyncio.sleep(0)
    assert connected.transport.writes == [packed("TIME")] * 2
    connected.hears(b"*2\r\n$1\r\n1\r\n$1\r\n0\r\n" + b"*2\r\n$1\r\n2\r\n$1\r\n0\r\n")
    assert [await one for one in shared[1:]] == [[[b"1", b"0"]]] * 2
    assert await later == [[b"2", b"0"]]


async def test_publications_come_between_replies(connected: Connected) -> None:
    confirmed: list[Any] = []
    first = connected.wire.ask([(b"GET", b"a")])
    connected.wire.send_channel(b"SUBSCRIBE", b"news", confirmed.append)
    second = connected.wire.ask([(b"GET", b"b")])
    message = b">3\r\n$7\r\nmessage\r\n$3\r\nold\r\n$2\r\nhi\r\n"
    connected.hears(message + b":1\r\n" + message)
    assert confirmed == []
    connected.hears(b">3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:2\r\n" + message + b":2\r\n")
    assert confirmed == [[b"subscribe", b"news", 2]]
    assert connected.owner.pushes == [[b"message", b"old", b"hi"]] * 3
    assert (await first, await second) == ([1], [2])


async def test_a_subscription_may_be_refused(connected: Connected) -> None:
    told: list[Any] = []
    connected.wire.send_channel(b"SUBSCRIBE", b"news", told.append)
    connected.hears(b"-NOPERM not this one\r\n")
    assert [str(one) for one in told] == ["NOPERM not this one"]


async def test_the_end_of_a_subscription_that_nobody_asked_for_is_pushed(connected: Connected) -> None:
    ended: list[Any] = []
    connected.wire.send_channel(b"SUNSUBSCRIBE", b"b", ended.append)
    connected.hears(b">3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:1\r\n")
    assert (ended, len(connected.owner.pushes)) == ([], 1)
    connected.hears(b">3\r\n$12\r\nsunsubscribe\r\n$1\r\nb\r\n:0\r\n")
    assert len(ended) == 1


async def test_what_is_owed_fails_when_it_ends(connected: Connected) -> None:
    told: list[Any] = []
    asked = connected.wire.ask([(b"GET", b"a"), (b"GET", b"b")])
    connected.wire.send_channel(b"SUBSCRIBE", b"news", told.append)
    connected.hears(b":1\r\n")
    connected.wire.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(RedisUnavailable, match="reset by peer"):
        await asked
    assert [str(one) for one in told] == ["reset by peer"]
    assert connected.owner.ends == ["reset by peer"]
    with pytest.raises(RedisUnavailable, match="reset by peer"):
        await connected.wire.ask([(b"GET", b"c")])
    connected.wire.connection_lost(None)
    connected.wire.abort("again")
    assert await connected.wire.lost == "reset by peer"
    assert len(connected.owner.ends) == 1


@pytest.mark.parametrize("data", [b"+OK\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"*99999999999\r\n"])
async def test_what_nobody_asked_for_and_what_is_no_redis_ends_it(connected: Connected, data: bytes) -> None:
    connected.hears(data)
    assert connected.transport.aborted
    assert len(connected.owner.ends) == 1


async def test_no_more_is_owed_than_is_allowed(connected: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "UNANSWERED", 2)
    fits = connected.wire.ask([(b"GET", b"a")] * 2)
    with pytest.raises(RedisUnavailable, match="too many"):
        await connected.wire.ask([(b"GET", b"b")])
    await asyncio.sleep(0)
    connected.hears(b":1\r\n:2\r\n")
    assert await fits == [1, 2]
    assert connected.transport.writes == [packed("GET", "a") * 2]


async def test_who_asked_may_have_gone(connected: Connected) -> None:
    gone = connected.wire.ask([(b"GET", b"a")])
    gone.cancel()
    asked = connected.wire.ask([(b"GET", b"b")])
    connected.hears(b":1\r\n:2\r\n")
    assert await asked == [2]


async def test_what_the_kernel_has_not_taken_counts_as_waiting(connected: Connected) -> None:
    connected.transport.stuck_bytes = 1000
    assert connected.wire.waiting_bytes == 1000
    connected.wire.abort("over")
    assert connected.wire.waiting_bytes == 0


def test_a_server_that_owes_nothing_is_pinged_and_one_that_is_silent_given_up() -> None:
    async def run() -> None:
        connected = Connected()
        await pass_time(TIMEOUT_S / 2)
        assert connected.transport.writes == [packed("PING")]
        connected.hears(b"+PONG\r\n")
        await pass_time(TIMEOUT_S / 2)  # it was heard since the last look, and is pinged again
        assert connected.transport.writes == [packed("PING")] * 2
        await pass_time(TIMEOUT_S / 2)
        assert not connected.transport.aborted
        await pass_time(TIMEOUT_S / 2)
        assert connected.owner.ends == ["it does not answer within 2 s"]
        assert len(connected.transport.writes) == 2
        assert connected.transport.aborted

    warped(run())


def test_a_process_that_was_stopped_takes_nobody_for_gone() -> None:
    async def run() -> None:
        connected = Connected()
        await pass_time(TIMEOUT_S / 2)
        # All timers of a minute are due, before what has come meanwhile is read.
        await pass_time(60)
        assert not connected.transport.aborted
        connected.hears(b"+PONG\r\n")
        await pass_time(TIMEOUT_S / 2)
        await pass_time(TIMEOUT_S / 2)
        assert not connected.transport.aborted
        connected.wire.abort("the test is over")

    warped(run())


def test_closing_sends_what_waits_and_waits_until_it_was_taken() -> None:
    async def run() -> None:
        connected = Connected()
        taken: list[Any] = []
        connected.wire.send((b"PUBLISH", b"a", b"b"), taken.append)
        closing = asyncio.ensure_future(connected.wire.close())
        await asyncio.sleep(0)
        assert b"".join(connected.transport.writes) == packed("PUBLISH", "a", "b") + packed("PING")
        connected.hears(b":0\r\n")
        await asyncio.sleep(0)
        assert not closing.done()
        connected.hears(b"+PONG\r\n")
        await closing
        assert connected.transport.aborted
        assert taken == [0]

    warped(run())


def test_closing_does_not_wait_for_ever() -> None:
    async def run() -> None:
        connected = Connected()
        closing = asyncio.ensure_future(connected.wire.close())
        await asyncio.sleep(0)
        await pass_time(wires.CLOSE_S)
        await until(closing.done)
        assert connected.transport.aborted

    warped(run())
