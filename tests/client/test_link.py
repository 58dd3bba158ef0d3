"""The link: when it tries again, how long it pauses, and when it gives up."""

import asyncio
from random import Random

import pytest

from client.fakes import FakeClock, FakeSocket, settle
from tidings.client.connection import Connection
from tidings.client.errors import ConnectionLost, SessionEnded, StorageFull
from tidings.client.events import ConnectionEvent
from tidings.client.link import Link
from tidings.client.socket import Socket
from tidings.client.surroundings import Surroundings
from tidings.protocol.frames import Hello, Welcome


class Rig:
    """A link whose dials the test answers: with a socket, or with nothing."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sockets: list[FakeSocket] = []
        self.is_up = True
        self.told: list[ConnectionEvent] = []
        self.works: list[Connection] = []
        surroundings = Surroundings(clock=self.clock, random=Random(1), dial=self.dial)
        self.link = Link("ws://x", self.hello, [self.work], self.welcomed, self.told.append, surroundings)
        self.task = asyncio.ensure_future(self.link.run())

    async def welcomed(self, welcome: Welcome) -> None:
        assert welcome.token is None

    async def hello(self) -> Hello:
        return Hello("token")

    async def dial(self, url: str) -> Socket:
        if not self.is_up:
            raise ConnectionLost(1006, "connection refused")
        self.sockets.append(FakeSocket())
        return self.sockets[-1]

    async def work(self, connection: Connection) -> None:
        self.works.append(connection)
        await asyncio.get_running_loop().create_future()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_it_comes_back_at_once_then_slower_and_at_once_again() -> None:
    rig = Rig()
    await rig.clock.advance(0)
    assert rig.told == [ConnectionEvent("connected")]
    await rig.clock.advance(5)
    rig.sockets[-1].lose(1006)
    rig.is_up = False
    await settle()
    assert rig.told[-1].retry_in_s == 0
    await rig.clock.advance(600)
    pauses = [event.retry_in_s for event in rig.told[2:]]
    assert all(pause <= min(30.0, 0.2 * 2**number) for number, pause in enumerate(pauses))
    assert sum(pauses) / len(pauses) > 5
    rig.is_up = True
    await rig.clock.advance(30)
    assert rig.told[-1].state == "connected"
    assert len(rig.works) == 2
    await rig.stop()


async def test_after_a_drain_it_waits_as_long_as_the_reason_says() -> None:
    rig = Rig()
    await rig.clock.advance(0)
    rig.sockets[-1].lose(4001, "7.25")
    await settle()
    assert rig.told[-1] == ConnectionEvent("disconnected", "the server is stopping", 7.25)
    await rig.clock.advance(7)
    assert len(rig.sockets) == 1
    await rig.clock.advance(0.25)
    assert len(rig.sockets) == 2
    await rig.stop()


@pytest.mark.parametrize(
    ("code", "reason", "says"),
    [
        (4409, "", "took over"),
        (4401, "", "token"),
        (4401, "suspended", "suspended this account"),
        (4444, "", "close code 4444"),
    ],
)
async def test_a_code_that_forbids_to_come_back_ends_it(code: int, reason: str, says: str) -> None:
    rig = Rig()
    await rig.clock.advance(0)
    rig.sockets[-1].lose(code, reason)
    with pytest.raises(SessionEnded, match=says) as ended:
        await rig.task
    rig.link.fail(ended.value)
    with pytest.raises(SessionEnded):
        await rig.link.connection()


async def test_a_work_that_fails_ends_it_with_its_own_reason() -> None:
    rig = Rig()

    async def work(connection: Connection) -> None:
        raise StorageFull("full")

    rig.link._works = [work]
    await rig.clock.advance(0)
    with pytest.raises(StorageFull):
        await rig.task
