"""Absences: users who are away until the server takes them for dormant, and those who look for them.

They come back one device after the other, now and then in the very moment in which somebody writes or a node
looks for who sleeps.
"""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from tidings.protocol.errors import ProtocolError
from tidings.store.contract import StoreError
from tidings.testing.simulation.groups.deeds import GroupDeed
from tidings.testing.simulation.people import Action

if TYPE_CHECKING:
    import asyncio

    from tidings.testing.simulation.groups.device import GroupDevice
    from tidings.testing.simulation.groups.people import GroupPeople
    from tidings.testing.simulation.groups.run import GroupSimulation
    from tidings.testing.simulation.nodes import Node
    from tidings.testing.simulation.run import Phase

DORMANT_S = 120
"""longer than any process is stopped and any write takes: who is connected all the while is seen"""
SEEN_S = 2
AWAY_S = (DORMANT_S + 5.0, DORMANT_S + 90.0)
APART_S = 60.0
"""within which a user's devices come back, if not all at once"""
BACK_S = 8.0
"""before the end of a run: all are back by then"""
SLEEPERS = (1, 3)
LOOKS = (15, 30)
MEETING_S = (-0.5, 4.0)
"""around a return: when others write, and nodes look for who sleeps"""
MEETING = 6


def plan(random: Random, phases: Sequence["Phase"]) -> list[Action]:
    """Who is away when, and when nodes look for who sleeps."""
    end = phases[-1]

    def action(deed: GroupDeed, begin_s: float, end_s: float) -> Action:
        return Action(random.uniform(begin_s, end_s), deed, random.random(), random.random(), random.random())

    actions = [action(GroupDeed.SLEEP, 0.0, end.end_s - AWAY_S[1]) for _ in range(random.randint(*SLEEPERS))]
    actions += [action(GroupDeed.LOOK, DORMANT_S, end.end_s) for _ in range(random.randint(*LOOKS))]
    return actions


def sleep(people: "GroupPeople", device: "GroupDevice", action: Action) -> bool:
    """Somebody is away for long, with all devices."""
    simulation = people.simulation
    now_s = simulation.loop.now_s
    mine = [one for one in simulation.devices if one.user == device.user]
    if any(one.away_until_s > now_s for one in mine):
        return False
    last_s = simulation.began_s + simulation.plan.phases[-1].end_s - BACK_S
    low, high = AWAY_S
    back_s = now_s + low + action.what * (high - low)
    apart_s = APART_S * max(0.0, action.where - 0.3)
    for number, one in enumerate(mine):
        until_s = min(back_s + number * apart_s, last_s)
        one.stay_away(until_s)
        simulation.loop.at(until_s, one.go_online)
        for turn in range(MEETING):
            share = (action.what * 1000 + turn * 0.37 + number * 0.11) % 1.0
            at_s = until_s + MEETING_S[0] + share * (MEETING_S[1] - MEETING_S[0])
            simulation.loop.at(at_s, _meet, people, one, turn, share)
    return True


def look(people: "GroupPeople", _: "GroupDevice", action: Action) -> bool:
    """A node looks for who sleeps."""
    nodes = people.simulation.nodes
    return _look(people.simulation, nodes[int(action.where * len(nodes))])


def _meet(people: "GroupPeople", device: "GroupDevice", turn: int, share: float) -> None:
    """Somebody writes in one of the groups of who comes back, or a node looks."""
    simulation = people.simulation
    if turn % 3 == 0:
        _look(simulation, simulation.nodes[int(share * len(simulation.nodes))])
        return
    user = device.user.user_id
    groups = [name for name, record in simulation.model.records.items() if user in record.now.roles]
    if groups:
        conversation = groups[int(share * len(groups))]
        writers = [
            one
            for one in simulation.devices
            if one.user != device.user and one.live_s is not None and people.writes_to(one, conversation)
        ]
        if writers:
            people.say(writers[int(share * 7 * len(writers)) % len(writers)], conversation)


def _look(simulation: "GroupSimulation", node: "Node") -> bool:
    if not node.is_ready:
        return False

    def done(task: "asyncio.Task[int]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            simulation.note(node.name, "looked for who sleeps", task.result())
        elif not isinstance(error, StoreError | ProtocolError):
            simulation.broken("no complaints", f"{node.name}: {error!r}")

    task = node.call(lambda services: services.dormancy.sweep())
    task.add_done_callback(done, context=simulation.loop.world.context)
    return True
