"""What people do with groups: make them, add and remove each other, come by links, go, and do so at once.

Who may do what is looked up in the group as it is, so that most of it succeeds; what has changed by the time
that it arrives is refused. Where people write they go by what their device believes.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tidings.protocol.frames import (
    ChangeGroup,
    ConversationKind,
    CreateGroup,
    GroupAction,
    GroupRole,
    GroupRules,
    Join,
    Reference,
    Relation,
)
from tidings.protocol.ids import CLIENT_ID_BYTES, ClientId, ConversationId, UserId
from tidings.testing.simulation.groups import absences, accounts
from tidings.testing.simulation.groups.deeds import SPEAKS, GroupDeed
from tidings.testing.simulation.groups.model import Holds
from tidings.testing.simulation.groups.record import Record
from tidings.testing.simulation.machines import EPOCH_MS
from tidings.testing.simulation.people import Action, Deed, People
from tidings.testing.simulation.profile import Stored

if TYPE_CHECKING:
    from tidings.testing.simulation.device import Device
    from tidings.testing.simulation.groups.device import GroupDevice
    from tidings.testing.simulation.groups.run import GroupSimulation

GROUPS_MAX = 5
"""that are made in a run"""
LINKS_MAX = 3
"""of a group at once"""
LINK_MS = 3_600_000
CROSS_S = 0.5
"""within which all write while somebody comes or goes"""
CROSS_DEVICES = 6
DEVICES_MIN = 2
"""of a user, who may sign one out"""


class GroupPeople(People):
    """Carries actions out."""

    _simulation: "GroupSimulation"

    @property
    def simulation(self) -> "GroupSimulation":
        """Whose people they are."""
        return self._simulation

    def say(self, device: "GroupDevice", conversation: ConversationId) -> None:
        """Write something."""
        device.write(conversation, self._text())

    def writes_to(self, device: "GroupDevice", conversation: ConversationId) -> bool:
        """Whether a device believes that its user may write in a group."""
        return conversation in self._writes_to(device, reading=False)

    def change_later(
        self, after_s: float, device: "GroupDevice", record: Record, action: GroupAction, **fields: Any
    ) -> None:
        """Ask for a change of a group in a while, whatever comes of it."""
        change = partial(self._change, device, record, action, None, **fields)
        self._simulation.loop.after(after_s, change)

    def act(self, action: Action) -> None:
        """Do it, or something like it if that cannot be done."""
        devices = self._simulation.devices
        device = devices[int(action.device * len(devices))]
        if action.deed in SPEAKS and not self._writes_to(device, reading=action.deed is Deed.READ):
            return
        super().act(action)

    # --- deeds: whether they could be done ----------------------------------------------------

    def _delete(self, device: "GroupDevice", action: Action) -> bool:  # type: ignore[override]
        """What one wrote; of an admin also what others did."""
        record = self._simulation.model.records[self._conversation(device, action)]
        user = device.user.user_id
        is_admin = record.now.roles.get(user, 0) > 0

        def may(one: Stored) -> bool:
            return is_admin or one.sender == user

        return self._relate(device, action, Relation.DELETE, may)

    def _relate(
        self, device: "Device", action: Action, relation: Relation, may: Callable[[Stored], bool]
    ) -> bool:
        """Say something about what somebody wrote, and not the server."""
        return super()._relate(device, action, relation, lambda one: bool(one.ref.device) and may(one))

    def _create(self, device: "GroupDevice", action: Action) -> bool:
        simulation = self._simulation
        others = [user.user_id for user in simulation.users if user != device.user]
        if len(simulation.model.records) >= GROUPS_MAX:
            return False
        self.create(device, others[: 1 + int(action.what * len(others))], is_channel=action.where < 0.25)
        return True

    def create(self, device: "GroupDevice", others: list[UserId], *, is_channel: bool) -> None:
        """Make a group."""
        self._count += 1
        nonce = ClientId(self._count.to_bytes(CLIENT_ID_BYTES))
        kind = ConversationKind.CHANNEL if is_channel else ConversationKind.GROUP
        info = self._text()
        device.wish("a group", None, lambda n: CreateGroup(n, nonce, kind, info=info, users=others), None)

    def _add(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, lambda record: record.now.head.rules.add)
        if record is None:
            return False
        there = record.now.roles
        users = [user.user_id for user in self._simulation.users if user.user_id not in there]
        some = _some(users, action.what, 2)
        return bool(some) and self._change(
            device,
            record,
            GroupAction.ADD,
            lambda state: all(user in state.roles for user in some),
            users=some,
        )

    def _remove(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, _admins)
        if record is None:
            return False
        roles = record.now.roles
        users = [user for user, role in roles.items() if role < roles[device.user.user_id]]
        some = _some(users, action.what, 2)
        return bool(some) and self._change(
            device,
            record,
            GroupAction.REMOVE,
            lambda state: not any(user in state.roles for user in some),
            users=some,
        )

    def promote(self, device: "GroupDevice", record: Record, user: UserId) -> None:
        """Make somebody an admin."""
        fields = {"users": [user], "role": GroupRole.ADMIN}
        self._change(device, record, GroupAction.ROLE, None, **fields)

    def _leave(self, device: "GroupDevice", action: Action) -> bool:
        record, user = self._group(device, action, lambda _: GroupRole.MEMBER), device.user.user_id
        if record is None or record.now.roles[user] == GroupRole.OWNER:
            return False
        return self._change(device, record, GroupAction.LEAVE, lambda state: user not in state.roles)

    def _role(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, lambda _: GroupRole.OWNER)
        if record is None:
            return False
        some = _some([user for user in record.now.roles if user != device.user.user_id], action.what, 2)
        if not some:
            return False
        role = GroupRole.MEMBER if record.now.roles[some[0]] else GroupRole.ADMIN
        if action.deed is GroupDeed.HAND_OVER:
            some, role = some[:1], GroupRole.OWNER
        return self._change(
            device,
            record,
            GroupAction.ROLE,
            lambda state: all(state.roles.get(user) == role for user in some),
            users=some,
            role=role,
        )

    def _info(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, lambda record: record.now.head.rules.edit)
        if record is None:
            return False
        info = self._text()
        return self._change(
            device, record, GroupAction.INFO, lambda state: state.head.info == info, info=info
        )

    def _rules(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, _admins)
        if record is None or record.is_channel:
            return False
        old = record.now.head.rules
        write, add = 0 if old.write else int(action.what < 0.3), int(action.what < 0.6)
        rules = GroupRules(write, add, 1, not old.approval)
        return self._change(
            device, record, GroupAction.RULES, lambda state: state.head.rules == rules, rules=rules
        )

    def _link(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, lambda record: record.now.head.rules.add)
        if record is None or len(record.now.head.links) >= LINKS_MAX:
            return False
        code = b"a code " + self._text()
        code_hash = hashlib.sha256(code).digest()
        self._simulation.codes.setdefault(record.conversation, []).append(code)
        until = EPOCH_MS + int(self._simulation.loop.now_s * 1000) + LINK_MS
        return self._change(
            device,
            record,
            GroupAction.LINK,
            lambda state: any(link.hash == code_hash for link in state.head.links),
            link=code_hash,
            until=until,
        )

    def _unlink(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, lambda record: record.now.head.rules.add)
        if record is None or not record.now.head.links:
            return False
        code_hash = record.now.head.links[0].hash
        return self._change(
            device,
            record,
            GroupAction.UNLINK,
            lambda state: all(link.hash != code_hash for link in state.head.links),
            link=code_hash,
        )

    def _join(self, device: "GroupDevice", action: Action) -> bool:
        simulation, user = self._simulation, device.user.user_id
        codes = [
            code
            for conversation, some in simulation.codes.items()
            if user not in simulation.model.records[conversation].now.roles
            for code in some
        ]
        if not codes:
            return False
        code = codes[int(action.where * len(codes))]
        device.wish("to join", None, lambda n: Join(n, code), lambda state: user in state.roles)
        return True

    def _answer(self, device: "GroupDevice", action: Action) -> bool:  # type: ignore[override]
        record = self._group(device, action, lambda record: record.now.head.rules.add)
        if record is None or not record.now.head.waiting:
            return False
        user = record.now.head.waiting[0]
        if action.what < 0.7:
            return self._change(
                device, record, GroupAction.ADD, lambda state: user in state.roles, users=[user]
            )
        return self._change(
            device, record, GroupAction.DENY, lambda state: user not in state.head.waiting, users=[user]
        )

    def _pin(self, device: "GroupDevice", action: Action) -> bool:
        record = self._group(device, action, lambda record: record.now.head.rules.edit)
        if record is None:
            return False
        there = [
            one
            for one in device.profile.messages.values()
            if one.conversation == record.conversation
            and one.ref.device
            and one.relation in (Relation.NONE, Relation.REPLY)
        ]
        if not there:
            return False
        one = there[int(action.what * len(there))]
        about = Reference(one.ref.device, one.ref.name)
        return self._change(device, record, GroupAction.PIN, None, target=one.message_id, relates_to=about)

    def _clash(self, _: "GroupDevice", action: Action) -> bool:
        """Two who may change a group do so at the same moment, each on another node."""
        simulation = self._simulation
        pairs = [
            (one, other)
            for record in simulation.model.records.values()
            for one in simulation.devices
            for other in simulation.devices
            if one.user.user_id < other.user.user_id
            and one.connection is not None
            and other.connection is not None
            and one.connection.is_up
            and other.connection.is_up
            and one.connection.node is not other.connection.node
            and min(record.now.roles.get(user.user_id, 0) for user in (one.user, other.user)) > 0
        ]
        if not pairs:
            return False
        deeds = (self._add, self._remove, self._info, self._role, self._remove, self._add)
        one, other = pairs[int(action.where * len(pairs))]
        first = action._replace(what=action.device)
        done = deeds[int(action.what * len(deeds))](one, first)
        second = action._replace(device=action.what)
        return deeds[int(action.what * 36) % len(deeds)](other, second) or done

    def _cross(self, device: "GroupDevice", action: Action) -> bool:
        """Somebody comes or goes, and all the others write meanwhile, from before they know of it."""
        simulation = self._simulation
        record = self._group(device, action, _admins)
        if record is None or not (self._add if action.what < 0.5 else self._remove)(device, action):
            return False
        those = [
            one
            for one in simulation.devices
            if one is not device
            and one.live_s is not None
            and record.conversation in self._writes_to(one, reading=False)
        ]
        for number, one in enumerate(those[:CROSS_DEVICES]):
            after_s = (action.what * (number + 7)) % 1.0 * CROSS_S
            simulation.loop.after(after_s, one.write, record.conversation, self._text())
        return True

    def _revoke(self, device: "GroupDevice", _: Action) -> bool:
        simulation = self._simulation
        if sum(one.user == device.user for one in simulation.devices) < DEVICES_MIN:
            return False
        simulation.sign_out(device)
        return True

    # --- inside -----------------------------------------------------------------------------

    def _change(
        self,
        device: "GroupDevice",
        record: Record,
        action: GroupAction,
        holds: Holds | None,
        **fields: Any,
    ) -> bool:
        conversation = record.conversation
        device.wish(
            action.name, conversation, lambda n: ChangeGroup(n, conversation, action, **fields), holds
        )
        return True

    def _group(self, device: "GroupDevice", action: Action, least: Callable[[Record], int]) -> Record | None:
        """A group that a device's user may change."""
        user = device.user.user_id
        there = [
            record
            for record in self._simulation.model.records.values()
            if record.now.roles.get(user, -1) >= least(record)
        ]
        return there[int(action.where * len(there))] if there else None

    def _conversation(self, device: "GroupDevice", action: Action) -> ConversationId:  # type: ignore[override]
        there = self._writes_to(device, reading=action.deed is Deed.READ)
        return there[int(action.where * len(there))]

    def _writes_to(self, device: "GroupDevice", *, reading: bool) -> list[ConversationId]:
        """The groups that a device believes to be its user's; of channels those of whose staff they are."""
        records, user = self._simulation.model.records, device.user.user_id
        return [
            conversation
            for conversation, view in device.groups_profile.groups.items()
            if view.is_in
            and (reading or not records[conversation].is_channel or records[conversation].now.roles.get(user))
        ]


def _admins(_: Record) -> int:
    return GroupRole.ADMIN


def _some(users: list[UserId], what: float, most: int) -> list[UserId]:
    """One or more of some users."""
    first = int(what * len(users))
    return users[first : first + 1 + int(what * 1000) % most]


GroupPeople.does = {
    **People.does,
    GroupDeed.CREATE: GroupPeople._create,
    GroupDeed.ADD: GroupPeople._add,
    GroupDeed.REMOVE: GroupPeople._remove,
    GroupDeed.LEAVE: GroupPeople._leave,
    GroupDeed.ROLE: GroupPeople._role,
    GroupDeed.HAND_OVER: GroupPeople._role,
    GroupDeed.INFO: GroupPeople._info,
    GroupDeed.RULES: GroupPeople._rules,
    GroupDeed.LINK: GroupPeople._link,
    GroupDeed.UNLINK: GroupPeople._unlink,
    GroupDeed.JOIN: GroupPeople._join,
    GroupDeed.ANSWER: GroupPeople._answer,
    GroupDeed.PIN: GroupPeople._pin,
    GroupDeed.CLASH: GroupPeople._clash,
    GroupDeed.CROSS: GroupPeople._cross,
    GroupDeed.REVOKE: GroupPeople._revoke,
    GroupDeed.HIDE: accounts.hide,
    GroupDeed.DEPART: accounts.depart,
    GroupDeed.SLEEP: absences.sleep,
    GroupDeed.LOOK: absences.look,
}
