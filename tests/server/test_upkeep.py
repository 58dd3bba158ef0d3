"""Upkeep: rounds come again whatever becomes of one; quotas hold."""

import asyncio

import structlog

from tidings.protocol import errors, frames
from tidings.server.upkeep import rounds
from tidings.testing.clock import FakeClock
from tidings.testing.world import World


async def test_a_round_that_fails_is_logged_and_the_next_one_comes() -> None:
    complaints: list[object] = []

    def note(_: object, __: str, event: structlog.typing.EventDict) -> str:
        complaints.append(event)
        return ""

    log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
    done = asyncio.Event()
    count = 0

    async def work() -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise RuntimeError("the first one")
        done.set()

    task = asyncio.ensure_future(rounds(work, lambda: 0.0, 0.0, log))
    async with asyncio.timeout(5):
        await done.wait()
    task.cancel()
    assert len(complaints) == 1


async def test_a_quota_of_messages_holds_for_a_day() -> None:
    clock = FakeClock()
    world = await World.start(clock=clock)
    alice = await world.online(await world.register("alice"))
    await world.register("bob")
    conversation = await alice.open("bob")
    await world.services.accounts.quota(alice.session.known_user.user_id, 2, 0)
    for _ in range(2):
        alice.send(conversation, "hello")
        await alice.expect(frames.Sent)
    frame = alice.send(conversation, "one too many")
    error = await alice.expect(frames.Error, lambda error: error.client_id == frame.client_id)
    assert error.code == errors.QUOTA.code
    clock.advance(86_400)
    alice.send(conversation, "another day")
    await alice.expect(frames.Sent)
    await world.services.accounts.quota(alice.session.known_user.user_id, 0, 0)
    for _ in range(3):
        alice.send(conversation, "no quota any more")
        await alice.expect(frames.Sent)
