"""Members: what people do with encrypted groups: add and remove each other, leave, come by links, rename.

Who may do what is looked up in the group as it is, so that most of it succeeds; a refusal must follow from
what the group was between asking and answer.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from tidings.client import ClientError
from tidings.client.errors import ClientClosed, Refused, SessionEnded
from tidings.client.groups import Groups
from tidings.protocol.frames import GroupRole
from tidings.testing.simulation.groups.record import Record, State
from tidings.testing.simulation.sealed.model import MARK, Wish, group_of

if TYPE_CHECKING:
    from tidings.testing.simulation.device import User
    from tidings.testing.simulation.sealed.device import Device
    from tidings.testing.simulation.sealed.people import Action
    from tidings.testing.simulation.sealed.run import Sealed

LINKS_MAX = 3
"""of a group"""
MEMBERS_MIN = 2
"""a group that has no more is left by nobody"""
NAMES_FROM = 90_000
"""no message bears such a number"""
RIGHTS = frozenset({"group_rights", "no_such_conversation", "no_such_user"})
"""refusals that follow from who is in a group, and as what"""
Holds = Callable[[State], bool]


class Members:
    """See the module's text. What is done says in which group; None: nothing could be."""

    def __init__(self, simulation: "Sealed") -> None:
        self._simulation = simulation
        self._loop = simulation.loop
        self._links: dict[str, list[str]] = {}
        self._names = NAMES_FROM

    def invite(self, device: "Device", action: "Action") -> "User | None":
        """Add somebody who is not in a group."""
        group, record = self._group(device, action, GroupRole.ADMIN)
        who = None if record is None else self._one(record, action, lambda role: role is None)
        if group is None or who is None:
            return None
        name, user = [f"@{who.handle}"], who.user_id
        may, holds = _has(device, GroupRole.ADMIN), _is_in(user)
        return self._change(device, group, "add", lambda groups: groups.add(group.handle, name), may, holds)

    def put_out(self, device: "Device", action: "Action") -> "User | None":
        """Remove somebody of a lesser role."""
        group, record = self._group(device, action, GroupRole.ADMIN)
        if group is None or record is None:
            return None
        mine = record.now.roles[device.user.user_id]
        who = self._one(record, action, lambda role: role is not None and role < mine)
        if who is None:
            return None
        me, user = device.user.user_id, who.user_id
        return self._change(
            device,
            group,
            "remove",
            lambda groups: groups.remove(group.handle, [f"@{who.handle}"]),
            lambda state: state.roles.get(me, -1) > state.roles.get(user, -1),
            lambda state: user not in state.roles,
        )

    def leave(self, device: "Device", action: "Action") -> "User | None":
        """Leave; who owns the group hands it over first."""
        group, record = self._group(device, action, GroupRole.MEMBER)
        if group is None or record is None or len(record.now.roles) <= MEMBERS_MIN:
            return None
        user = device.user.user_id
        heir = None
        if record.now.roles[user] == GroupRole.OWNER:
            heir = self._one(record, action, lambda role: role is not None and role < GroupRole.OWNER)

        async def go(groups: Groups) -> None:
            if heir is not None:
                await groups.transfer(group.handle, f"@{heir.handle}")
            await groups.leave(group.handle)

        # (Another device of the user, or of the owner, may have handed it over, and the heir be gone.)
        return self._change(
            device,
            group,
            "leave",
            go,
            lambda state: (
                0 <= state.roles.get(user, -1) < GroupRole.OWNER
                and (heir is None or heir.user_id in state.roles)
            ),
            _is_out(user),
        )

    def link(self, device: "Device", action: "Action") -> "User | None":
        """Make an invite link."""
        group, record = self._group(device, action, GroupRole.ADMIN)
        if group is None or record is None or len(record.now.head.links) >= LINKS_MAX:
            return None

        async def make(groups: Groups) -> None:
            self._links.setdefault(group.handle, []).append(await groups.link(group.handle))

        return self._change(
            device, group, "link", make, _has(device, GroupRole.ADMIN), lambda state: bool(state.head.links)
        )

    def join(self, device: "Device", action: "Action") -> "User | None":
        """Join by an invite link that somebody passed on."""
        user, records = device.user.user_id, self._simulation.model.records
        there = [
            (group, link)
            for group in self._simulation.groups
            if user not in records[group_of(group.handle)].now.roles
            for link in self._links.get(group.handle, ())
        ]
        if not there:
            return None
        group, link = there[int(action.where * len(there))]
        return self._change(
            device, group, "join", lambda groups: groups.join(link), _is_in(user), _is_in(user)
        )

    def role(self, device: "Device", action: "Action") -> "User | None":
        """Make somebody an admin, or none any more; now and then the owner."""
        group, record = self._group(device, action, GroupRole.OWNER)
        who = None if record is None else self._one(record, action, _is_lesser)
        if group is None or record is None or who is None:
            return None
        name, user = f"@{who.handle}", who.user_id
        role = GroupRole.MEMBER if record.now.roles[user] else GroupRole.ADMIN
        if action.what < 0.25:
            role = GroupRole.OWNER

        async def give(groups: Groups) -> None:
            if role == GroupRole.OWNER:
                await groups.transfer(group.handle, name)
            elif role == GroupRole.ADMIN:
                await groups.promote(group.handle, [name])
            else:
                await groups.demote(group.handle, [name])

        me = device.user.user_id
        return self._change(
            device,
            group,
            "role",
            give,
            lambda state: state.roles.get(me) == GroupRole.OWNER and user in state.roles,
            lambda state: state.roles.get(user) == role,
        )

    def rename(self, device: "Device", action: "Action") -> "User | None":
        """Call a group something else."""
        group, _ = self._group(device, action, GroupRole.ADMIN)
        if group is None:
            return None
        self._names += 1
        name = f"{MARK}{self._names}"
        self._simulation.model.names[name] = group_of(group.handle)
        return self._change(
            device,
            group,
            "rename",
            lambda groups: groups.rename(group.handle, name),
            _has(device, GroupRole.ADMIN),
            lambda state: bool(state.head.info),
        )

    # --- inside -----------------------------------------------------------------------------

    def _group(
        self, device: "Device", action: "Action", least: GroupRole
    ) -> "tuple[User, Record] | tuple[None, None]":
        """A group in which a device's user may do something, and which the device shows."""
        records = self._simulation.model.records
        there = [
            (group, records[group_of(group.handle)])
            for group in device.groups()
            if records[group_of(group.handle)].now.roles.get(device.user.user_id, -1) >= least
        ]
        return there[int(action.where * len(there))] if there else (None, None)

    def _one(self, record: Record, action: "Action", fits: Callable[[int | None], bool]) -> "User | None":
        there = [user for user in self._simulation.users if fits(record.now.roles.get(user.user_id))]
        return there[int(action.what * len(there))] if there else None

    def _change(
        self,
        device: "Device",
        group: "User",
        what: str,
        work: Callable[[Groups], Coroutine[Any, Any, Any]],
        may: Holds,
        holds: Holds,
    ) -> "User | None":
        client = device.client
        if client is None:
            return None
        device.do(self._changing(device, group, what, work(client.groups), may, holds))
        return group

    async def _changing(
        self,
        device: "Device",
        group: "User",
        what: str,
        work: Coroutine[Any, Any, Any],
        may: Holds,
        holds: Holds,
    ) -> None:
        simulation, where = self._simulation, group_of(group.handle)
        asked_s = self._loop.now_s
        device.note("changes", group.handle, what)
        try:
            await work
        except (SessionEnded, ClientClosed):
            return  # it may be done, or not
        except Refused as refusal:
            simulation.tally.count(f"groups: refused ({refusal.name})")
            states = simulation.model.records[where].during(asked_s, self._loop.now_s)
            device.note("may not change", group.handle, what, refusal.reason)
            if refusal.name not in RIGHTS or all(map(may, states)):
                simulation.broken("who may change a group can", f"{device.name}: {what}: {refusal!r}")
        except ClientError as error:
            simulation.broken("who may change a group can", f"{device.name}: {what}: {error!r}")
        else:
            simulation.model.wishes.append(Wish(where, holds, asked_s, self._loop.now_s))
            device.note("has changed", group.handle, what)


def _is_lesser(role: int | None) -> bool:
    return role is not None and role < GroupRole.OWNER


def _has(device: "Device", least: GroupRole) -> Holds:
    user = device.user.user_id
    return lambda state: state.roles.get(user, -1) >= least


def _is_in(user: int) -> Holds:
    return lambda state: user in state.roles


def _is_out(user: int) -> Holds:
    return lambda state: user not in state.roles
