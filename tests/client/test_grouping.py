"""Grouping: a group is asked for until the server knows of it what it has told, over any connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from client.fakes import FakeClock
from tidings.client.errors import ConnectionLost
from tidings.client.grouping import AGAIN_S, TRIES, Grouping
from tidings.protocol.ids import ConversationId

GROUP = ConversationId(b"g" * 16)
CONNECTION = cast("Any", None)


class Server:
    """What is asked of a group; implements as much of `Founding` and `Conversations`."""

    def __init__(self) -> None:
        self.knows = 0
        """the version that it tells"""
        self.asked = 0
        self.is_lost = False
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        """what else happens while it is asked, once"""

    async def resume(self, _: object) -> None: ...

    async def asked_of(self, *_: object) -> ConversationId:
        self.asked += 1
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        if self.is_lost:
            raise ConnectionLost(1006, "planned")
        return GROUP

    async def version(self, _: object) -> int:
        return self.knows


class Rig:
    def __init__(self) -> None:
        self.server, self.clock = Server(), FakeClock()
        conversations = cast(
            "Any", type("", (), {"asked": self.server.asked_of, "version": self.server.version})
        )
        self.grouping = Grouping(
            CONNECTION, conversations, cast("Any", self.server), CONNECTION, self.clock, lambda: None
        )

    async def hears_of(self, version: int) -> None:
        """Something came that tells of a version."""
        await self.grouping._ask(CONNECTION, GROUP, version)

    async def connected(self, seconds: float) -> None:
        """A connection stands for so long."""
        run = asyncio.ensure_future(self.grouping.run(CONNECTION))
        await self.clock.advance(seconds)
        run.cancel()
        await asyncio.wait([run])
        if not run.cancelled() and (error := run.exception()) is not None:
            raise error


async def test_it_is_asked_until_the_server_knows_it() -> None:
    rig = Rig()
    await rig.hears_of(2)
    await rig.connected(2.5 * AGAIN_S)
    assert rig.server.asked == 3
    rig.server.knows = 2
    await rig.connected(10 * AGAIN_S)
    assert rig.server.asked == 4


async def test_one_that_never_does_is_given_up() -> None:
    rig = Rig()
    await rig.hears_of(2)
    await rig.connected(10 * TRIES * AGAIN_S)
    assert rig.server.asked == 1 + TRIES


async def test_what_was_in_doubt_when_the_connection_was_lost_is_asked_over_the_next_one() -> None:
    rig = Rig()
    await rig.hears_of(2)
    rig.server.is_lost = True
    with pytest.raises(ConnectionLost):
        await rig.connected(2 * AGAIN_S)
    rig.server.is_lost = False
    await rig.connected(1.5 * AGAIN_S)
    assert rig.server.asked == 3


@pytest.mark.parametrize("tries", [1, TRIES])
async def test_a_later_version_that_is_heard_of_meanwhile_is_not_forgotten(tries: int) -> None:
    rig = Rig()
    await rig.hears_of(2)
    await rig.connected((tries - 0.5) * AGAIN_S)
    rig.server.knows = 2
    rig.server.meanwhile = lambda: rig.hears_of(3)
    await rig.connected(1.5 * AGAIN_S)
    before = rig.server.asked
    await rig.connected(1.5 * AGAIN_S)
    assert rig.server.asked == before + 1
