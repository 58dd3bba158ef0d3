"""Groups: made, joined and left, who is in them, and who may what.

What is said in a group goes the way of all messages: `Client.send("#Family", …)`.

spec §6.17
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from tidings.client import group_info, http, introductions, known_groups, names, notices
from tidings.client.conversations import Ask, Conversations, Known
from tidings.client.errors import ClientError, Refused
from tidings.client.founding import NO_NONCE, Founding
from tidings.client.group_requests import USERS_AT_ONCE, GroupRequests, SomeGroup
from tidings.client.group_values import Group, GroupMember, Invitation, Rules
from tidings.client.http import Server
from tidings.client.invite_links import CODE_BYTES, Invite, invite
from tidings.client.messages import SomeMessage
from tidings.client.sealing import infos
from tidings.client.sealing.sender_keys import SMALL
from tidings.client.server_time import ServerTime
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.values import LONG_S, MANY, Presence, bounded
from tidings.client.vault import Vault
from tidings.client.watching import Watching
from tidings.protocol.api import Done
from tidings.protocol.errors import NO_SUCH_CONVERSATION
from tidings.protocol.frames import (
    ChangeGroup,
    ConversationKind,
    CreateGroup,
    GroupAction,
    GroupPreview,
    GroupRole,
    GroupRules,
    Join,
    Joined,
    LookInside,
    Scheme,
)
from tidings.protocol.ids import ConversationId, UserId

LINK_S = 7 * 86_400
"""how long an invite link is good, unless told otherwise"""
WATCHED = 100
"""members whose presence is watched at once (spec §10, `watched`)"""


class Groups:
    """`me.groups`. What a role does not allow is refused with group_rights."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        requests: GroupRequests,
        founding: Founding,
        watching: Watching,
        syncing: Syncing,
        ask: Ask,
        me: Self,
        time: ServerTime,
        entropy: Callable[[int], bytes],
        server: Server,
        token: Callable[[], str],
        changed: Callable[[], None],
        *,
        is_sealed: bool,
    ) -> None:
        """`changed` is called when something was stored; `is_sealed`: groups that are made are encrypted."""
        self._vault = vault
        self._conversations = conversations
        self._requests = requests
        self._founding = founding
        self._watching = watching
        self._syncing = syncing
        self._ask = ask
        self._me = me
        self._time = time
        self._entropy = entropy
        self._server = server
        self._token = token
        self._changed = changed
        self._is_sealed = is_sealed

    # --- making and finding -----------------------------------------------------------------

    async def create(
        self,
        name: str,
        handles: Sequence[str] = (),
        *,
        about: str = "",
        channel: bool = False,
        rules: Rules | None = None,
    ) -> Group:
        """Make a group of this user and those of some handles; with `channel`, one in which admins write.

        It is in the profile before it is asked for, and made once, whatever is cut off. While offline this
        waits; if the wait is cancelled the group is made later. Raises Refused (no_such_user, not_addable,
        group_full): there is no group then; ClientError for a name that is none.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"], about="All of us")
            await me.send(family.peer, "Hello everybody")
        ```
        """
        info = group_info.checked(name, about)
        users = await self._requests.user_ids(handles)
        kind = ConversationKind.CHANNEL if channel else ConversationKind.GROUP
        scheme = self._scheme_of_new(kind)
        body = group_info.plainly(info)  # sealed, if it is to be, when it is asked for
        first, later = users[:USERS_AT_ONCE], users[USERS_AT_ONCE:]
        wanted = CreateGroup(0, NO_NONCE, kind, scheme, body, first, _told(rules or Rules()))
        known = await self._founding.found(wanted, self._ask)
        await self._requests.given(known)
        if later:
            await self._requests.about_users(known, GroupAction.ADD, later)
        return await self._requests.shown(known)

    async def get(self, group: SomeGroup) -> Group:
        """A group as the profile has it; the server is asked where that knows none.

        Raises ClientError if there is none, or if there are several of that name; Refused.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.groups.create("Family", ["@bob"])
            print((await me.groups.get("#Family")).count)
        ```
        """
        await self._syncing.ready()
        return await self._requests.shown(await self._requests.known(group))

    async def refresh(self, group: SomeGroup) -> Group:
        """The same, as the server has it now. Raises Refused (no_such_conversation: one is in it no more).

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            print((await me.groups.refresh(family)).version)
        ```
        """
        known = await self._requests.known(group)
        await self._conversations.asked(known.conversation_id, self._ask)
        self._changed()
        return await self._requests.shown(known)

    # --- who is in it -----------------------------------------------------------------------

    async def members(
        self, group: SomeGroup, *, after: UserId | None = None, limit: int = 1000
    ) -> list[GroupMember]:
        """Who is in a group, by id: the first of them, or those after one. Nobody is left once it is empty.

        Raises Refused (group_rights: of a channel, admins alone are told).

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            for member in await me.groups.members(family):
                print(member.handle, member.role.name)
        ```
        """
        bounded("limit", limit, 1, MANY)
        known = await self._requests.known(group)
        begin = after or UserId(0)
        listed = await self._vault.read(
            lambda database: known_groups.members(database, known.conversation_id)
        )
        if listed is not None:
            return [one for one in listed if one.user_id > begin][:limit]
        found: list[GroupMember] = []
        while len(found) < limit:
            page = await self._requests.page(known, begin, limit - len(found))
            found += [GroupMember(one.user_id, one.handle, GroupRole(one.role)) for one in page.members]
            if not page.more or not page.members:
                break
            begin = page.members[-1].user_id
        return found

    async def add(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Add users; who waits to be let in is in with that.

        Raises Refused (not_addable: nobody was added, send them a link; no_such_user, group_full).

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family")
            await me.groups.add(family, ["@bob"])
        ```
        """
        known = await self._requests.known(group)
        return await self._requests.about_users(
            known, GroupAction.ADD, await self._requests.user_ids(handles)
        )

    async def remove(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Remove members: they get nothing more of what is said. Raises Refused.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.remove(family, ["@bob"])
        ```
        """
        known = await self._requests.known(group)
        return await self._requests.about_users(
            known, GroupAction.REMOVE, await self._requests.user_ids(handles)
        )

    async def leave(self, group: SomeGroup) -> None:
        """Be in a group no more; what was said stays in the profile. An owner hands it over first.

        Raises Refused (group_rights).

        ```python
        async with Client.open("profiles/bob") as me:
            choir = await me.groups.create("Choir")
            await me.groups.leave(choir)
        ```
        """
        known = await self._requests.known(group)
        try:
            await self._ask(
                lambda request_id: ChangeGroup(request_id, known.conversation_id, GroupAction.LEAVE)
            )
        except Refused as refusal:
            if refusal.code != NO_SUCH_CONVERSATION.code:
                raise
        await self._vault.write(lambda database: known_groups.leave(database, known.conversation_id))
        self._changed()

    async def promote(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Make members admins; the owner does.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.promote(family, ["@bob"])
        ```
        """
        return await self._give_role(group, handles, GroupRole.ADMIN)

    async def demote(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Make admins ordinary members again; the owner does.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.promote(family, ["@bob"])
            await me.groups.demote(family, ["@bob"])
        ```
        """
        return await self._give_role(group, handles, GroupRole.MEMBER)

    async def transfer(self, group: SomeGroup, handle: str) -> Group:
        """Make a member the owner; who was it is an admin from then on.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.transfer(family, "@bob")
            await me.groups.leave(family)
        ```
        """
        return await self._give_role(group, [handle], GroupRole.OWNER)

    async def presence(self, group: SomeGroup, *, after: UserId | None = None) -> list[Presence]:
        """Watch a page of members (at most 100, by id) instead of those before; how they are right now.

        What changes is told as by `OwnPresence.watch`.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            for one in await me.groups.presence(family):
                print(one.handle, "is there" if one.online else "is away")
        ```
        """
        page = await self.members(group, after=after, limit=WATCHED)
        return await self._watching.watch(
            {one.user_id: one.handle for one in page if one.user_id != self._me.user_id}
        )

    # --- what it is, and who may what -------------------------------------------------------

    async def rename(self, group: SomeGroup, name: str) -> Group:
        """Give a group another name. Raises Refused, ClientError for what is no name.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.rename(family, "Family and friends")
        ```
        """
        return await self._describe(group, name=name)

    async def describe(self, group: SomeGroup, about: str) -> Group:
        """Say what a group is for; empty says nothing.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.describe(family, "All of us, and the dog")
        ```
        """
        return await self._describe(group, about=about)

    async def picture(self, group: SomeGroup) -> bytes | None:
        """A group's picture (PNG, JPEG or WebP), if it has one. Raises Refused, Unreachable.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            print(await me.groups.picture(family) or "no picture")
        ```
        """
        known = await self._requests.known(group)
        try:
            content = await http.fetch(self._server, _picture(known), self._token())
        except Refused as refusal:
            if refusal.code != NO_SUCH_CONVERSATION.code:
                raise
            # There is none, or this user is no member: then this raises.
            await self._conversations.asked(known.conversation_id, self._ask)
            return None
        return await self._requests.read_picture(known, content)

    async def set_picture(self, group: SomeGroup, path: str | Path) -> Group:
        """Give a group a picture: a file with a PNG, JPEG or WebP of at most 64 KiB. Raises OSError, Refused.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.set_picture(family, "family.png")
        ```
        """
        known, picture = await self._requests.known(group), await asyncio.to_thread(Path(path).read_bytes)
        content = await self._requests.written_picture(known, picture)
        await http.ask(self._server, "PUT", _picture(known), Done, content, token=self._token())
        await self._requests.give_key(known)
        return await self.refresh(known.peer)

    async def remove_picture(self, group: SomeGroup) -> Group:
        """Take a group's picture away.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.set_picture(family, "family.png")
            await me.groups.remove_picture(family)
        ```
        """
        known = await self._requests.known(group)
        await http.ask(self._server, "DELETE", _picture(known), Done, token=self._token())
        return await self.refresh(known.peer)

    async def set_rules(
        self,
        group: SomeGroup,
        *,
        write: GroupRole | None = None,
        add: GroupRole | None = None,
        edit: GroupRole | None = None,
        approval: bool | None = None,
    ) -> Group:
        """Say who may do what: the least role that may. What is not named stays.

        In a group of announcements, admins alone write.

        ```python
        from tidings.client import Client, GroupRole

        async with Client.open("profiles/alice") as me:
            news = await me.groups.create("News", ["@bob"])
            await me.groups.set_rules(news, write=GroupRole.ADMIN, approval=True)
        ```
        """
        known = await self._requests.known(group)
        await self._conversations.asked(known.conversation_id, self._ask)
        now = (await self._requests.shown(known)).rules
        rules = GroupRules(
            int(now.write if write is None else write),
            int(now.add if add is None else add),
            int(now.edit if edit is None else edit),
            now.approval if approval is None else approval,
        )
        return await self._requests.change(
            known, ChangeGroup(0, known.conversation_id, GroupAction.RULES, rules=rules)
        )

    async def pin(self, message: SomeMessage) -> Group:
        """Pin a message of a group, for everyone in it; at most 8. Raises Refused.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            await me.groups.pin(await me.send(family.peer, "Supper is at seven"))
        ```
        """
        return await self._pin(message, GroupAction.PIN)

    async def unpin(self, message: SomeMessage) -> Group:
        """Pin a message no more.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family", ["@bob"])
            sent = await me.send(family.peer, "Supper is at seven")
            await me.groups.pin(sent)
            await me.groups.unpin(sent)
        ```
        """
        return await self._pin(message, GroupAction.UNPIN)

    # --- invite links -----------------------------------------------------------------------

    async def link(self, group: SomeGroup, *, expires_in_s: float = LINK_S) -> str:
        """Make an invite link: who gets it may join, for so long (at most 90 days) or until it is revoked.

        Raises Refused (group_rights, too_large: there are 8).

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family")
            await me.send("@bob", "Join us: " + await me.groups.link(family))
        ```
        """
        bounded("expires_in_s", expires_in_s, 1, LONG_S)
        known = await self._requests.known(group)
        secret = await self._vault.read(lambda database: infos.key_of(database, known.conversation_id))
        made = Invite(self._entropy(CODE_BYTES), secret)
        until = self._time.now_ms() + round(expires_in_s * 1000)
        change = ChangeGroup(0, known.conversation_id, GroupAction.LINK, link=made.hash, until=until)
        await self._requests.change(known, change)
        return str(made)

    async def unlink(self, group: SomeGroup, link: str = "") -> Group:
        """Revoke an invite link; all of them, if none is given.

        ```python
        async with Client.open("profiles/alice") as me:
            family = await me.groups.create("Family")
            link = await me.groups.link(family)
            await me.groups.unlink(family, link)
        ```
        """
        hashes = [invite(link).hash] if link else [one.hash for one in (await self.refresh(group)).links]
        known = await self._requests.known(group)
        for one in hashes:
            await self._requests.change(
                known, ChangeGroup(0, known.conversation_id, GroupAction.UNLINK, link=one)
            )
        return await self._requests.shown(known)

    async def preview(self, link: str) -> Invitation:
        """What an invite link leads to. Raises Refused (bad_link), ClientError for what is no link.

        ```python
        async with Client.open("profiles/alice") as me:
            link = await me.groups.link(await me.groups.create("Family"))
            print((await me.groups.preview(link)).name)
        ```
        """
        code, secret = invite(link)
        told = await self._ask(lambda request_id: LookInside(request_id, code))
        assert isinstance(told, GroupPreview)
        await introductions.learn(self._vault, {told.made_by}, self._ask)
        called = await self._vault.read(lambda database: names.of(database, [told.made_by]))
        info = group_info.previewed(told.conversation_id, told.scheme, told.info, secret)
        return Invitation(
            told.conversation_id,
            info.name,
            info.about,
            told.count,
            called[told.made_by],
            told.approval,
            told.kind == ConversationKind.CHANNEL,
            told.scheme != Scheme.PLAIN,
        )

    async def join(self, link: str) -> Group | None:
        """Join a group by an invite link; None: somebody has to let this user in first.

        Raises Refused (bad_link, group_full), ClientError for what is no link.

        ```python
        async with Client.open("profiles/alice") as alice, Client.open("profiles/bob") as bob:
            link = await alice.groups.link(await alice.groups.create("Family"))
            family = await bob.groups.join(link)
            assert family is not None and family.name == "Family"
        ```
        """
        code, secret = invite(link)
        answer = await self._ask(lambda request_id: Join(request_id, code))
        assert isinstance(answer, Joined)
        await self._vault.write(lambda database: _learn(database, answer.conversation_id, secret))
        self._changed()
        if answer.waiting:
            return None
        known = await self._conversations.asked(answer.conversation_id, self._ask)
        self._changed()
        shown = await self._requests.shown(known)
        if shown.count < SMALL:
            # This user's other devices know what opens the name by that, and not by the link.
            await self._requests.give_key(known)
        return shown

    async def let_in(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Let those in who wait (`Group.waiting`).

        ```python
        async with Client.open("profiles/alice") as alice, Client.open("profiles/bob") as bob:
            family = await alice.groups.create("Family", rules=Rules(approval=True))
            assert await bob.groups.join(await alice.groups.link(family)) is None
            await alice.groups.let_in(family, ["@bob"])
        ```
        """
        return await self.add(group, handles)

    async def turn_away(self, group: SomeGroup, handles: Sequence[str]) -> Group:
        """Do not let those in who wait. They are not told.

        ```python
        async with Client.open("profiles/alice") as alice, Client.open("profiles/bob") as bob:
            family = await alice.groups.create("Family", rules=Rules(approval=True))
            assert await bob.groups.join(await alice.groups.link(family)) is None
            await alice.groups.turn_away(family, ["@bob"])
        ```
        """
        known = await self._requests.known(group)
        return await self._requests.about_users(
            known, GroupAction.DENY, await self._requests.user_ids(handles)
        )

    # --- inside -----------------------------------------------------------------------------

    def _scheme_of_new(self, kind: ConversationKind) -> Scheme:
        """How a group that is made now is sealed. A channel is not."""
        return Scheme.SENDER_KEY if self._is_sealed and kind == ConversationKind.GROUP else Scheme.PLAIN

    async def _about(self, group: SomeGroup, action: GroupAction, handles: Sequence[str]) -> Group:
        known = await self._requests.known(group)
        return await self._requests.about_users(known, action, await self._requests.user_ids(handles))

    async def _give_role(self, group: SomeGroup, handles: Sequence[str], role: GroupRole) -> Group:
        known = await self._requests.known(group)
        users = await self._requests.user_ids(handles)
        change = ChangeGroup(0, known.conversation_id, GroupAction.ROLE, users, role)
        return await self._requests.change(known, change)

    async def _describe(
        self, group: SomeGroup, *, name: str | None = None, about: str | None = None
    ) -> Group:
        known = await self._requests.known(group)
        await self._conversations.asked(known.conversation_id, self._ask)
        now = await self._requests.shown(known)
        info = group_info.checked(now.name if name is None else name, now.about if about is None else about)
        body = await self._requests.written(known, info)
        change = ChangeGroup(0, known.conversation_id, GroupAction.INFO, info=body)
        shown = await self._requests.change(known, change)
        await self._requests.give_key(known)
        return shown

    async def _pin(self, message: SomeMessage, action: GroupAction) -> Group:
        known = await self._conversations.described(message.conversation_id, self._ask)
        if not known.is_group:
            raise ClientError("messages are pinned in groups", "star it instead: only you see that")
        change = ChangeGroup(
            0,
            known.conversation_id,
            action,
            target=message.message_id,
            relates_to=message.reference,
        )
        return await self._requests.change(known, change)

    # Last: behind it, `list` is this method.
    async def list(self) -> list[Group]:
        """The groups and channels that the user is in, by name. Works offline.

        ```python
        async with Client.open("profiles/alice") as me:
            for group in await me.groups.list():
                print(group.name, group.count, group.role.name)
        ```
        """
        await self._syncing.ready()
        there = await self._vault.read(known_groups.everything)
        return sorted(
            (group for group in there if not group.is_left),
            key=lambda group: (group.name.casefold(), group.peer),
        )


def _learn(database: sqlite3.Connection, conversation_id: ConversationId, info_keys: bytes) -> None:
    """An invite link brought what opens the name, maybe also what the group was called in an earlier stay."""
    notices.read(database, conversation_id, infos.learn(database, conversation_id, info_keys))


def _told(rules: Rules) -> GroupRules:
    return GroupRules(int(rules.write), int(rules.add), int(rules.edit), rules.approval)


def _picture(known: Known) -> str:
    return f"/v1/groups/{known.conversation_id.hex()}/picture"
