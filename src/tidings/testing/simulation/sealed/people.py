"""People: what the users do with their devices, and when.

As in the simulation without encryption all of it is drawn before the run begins, as numbers between 0 and 1
that pick from what there is when the time comes.
"""

import contextlib
from collections.abc import Callable, Coroutine
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tidings.client import ClientError, Message
from tidings.client.errors import ClientClosed, Refused, SessionEnded
from tidings.client.values import SentMessage
from tidings.testing.simulation.sealed.members import Members
from tidings.testing.simulation.sealed.model import Kind, Written

if TYPE_CHECKING:
    from tidings.testing.simulation.device import User
    from tidings.testing.simulation.sealed.device import Device
    from tidings.testing.simulation.sealed.run import Sealed

OFFLINE_S = (2.0, 60.0)
DOWN_S = (0.5, 40.0)
DEVICES_MAX = 4
"""of a user, at once"""
ADDED_MAX = 8
"""of a user, in a run"""
WRITES_MAX = 12
"""within which one is killed at a write"""
NEWEST = 8
"""messages from which one is chosen to be replied to, edited, …"""
CROSS_S = 0.5
"""within which all write while somebody comes or goes"""


class Deed(StrEnum):
    """What a user does with a device."""

    SEND = "people: message"
    BURST = "people: messages at once"
    REPLY = "people: reply"
    EDIT = "people: edit"
    DELETE = "people: delete"
    REACT = "people: reaction"
    READ = "people: read"
    OFFLINE = "people: offline for a while"
    CLOSED = "people: program closed for a while"
    RESTART = "people: program killed"
    AT_WRITE = "people: program killed at a write"
    SNAPSHOT = "people: profile copied"
    RESTORE = "people: profile restored"
    ADD = "people: device added"
    SIGN_OUT = "people: device signed out"
    REVOKE = "people: device revoked as stolen"
    INVITE = "groups: somebody added"
    PUT_OUT = "groups: somebody removed"
    LEAVE = "groups: left"
    LINK = "groups: link made"
    JOIN = "groups: joined by a link"
    ROLE = "groups: role changed"
    RENAME = "groups: name sealed anew"
    CROSS = "groups: all write while somebody comes or goes"


WEIGHTS = {
    Deed.SEND: 48,
    Deed.BURST: 8,
    Deed.REPLY: 7,
    Deed.EDIT: 6,
    Deed.DELETE: 3,
    Deed.REACT: 7,
    Deed.READ: 6,
    Deed.OFFLINE: 7,
    Deed.CLOSED: 4,
    Deed.RESTART: 5,
    Deed.AT_WRITE: 8,
    Deed.SNAPSHOT: 4,
    Deed.RESTORE: 2,
    Deed.ADD: 5,
    Deed.SIGN_OUT: 3,
    Deed.REVOKE: 2,
    Deed.INVITE: 6,
    Deed.PUT_OUT: 6,
    Deed.LEAVE: 3,
    Deed.LINK: 4,
    Deed.JOIN: 8,
    Deed.ROLE: 4,
    Deed.RENAME: 5,
    Deed.CROSS: 8,
}
WRITES = (Deed.SEND, Deed.BURST, Deed.REPLY, Deed.EDIT, Deed.DELETE, Deed.REACT)
GROUPED = (Deed.INVITE, Deed.PUT_OUT, Deed.LEAVE, Deed.LINK, Deed.JOIN, Deed.ROLE, Deed.RENAME, Deed.CROSS)
PEACEFUL = frozenset({*WRITES, *GROUPED, Deed.READ})


class Action(NamedTuple):
    """Something that a user does."""

    at_s: float
    deed: Deed
    device: float
    where: float
    what: float


def plan(random: Random, begin_s: float, end_s: float, deeds: int, *, peaceful: bool) -> list[Action]:
    """What happens in a span of time; in its order."""
    weights = {deed: WEIGHTS[deed] for deed in Deed if not peaceful or deed in PEACEFUL}
    return sorted(
        Action(
            random.uniform(begin_s, end_s),
            random.choices(list(weights), list(weights.values()))[0],
            random.random(),
            random.random(),
            random.random(),
        )
        for _ in range(deeds)
    )


class People:
    """Carries actions out."""

    def __init__(self, simulation: "Sealed") -> None:
        self._simulation = simulation
        self._loop = simulation.loop
        self._members = Members(simulation)

    def act(self, action: Action) -> None:
        """Do it, if that can be done."""
        devices = [one for one in self._simulation.devices if self._is_used(one)]
        if not devices:
            return
        device = devices[int(action.device * len(devices))]
        if _DO[action.deed](self, device, action):
            self._simulation.tally.count(action.deed)

    def _is_used(self, device: "Device") -> bool:
        return not device.is_out and self._simulation.model.memberships[device].linked_s is not None

    # --- what is written ----------------------------------------------------------------------

    def _send(self, device: "Device", action: Action) -> bool:
        return self._write(device, self._peer(device, action))

    def _burst(self, device: "Device", action: Action) -> bool:
        peer = self._peer(device, action)
        return all(self._write(device, peer) for _ in range(2 + int(action.what * 5)))

    def _reply(self, device: "Device", action: Action) -> bool:
        about = self._some(device, action, lambda _: True)
        return about is not None and self._write(device, self._user(about), reply_to=about)

    def _edit(self, device: "Device", action: Action) -> bool:
        return self._change(device, action, Kind.EDIT, lambda one: one.own)

    def _delete(self, device: "Device", action: Action) -> bool:
        return self._change(device, action, Kind.DELETE, lambda one: one.own)

    def _react(self, device: "Device", action: Action) -> bool:
        return self._change(device, action, Kind.REACTION, lambda _: True)

    def _write(self, device: "Device", peer: "User", reply_to: Message | None = None) -> bool:
        client = device.client
        if client is None:
            return False
        written = self._simulation.model.write(Kind.MESSAGE, device, peer, reply_to, self._loop.now_s)
        self._say(written, client.send(peer.handle, written.text, reply_to=reply_to))
        return True

    def _change(self, device: "Device", action: Action, kind: Kind, may: Callable[[Message], bool]) -> bool:
        client, about = device.client, self._some(device, action, may)
        if client is None or about is None:
            return False
        written = self._simulation.model.write(kind, device, self._user(about), about, self._loop.now_s)
        work = {
            Kind.EDIT: lambda: client.messages.edit(about, written.text),
            Kind.REACTION: lambda: client.messages.react(about, written.text),
            Kind.DELETE: lambda: client.messages.delete(about),
        }[kind]()
        self._say(written, work)
        return True

    def _say(self, written: Written, work: Coroutine[Any, Any, SentMessage]) -> None:
        written.device.note("writes", written.kind, written.text, "to", written.peer.handle)
        written.device.do(self._saying(written, work))

    async def _saying(self, written: Written, work: Coroutine[Any, Any, SentMessage]) -> None:
        device = written.device
        try:
            sent = await work
        except Refused as refusal:
            written.is_refused = True
            device.note("is refused", written.text, refusal.name, refusal.reason)
            self._simulation.refused(written, refusal)
        except (SessionEnded, ClientClosed):
            return  # it may be in the outbox, or not
        except ClientError as error:
            self._simulation.broken("nothing acknowledged is lost", f"{written}: {error!r}")
        else:
            self._simulation.model.acked(written, sent, self._loop.now_s)
            device.note("is told sent", written.text, sent.client_id.hex()[-6:])

    def _read(self, device: "Device", action: Action) -> bool:
        client, peer = device.client, self._peer(device, action)
        if client is None:
            return False

        async def read() -> None:
            with contextlib.suppress(ClientError):  # of no weight
                await client.mark_read(peer.handle)

        device.do(read())
        return True

    # --- devices ------------------------------------------------------------------------------

    def _offline(self, device: "Device", action: Action) -> bool:
        """Out of reach: what is written meanwhile waits."""
        if device.client is None or not device.network.is_up:
            return False
        device.note("goes offline")
        device.network.go_down()
        network, process = device.network, device.process

        def back() -> None:
            if device.process is process and not network.is_up:
                device.note("is back")
                network.is_up = True

        self._loop.after(_within(OFFLINE_S, action.what), back)
        return True

    def _closed(self, device: "Device", action: Action) -> bool:
        """The program ends as programs do, and begins again."""
        client = device.client
        if client is None:
            return False
        device.note("is closed")
        device.do(_closing(client))
        self._loop.after(_within(DOWN_S, action.what) + 1.0, device.start)
        return True

    def _restart(self, device: "Device", action: Action) -> bool:
        if device.client is None:
            return False
        device.stop()
        self._loop.after(_within(DOWN_S, action.what) if action.where < 0.5 else 0.01, device.start)
        return True

    def _at_write(self, device: "Device", action: Action) -> bool:
        if device.client is None:
            return False
        device.kill_in = 1 + int(action.what * WRITES_MAX)
        if action.where < 0.7:
            self._send(device, action)
        return True

    def _snapshot(self, device: "Device", _: Action) -> bool:
        if device.client is None:
            return False
        device.copy()
        return True

    def _restore(self, device: "Device", action: Action) -> bool:
        return device.client is not None and device.restore(action.what)

    def _add(self, device: "Device", _: Action) -> bool:
        simulation, user = self._simulation, device.user
        mine = [one for one in simulation.devices if one.user == user]
        if len(mine) >= ADDED_MAX or len([one for one in mine if not one.is_out]) >= DEVICES_MAX:
            return False
        self._loop.spawn(self._loop.world, simulation.linking.log_in(user))
        return True

    def _sign_out(self, device: "Device", _: Action) -> bool:
        return self._simulation.linking.remove(device, stolen=False)

    def _revoke(self, device: "Device", _: Action) -> bool:
        return self._simulation.linking.remove(device, stolen=True)

    # --- groups -------------------------------------------------------------------------------

    def _cross(self, device: "Device", action: Action) -> bool:
        """Somebody comes or goes, and all who write there do so meanwhile, some before they know of it."""
        deeds = (self._members.invite, self._members.put_out, self._members.leave, self._members.join)
        group = deeds[int(action.where * 97) % len(deeds)](device, action)
        if group is None:
            return False
        those = [one for one in self._simulation.devices if self._is_used(one) and group in one.groups()]
        for number, one in enumerate(those):
            after_s = (action.what * (number + 7)) % 1.0 * CROSS_S
            self._loop.after(after_s, self._write, one, group)
        return True

    # --- inside -----------------------------------------------------------------------------

    def _peer(self, device: "Device", action: Action) -> "User":
        others = [user for user in self._simulation.users if user != device.user]
        there = [*others, *device.groups(), *device.groups()]
        return there[int(action.where * len(there))]

    def _user(self, message: Message) -> "User":
        peers = [*self._simulation.users, *self._simulation.groups]
        return next(user for user in peers if user.handle == message.peer)

    def _some(self, device: "Device", action: Action, may: Callable[[Message], bool]) -> Message | None:
        peer = self._peer(device, action)
        if device.state is None:
            return None
        there = [
            one
            for one in device.state.messages(peer.handle)
            if may(one) and not one.deleted and not one.fault and one.change is None
        ][-NEWEST:]
        return there[int(action.what * len(there))] if there else None


async def _closing(client: Any) -> None:
    await client.close()


def _within(span: tuple[float, float], what: float) -> float:
    return span[0] + what * (span[1] - span[0])


_DO: dict[Deed, Callable[[People, "Device", Action], bool]] = {
    Deed.SEND: People._send,
    Deed.BURST: People._burst,
    Deed.REPLY: People._reply,
    Deed.EDIT: People._edit,
    Deed.DELETE: People._delete,
    Deed.REACT: People._react,
    Deed.READ: People._read,
    Deed.OFFLINE: People._offline,
    Deed.CLOSED: People._closed,
    Deed.RESTART: People._restart,
    Deed.AT_WRITE: People._at_write,
    Deed.SNAPSHOT: People._snapshot,
    Deed.RESTORE: People._restore,
    Deed.ADD: People._add,
    Deed.SIGN_OUT: People._sign_out,
    Deed.REVOKE: People._revoke,
    Deed.INVITE: lambda people, device, action: bool(people._members.invite(device, action)),
    Deed.PUT_OUT: lambda people, device, action: bool(people._members.put_out(device, action)),
    Deed.LEAVE: lambda people, device, action: bool(people._members.leave(device, action)),
    Deed.LINK: lambda people, device, action: bool(people._members.link(device, action)),
    Deed.JOIN: lambda people, device, action: bool(people._members.join(device, action)),
    Deed.ROLE: lambda people, device, action: bool(people._members.role(device, action)),
    Deed.RENAME: lambda people, device, action: bool(people._members.rename(device, action)),
    Deed.CROSS: People._cross,
}
