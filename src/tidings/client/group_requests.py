"""What is asked of the server about a group that is there: which one is meant, changes of it, who is in it.

After each change the group is asked for, so that who changed it sees what the server has made of it.

spec §6.17
"""

import logging
import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from tidings.client import comings, group_info, known_groups, names, outbox, transcript
from tidings.client.conversations import Ask, Conversations, Known, normal
from tidings.client.directory import Directory
from tidings.client.errors import ClientError, Refused
from tidings.client.founding import Give
from tidings.client.group_info import GroupInfo
from tidings.client.group_values import MARK, Group, is_group
from tidings.client.sealing import rosters
from tidings.client.surroundings import Clock
from tidings.client.transcript import Self
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.errors import NO_SUCH_CONVERSATION
from tidings.protocol.frames import ChangeGroup, GroupAction, MemberPage, Scheme
from tidings.protocol.ids import SNOWFLAKE_MAX, ConversationId, UserId

SomeGroup = Group | str
"""What names a group: its name, like `#Family`, or `#` and its id, as `Group.peer` is; or a `Group`."""
USERS_AT_ONCE = 256
"""users in one change (spec §10, `group_users`)"""
GIVEN_S = 10.0
"""how long it is waited until members were given a sender key"""
LOOK_S = 0.02
TOLD_S = 30.0
"""how often it is said that handles are still looked up"""
MEMBERS_AT_ONCE = 1000
"""members asked for in one frame (spec §10, `group_page`)"""

log = logging.getLogger("tidings.client")


class GroupRequests:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        directory: Directory,
        ask: Ask,
        me: Self,
        changed: Callable[[], None],
        give: Give,
        clock: Clock,
    ) -> None:
        """`changed` is called when something was stored; `give` gives this device's sender key to a group."""
        self._vault = vault
        self._conversations = conversations
        self._directory = directory
        self._ask = ask
        self._me = me
        self._changed = changed
        self._give = give
        self._clock = clock

    async def known(self, group: SomeGroup) -> Known:
        """The group that is meant. Raises ClientError, Refused."""
        peer = group.peer if isinstance(group, Group) else normal(group)
        known = await self._conversations.with_peer(peer if is_group(peer) else MARK + peer, self._ask)
        if not known.is_group:
            raise ClientError(f"{peer} is no group", "see yours with: tidings group list")
        return known

    async def shown(self, known: Known) -> Group:
        """A group as the profile has it. Raises ClientError."""
        found = await self._vault.read(_showing(known.conversation_id))
        if found is None:
            raise ClientError(
                f"nothing is known of the group {known.peer}", "see yours with: tidings group list"
            )
        return found

    async def user_ids(self, handles: Sequence[str]) -> list[UserId]:
        """The others among some handles. Raises Refused, ClientError.

        A server lets few strangers be looked up at once (spec §6.12), so this may take long for many. Who was
        found is remembered: when it is cut off and asked again, it goes on where it was.
        """
        if isinstance(handles, str):
            raise ClientError("handles are several", "put them into a list")
        found, told_s = [], self._clock.monotonic_s()
        for handle in handles:
            found.append(await self._directory.user_id(handle))
            if self._clock.monotonic_s() >= told_s + TOLD_S:
                told_s = self._clock.monotonic_s()
                log.warning(
                    "the server lets handles be looked up slowly: %d of %d are found",
                    len(found),
                    len(handles),
                )
        return list(dict.fromkeys(one for one in found if one != self._me.user_id))

    async def about_users(self, known: Known, action: GroupAction, users: Sequence[UserId]) -> Group:
        """Add, remove or turn away users, and see what has become of it. Raises Refused, ClientError."""
        if not users:
            raise ClientError("nobody was named but yourself", "name others by their handles, like @bob")
        for first in range(0, len(users), USERS_AT_ONCE):
            some = [*users[first : first + USERS_AT_ONCE]]
            since = await self._vault.read(transcript.newest_seq)
            await self.told(known, ChangeGroup(0, known.conversation_id, action, some))
            await self._vault.write(_telling(known.conversation_id, action, some, since))
        shown = await self.after_change(known)
        if action == GroupAction.ADD:
            await self.give_key(known)
        return shown

    async def change(self, known: Known, change: ChangeGroup) -> Group:
        """Change a group, and see what has become of it. Raises Refused."""
        await self.told(known, change)
        return await self.after_change(known)

    async def told(self, known: Known, change: ChangeGroup) -> None:
        """Ask for a change. Raises Refused."""
        try:
            await self._ask(lambda request_id: msgspec.structs.replace(change, request_id=request_id))
        except Refused as refusal:
            if refusal.code == NO_SUCH_CONVERSATION.code:
                await self._vault.write(lambda database: known_groups.leave(database, known.conversation_id))
                self._changed()
            raise

    async def after_change(self, known: Known) -> Group:
        """A group as the server has it now. Raises Refused."""
        await self._conversations.asked(known.conversation_id, self._ask)
        self._changed()
        return await self.shown(known)

    async def give_key(self, known: Known) -> None:
        """Give this device's sender key to members who have it not, and with it what opens the info."""
        where = known.conversation_id
        if await self._vault.read(lambda database: known_groups.scheme(database, where)) != Scheme.PLAIN:
            await self._vault.write(lambda database: self._give(database, known.peer))
            self._changed()
            await self.given(known)

    async def given(self, known: Known) -> None:
        """Return once that is done, or takes too long: then it is done later, by whichever process."""
        until_s = self._clock.monotonic_s() + GIVEN_S
        while self._clock.monotonic_s() < until_s and await self._vault.read(
            lambda database: outbox.is_giving(database, known.peer)
        ):
            await self._clock.sleep(LOOK_S)

    async def page(self, known: Known, after: UserId, limit: int) -> MemberPage:
        """Members from one on; their names are known from then on. Raises Refused."""
        most = min(limit, MEMBERS_AT_ONCE)
        page = await self._ask(
            lambda request_id: frames.Members(request_id, known.conversation_id, after, most)
        )
        assert isinstance(page, MemberPage)
        told = [(one.user_id, one.handle) for one in page.members]
        await self._vault.write(lambda database: names.note(database, told), durable=False)
        return page

    async def written(self, known: Known, info: GroupInfo) -> bytes:
        """An info as the server is told it. Raises ClientError."""
        where = known.conversation_id

        return await self._vault.write(
            lambda database: group_info.written(database, where, *_sealing(database, where), info)
        )

    async def written_picture(self, known: Known, picture: bytes) -> bytes:
        """A picture as the server is given it. Raises ClientError."""
        where = known.conversation_id
        return await self._vault.write(
            lambda database: group_info.written_picture(database, where, *_sealing(database, where), picture)
        )

    async def read_picture(self, known: Known, content: bytes) -> bytes:
        """A picture that the server gave. Raises ClientError."""
        where = known.conversation_id
        return await self._vault.read(
            lambda database: group_info.read_picture(
                database, where, known_groups.scheme(database, where), content
            )
        )


def _sealing(database: sqlite3.Connection, conversation_id: ConversationId) -> tuple[int, int]:
    """How a group is sealed, and the version of its last removal of a member."""
    row = known_groups.find(database, conversation_id)
    return (int(Scheme.PLAIN), 0) if row is None else (row.state.scheme, row.state.removal_at)


def _telling(
    conversation_id: ConversationId, action: GroupAction, users: Sequence[UserId], since: int
) -> Job[None]:
    """The user knows whom they themselves have added or removed, if they were not told of it before.

    `since`: the newest row when that was asked for. The message by the server may be here before the answer,
    and another one after it.
    """

    def tell(database: sqlite3.Connection) -> None:
        untold = [*set(users).difference(comings.moved_since(database, conversation_id, since))]
        if action == GroupAction.ADD:
            rosters.tell(database, conversation_id, untold)
        elif action == GroupAction.REMOVE:
            # Where that stands says the message by the server; until it comes they may have written.
            rosters.untell(database, conversation_id, untold, SNOWFLAKE_MAX)

    return tell


def _showing(conversation_id: ConversationId) -> Job[Group | None]:
    def show(database: sqlite3.Connection) -> Group | None:
        row = known_groups.find(database, conversation_id)
        return None if row is None else known_groups.shown(database, row)

    return show
