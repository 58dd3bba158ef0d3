"""People: finding them, letting them in, keeping them out.

spec §6.11 to §6.14
"""

from collections.abc import Callable, Sequence

from tidings.client import http, keys
from tidings.client.conversations import Ask, normal
from tidings.client.directory import Directory
from tidings.client.errors import ClientError, Refused
from tidings.client.http import Server
from tidings.client.messages import SomeMessage
from tidings.client.settings import Settings
from tidings.client.syncing import Syncing
from tidings.client.transcript import Self
from tidings.client.values import Contact, Person, Request, encoded
from tidings.protocol.errors import NO_SUCH_CONVERSATION, NO_SUCH_USER
from tidings.protocol.frames import AnswerRequest, Report, SettingKind
from tidings.protocol.ids import ConversationId, UserId, direct_conversation_id


class People:
    """`me.people`."""

    def __init__(
        self,
        directory: Directory,
        settings: Settings,
        syncing: Syncing,
        ask: Ask,
        me: Self,
        server: Server,
        token: Callable[[], str],
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._syncing = syncing
        self._ask = ask
        self._me = me
        self._server = server
        self._token = token

    async def find(self, who: str) -> Person:
        """Look somebody up by their whole handle or, beginning with +, their phone number.

        Look-ups are counted: it is for what a user typed, not for trying. Raises Refused (no_such_user,
        rate_limited).

        ```python
        async with Client.open("profiles/alice") as me:
            bob = await me.people.find("@bob")
            print(bob.name, bob.about)
        ```
        """
        return await self._directory.look_up(who)

    async def picture(self, handle: str) -> bytes | None:
        """Somebody's picture (PNG, JPEG or WebP), if they have one and show it.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.people.picture("@bob") or "no picture")
        ```
        """
        user_id = await self._directory.user_id(handle)
        try:
            return await http.fetch(self._server, f"/v1/users/{user_id}/picture", self._token())
        except Refused as refusal:
            if refusal.code != NO_SUCH_USER.code:
                raise
            return None

    async def contacts(self) -> list[Contact]:
        """The user's list of contacts, by handle.

        ```python
        async with Client.open("profiles/alice") as me:
            for contact in await me.people.contacts():
                print(contact.handle, contact.nickname)
        ```
        """
        values = _by_user(await self._of_kind(SettingKind.CONTACT))
        handles = await self._directory.handles(values)
        found = [
            Contact(user_id, handles.get(user_id, ""), _nickname(value)) for user_id, value in values.items()
        ]
        return sorted(found, key=lambda contact: (contact.handle, contact.user_id))

    async def add(self, handle: str, *, nickname: str = "") -> Contact:
        """Put somebody on the list, or give them another nickname. They are let in with that.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.people.add("@bob", nickname="Bobby")
        ```
        """
        user_id = await self._directory.user_id(handle)
        value = encoded(nickname) or keys.NO_NICKNAME
        await self._settings.set(SettingKind.CONTACT, str(user_id), value)
        return Contact(user_id, normal(handle), _nickname(value))

    async def remove(self, handle: str) -> None:
        """Take somebody off the list.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.people.add("@bob")
            await me.people.remove("@bob")
        ```
        """
        await self._set(SettingKind.CONTACT, handle, b"")

    async def requests(self) -> list[Request]:
        """Strangers who have written and wait to be let in, the earliest first.

        ```python
        async with Client.open("profiles/alice") as me:
            for request in await me.people.requests():
                print(f"@{request.peer} wants to talk: {request.count} messages")
        ```
        """
        values = await self._of_kind(SettingKind.REQUEST)
        found = [keys.request(key, value) for key, value in values.items()]
        return sorted(
            (request for request in found if request is not None),
            key=lambda request: (request.first_at, request.peer),
        )

    async def accept(self, handle: str) -> None:
        """Let somebody in, also if they were turned away before: what they wrote is delivered.

        Raises ClientError if they have not written.

        ```python
        async with Client.open("profiles/alice") as me:
            for request in await me.people.requests():
                await me.people.accept(request.peer)
        ```
        """
        await self._answer(handle, accept=True)

    async def decline(self, handle: str) -> None:
        """Turn somebody away. They are not told, and what they write further stays where it is.

        ```python
        async with Client.open("profiles/alice") as me:
            for request in await me.people.requests():
                await me.people.decline(request.peer)
        ```
        """
        await self._answer(handle, accept=False)

    async def block(self, handle: str) -> None:
        """Get nothing more from somebody; holds once this returns. They are not told.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.people.block("@bob")
        ```
        """
        await self._set(SettingKind.BLOCK, handle, keys.ON)

    async def unblock(self, handle: str) -> None:
        """Lift a block. What was written meanwhile stays hidden.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.people.unblock("@bob")
        ```
        """
        await self._set(SettingKind.BLOCK, handle, b"")

    async def blocked(self) -> list[Person]:
        """Those who are blocked, by handle; only ids and handles are told.

        ```python
        async with Client.open("profiles/alice") as me:
            print([person.handle for person in await me.people.blocked()])
        ```
        """
        user_ids = _by_user(await self._of_kind(SettingKind.BLOCK))
        handles = await self._directory.handles(user_ids)
        found = [Person(user_id, handles.get(user_id, "")) for user_id in user_ids]
        return sorted(found, key=lambda person: (person.handle, person.user_id))

    async def report(self, handle: str, reason: str, *, messages: Sequence[SomeMessage] = ()) -> None:
        """Tell the server's operator about somebody: why, and which messages (their names only).

        Quote in the reason what the operator should read. Blocks nobody.

        ```python
        async with Client.open("profiles/alice") as me:
            await me.people.report("@bob", "sends the same advertisement every day")
        ```
        """
        user_id = await self._directory.user_id(handle)
        names = [message.reference for message in messages]
        await self._ask(lambda request_id: Report(request_id, user_id, reason, names))

    async def privacy(self) -> dict[str, str]:
        """Who is shown what: last_seen, picture, receipts, phone → everyone, contacts or nobody.

        So is `groups`: who may add this user to groups; others may send a link.

        ```python
        async with Client.open("profiles/alice") as me:
            print((await me.people.privacy())["last_seen"])
        ```
        """
        chosen = await self._of_kind(SettingKind.PRIVACY)
        return keys.PRIVACY_DEFAULTS | {key: value.decode(errors="replace") for key, value in chosen.items()}

    async def set_privacy(self, what: str, who: str) -> None:
        """Show something to everyone, contacts or nobody (or let them: `groups`); holds once this returns.

        Raises Refused (invalid).

        ```python
        async with Client.open("profiles/alice") as me:
            await me.people.set_privacy("last_seen", "contacts")
        ```
        """
        if not who:
            raise ClientError("privacy is everyone, contacts or nobody")
        await self._settings.set(SettingKind.PRIVACY, what, encoded(who))

    async def _of_kind(self, kind: SettingKind) -> dict[str, bytes]:
        await self._syncing.ready()
        return await self._settings.of_kind(kind)

    async def _set(self, kind: SettingKind, handle: str, value: bytes) -> None:
        await self._settings.set(kind, str(await self._directory.user_id(handle)), value)

    async def _answer(self, handle: str, *, accept: bool) -> None:
        conversation_id = await self._conversation(handle)
        try:
            await self._ask(lambda request_id: AnswerRequest(request_id, conversation_id, accept))
        except Refused as refusal:
            if refusal.code != NO_SUCH_CONVERSATION.code:
                raise
            raise ClientError(f"there is no request from @{normal(handle)}") from None
        await self._settings.forget(SettingKind.REQUEST, keys.of_conversation(conversation_id))

    async def _conversation(self, handle: str) -> ConversationId:
        """The conversation with somebody. Who knocks is known without a look-up, also after a rename."""
        for request in await self.requests():
            if request.peer == normal(handle):
                return request.conversation_id
        return direct_conversation_id(self._me.user_id, await self._directory.user_id(handle))


def _by_user(values: dict[str, bytes]) -> dict[UserId, bytes]:
    return {UserId(int(key)): value for key, value in values.items() if key.isdecimal()}


def _nickname(value: bytes) -> str:
    return "" if value == keys.NO_NICKNAME else value.decode(errors="replace")
