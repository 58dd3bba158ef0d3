"""An encrypted group over several nodes: people at two nodes talk in it, and one of the nodes is killed."""

import asyncio
from pathlib import Path

import pytest

from cluster.nodes import Node
from integration.crowd import Crowd, Member, Talk
from tidings.bench.seed import seed
from tidings.client import MessageEvent, WarningEvent
from tidings.protocol.api import LoggedIn
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.store import CassandraStore

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

MORE = 10
"""messages from one moment of the test to the next"""
SAID_S = 30.0
"""within which they are acknowledged, a node's death included"""
HANDED_OUT_S = 0.4
"""more for each member: each of the two hands a key to every device at first, a message each"""


FIFTY, FIVE_HUNDRED = range(50), range(50, 550)
"""people"""


@pytest.fixture(scope="module")
def accounts(cassandra: CassandraConfig, tmp_path_factory: pytest.TempPathFactory) -> list[LoggedIn]:
    """Of all people of this module."""

    async def made() -> list[LoggedIn]:
        store = await CassandraStore.open(cassandra)
        found, _ = await seed(tmp_path_factory.mktemp("people"), FIVE_HUNDRED.stop, [], store=store)
        return found

    return asyncio.run(made())


@pytest.mark.parametrize("who", [FIFTY, FIVE_HUNDRED], ids=["fifty", "five-hundred"])
async def test_two_people_talk_in_a_group(
    nodes: list[Node], accounts: list[LoggedIn], tmp_path: Path, who: range
) -> None:
    members = len(who)
    crowd = await Crowd.of(accounts[who.start : who.stop], tmp_path, [node.url for node in nodes])
    async with crowd.member(0) as ann, crowd.member(1) as ben:
        group = await ann.client.groups.create("All of us", crowd.handles(1, members))
        assert group.count == members
        talk = Talk(group.peer)
        await talk.say(ann, "to everybody")
        await ben.until(lambda: ben.texts(talk.peer) == talk.said, "the group")
        async with talk.going_on(ann, ben):
            await said(talk, MORE, SAID_S + HANDED_OUT_S * members)
            await asyncio.to_thread(nodes[1].kill)  # the one that ben knows
            await asyncio.to_thread(nodes[1].start)
            await said(talk, MORE)
        await talk.is_shown(ann, ben)
        # Somebody at the third node who comes back reads it all, in that order.
        async with crowd.member(2) as cleo:
            await talk.is_shown(cleo)
            nothing_is_unread(cleo)
        nothing_is_unread(ann, ben)


async def said(talk: Talk, more: int, within_s: float = SAID_S) -> None:
    """Wait until so many more are acknowledged."""
    goal = len(talk.said) + more
    async with asyncio.timeout(within_s):
        while len(talk.said) < goal:
            await asyncio.sleep(0.05)


def nothing_is_unread(*members: Member) -> None:
    """All that came was sealed and could be opened, and nobody was warned."""
    for member in members:
        received = [event for event in member.events if isinstance(event, MessageEvent)]
        assert all(event.sealed for event in received if event.change is None)
        assert not [event for event in member.events if isinstance(event, WarningEvent)]
