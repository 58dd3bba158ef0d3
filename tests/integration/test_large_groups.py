"""Encrypted groups that are read from the log, end to end: clients of the SDK, and a real server.

A group grows beyond the line, through the time in which its messages go both ways, while people talk and the
server is killed. What was said is shown by all whom it is for, once, in one order and in plain. With `-s` it
is printed what that took.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.crowd import Crowd, Member, Talk
from integration.server import Server
from tidings.client import Refused, WarningEvent
from tidings.client.sealing.publishing import FULL
from tidings.protocol.frames import Bundles, Claim, DeviceName
from tidings.protocol.limits import Limits

FIRST = 240
"""members that a group is made with: each gets copies"""
BOTH_S = 2.0
"""in which messages go both ways; the usual half a minute would be waited for"""
CROSSED = 5
"""messages without copies, after which it is believed that there are none any more"""
CLAIMS = 10
"""prekeys of a device that a user is given in an hour"""
LIMITS = {"fanout_both_s": BOTH_S, "lookup_rate": {"per_s": 1000.0, "burst": 2000}}
"""handles are looked up at once: see `test_many_handles_only_take_longer`"""


class Cost:
    """What something took: time, CPU of the server and of this process, and what a member sent."""

    def __init__(self, server: Server, member: Member) -> None:
        self._server = server
        self._member = member

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Print it, for what is done inside."""
        before, began_s = self._now(), time.perf_counter()
        yield
        took = [now - then for now, then in zip(self._now(), before, strict=True)]
        print(
            f"{what}: {time.perf_counter() - began_s:.2f} s; CPU {took[0]:.2f} s of clients, {took[1]:.2f} s"
            f" of the server, which has {self._server.usage.rss_bytes / 1e6:.0f} MB; {took[2]:.0f} frames of"
            f" sender keys, {took[3] / 1e3:.0f} kB sent, {took[4] / 1e3:.0f} kB received by one"
        )

    def _now(self) -> tuple[float, ...]:
        member = self._member
        used_s = (time.process_time(), self._server.usage.cpu_s)
        return (*used_s, member.handouts, member.sent_bytes, member.received_bytes)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Not started yet."""
    server = Server(tmp_path, limits=LIMITS)
    yield server
    server.discard()


async def use_up(crowd: Crowd, number: int, askers: list[Member]) -> None:
    """Have the one-time prekeys of somebody's device given away."""
    user, device = crowd.ids(number)

    def claim(request_id: int) -> Claim:
        return Claim(request_id, [DeviceName(user, device)])

    answers = [await one.client._open.link.ask(claim) for one in askers for _ in range(CLAIMS)]
    bundles = [bundle for answer in answers if isinstance(answer, Bundles) for bundle in answer.bundles]
    assert len(bundles) == len(answers) > FULL
    assert bundles[-1].one_time_id is None


async def grow(server: Server, alice: Member, talk: Talk, members: list[Member], added: list[str]) -> None:
    """The group grows over the line while people talk."""
    watcher, line = members[-1], Limits().fanout_write_members

    def is_read_only() -> bool:
        newest = max(watcher.copied)
        return len([one for one in watcher.pulled if one > newest]) >= CROSSED

    async with talk.going_on(alice, *members[:2]):
        with Cost(server, alice).of(f"{len(added)} are added, and given the sender key"):
            await alice.client.groups.add(talk.peer, added)
        assert watcher.group(talk.peer).count > line
        await watcher.until(is_read_only, "messages that come from the log alone")


async def grow_and_be_killed(
    server: Server, alice: Member, talk: Talk, members: list[Member], added: list[str]
) -> None:
    """The same, and the server is killed while messages go both ways."""
    adding = asyncio.ensure_future(alice.client.groups.add(talk.peer, added[:-1]))
    watcher, line = members[-1], Limits().fanout_write_members
    async with talk.going_on(*members[:2]):
        await watcher.until(lambda: watcher.group(talk.peer).count > line, "a large group")
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await adding
    # Whoever finds that a step is overdue does it; then there are no copies any more.
    await grow(server, alice, talk, members, added[-1:])


async def story(server: Server, folder: Path, people: int, *, is_killed: bool) -> None:
    """All of it, in a group of so many. `is_killed`: the server, meanwhile."""
    crowd = await Crowd.gather(server, folder, people + 1)
    async with contextlib.AsyncExitStack() as stack:

        async def opened(*numbers: int) -> list[Member]:
            return [await stack.enter_async_context(crowd.member(number)) for number in numbers]

        (alice,) = await opened(0)
        with Cost(server, alice).of(f"a group is made with {FIRST}"):
            group = await alice.client.groups.create("Assembly", crowd.handles(1, FIRST))
        talk = Talk(group.peer)
        await talk.say(alice, "welcome")
        bob, carol, dave = early = await opened(1, 2, 3)
        await talk.is_shown(alice, *early)
        for member in (bob, carol):
            await talk.say(member, f"@{member.handle} says hello")

        growing = grow_and_be_killed if is_killed else grow
        await growing(server, alice, talk, early, crowd.handles(FIRST, people))
        await talk.is_shown(alice, *early)

        # Who comes back: one of old, whose prekeys are used up, and one who was added while away.
        erin_number, frank_number = FIRST - 1, people - 1
        await use_up(crowd, erin_number, [alice, *early, *await opened(4, 5, 6)])
        (frank,) = await opened(frank_number)
        with Cost(server, frank).of("a new member speaks"):
            await frank.until(lambda: frank.texts(talk.peer)[-1:] == talk.said[-1:], "the newest message")
            since = frank.texts(talk.peer)[0]
            await talk.say(frank, "thank you for having me")
        (erin,) = await opened(erin_number)
        everybody = [alice, *early, erin]
        await talk.is_shown(*everybody)
        await talk.is_shown(frank, since=since)

        with Cost(server, alice).of("somebody is removed"):
            await alice.client.groups.remove(group, [f"@{dave.handle}"])
            await talk.say(alice, "we are one less")
        everybody.remove(dave)
        await talk.is_shown(*everybody)
        assert dave.texts(talk.peer) == talk.said[:-1]
        assert (await dave.client.groups.get(group)).is_left

        link = await alice.client.groups.link(group)
        (grace,) = await opened(people)
        with Cost(server, grace).of("somebody joins"):
            joined = await grace.client.groups.join(link)
        assert joined is not None
        assert (joined.name, joined.count) == ("Assembly", people)
        await talk.say(alice, "we are complete")
        await talk.say(grace, "here I am")
        await talk.is_shown(*everybody)
        await talk.is_shown(grace, since="we are complete")
        if people == Limits().group_members_sealed:
            with pytest.raises(Refused, match="at most 1024 members"):
                await alice.client.groups.add(group, [f"@{dave.handle}"])
            with pytest.raises(Refused, match="at most 1024 members"):
                await dave.client.groups.join(link)

        await talk.say(alice, "who has read this?")
        readers = [bob, carol, erin, frank, grace]
        for reader in readers:
            await reader.until(lambda reader=reader: reader.texts(talk.peer)[-1] == talk.said[-1], "it")
            await reader.client.mark_read(talk.peer)
        present = len(readers) + 3  # those who were opened to ask for prekeys, too
        await alice.until(
            lambda: alice.messages(talk.peer)[-1].tally == (present, len(readers), people - 1), "receipts"
        )

        for member in (*everybody, frank, grace, dave):
            faults = [one for one in member.state.messages(talk.peer) if one.fault]
            warnings = [event for event in member.events if isinstance(event, WarningEvent)]
            assert not faults
            assert not warnings
    server.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_encrypted_group_grows_beyond_copies(server: Server, tmp_path: Path) -> None:
    await story(server, tmp_path, 300, is_killed=True)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_largest_encrypted_group(server: Server, tmp_path: Path) -> None:
    await story(server, tmp_path, Limits().group_members_sealed, is_killed=False)


@pytest.mark.slow
async def test_many_handles_only_take_longer(tmp_path: Path) -> None:
    """More than may be looked up at once: the client waits as it is told to, and goes on."""
    server = Server(tmp_path, limits={"lookup_rate": {"per_s": 25.0, "burst": 5}})
    try:
        crowd = await Crowd.gather(server, tmp_path, 30)
        async with crowd.member(0) as alice:
            group = await alice.client.groups.create("Choir", crowd.handles(1, 30))
            assert group.count == 30
        server.stop()
    finally:
        server.discard()
