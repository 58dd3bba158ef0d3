"""An encrypted group over several nodes: people at two nodes talk in it, and one of the nodes is killed."""

import asyncio
from pathlib import Path

import pytest

from cluster.nodes import Node
from integration.crowd import Crowd, Member, Talk
from tidings.bench.seed import seed
from tidings.client import MessageEvent, WarningEvent
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.store import CassandraStore

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

MEMBERS = 50
MORE = 10
"""messages from one moment of the test to the next"""
SAID_S = 30.0
"""within which they are acknowledged, a node's death included"""


async def test_two_people_talk_in_a_group_of_fifty(
    nodes: list[Node], cassandra: CassandraConfig, tmp_path: Path
) -> None:
    accounts, _ = await seed(tmp_path, MEMBERS, [], store=await CassandraStore.open(cassandra))
    crowd = await Crowd.of(accounts, tmp_path, [node.url for node in nodes])
    async with crowd.member(0) as ann, crowd.member(1) as ben:
        group = await ann.client.groups.create("We are fifty", crowd.handles(1, MEMBERS))
        assert group.count == MEMBERS
        talk = Talk(group.peer)
        await talk.say(ann, "to everybody")
        await ben.until(lambda: ben.texts(talk.peer) == talk.said, "the group")
        async with talk.going_on(ann, ben):
            await said(talk, MORE)
            await asyncio.to_thread(nodes[1].kill)  # the one that ben knows
            await asyncio.to_thread(nodes[1].start)
            await said(talk, MORE)
        await talk.is_shown(ann, ben)
        # Somebody at the third node who comes back reads it all, in that order.
        async with crowd.member(2) as cleo:
            await talk.is_shown(cleo)
            nothing_is_unread(cleo)
        nothing_is_unread(ann, ben)


async def said(talk: Talk, more: int) -> None:
    """Wait until so many more are acknowledged."""
    goal = len(talk.said) + more
    async with asyncio.timeout(SAID_S):
        while len(talk.said) < goal:
            await asyncio.sleep(0.05)


def nothing_is_unread(*members: Member) -> None:
    """All that came was sealed and could be opened, and nobody was warned."""
    for member in members:
        received = [event for event in member.events if isinstance(event, MessageEvent)]
        assert all(event.sealed for event in received if event.change is None)
        assert not [event for event in member.events if isinstance(event, WarningEvent)]
