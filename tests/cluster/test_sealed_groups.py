"""Encrypted groups over several nodes: two people at two nodes talk in them, and one of the nodes is killed.

One group has copies in its members' inboxes, the other is so large that it is read from its log.
"""

import asyncio
from pathlib import Path

import pytest

from cluster.nodes import Node
from integration.crowd import Crowd, Member, Talk
from tidings.bench.seed import seed
from tidings.client import MessageEvent, WarningEvent
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.store import CassandraStore

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

SIZES = (50, 500)
MORE = 10
"""messages from one moment of the test to the next"""


async def test_two_people_talk_in_groups_of_fifty_and_of_five_hundred(
    nodes: list[Node], cassandra: CassandraConfig, tmp_path: Path
) -> None:
    accounts, _ = await seed(tmp_path, max(SIZES), [], store=await CassandraStore.open(cassandra))
    crowd = await Crowd.of(accounts, tmp_path, [node.url for node in nodes])
    async with crowd.member(0) as ann, crowd.member(1) as ben:
        for size in SIZES:
            group = await ann.client.groups.create(f"We are {size}", crowd.handles(1, size))
            assert group.count == size
            talk = Talk(group.peer)
            await talk.say(ann, "to everybody")
            await ben.until(lambda talk=talk: ben.texts(talk.peer) == talk.said, "the group")
            async with talk.going_on(ann, ben):
                await said(talk, MORE)
                await asyncio.to_thread(nodes[1].kill)
                await said(talk, MORE)
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
    while len(talk.said) < goal:
        await asyncio.sleep(0.05)


def nothing_is_unread(*members: Member) -> None:
    """All that came was sealed and could be opened, and nobody was warned."""
    for member in members:
        received = [event for event in member.events if isinstance(event, MessageEvent)]
        assert all(event.sealed for event in received if event.change is None)
        assert not [event for event in member.events if isinstance(event, WarningEvent)]
