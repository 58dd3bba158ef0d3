"""What a change of a group does, if it may be made: pure rules over a roster.

Each takes the group as it is and answers with what it becomes, or None where it is so already, or refuses.
Two changes that are made at once follow one another: the second is judged by what the first has left.

spec §6.17
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec

from tidings.domain.fanout import Fanout
from tidings.domain.rosters import Roster
from tidings.protocol.errors import (
    BAD_LINK,
    GROUP_FULL,
    GROUP_RIGHTS,
    INVALID,
    NO_SUCH_CONVERSATION,
    NO_SUCH_USER,
    TOO_LARGE,
    ProtocolError,
)
from tidings.protocol.frames import (
    CHANGES,
    UNSHOWN,
    ChangeGroup,
    ConversationKind,
    GroupAction,
    GroupChange,
    GroupLink,
    GroupRole,
    GroupRules,
    Pin,
    Scheme,
)
from tidings.protocol.ids import ConversationId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.schema import HEAD_MEMBER, GroupHead, RosterRow

TO_STAFF = (GroupAction.LINK, GroupAction.UNLINK, GroupAction.ASK, GroupAction.DENY)
"""changes that are told to those who may add, and to nobody else"""
OF_A_CHANNEL_SILENT = (GroupAction.ADD, GroupAction.REMOVE, GroupAction.LEAVE, GroupAction.JOIN)
"""changes of a channel that are told only to whom they concern"""
GONE = (GroupAction.REMOVE, GroupAction.LEAVE)
"""changes by which members go"""
UNPINNABLE = (*CHANGES, *UNSHOWN)
"""what is no message to be shown"""
HASH_BYTES = 32


class Planned(NamedTuple):
    """A change that may be made."""

    head: GroupHead
    rows: tuple[RosterRow, ...] = ()
    """members' rows that it writes"""

    @property
    def gone(self) -> list[UserId]:
        """Whom it makes members no more."""
        return [row.user_id for row in self.rows if row.left_version is not None]


def created(
    conversation_id: ConversationId,
    maker: UserId,
    users: Iterable[UserId],
    kind: int,
    scheme: int,
    info: bytes,
    rules: GroupRules,
    now_ms: int,
    limits: Limits,
) -> Planned:
    """A new group. Raises ProtocolError (invalid, too_large, group_full)."""
    others = [user for user in dict.fromkeys(users) if user != maker]
    is_channel = kind == ConversationKind.CHANNEL
    if scheme not in (Scheme.PLAIN, Scheme.SENDER_KEY) or (is_channel and scheme):
        raise ProtocolError(INVALID, "a group is plain or sealed by scheme 2, a channel is plain")
    if is_channel:
        rules = _of_channel(rules)
    _check_users(others, limits)
    _check_info(info, limits)
    change = GroupChange(1, GroupAction.CREATE, others, info=info, rules=rules)
    head = GroupHead(
        kind,
        scheme,
        1,
        maker,
        now_ms,
        1 + len(others),
        rules,
        info,
        changed_by=maker,
        changed_at=now_ms,
        change=change,
        fanout=Fanout.READ if is_channel else Fanout.WRITE,
        staff={maker: GroupRole.OWNER} if is_channel else {},
    )
    _check_room(head, 0, limits)
    rows = [RosterRow(conversation_id, maker, role=GroupRole.OWNER, joined_version=1)]
    rows += [RosterRow(conversation_id, user, joined_version=1) for user in others]
    return Planned(head, tuple(rows))


def planned(roster: Roster, actor: UserId, frame: ChangeGroup, now_ms: int, limits: Limits) -> Planned | None:
    """What a member's wish does to a group. Raises ProtocolError.

    no_such_conversation, group_rights, group_full, invalid, too_large, no_such_user.
    """
    role = roster.role(actor)
    if role is None:
        raise ProtocolError(NO_SUCH_CONVERSATION)
    rules = roster.head.rules
    match frame.action:
        case GroupAction.ADD:
            _require(role, rules.add)
            return added(roster, actor, GroupAction.ADD, frame.users, now_ms, limits)
        case GroupAction.REMOVE:
            _require(role, GroupRole.ADMIN)
            return _removed(roster, actor, role, frame.users, now_ms, limits)
        case GroupAction.LEAVE:
            return left(roster, actor, now_ms, limits)
        case GroupAction.ROLE:
            _require(role, GroupRole.OWNER)
            return _promoted(roster, actor, frame.users, frame.role, now_ms, limits)
        case GroupAction.INFO:
            _require(role, rules.edit)
            _check_info(frame.info, limits)
            if frame.info == roster.head.info:
                return None
            return _changed(roster, actor, GroupAction.INFO, now_ms, info=frame.info)
        case GroupAction.RULES:
            _require(role, GroupRole.ADMIN)
            return _ruled(roster, actor, frame.rules, now_ms)
        case GroupAction.LINK:
            _require(role, rules.add)
            return _linked(roster, actor, frame, now_ms, limits)
        case GroupAction.UNLINK:
            _require(role, rules.add)
            return _unlinked(roster, actor, frame.link, now_ms)
        case GroupAction.DENY:
            _require(role, rules.add)
            return _denied(roster, actor, frame.users, now_ms)
        case GroupAction.PIN | GroupAction.UNPIN:
            _require(role, rules.edit)
            return _pinned(roster, actor, frame, now_ms, limits)
    raise ProtocolError(INVALID, f"a group is not changed by action {frame.action}")


def added(
    roster: Roster, actor: UserId, action: GroupAction, users: Iterable[UserId], now_ms: int, limits: Limits
) -> Planned | None:
    """Users who are members from now on. Raises ProtocolError (group_full, too_large)."""
    new = [user for user in dict.fromkeys(users) if roster.role(user) is None]
    _check_users(new, limits)
    if not new:
        return None
    _check_room(roster.head, len(new), limits)
    version = roster.head.version + 1
    rows = [RosterRow(roster.row.conversation_id, user, joined_version=version) for user in new]
    waiting = [user for user in roster.head.waiting if user not in new]
    plan = _changed(roster, actor, action, now_ms, users=new)
    head = msgspec.structs.replace(plan.head, count=plan.head.count + len(new), waiting=waiting)
    return Planned(head, tuple(rows))


def left(
    roster: Roster,
    user: UserId,
    now_ms: int,
    limits: Limits,
    *,
    by_force: bool = False,
    ending: Collection[UserId] = (),
) -> Planned | None:
    """Somebody goes. Raises ProtocolError (group_rights).

    `by_force`: their account ends. Then an owner hands the group over first, to the eldest admin, else to the
    eldest member, and goes when this is asked again: so all are told of both. Whose account ends, too, takes
    nothing over: two of them would hand it to each other for ever. Where there is nobody else these go first,
    one each time that this is asked, so that the group has an owner as long as it has members.
    """
    role = roster.role(user)
    if role is None:
        return None
    if role == GroupRole.OWNER and roster.head.count > 1:
        if not by_force:
            raise ProtocolError(GROUP_RIGHTS, "hand the group over first: it would have no owner")
        heir = _heir(roster, user, ending)
        if heir is not None:
            return _promoted(roster, user, [heir], GroupRole.OWNER, now_ms, limits)
        user = next((one for one in heirs(roster, user) if one in ending), user)
    return _gone(roster, user, GroupAction.LEAVE, [user], now_ms)


def heirs(roster: Roster, user: UserId) -> list[UserId]:
    """Who may take a group over from a user, in that order."""
    others = [row for row in roster.present if row.user_id != user]
    others.sort(key=lambda row: (-(roster.role(row.user_id) or 0), row.joined_version, row.user_id))
    return [row.user_id for row in others]


def asked(roster: Roster, user: UserId, code_hash: bytes, now_ms: int, limits: Limits) -> Planned | None:
    """Somebody with an invite link asks to be let in. Raises ProtocolError (bad_link, group_full)."""
    check_link(roster, code_hash, now_ms)
    waiting = roster.head.waiting
    if user in waiting or roster.role(user) is not None:
        return None
    if len(waiting) >= limits.group_waiting:
        raise ProtocolError(GROUP_FULL, "too many are waiting to be let in")
    plan = _changed(roster, user, GroupAction.ASK, now_ms, users=[user])
    return Planned(msgspec.structs.replace(plan.head, waiting=[*waiting, user]))


def pictured(roster: Roster, actor: UserId, picture: EntryId, now_ms: int) -> Planned | None:
    """Another picture. Raises ProtocolError (no_such_conversation, group_rights)."""
    role = roster.role(actor)
    if role is None:
        raise ProtocolError(NO_SUCH_CONVERSATION)
    _require(role, roster.head.rules.edit)
    plan = _changed(roster, actor, GroupAction.PICTURE, now_ms, picture=picture)
    return Planned(msgspec.structs.replace(plan.head, picture=picture))


def check_link(roster: Roster, code_hash: bytes, now_ms: int) -> GroupLink:
    """The link of an invite code. Raises ProtocolError (bad_link)."""
    for link in roster.head.links:
        if link.hash == code_hash and link.until > now_ms:
            return link
    raise ProtocolError(BAD_LINK)


def may_add(roster_roles: Mapping[UserId, int], rules: GroupRules) -> list[UserId]:
    """Who is told of links and of those who wait."""
    return [user for user, role in roster_roles.items() if role >= max(rules.add, GroupRole.ADMIN)]


# --- each of them ---------------------------------------------------------------------------


def _changed(
    roster: Roster,
    actor: UserId,
    action: GroupAction,
    now_ms: int,
    *,
    users: list[UserId] | None = None,
    role: int = 0,
    info: bytes | None = None,
    rules: GroupRules | None = None,
    pin: Pin | None = None,
    picture: EntryId | None = None,
) -> Planned:
    """The group with one more version, and with what every action may carry."""
    head = roster.head
    version = head.version + 1
    change = GroupChange(version, action, users or [], role)
    if info is not None:
        change.info = info
        head = msgspec.structs.replace(head, info=info)
    if rules is not None:
        change.rules = rules
        head = msgspec.structs.replace(head, rules=rules)
    if pin is not None:
        change.target, change.relates_to = pin.message_id, pin.reference
    if picture is not None:
        change.picture = picture
    return Planned(
        msgspec.structs.replace(head, version=version, changed_by=actor, changed_at=now_ms, change=change)
    )


def _gone(roster: Roster, actor: UserId, action: GroupAction, users: list[UserId], now_ms: int) -> Planned:
    plan = _changed(roster, actor, action, now_ms, users=users)
    version = plan.head.version
    rows = [
        msgspec.structs.replace(
            roster.members[user], role=GroupRole.MEMBER, left_version=version, dormant=False
        )
        for user in users
    ]
    count = plan.head.count - len(users)
    staff = {user: role for user, role in plan.head.staff.items() if user not in users}
    head = msgspec.structs.replace(plan.head, count=count, removal_at=version, staff=staff)
    if not count:
        head = msgspec.structs.replace(head, links=[], waiting=[])
    return Planned(head, tuple(rows))


def _removed(
    roster: Roster, actor: UserId, role: GroupRole, users: list[UserId], now_ms: int, limits: Limits
) -> Planned | None:
    if actor in users:
        raise ProtocolError(INVALID, "to go oneself is to leave")
    gone = [user for user in dict.fromkeys(users) if roster.role(user) is not None]
    _check_users(gone, limits)
    for user in gone:
        if (roster.role(user) or 0) >= role:
            raise ProtocolError(GROUP_RIGHTS, "only the owner removes admins, and nobody the owner")
    return _gone(roster, actor, GroupAction.REMOVE, gone, now_ms) if gone else None


def _promoted(
    roster: Roster, actor: UserId, users: list[UserId], role: int, now_ms: int, limits: Limits
) -> Planned | None:
    _check_users(users, limits)
    others = [user for user in dict.fromkeys(users) if user != actor]
    for user in others:
        if roster.role(user) is None:
            raise ProtocolError(NO_SUCH_USER, "only members have a role")
    if role == GroupRole.OWNER:
        if not others:
            return None
        if len(others) > 1:
            raise ProtocolError(INVALID, "a group has one owner")
    elif actor in users:
        raise ProtocolError(GROUP_RIGHTS, "the owner hands the group over, or stays its owner")
    others = [user for user in others if roster.role(user) != role]
    if not others:
        return None
    roles = dict.fromkeys(others, role)
    if role == GroupRole.OWNER:
        roles[actor] = GroupRole.ADMIN
    rows = [msgspec.structs.replace(roster.members[user], role=given) for user, given in roles.items()]
    plan = _changed(roster, actor, GroupAction.ROLE, now_ms, users=others, role=role)
    if roster.head.kind != ConversationKind.CHANNEL:
        return Planned(plan.head, tuple(rows))
    staff = {user: given for user, given in {**roster.head.staff, **roles}.items() if given}
    return Planned(msgspec.structs.replace(plan.head, staff=staff), tuple(rows))


def _ruled(roster: Roster, actor: UserId, rules: GroupRules | None, now_ms: int) -> Planned | None:
    if rules is None:
        raise ProtocolError(INVALID, "RULES has rules")
    if roster.head.kind == ConversationKind.CHANNEL:
        rules = _of_channel(rules)
    if rules == roster.head.rules:
        return None
    return _changed(roster, actor, GroupAction.RULES, now_ms, rules=rules)


def _linked(roster: Roster, actor: UserId, frame: ChangeGroup, now_ms: int, limits: Limits) -> Planned | None:
    if len(frame.link) != HASH_BYTES:
        raise ProtocolError(INVALID, "a link is the SHA-256 of its code")
    if not now_ms < frame.until <= now_ms + limits.group_link_s * 1000:
        raise ProtocolError(INVALID, f"a link expires within {limits.group_link_s // 86_400} days")
    kept = [link for link in roster.head.links if link.until > now_ms]
    if any(link.hash == frame.link for link in kept):
        return None
    if len(kept) >= limits.group_links:
        raise ProtocolError(TOO_LARGE, f"a group has {limits.group_links} links: revoke one first")
    plan = _changed(roster, actor, GroupAction.LINK, now_ms)
    links = [*kept, GroupLink(frame.link, frame.until, actor)]
    return Planned(msgspec.structs.replace(plan.head, links=links))


def _unlinked(roster: Roster, actor: UserId, code_hash: bytes, now_ms: int) -> Planned | None:
    kept = [link for link in roster.head.links if link.hash != code_hash]
    if len(kept) == len(roster.head.links):
        return None
    plan = _changed(roster, actor, GroupAction.UNLINK, now_ms)
    return Planned(msgspec.structs.replace(plan.head, links=kept))


def _denied(roster: Roster, actor: UserId, users: list[UserId], now_ms: int) -> Planned | None:
    denied = [user for user in roster.head.waiting if user in users]
    if not denied:
        return None
    plan = _changed(roster, actor, GroupAction.DENY, now_ms, users=denied)
    waiting = [user for user in roster.head.waiting if user not in denied]
    return Planned(msgspec.structs.replace(plan.head, waiting=waiting))


def _pinned(roster: Roster, actor: UserId, frame: ChangeGroup, now_ms: int, limits: Limits) -> Planned | None:
    if frame.relates_to is None or not frame.target:
        raise ProtocolError(INVALID, "a pin needs relates_to and target")
    pin = Pin(frame.target, frame.relates_to)
    others = [other for other in roster.head.pins if other.reference != pin.reference]
    is_there = len(others) < len(roster.head.pins)
    if is_there == (frame.action == GroupAction.PIN):
        return None
    plan = _changed(roster, actor, GroupAction(frame.action), now_ms, pin=pin)
    if frame.action == GroupAction.UNPIN:
        return Planned(msgspec.structs.replace(plan.head, pins=others))
    if len(others) >= limits.group_pins:
        raise ProtocolError(TOO_LARGE, f"a group has {limits.group_pins} pins: take one off first")
    return Planned(msgspec.structs.replace(plan.head, pins=[*others, pin]))


# --- what they share ------------------------------------------------------------------------


def _require(role: GroupRole, least: int) -> None:
    if role < least:
        raise ProtocolError(GROUP_RIGHTS)


def _check_users(users: list[UserId], limits: Limits) -> None:
    if len(users) > limits.group_users:
        raise ProtocolError(TOO_LARGE, f"at most {limits.group_users} users in one change")
    if HEAD_MEMBER in users:
        raise ProtocolError(NO_SUCH_USER)


def _check_info(info: bytes, limits: Limits) -> None:
    if len(info) > limits.group_info_bytes:
        raise ProtocolError(TOO_LARGE, f"name and description are over {limits.group_info_bytes} bytes")


def _check_room(head: GroupHead, more: int, limits: Limits) -> None:
    if head.kind == ConversationKind.CHANNEL:
        return
    most = min(limits.group_members, limits.fanout_read_members)
    if head.scheme:
        most = min(most, limits.group_members_sealed)
    if head.count + more > most:
        raise ProtocolError(GROUP_FULL, f"a group has at most {most} members; a channel has no such bound")


def _of_channel(rules: GroupRules) -> GroupRules:
    """In a channel only its staff writes, adds and edits."""
    least = int(GroupRole.ADMIN)
    return GroupRules(max(rules.write, least), max(rules.add, least), max(rules.edit, least), rules.approval)


def _heir(roster: Roster, user: UserId, ending: Collection[UserId]) -> UserId | None:
    return next((one for one in heirs(roster, user) if one not in ending), None)
