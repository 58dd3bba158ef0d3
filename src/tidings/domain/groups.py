"""Groups: made, changed, joined and left; who may see one, and what of it.

A change is judged by the roster as it is stored (`group_changes`), written by compare-and-set, known to this
node from then on, told to the members (`announcements`), and answered once every other node heeds it, too.

spec §6.17
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from tidings.domain import group_changes, heirs
from tidings.domain.announcements import Announcements
from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.conversation import Conversation
from tidings.domain.conversations import Conversations
from tidings.domain.crossings import Crossings
from tidings.domain.group_changes import GONE, Planned
from tidings.domain.log import Log
from tidings.domain.peers import Peers
from tidings.domain.privacy import Privacy
from tidings.domain.rosters import Roster, Rosters, revised, stays_of
from tidings.domain.users import Users, ending
from tidings.protocol import ids
from tidings.protocol.errors import (
    BAD_LINK,
    GROUP_FULL,
    INVALID,
    NO_SUCH_CONVERSATION,
    NO_SUCH_MESSAGE,
    NO_SUCH_USER,
    NOT_ADDABLE,
    TOO_LARGE,
    ProtocolError,
)
from tidings.protocol.frames import (
    ChangeGroup,
    ConversationKind,
    CreateGroup,
    Group,
    GroupAction,
    GroupPreview,
    GroupRole,
    Member,
)
from tidings.protocol.ids import ConversationId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.contract import OutcomeUnknown, Put, Store, StoreError, StoreUnavailable
from tidings.store.paging import rows_of
from tidings.store.schema import (
    GROUP_LINKS,
    GROUP_PICTURES,
    HEAD_MEMBER,
    MEMBERSHIPS,
    SUBSCRIBERS,
    WATERMARKS,
    GroupHead,
    GroupLinkRow,
    GroupPictureRow,
    MembershipRow,
    RosterRow,
    SubscriberRow,
    share_of,
)

UNTOLD_MS = 10_000
"""A change that nobody was told of for so long is told by whoever finds it: its node has died."""
JOINS_S = 1.0
"""Those who join a group within so long come as one change."""
MEMBERSHIPS_READ = 256
"""rows read at once"""

Judge = Callable[[Roster], Planned | None]


class Rights(NamedTuple):
    """The versions of a conversation that somebody may read."""

    first: int
    end: int = ids.SNOWFLAKE_MAX

    def cover(self, version: int) -> bool:
        """Whether a message of a version is theirs."""
        return self.first <= version < self.end


ALL = Rights(0)


class _Joining(NamedTuple):
    user: UserId
    joined: "asyncio.Future[None]"


class Groups:
    """See the module's text."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        clock: Clock,
        id_clock: IdClock,
        conversations: Conversations,
        announcements: Announcements,
        crossings: Crossings,
        log: Log,
        users: Users,
        privacy: Privacy,
        limits: Limits,
        peers: Peers,
        check_rate: Callable[[ConversationId], None],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`check_rate` counts a change of a group, and raises ProtocolError (rate_limited)."""
        self._store = store
        self._rosters = Rosters(store)
        self._clock = clock
        self._ids = id_clock
        self._conversations = conversations
        self._announcements = announcements
        self._crossings = crossings
        self._log = log
        self._users = users
        self._privacy = privacy
        self._limits = limits
        self._peers = peers
        self._check_rate = check_rate
        self._random_bytes = random_bytes
        self._commit = commit
        self._locks: WeakValueDictionary[ConversationId, asyncio.Lock] = WeakValueDictionary()
        """of groups that are being changed here"""
        self._joining: dict[bytes, list[_Joining]] = {}
        """who joins with the next change, by the hash of the code"""
        self._tasks: set[asyncio.Task[None]] = set()

    # --- made and changed -------------------------------------------------------------------

    async def create(self, maker: UserId, frame: CreateGroup) -> Conversation:
        """Make a group, or find it: a repeat names the same one. Raises ProtocolError, StoreError.

        invalid, too_large, group_full, no_such_user, not_addable.
        """
        conversation_id = ids.group_conversation_id(maker, frame.nonce)
        found = await self._rosters.read(conversation_id)
        if found is None:
            plan = group_changes.created(
                conversation_id,
                maker,
                frame.users,
                frame.kind,
                frame.scheme,
                frame.info,
                frame.rules,
                self._clock.wall_ms(),
                self._limits,
            )
            await self._check_addable(maker, [row.user_id for row in plan.rows[1:]])
            async with self._lock(conversation_id):
                nothing = Roster(RosterRow(conversation_id, HEAD_MEMBER), plan.head, {})
                await self._set(nothing, plan, is_new=True)
            if await self._rosters.head(conversation_id) is None:
                raise StoreUnavailable("it is not known whether a group was made")
        found = await self._roster(conversation_id, set())
        conversation = await self._conversations.anew(conversation_id)
        assert conversation is not None
        async with self._lock(conversation_id):
            await self._finish_telling(conversation, found, at_once=True)
        self._crossings.look(conversation)
        return conversation

    async def change(self, actor: UserId, frame: ChangeGroup) -> None:
        """Change a group at a member's wish; every node heeds it on return.

        Raises ProtocolError (no_such_conversation, group_rights, group_full, not_addable, no_such_user,
        no_such_message, invalid, too_large, rate_limited, store_…), StoreError.
        """
        conversation_id = frame.conversation_id
        conversation = await self.access(conversation_id, actor)
        if conversation.group is None:
            raise ProtocolError(NO_SUCH_CONVERSATION, "it is no group")
        if frame.action == GroupAction.ADD:
            await self._check_addable(actor, frame.users, conversation.group.head.waiting)
        if frame.action == GroupAction.PIN:
            await self._check_pin(conversation, actor, frame)
        now_ms, users = self._clock.wall_ms(), {actor, *frame.users}

        def judge(roster: Roster) -> Planned | None:
            return group_changes.planned(roster, actor, frame, now_ms, self._limits)

        if frame.action == GroupAction.LINK and judge(await self._roster(conversation_id, users)):
            # What follows from it goes first: without the group's word it leads nowhere.
            await self._name_link(frame.link, conversation_id)
        await self._apply(conversation, judge, users)

    async def set_picture(
        self, actor: UserId, conversation_id: ConversationId, kind: str, data: bytes
    ) -> EntryId:
        """Change a group's picture. Raises ProtocolError (…, too_large), StoreError."""
        if len(data) > self._limits.picture_bytes:
            raise ProtocolError(TOO_LARGE, f"a picture is over {self._limits.picture_bytes} bytes")
        conversation = await self.access(conversation_id, actor)
        version = EntryId(self._ids.next()) if data else EntryId(0)
        now_ms = self._clock.wall_ms()
        # Judged before it is stored, and again when it counts.
        roster = await self._roster(conversation_id, {actor})
        group_changes.pictured(roster, actor, version, now_ms)
        await self._commit.write(
            [Put(GROUP_PICTURES, GroupPictureRow(conversation_id, kind, data, version), self._ids.next())]
        )
        await self._apply(
            conversation, lambda roster: group_changes.pictured(roster, actor, version, now_ms), {actor}
        )
        return version

    async def is_sealed(self, user: UserId, conversation_id: ConversationId) -> bool:
        """Whether a user's group is encrypted. Raises ProtocolError (no_such_conversation), StoreError."""
        group = (await self.access(conversation_id, user)).group
        return group is not None and bool(group.head.scheme)

    async def picture(self, viewer: UserId, conversation_id: ConversationId) -> GroupPictureRow | None:
        """A group's picture. Raises ProtocolError (no_such_conversation), StoreError."""
        await self.access(conversation_id, viewer)
        row = await self._store.get(GROUP_PICTURES, (conversation_id,))
        return row if row is not None and row.data else None

    async def depart(self, user: UserId) -> None:
        """An account ends: its user leaves every group. Raises ProtocolError, StoreError."""
        async for row in rows_of(self._store, MEMBERSHIPS, (user,), at_once=MEMBERSHIPS_READ):
            if row.kind != ConversationKind.DIRECT and row.left_version is None:
                await self._depart(user, row.conversation_id)

    # --- invite links -----------------------------------------------------------------------

    async def look_inside(self, invite: bytes, request_id: int) -> GroupPreview:
        """What an invite code leads to. Raises ProtocolError (bad_link), StoreError."""
        roster, _ = await self._invited(invite, set())
        head = roster.head
        return GroupPreview(
            request_id,
            roster.row.conversation_id,
            head.kind,
            head.scheme,
            head.info,
            head.count,
            head.rules.approval,
            head.made_by,
        )

    async def join(self, user: UserId, invite: bytes) -> tuple[ConversationId, bool]:
        """Join by an invite code, or wait to be let in: which group, and whether one waits.

        Raises ProtocolError (bad_link, group_full, rate_limited, store_…), StoreError.
        """
        roster, code_hash = await self._invited(invite, {user})
        conversation_id = roster.row.conversation_id
        conversation = await self._conversations.find(conversation_id)
        assert conversation is not None
        if roster.role(user) is not None:
            # The first answer may have failed before this was told, or known everywhere: of a
            # channel nobody is a member before that.
            await self._apply(conversation, lambda _: None, {user})
            return conversation_id, False
        if roster.head.rules.approval:
            now_ms = self._clock.wall_ms()
            await self._apply(
                conversation,
                lambda roster: group_changes.asked(roster, user, code_hash, now_ms, self._limits),
                {user},
            )
            return conversation_id, True
        await self._join_soon(conversation, user, code_hash)
        return conversation_id, False

    # --- who may see what -------------------------------------------------------------------

    async def access(self, conversation_id: ConversationId, user: UserId) -> Conversation:
        """A conversation, for its members; to others it does not exist. Raises ProtocolError, StoreError.

        A change that was not told, since its node died, is told; a crossing that is due begins.
        """
        conversation = await self._conversations.find(conversation_id)
        if conversation is None:
            raise ProtocolError(NO_SUCH_CONVERSATION)
        is_in = await self.is_in(conversation, user)
        if self._is_overdue(conversation):
            if is_in:
                self._tell_some_time(conversation)
            else:
                # It may be about them, and nobody else may be left to look: they are judged by it.
                await self._tell_overdue(conversation)
                is_in = await self.is_in(conversation, user)
        if not is_in:
            raise ProtocolError(NO_SUCH_CONVERSATION)
        if conversation.group is not None:
            self._crossings.look(conversation)
        return conversation

    async def is_in(self, conversation: Conversation, user: UserId) -> bool:
        """Whether a user is a member. Raises StoreError."""
        if conversation.has_member(user):
            return True
        if conversation.is_channel:
            return (await self._subscription(conversation, user)) is not None
        # Another node may have added them.
        if self._peers.are_there and conversation.group is not None:
            anew = await self._conversations.anew(conversation.conversation_id)
            return anew is not None and anew.has_member(user)
        return False

    async def rights(self, conversation: Conversation, user: UserId) -> Rights:
        """Which versions of a conversation a member may read. Raises StoreError."""
        if conversation.group is None:
            return ALL
        joined = conversation.group.joined.get(user)
        if joined is None:
            row = await self._subscription(conversation, user)
            if row is None:
                return Rights(0, 0)
            joined = row.joined_version
        return Rights(joined)

    async def described(self, conversation: Conversation, viewer: UserId) -> Group | None:
        """What a group is to one of its members; None for a direct conversation. Raises StoreError."""
        if conversation.group is None:
            return None
        head = conversation.group.head
        role = conversation.role(viewer) or GroupRole.MEMBER
        joined = (await self.rights(conversation, viewer)).first
        is_staff = role >= max(head.rules.add, GroupRole.ADMIN)
        return Group(
            role,
            head.scheme,
            head.info,
            head.picture,
            head.rules,
            head.count,
            head.made_by,
            head.made_at,
            joined,
            head.removal_at,
            head.pins,
            head.links if is_staff else [],
            head.waiting if is_staff else [],
        )

    async def members(
        self, conversation: Conversation, viewer: UserId, after: UserId, limit: int
    ) -> tuple[list[Member], bool]:
        """Members of a group by id, after one of them, and whether there are more.

        Of a channel, all to its staff and only the staff to others. Raises StoreError.
        """
        limit = min(limit, self._limits.group_page)
        roles = {} if conversation.group is None else conversation.group.roles
        if conversation.is_channel and viewer in roles:
            users = await heirs.listeners(self._store, conversation.conversation_id, after, limit + 1)
        else:
            users = sorted(user for user in roles if user > after)[: limit + 1]
        shown = users[:limit]
        found = [await self._users.user(user) for user in shown]
        page = [Member(user.user_id, user.handle, 0, roles.get(user.user_id, 0)) for user in found]
        return page, len(users) > limit

    # --- inside -----------------------------------------------------------------------------

    async def _apply(self, conversation: Conversation, judge: Judge, users: set[UserId]) -> None:
        """Make a change that `judge` allows, and have it known and told. `users`: whom it is about."""
        conversation_id = conversation.conversation_id
        async with self._lock(conversation_id):
            counted = False
            while True:
                roster = await self._roster(conversation_id, users)
                conversation = await self._conversations.changed(roster)
                await self._finish_telling(conversation, roster, at_once=True)
                plan = judge(roster)
                if plan is None:
                    break  # somebody has just done it, maybe
                if not counted:
                    self._check_rate(conversation_id)
                    counted = True
                after = await self._set(roster, plan)
                if after is not None:
                    roster = after
                    break
            conversation = await self._conversations.changed(roster)
            await self._finish_telling(conversation, roster, at_once=True)
        self._crossings.look(conversation)
        # Until then other nodes may take and give what was right before.
        await self._peers.know()

    async def _set(self, roster: Roster, plan: Planned, *, is_new: bool = False) -> Roster | None:
        """The group as it is from here on; None: it was not what it was taken for."""
        is_channel = plan.head.kind == ConversationKind.CHANNEL
        rows = plan.rows if is_channel else await self._with_stays(roster, plan.rows)
        after = revised(roster, plan.head, rows, self._ids.next(), self._random_bytes(16))
        expected = None if is_new else roster.row
        return after if await self._rosters.set(expected, after.row, () if is_channel else rows) else None

    async def _with_stays(self, roster: Roster, rows: Sequence[RosterRow]) -> Sequence[RosterRow]:
        """Rows of members, with what those had when they left who come back by them."""
        back = [row for row in rows if row.left_version is None and roster.has_left(row.user_id)]
        if not back:
            return rows
        await self._commit.barrier()
        names = [(row.conversation_id, row.user_id) for row in back]
        marks = await self._store.get_many(WATERMARKS, names)
        for row, mark in zip(back, marks, strict=True):
            row.stays = stays_of(roster.members[row.user_id], mark)
        return rows

    async def _finish_telling(
        self, conversation: Conversation, roster: Roster, *, at_once: bool = False
    ) -> None:
        group = conversation.group
        assert group is not None
        while group.told < roster.head.version:
            if not at_once and self._clock.wall_ms() - roster.head.changed_at <= UNTOLD_MS:
                return
            gone = await self._announcements.tell(conversation, roster)
            if gone:
                roster, at_once = await self._with_one_less(roster, gone), True
                await self._conversations.changed(roster)

    async def _with_one_less(self, roster: Roster, gone: list[UserId]) -> Roster:
        """A group without one of those who came to it while their account was ended.

        One at a time, and of the group as it was told: two changes at once, or one upon somebody else's that
        their node has not told yet, and nobody would ever be told of the first.
        """
        now_ms = self._clock.wall_ms()
        others = await heirs.passed_over(self._store, roster, gone[0])
        plan = group_changes.left(roster, gone[0], now_ms, self._limits, by_force=True, ending=others)
        after = None if plan is None else await self._set(roster, plan)
        return after or await self._roster(roster.row.conversation_id, set(gone))

    def _tell_some_time(self, conversation: Conversation) -> None:
        """A change was found that its members may not have been told of."""
        if not self._lock(conversation.conversation_id).locked():
            self._go_on(self._tell_overdue(conversation))

    async def _tell_overdue(self, conversation: Conversation) -> None:
        async with self._lock(conversation.conversation_id):
            with suppress(ProtocolError, StoreError):  # whoever comes next tells it
                roster = await self._roster(conversation.conversation_id, set())
                await self._finish_telling(conversation, roster)

    def _is_overdue(self, conversation: Conversation) -> bool:
        """Whether a change was not told for so long that its node has died."""
        group = conversation.group
        return (
            group is not None
            and group.told < conversation.version
            and self._clock.wall_ms() - group.head.changed_at > UNTOLD_MS
        )

    async def _roster(self, conversation_id: ConversationId, users: set[UserId]) -> Roster:
        """A group as it is stored; of a channel its staff, these users, and who came by the last change."""
        roster = await self._rosters.read(conversation_id)
        if roster is None:
            raise ProtocolError(NO_SUCH_CONVERSATION)
        if roster.head.kind != ConversationKind.CHANNEL:
            return roster
        head, change = roster.head, roster.head.change
        asked = sorted({*users, *head.staff, *(change.users if change is not None else ()), head.changed_by})
        names = [(conversation_id, share_of(user), user) for user in asked]
        rows = await self._store.get_many(SUBSCRIBERS, names)
        members = {row.user_id: _as_member(row, head) for row in rows if row is not None}
        members.update(_just_changed(conversation_id, head, members))
        return Roster(roster.row, head, members)

    async def _depart(self, user: UserId, conversation_id: ConversationId) -> None:
        conversation = await self._conversations.find(conversation_id)
        if conversation is None:
            return
        users = {user}
        if conversation.is_channel:
            # Its listeners are in no roster: where there is no other staff, one of them takes over.
            users.update(await heirs.some_listeners(self._store, conversation_id))
        is_there = True
        while is_there:
            now_ms = self._clock.wall_ms()
            known = await self._roster(conversation_id, users)
            others = await heirs.passed_over(self._store, known, user)

            def judge(roster: Roster, now_ms: int = now_ms, others: set[UserId] = others) -> Planned | None:
                nonlocal is_there
                plan = group_changes.left(roster, user, now_ms, self._limits, by_force=True, ending=others)
                # It hands over first, or others go first.
                is_there = plan is not None and user not in plan.gone
                return plan

            await self._apply(conversation, judge, users)

    async def _invited(self, invite: bytes, users: set[UserId]) -> tuple[Roster, bytes]:
        if len(invite) > self._limits.group_code_bytes:
            raise ProtocolError(BAD_LINK)
        code_hash = hashlib.sha256(invite).digest()
        row = await self._store.get(GROUP_LINKS, (code_hash,))
        if row is None:
            raise ProtocolError(BAD_LINK)
        roster = await self._roster(row.conversation_id, users)
        group_changes.check_link(roster, code_hash, self._clock.wall_ms())
        return roster, code_hash

    async def _name_link(self, code_hash: bytes, conversation_id: ConversationId) -> None:
        """Have a code lead to a group, for ever: nobody turns it to another one who has seen its hash."""
        row = GroupLinkRow(code_hash, conversation_id, self._random_bytes(16))
        with suppress(OutcomeUnknown):
            await self._store.compare_and_set(GROUP_LINKS, None, row)
        found = await self._store.get(GROUP_LINKS, (code_hash,))
        if found is None:
            raise StoreUnavailable("it was not noted which group a code leads to")
        if found.conversation_id != conversation_id:
            raise ProtocolError(INVALID, "this code is another group's: make another one")

    async def _join_soon(self, conversation: Conversation, user: UserId, code_hash: bytes) -> None:
        """Join with all who join within `JOINS_S`: each change costs all members something."""
        joining = self._joining.get(code_hash)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if joining is None:
            joining = self._joining[code_hash] = []
            self._go_on(self._join_all(conversation, code_hash))
        joining.append(_Joining(user, future))
        await future

    async def _join_all(self, conversation: Conversation, code_hash: bytes) -> None:
        changed_at = 0 if conversation.group is None else conversation.group.head.changed_at
        if self._clock.wall_ms() - changed_at < JOINS_S * 1000:
            await asyncio.sleep(JOINS_S)
        joining = self._joining.pop(code_hash)
        while joining:
            some, joining = joining[: self._limits.group_users], joining[self._limits.group_users :]
            users = [one.user for one in some]
            now_ms = self._clock.wall_ms()
            room: list[UserId] = []

            def judge(
                roster: Roster,
                users: list[UserId] = users,
                now_ms: int = now_ms,
                room: list[UserId] = room,
            ) -> Planned | None:
                group_changes.check_link(roster, code_hash, now_ms)
                # Who comes first has a place, where there is not one for all.
                room[:] = users[: max(1, self._room(roster))]
                return group_changes.added(roster, room[0], GroupAction.JOIN, room, now_ms, self._limits)

            try:
                await self._apply(conversation, judge, set(users))
                await self._answer(conversation, some, room)
            except Exception as error:
                _refuse(some, error)

    def _room(self, roster: Roster) -> int:
        if roster.head.kind == ConversationKind.CHANNEL:
            return self._limits.group_users
        return self._limits.group_members - roster.head.count

    async def _answer(self, conversation: Conversation, some: list[_Joining], room: list[UserId]) -> None:
        """Who got in is told so, if they were removed by now, too; for the others there was no room."""
        for one in some:
            if one.joined.done():
                continue
            if one.user in room or await self.is_in(conversation, one.user):
                one.joined.set_result(None)
            else:
                one.joined.set_exception(ProtocolError(GROUP_FULL))

    async def _check_addable(
        self, actor: UserId, users: Sequence[UserId], waiting: Sequence[UserId] = ()
    ) -> None:
        """Who waits has asked to be added."""
        if len(users) > self._limits.group_users:
            raise ProtocolError(TOO_LARGE, f"at most {self._limits.group_users} users in one change")
        asked = [user for user in users if user not in waiting]
        if not await self._privacy.show_all(actor, asked, "groups"):
            raise ProtocolError(NOT_ADDABLE)
        # After what they let others do: where an account ends that goes first, and then says nothing.
        await self._check_there(users)

    async def _check_there(self, users: Sequence[UserId]) -> None:
        """As it is stored: nobody is added whose end was begun."""
        if await ending(self._store, users):
            raise ProtocolError(NO_SUCH_USER)

    async def _check_pin(self, conversation: Conversation, actor: UserId, frame: ChangeGroup) -> None:
        """What is pinned is a message of the group that its members may see."""
        row = await self._log.find(conversation, frame.target)
        if row is None or frame.relates_to is None or row.relation in group_changes.UNPINNABLE:
            raise ProtocolError(NO_SUCH_MESSAGE)
        if (row.sender_device, row.client_id) != (
            frame.relates_to.sender_device,
            frame.relates_to.client_id,
        ):
            raise ProtocolError(NO_SUCH_MESSAGE, "another message stands there")
        if not conversation.is_channel and not conversation.entitled(actor, row.version):
            raise ProtocolError(NO_SUCH_MESSAGE)

    async def _subscription(self, conversation: Conversation, user: UserId) -> MembershipRow | None:
        """The row of a channel's member; None of who is gone, also if it does not say so yet."""
        row = await self._store.get(MEMBERSHIPS, (user, conversation.conversation_id))
        group = conversation.group
        change = None if group is None or group.told >= conversation.version else group.head.change
        if change is not None and change.action in GONE and user in change.users:
            return None
        return None if row is None or row.left_version is not None else row

    def _lock(self, conversation_id: ConversationId) -> asyncio.Lock:
        return self._locks.setdefault(conversation_id, asyncio.Lock())

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _as_member(row: SubscriberRow, head: GroupHead) -> RosterRow:
    role = head.staff.get(row.user_id, GroupRole.MEMBER)
    return RosterRow(row.conversation_id, row.user_id, b"", role, row.joined_version, row.left_version)


def _just_changed(
    conversation_id: ConversationId, head: GroupHead, members: dict[UserId, RosterRow]
) -> dict[UserId, RosterRow]:
    """Whoever came to a channel or left it by its last change: their rows may not be written yet."""
    change = head.change
    if change is None:
        return {}
    match change.action:
        case GroupAction.CREATE:
            came, went = [head.made_by, *change.users], list[UserId]()
        case GroupAction.ADD | GroupAction.JOIN:
            came, went = change.users, []
        case GroupAction.REMOVE | GroupAction.LEAVE:
            came, went = [], change.users
        case _:
            return {}
    version = change.version
    found = {user: RosterRow(conversation_id, user, b"", head.staff.get(user, 0), version) for user in came}
    for user in went:
        row = members.get(user) or RosterRow(conversation_id, user)
        found[user] = msgspec.structs.replace(row, role=GroupRole.MEMBER, left_version=version)
    return found


def _refuse(some: list[_Joining], error: Exception) -> None:
    for one in some:
        if not one.joined.done():
            one.joined.set_exception(error)
