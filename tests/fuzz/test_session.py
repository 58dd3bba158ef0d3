"""Whatever a device says, it gets documented answers, and the node has nothing to complain of.

The rules and sessions are real, links and store are in memory, and the store fails now and then. A
canary at the end plants a fault, which the same harness must find.
"""

import asyncio
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.test_decoder import mutated
from keyed import person
from protocol.strategies import client_frames
from tidings.protocol.codec import MSGPACK
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import (
    Claim,
    Deliver,
    DeviceName,
    Devices,
    Error,
    Frame,
    Heartbeat,
    Hello,
    Scheme,
    Send,
    ServerFrame,
)
from tidings.protocol.ids import ConversationId
from tidings.protocol.limits import Limits
from tidings.server.commands import COMMANDS, heartbeat
from tidings.server.services import Command, RateClass
from tidings.store.memory import Fault, MemoryStore, PlannedFaults
from tidings.testing.world import Device, World

LIMITS = Limits(window_entries=3, backlog_frames=4, receipt_delay_s=0)
EXAMPLES = 500

often = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False
)

steps = st.lists(
    st.one_of(
        # A frame, and whether it names the conversation (or the token) that there is.
        st.tuples(st.just("frame"), client_frames, st.booleans() | st.just(value=True)),
        st.tuples(st.just("bytes"), st.binary(max_size=40) | mutated(MSGPACK)),
        st.tuples(st.just("fault"), st.sampled_from([Fault.FULL, Fault.UNAVAILABLE])),
        st.tuples(st.just("clock"), st.integers(0, 10**8)),
        st.sampled_from([("ack",), ("turn",), ("hello",), ("reconnect",), ("text",), ("side",)]),
    ),
    max_size=25,
)


class Stage:
    """Alice, who says anything, and Bob, who is well-behaved."""

    def __init__(
        self,
        world: World,
        faults: PlannedFaults,
        alice: Device,
        bob: Device,
        conversation: ConversationId,
    ) -> None:
        self.world = world
        self.faults = faults
        self.late: list[bytes] = []
        """what Alice was sent after the end, which links drop in silence"""
        self.alice = self._watched(alice)
        self.bob = bob
        self.conversation = conversation

    @classmethod
    async def start(cls) -> "Stage":
        faults = PlannedFaults(Random(1))
        world = await World.start(MemoryStore(faults=faults), limits=LIMITS)
        people = [await person(world, "alice", 1), await person(world, "bob", 2)]
        await people[1].bring(people[1].devices[0], 1, 2)
        alice, bob = [await world.online(one.account) for one in people]
        return cls(world, faults, alice, bob, await alice.open("bob"))

    async def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("frame", frame, fitting):
                self.alice.say(self._fitted(frame) if fitting else frame)
            case ("bytes", data):
                self.alice.session.receive(data)
            case ("ack",):
                self.alice.ack()
            case ("hello",):
                self.alice.hello()
            case ("text",):
                self.bob.send(self.conversation, "hello")
            case ("reconnect",):
                self.check(self.alice)
                self.alice.drop()
                self.alice = self._watched(self.world.connect(self.alice.account))
            case ("fault", fault):
                self.faults.writes.append(fault)
            case ("clock", seconds):
                self.world.clock.advance(seconds)
            case ("side",):
                side = self.world.connect(self.alice.account)
                side.hello(receive=False)
                side.send(self.conversation, "from the side")
            case ("turn",):
                await asyncio.sleep(0)

    def check(self, device: Device) -> None:
        """What a device was sent so far: frames of the protocol, errors of the registry."""
        device._receive()
        seen: list[ServerFrame] = device.seen
        assert all(frame.code in REGISTRY for frame in seen if isinstance(frame, Error))
        assert device.link.closed is None or device.session.is_closed

    def _watched(self, device: Device) -> Device:
        link, send = device.link, device.link.send

        def watched(data: bytes) -> None:
            if link.closed is not None:
                self.late.append(data)
            send(data)

        link.send = watched  # type: ignore[method-assign]
        return device

    def _fitted(self, frame: Frame) -> Frame:
        if hasattr(frame, "conversation_id"):
            frame.conversation_id = self.conversation
        if isinstance(frame, Hello):
            frame.token = self.alice.account.token
        user_id, device_id = self.bob.account.ids()
        if isinstance(frame, Send) and frame.envelopes:
            frame.envelopes = {device_id: next(iter(frame.envelopes.values()))}
            frame.scheme = Scheme.DIRECT if frame.scheme else Scheme.PLAIN
        elif isinstance(frame, Devices):
            frame.user_ids = [user_id]
        elif isinstance(frame, Claim):
            frame.devices = [DeviceName(user_id, device_id), *frame.devices]
        return frame


async def fuzz(played: list[tuple[Any, ...]]) -> None:
    """The property under test."""
    stage = await Stage.start()
    for step in played:
        await stage.play(step)
    for _ in range(20):
        await asyncio.sleep(0)
    stage.faults.writes.clear()
    stage.check(stage.alice)
    stage.alice.drop()
    # Bob and everybody else are as well as ever.
    carol = await stage.world.online(await stage.world.register("carol"))
    conversation = await carol.open("bob")
    carol.send(conversation, "still here")
    stage.bob.ack()
    async with asyncio.timeout(5):
        while (await stage.bob.expect(Deliver)).message.sender_id != int(carol.account.user_id):
            stage.bob.ack()
    assert stage.late == []
    assert stage.world.complaints == []


@pytest.mark.slow
@often
@given(steps)
def test_any_conversation_with_the_server(played: list[tuple[Any, ...]]) -> None:
    asyncio.run(fuzz(played))


@pytest.mark.slow
def test_the_harness_finds_a_planted_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(session: Any, frame: Heartbeat) -> None:
        if len(session.known_user.devices) == 1:
            raise ValueError("planted")
        heartbeat(session, frame)

    monkeypatch.setitem(COMMANDS, Heartbeat, Command(careless, RateClass.LIGHT))

    # One frame of many, on a connection that earlier rubbish has not closed yet: it takes longer.
    @settings(often, max_examples=8 * EXAMPLES, database=None, derandomize=True)
    @given(steps)
    def harness(played: list[tuple[Any, ...]]) -> None:
        asyncio.run(fuzz(played))

    with pytest.raises(AssertionError, match="planted"):
        harness()
