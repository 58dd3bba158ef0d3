"""Checks of who is in groups: one chain of changes, each told to all whom it concerns, and nothing else."""

import hashlib
from typing import TYPE_CHECKING

from tidings.protocol.frames import ConversationKind, GroupAction, GroupRole
from tidings.protocol.ids import CLIENT_ID_BYTES, ClientId, ConversationId, DeviceId, UserId
from tidings.store.schema import MEMBERSHIPS, SUBSCRIBERS
from tidings.testing.simulation.groups.record import COMES, GOES, Record, State
from tidings.testing.simulation.profile import Ref

if TYPE_CHECKING:
    from tidings.testing.simulation.groups.checks import GroupChecks

SERVER = DeviceId(0)
TO_STAFF = (GroupAction.LINK, GroupAction.UNLINK, GroupAction.ASK, GroupAction.DENY)


def check(checks: "GroupChecks") -> None:
    """Find all that is broken."""
    for problem in checks.groups.model.problems:
        checks.broken("5 one chain", problem)
    for record in checks.records.values():
        for state in record.states:
            _told(checks, record, state)
        _derived(checks, record)
    _views(checks)


def name_of(conversation: ConversationId, version: int) -> Ref:
    """What the message is called that tells of a change. spec §6.17"""
    named = b"change" + conversation + version.to_bytes(8)
    return Ref(SERVER, ClientId(hashlib.sha256(named).digest()[:CLIENT_ID_BYTES]))


def _told(checks: "GroupChecks", record: Record, state: State) -> None:
    """Whom a change is to be told is told, under its name and as it is; nobody else is."""
    ref = name_of(record.conversation, state.head.version)
    there = checks.copies[ref]
    version = state.head.version
    concerned = _concerned(record, state)
    for device in checks.groups.devices:
        user = device.user.user_id
        told = device.groups_profile.changes.get((record.conversation, version))
        if told is not None and told != state.change:
            checks.broken("5 told", f"{device.name} was told {told}, it is {state.change}", ref)
        is_there = ref in device.profile.messages
        must = user in concerned and device.born_s < state.at_s
        if must and not is_there and not checks.is_excused(device, record.conversation, version, state.at_s):
            checks.broken("5 told", f"{device.name} was never told of {state.change}", ref)
        if is_there and user not in concerned:
            checks.broken("5 told", f"{device.name} was told of {state.change}", ref)
        if is_there and len(there) == 1 and device.born_s < state.at_s:
            # (It may have been told twice, and one of them torn, or late: that one is at two places.)
            place, has = there[0].message_id, device.profile.messages[ref].message_id
            if has < place and checks.reads(user, record.conversation, version):
                text = f"{device.name} has at {has} a change that the log has at {place}"
                checks.broken("2 one order", text, ref)


def _concerned(record: Record, state: State) -> set[UserId]:
    """Who is told of a change."""
    change, roles = state.change, state.roles
    if change.action in TO_STAFF:
        least = max(state.head.rules.add, GroupRole.ADMIN)
        return {user for user, role in roles.items() if role >= least}
    those = set(record.concerned(state.head.version))
    if record.is_channel and change.action in (*COMES, *GOES):
        return those
    return {*roles, *those}


def _derived(checks: "GroupChecks", record: Record) -> None:
    """What follows from who is a member says the same."""
    roles, conversation = record.now.roles, record.conversation
    present = {stay.user: stay.first for stay in record.stays if stay.end is None}
    rows = [row for row in checks.groups.scan(MEMBERSHIPS) if row.conversation_id == conversation]
    listed = {row.user_id: row.joined_version for row in rows if row.left_version is None}
    if listed != present:
        checks.broken("5 derived", f"{listed} are listed as members, {present} are, of {record.now.head}")
    if record.is_channel:
        shares = [row for row in checks.groups.scan(SUBSCRIBERS) if row.conversation_id == conversation]
        subscribed = {row.user_id: row.joined_version for row in shares if row.left_version is None}
        if subscribed != {user: present[user] for user in roles}:
            checks.broken("5 derived", f"{subscribed} are subscribed, {present} are members")


def _views(checks: "GroupChecks") -> None:
    """What each is told in the end of the groups that there are."""
    handles = {user.user_id: user.handle for user in checks.groups.users}
    for user, views in checks.groups.views.items():
        listed = {one.conversation_id for one in views.listed}
        own = {name for name, record in checks.records.items() if user in record.now.roles}
        if listed != own:
            checks.broken("5 views", f"{handles[user]} has {len(own)} groups, and is told of {len(listed)}")
        for conversation, record in checks.records.items():
            found, state = views.described[conversation], record.now
            if (found is None) == (user in state.roles):
                checks.broken("4 rights", f"{handles[user]} is told {found} of {state.head}")
            if found is None or found.group is None or user not in state.roles:
                continue
            told = (found.version, found.group.role, found.group.count, found.group.info, found.group.rules)
            head = state.head
            real = (head.version, state.roles[user], head.count, head.info, head.rules)
            if told != real:
                checks.broken("5 views", f"{handles[user]} is told {told}, it is {real}")
            roles = {member.user_id: member.role for member in found.members}
            if found.kind == ConversationKind.GROUP and roles != state.roles:
                checks.broken("5 views", f"{handles[user]} is told of {roles}, they are {state.roles}")
