"""People: what the users of a run do, and when.

All of it is drawn before the run begins, so that a part of it can be left out. What an action is about
(which conversation, which message) is drawn then, too, as numbers between 0 and 1, and picked from what
there is when its time comes.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tidings.protocol.frames import AnswerRequest, Relation
from tidings.protocol.ids import ConversationId
from tidings.testing.simulation.profile import Stored

if TYPE_CHECKING:
    from tidings.testing.simulation.device import Device
    from tidings.testing.simulation.run import Simulation

OFFLINE_S = (2.0, 40.0)
MEET_S = 0.1
"""within which somebody connects"""
MEET_MESSAGES = 5
EXPIRES_MS = (3_000, 60_000)
DEVICES_MAX = 4
"""of a user"""


class Deed(StrEnum):
    """What a user does with a device."""

    SEND = "people: message"
    BURST = "people: messages at once"
    REPLY = "people: reply"
    EDIT = "people: edit"
    DELETE = "people: delete"
    REACT = "people: reaction"
    EXPIRING = "people: disappearing message"
    READ = "people: read"
    BLOCK = "people: block or unblock"
    OFFLINE = "people: offline for a while"
    RESTART = "people: program restarted"
    SNAPSHOT = "people: profile copied"
    RESTORE = "people: profile restored"
    TWICE = "people: one device on two nodes"
    MEET = "people: messages to somebody who just connects"
    LOGIN = "people: further device"
    ANSWER = "people: request answered"


WEIGHTS = {
    Deed.SEND: 58,
    Deed.BURST: 4,
    Deed.REPLY: 8,
    Deed.EDIT: 5,
    Deed.DELETE: 4,
    Deed.REACT: 7,
    Deed.EXPIRING: 2,
    Deed.READ: 20,
    Deed.BLOCK: 4,
    Deed.OFFLINE: 5,
    Deed.RESTART: 2,
    Deed.SNAPSHOT: 4,
    Deed.RESTORE: 3,
    Deed.TWICE: 4,
    Deed.MEET: 6,
    Deed.LOGIN: 1,
    Deed.ANSWER: 0,
}
ANSWERS = 6
"""the weight of answers to requests, where there are any"""
MEETINGS = 40
"""the weight of messages to who connects, where nothing goes wrong that would explain their absence"""
WRITES = (
    Deed.SEND,
    Deed.BURST,
    Deed.REPLY,
    Deed.EDIT,
    Deed.DELETE,
    Deed.REACT,
    Deed.EXPIRING,
    Deed.MEET,
)
PEACEFUL = frozenset({*WRITES, Deed.READ, Deed.SNAPSHOT})
"""what happens where nothing may go wrong"""


class Action(NamedTuple):
    """Something that a user does."""

    at_s: float
    deed: StrEnum
    device: float
    where: float
    what: float


def weights(*, peaceful: bool, asks: bool) -> dict[StrEnum, int]:
    """How often people do what. `asks`: strangers must be let in."""
    found: dict[StrEnum, int] = {deed: WEIGHTS[deed] for deed in Deed if not peaceful or deed in PEACEFUL}
    if asks and not peaceful:
        found[Deed.ANSWER] = ANSWERS
    if peaceful:
        found[Deed.MEET] = MEETINGS
    return found


def plan(
    random: Random, begin_s: float, end_s: float, messages: int, weights: Mapping[StrEnum, int]
) -> list[Action]:
    """What happens in a span of time, with at least so many messages; in its order."""
    found: list[Action] = []
    while messages > 0:
        (deed,) = random.choices(list(weights), list(weights.values()))
        messages -= MEET_MESSAGES if deed is Deed.MEET else deed in WRITES
        at_s = random.uniform(begin_s, end_s)
        found.append(Action(at_s, deed, random.random(), random.random(), random.random()))
    return sorted(found)


class People:
    """Carries actions out."""

    does: ClassVar[Mapping[StrEnum, Callable[[Any, Any, Action], bool]]]
    """how each deed is done: whether it could be"""

    def __init__(self, simulation: "Simulation") -> None:
        self._simulation = simulation
        self._count = 0

    def act(self, action: Action) -> None:
        """Do it, or something like it if that cannot be done."""
        devices = self._simulation.devices
        device = devices[int(action.device * len(devices))]
        if self.does[action.deed](self, device, action):
            self._simulation.tally.count(action.deed)
        elif action.deed in WRITES:
            self._send(device, action)
            self._simulation.tally.count(Deed.SEND)

    def let_in(self, device: "Device", conversation: ConversationId) -> bool:
        """Let the other one of a conversation in; whether that could be asked for."""
        connection = device.connection
        if connection is None or not connection.is_up:
            return False
        model, loop = self._simulation.model, self._simulation.loop
        if device.user.user_id != model.members[conversation][1]:
            return False
        connection.ask(
            lambda request_id: AnswerRequest(request_id, conversation, True),
            lambda _: model.opened(conversation, loop.now_s),
        )
        return True

    # --- deeds: whether they could be done ----------------------------------------------------

    def _send(self, device: "Device", action: Action) -> bool:
        device.write(self._conversation(device, action), self._text())
        return True

    def _burst(self, device: "Device", action: Action) -> bool:
        for _ in range(2 + int(action.what * 5)):
            device.write(self._conversation(device, action), self._text())
        return True

    def _meet(self, device: "Device", action: Action) -> bool:
        """Write to somebody while a device of theirs connects: one message after the other."""
        simulation = self._simulation
        conversation = self._conversation(device, action)
        there = [
            one
            for one in simulation.devices
            if one.user != device.user
            and one.user.user_id in simulation.model.members[conversation]
            and one.live_s is not None
        ]
        if not there or device.live_s is None:
            return False
        there[int(action.what * len(there))].restart()
        after_s = action.what * len(there) % 1.0 * MEET_S
        for _ in range(MEET_MESSAGES):
            simulation.loop.after(after_s, device.write, conversation, self._text())
        return True

    def _expiring(self, device: "Device", action: Action) -> bool:
        low, high = EXPIRES_MS
        device.write(
            self._conversation(device, action),
            self._text(),
            expires_in_ms=int(low + action.what * (high - low)),
        )
        return True

    def _reply(self, device: "Device", action: Action) -> bool:
        return self._relate(device, action, Relation.REPLY, lambda _: True)

    def _edit(self, device: "Device", action: Action) -> bool:
        return self._relate(device, action, Relation.EDIT, lambda one: one.sender == device.user.user_id)

    def _delete(self, device: "Device", action: Action) -> bool:
        return self._relate(device, action, Relation.DELETE, lambda one: one.sender == device.user.user_id)

    def _react(self, device: "Device", action: Action) -> bool:
        return self._relate(device, action, Relation.REACTION, lambda _: True)

    def _relate(
        self, device: "Device", action: Action, relation: Relation, may: Callable[[Stored], bool]
    ) -> bool:
        """Say something about one of the newest messages that allow it."""
        conversation = self._conversation(device, action)
        there = [
            one
            for one in device.profile.messages.values()
            if one.conversation == conversation
            and one.relation in (Relation.NONE, Relation.REPLY)
            and one.expires_at is None
            and may(one)
        ][-8:]
        if not there:
            return False
        content = b"" if relation == Relation.DELETE else self._text()
        about = there[int(action.what * len(there))].ref
        device.write(conversation, content, relation=relation, about=about)
        return True

    def _read(self, device: "Device", action: Action) -> bool:
        device.read(self._conversation(device, action))
        return True

    def _block(self, device: "Device", _: Action) -> bool:
        simulation = self._simulation
        blocker = device.user.user_id
        blocked = [peer for one, peer in simulation.blocking if one == blocker]
        # One change at a time, and by a device that will be there to say so.
        if not blocked or simulation.model.block_pending(blocker, blocked[0]) or device.live_s is None:
            return False
        device.block(blocked[0], on=not simulation.model.is_blocked(blocker, blocked[0]))
        return True

    def _offline(self, device: "Device", action: Action) -> bool:
        if not device.is_wanted:
            return False
        device.go_offline()
        low, high = OFFLINE_S
        self._simulation.loop.after(low + action.what * (high - low), device.go_online)
        return True

    def _restart(self, device: "Device", _: Action) -> bool:
        device.restart()
        return True

    def _snapshot(self, device: "Device", _: Action) -> bool:
        device.snapshot()
        return True

    def _restore(self, device: "Device", _: Action) -> bool:
        return device.restore()

    def _twice(self, device: "Device", _: Action) -> bool:
        return device.connect_twice()

    def _login(self, device: "Device", action: Action) -> bool:
        simulation = self._simulation
        mine = [one for one in simulation.devices if one.user == device.user]
        if len(mine) >= DEVICES_MAX:
            return False
        return simulation.log_in(device.user, action.where)

    def _answer(self, device: "Device", action: Action) -> bool:
        """Let in who has knocked."""
        return self.let_in(device, self._conversation(device, action))

    # --- inside -----------------------------------------------------------------------------

    def _conversation(self, device: "Device", action: Action) -> ConversationId:
        mine = self._simulation.conversations_of(device.user.user_id)
        return mine[int(action.where * len(mine))]

    def _text(self) -> bytes:
        self._count += 1
        return b"%d" % self._count


People.does = {
    Deed.SEND: People._send,
    Deed.BURST: People._burst,
    Deed.REPLY: People._reply,
    Deed.EDIT: People._edit,
    Deed.DELETE: People._delete,
    Deed.REACT: People._react,
    Deed.EXPIRING: People._expiring,
    Deed.MEET: People._meet,
    Deed.READ: People._read,
    Deed.BLOCK: People._block,
    Deed.OFFLINE: People._offline,
    Deed.RESTART: People._restart,
    Deed.SNAPSHOT: People._snapshot,
    Deed.RESTORE: People._restore,
    Deed.TWICE: People._twice,
    Deed.LOGIN: People._login,
    Deed.ANSWER: People._answer,
}
