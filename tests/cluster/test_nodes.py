"""Several nodes as their operator sees them: real processes, killed, stopped, frozen, and without a store."""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.rig import PASSWORD, Watcher, watching
from cluster.cassandras import PATIENCE, Ring
from cluster.nodes import Balancer, Node, make_tables
from integration.pairs import Reader, Writer
from integration.people import Friends, Speaker, Talk, refusal_of, until
from redis.servers import Server as Redis
from tidings.client import Client, MessageEvent, PresenceEvent, ReceiptEvent
from tidings.protocol.close import CloseCode
from tidings.protocol.frames import Deliver, Sent

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

DEPLOY = Path(__file__).parents[2] / "deploy"
WINDOW = 8
PADDING = b"x" * 80
MORE = 100
"""messages acknowledged from one moment of a test to the next"""
POLLED_S = 5.0
"""within this a message comes to another node without Redis"""


async def friends_of(nodes: list[Node], name: str) -> Friends:
    """Two people; the first node makes their accounts."""
    return await Friends.of(nodes[0], f"{name}-alice", f"{name}-bob")


@contextlib.asynccontextmanager
async def apart(nodes: list[Node], friends: Friends) -> AsyncIterator[Talk]:
    """Alice at the first node, Bob at the second."""
    one, other = friends.tokens
    async with await Speaker.online(nodes[0], one) as alice, await Speaker.online(nodes[1], other) as bob:
        yield Talk(alice, bob, friends.conversation)


async def is_well(node: Node) -> None:
    """Wait until it takes messages."""
    await until(lambda: node.status() == "ok")


class Pair:
    """One who writes without pause, and one who keeps what comes."""

    def __init__(self, friends: Friends) -> None:
        self.writer = Writer(friends.tokens[0], friends.conversation, WINDOW, PADDING)
        self.reader = Reader(friends.tokens[1])

    async def more(self) -> None:
        """Wait until a good deal more is acknowledged."""
        goal = len(self.writer.acked) + MORE
        await until(lambda: len(self.writer.acked) >= goal)

    async def settle(self) -> None:
        """Write no more, and see that all that was acknowledged came, once."""
        self.writer.stop()
        await until(self.writer.idle.is_set)
        acked = set(self.writer.acked)
        await until(lambda: acked <= {number for _, number in self.reader.shown.values()})
        # Not in the order of writing where one of several in flight was refused: this writer names none as
        # the one before it.
        assert len({number for _, number in self.reader.shown.values()}) == len(self.reader.shown)
        assert self.reader.doubled == 0


@contextlib.asynccontextmanager
async def writing(pair: Pair, writes_at: int, reads_at: int) -> AsyncIterator[Pair]:
    """At these ports; at the end all must be there."""
    tasks = [
        asyncio.create_task(pair.writer.run(writes_at)),
        asyncio.create_task(pair.reader.run(reads_at)),
    ]
    try:
        await pair.more()
        yield pair
        await pair.settle()
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


# --- people ---------------------------------------------------------------------------------


async def test_people_on_different_nodes_talk(nodes: list[Node], tmp_path: Path) -> None:
    profiles = {}
    for name, node in zip(("ann", "ben", "cleo"), nodes, strict=True):
        profiles[name] = tmp_path / name
        await Client.register(node.url, handle=name, password=PASSWORD, profile=profiles[name])
    async with (
        watching(profiles["ann"]) as ann,
        watching(profiles["ben"]) as ben,
        watching(profiles["cleo"]) as cleo,
    ):
        sent = await ann.client.send("ben", "over two nodes")
        await ben.until(lambda one: one.texts == ["over two nodes"])
        (received,) = ben.of(MessageEvent)
        assert received.sealed
        await ben.client.mark_read("ann")
        await ann.until(lambda one: receipts(one)[-1:] == [("read", sent.message_id)])
        (there,) = await ben.client.presence.watch(["cleo"])
        assert there.online
        group = await ann.client.groups.create("Trio", ["ben", "cleo"])
        await ann.client.send(group.peer, "to both")
        for member in (ben, cleo):
            await member.until(lambda one: "to both" in one.texts)
        await cleo.client.send(group.peer, "to all")
        for member in (ann, ben):
            await member.until(lambda one: "to all" in one.texts)
        assert all(event.sealed for event in cleo.of(MessageEvent) if event.text == "to both")
        await cleo.client.close()
        await ben.until(lambda one: [event.online for event in one.of(PresenceEvent)][-1:] == [False])


def receipts(watcher: Watcher) -> list[tuple[str, int]]:
    """The ticks that came, with the newest message that each is of."""
    return [(event.state, event.message_ids[-1]) for event in watcher.of(ReceiptEvent)]


def test_the_dashboard_shows_what_a_node_measures(nodes: list[Node]) -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in re.findall(r"\b(?:tidings|process)_\w+", target["expr"])
    }
    measured = set(re.findall(r"^# TYPE (\w+)", nodes[0].metrics(), re.MULTILINE))
    assert len(asked) > 20
    assert asked - measured == set()


# --- nodes that die, freeze and come back ---------------------------------------------------


async def test_a_node_that_is_killed_and_started_again_loses_nothing(nodes: list[Node]) -> None:
    pair = Pair(await friends_of(nodes, "killed"))
    async with writing(pair, nodes[0].port, nodes[1].port):
        for node in (nodes[0], nodes[1]):
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            await pair.more()


async def test_a_rolling_restart_behind_haproxy_refuses_nobody(nodes: list[Node], tmp_path: Path) -> None:
    pairs = [Pair(await friends_of(nodes, f"rolled{number}")) for number in range(3)]
    with Balancer(tmp_path, nodes).running() as balancer:
        async with contextlib.AsyncExitStack() as stack:
            for pair in pairs:
                await stack.enter_async_context(writing(pair, balancer.port, balancer.port))
            for node in nodes:
                await asyncio.to_thread(node.stop)
                await pairs[0].more()  # the others carry on
                await asyncio.to_thread(node.start)
                await is_well(node)
            for pair in pairs:
                await pair.more()
        assert [pair.writer.unreached + pair.reader.unreached for pair in pairs] == [0] * len(pairs)


async def test_a_node_that_was_frozen_does_no_harm(nodes: list[Node]) -> None:
    friends = await friends_of(nodes, "frozen")
    async with apart(nodes, friends) as (alice, old_bob, conversation):
        os.kill(nodes[1].pid, signal.SIGSTOP)
        try:
            # His device notices that nobody answers, and goes to another node.
            async with await Speaker.online(nodes[2], friends.tokens[1]) as bob:
                for number in range(5):
                    alice.say(alice.message(conversation, b"%d" % number))
                    await alice.expect(Sent)
                os.kill(nodes[1].pid, signal.SIGCONT)
                assert (await old_bob.closing()).code == CloseCode.REPLACED
                received = [await bob.expect(Deliver) for _ in range(5)]
                assert [one.message.content for one in received] == [b"%d" % number for number in range(5)]
                bob.acknowledge()
                await bob.settled()
                assert not [one for one in bob.seen if isinstance(one, Deliver)]
        finally:
            os.kill(nodes[1].pid, signal.SIGCONT)
        assert not [one for one in old_bob.seen if isinstance(one, Deliver)]
    async with apart(nodes, friends) as talk:  # it serves as before
        await talk.exchange()


async def test_who_writes_on_a_node_that_freezes_loses_nothing(nodes: list[Node]) -> None:
    pair = Pair(await friends_of(nodes, "freezing"))
    async with writing(pair, nodes[0].port, nodes[1].port):
        for node in nodes[:2]:
            os.kill(node.pid, signal.SIGSTOP)
            await asyncio.sleep(6)  # what is tested: longer than a node may take for a write
            os.kill(node.pid, signal.SIGCONT)
            await pair.more()


# --- Redis and Cassandra die ----------------------------------------------------------------


async def test_without_redis_messages_take_a_little_longer(nodes: list[Node], redis: Redis) -> None:
    friends = await friends_of(nodes, "without-redis")
    async with apart(nodes, friends) as talk:
        await talk.exchange()
        redis.kill()
        try:
            for _ in range(3):
                assert await delivered_in_s(talk) < POLLED_S
            assert "tidings_bus_ok 0.0" in nodes[0].metrics()
            assert "tidings_directory_ok 0.0" in nodes[0].metrics()
            assert nodes[0].status() == "ok"
        finally:
            redis.start()
        await until(lambda: "tidings_bus_ok 1.0" in nodes[0].metrics() + nodes[1].metrics())
        await until(lambda: "tidings_peers 2.0" in nodes[1].metrics())
        await talk.exchange()


async def delivered_in_s(talk: Talk) -> float:
    """Seconds from a message to its delivery. (What no inbox holds, as ticks, comes when a client syncs.)"""
    began_s = time.monotonic()
    talk.alice.say(talk.alice.message(talk.conversation, b"hello"))
    sent = await talk.alice.expect(Sent)
    await talk.bob.expect(Deliver, lambda one: one.message.message_id == sent.message_id)
    took_s = time.monotonic() - began_s
    talk.bob.acknowledge()
    return took_s


async def test_without_cassandra_nothing_is_acknowledged_and_it_goes_on(tmp_path: Path, redis: Redis) -> None:
    ring = Ring(tmp_path / "cassandra", HEAP="400M", PATIENCE=PATIENCE)
    cassandra = ring.config("tidings", request_s=3.0)
    nodes = [Node(tmp_path / f"node{number}", cassandra, redis) for number in (1, 2)]
    try:
        await asyncio.to_thread(ring.start)
        await make_tables(cassandra)
        for node in nodes:
            node.start()
        friends = await friends_of(nodes, "without-cassandra")
        async with apart(nodes, friends) as talk:
            alice, bob, conversation = talk
            await talk.exchange()
            await asyncio.to_thread(ring.kill, 1)
            said = [alice.message(conversation, b"%d" % number) for number in range(3)]
            for one in said:
                alice.say(one)
                refused = await refusal_of(alice, one)
                assert refused.retry_after is not None
            assert not [one for one in alice.seen if isinstance(one, Sent)]
            await until(lambda: nodes[0].status() != "ok")
            assert not [one for one in bob.seen if isinstance(one, Deliver)]
            await asyncio.to_thread(ring.start)
            await until(lambda: {node.status() for node in nodes} == {"ok"})
        async with apart(nodes, friends) as talk:  # they were told to come back
            for one in said:
                one.attempt += 1
                talk.alice.say(one)
                sent = await talk.alice.expect(Sent)
                assert sent.client_id == one.client_id
            contents = await talk.bob.history(friends.conversation)
            assert [contents.count(one.content) for one in said] == [1] * len(said)
            await talk.exchange()
        for node in nodes:
            node.end()
    finally:
        for node in nodes:
            node.discard()
        ring.stop()
