"""The client: a device of an account, for programs.

This module only puts the parts together; each part says for itself what it guarantees. The
profile's folder holds all state, so that a program may be killed at any moment and go on later.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from types import TracebackType
from typing import Self as Me

from tidings.client import http, inbox, outbox, reads, settings, state
from tidings.client.account import OwnAccount
from tidings.client.chats import Chats
from tidings.client.conversations import normal
from tidings.client.devices import OwnDevices
from tidings.client.enrolment import enrol
from tidings.client.errors import ClientError, ProfileInUse, Refused
from tidings.client.events import Event
from tidings.client.groups import Groups
from tidings.client.history import fetch, kept
from tidings.client.http import Server
from tidings.client.keeping import Ask, Keep, asking
from tidings.client.messages import Messages, SomeMessage
from tidings.client.opening import open_profile, protect
from tidings.client.parts import Parts
from tidings.client.people import People
from tidings.client.presence import OwnPresence
from tidings.client.profile import Account, FileLock, Profile, take_receiver_lock
from tidings.client.safety import Safety
from tidings.client.state import State
from tidings.client.surroundings import Surroundings
from tidings.client.transmitter import POLL_S
from tidings.client.values import MANY, TEXT, Message, SentMessage, bounded, encoded
from tidings.protocol.errors import NO_SUCH_CONVERSATION
from tidings.protocol.ids import MessageId, first_at

AHEAD_MS = 60_000
"""how far the server's clock may be ahead of what is known of it here"""
LOCK_TRIES = 20
"""how often the receiver's lock is tried to take, each POLL_S"""


class Client:
    """A device of an account. Make its profile once, then open it as often as you like.

    ```python
    from tidings.client import Client

    await Client.register(
        "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/alice"
    )
    async with Client.open("profiles/alice") as me:
        await me.send("@bob", "hello")
    ```
    """

    def __init__(
        self, profile: Profile, *, receive: bool | None, ask: Ask, surroundings: Surroundings
    ) -> None:
        """Use `Client.open`."""
        self._profile = profile
        self._receive = receive
        self._ask = ask
        self._surroundings = surroundings
        self._parts: Parts | None = None

    @classmethod
    async def register(
        cls,
        url: str,
        *,
        handle: str,
        password: str,
        profile: str | Path,
        device_name: str = "",
        invite: str = "",
        key: Keep | None = None,
        sealed: bool = True,
    ) -> Account:
        """Make an account on a server, and a profile for it in an empty (or new) folder.

        The server is shown a secret that is derived from the password, never the password. The profile
        is encrypted; `key` says how its key is kept (see `protect`): by default in a file beside it.
        With `sealed` false nothing that is sent is end-to-end encrypted, and nobody can encrypt for it.
        Raises Refused (handle_taken, bad_handle, bad_invite, …), ClientError (a short password),
        Unreachable, ProfileExists, ProfileLocked (the key cannot be kept so).

        ```python
        account = await Client.register(
            "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/alice"
        )
        ```
        """
        server = Server.at(url)
        return await enrol(
            profile,
            server,
            lambda: http.register(
                server,
                handle,
                password,
                device_name=device_name,
                invite=invite,
                entropy=Surroundings().entropy,
            ),
            key,
            sealed=sealed,
            is_new=True,
        )

    @classmethod
    async def login(
        cls,
        url: str,
        *,
        handle: str,
        password: str,
        profile: str | Path,
        device_name: str = "",
        code: str = "",
        plain_password: bool = False,
        key: Keep | None = None,
        sealed: bool = True,
    ) -> Account:
        """Make a further device of an account, with a profile of its own.

        It receives what comes from now on; what was before is in `history`.
        `code` is of the second factor, if the account has one. With `plain_password` the password itself
        is sent where the server says that the account was made so. `key` says how the profile's key is
        kept, and whether messages are encrypted, as with `register`.
        What is encrypted the device can read once it is linked (see `OwnDevices.link_code`).
        Raises Refused (wrong_credentials, code_needed, too_many_devices, …), Unreachable, ProfileExists,
        ClientError (the server wants the password, or a weak secret).

        ```python
        account = await Client.login(
            "http://127.0.0.1:8080", handle="alice", password="a long secret", profile="profiles/tablet"
        )
        ```
        """
        server = Server.at(url)
        return await enrol(
            profile,
            server,
            lambda: http.login(
                server,
                handle,
                password,
                device_name=device_name,
                code=code,
                plain_password=plain_password,
            ),
            key,
            sealed=sealed,
        )

    @classmethod
    async def protect(
        cls, profile: str | Path, *, key: Keep, passphrase: str | Callable[[], str] | None = None
    ) -> Account:
        """Give a profile another key, and keep it in another way.

        `key` is a `Passphrase`, a `Keyring` or a `KeyFile`; `passphrase` is the one that it has now, if any.
        The database is written anew under the new key; the old one, and old copies of the profile, keep
        the old key. No other program may have the profile open. When this raises, nothing has changed.
        Raises ProfileLocked (a wrong passphrase, no keyring, a file that exists, …), ProfileInUse,
        ProfileMissing, ProfileDamaged, StorageFailed.

        ```python
        await Client.protect("profiles/alice", key=Passphrase("some words of my own"))
        async with Client.open("profiles/alice", passphrase="some words of my own") as me:
            print(me.handle)
        ```
        """
        return await protect(Path(profile), key, asking(passphrase), Surroundings().entropy)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        receive: bool | None = True,
        passphrase: str | Callable[[], str] | None = None,
        surroundings: Surroundings | None = None,
    ) -> "Client":
        """Open a profile, as an asynchronous context; the connection is made in the background.

        Opening works while the server is away. With `receive` false this is a side client: it
        sends and asks, beside another process that receives, and has no events. With None it receives
        if no other process does.
        `passphrase` is what the profile's key is kept under, or a function that asks for it, which is called
        (on another thread) only if there is one. With None it is read from the file that
        TIDINGS_PASSPHRASE_FILE names.
        Entering raises ProfileMissing, ProfileLocked (a wrong passphrase, no key file, …), ProfileInUse,
        ProfileDamaged, ProfileTooNew, StorageFailed.

        ```python
        async with Client.open("profiles/alice") as me:
            print(me.handle)
        ```
        """
        return cls(
            Profile(Path(path)),
            receive=receive,
            ask=asking(passphrase),
            surroundings=surroundings or Surroundings(),
        )

    async def __aenter__(self) -> Me:
        opened = await open_profile(self._profile, self._ask, self._surroundings.entropy)
        lock = None
        try:
            lock = await self._lock()
            self._receive = lock is not None
            self._parts = await Parts.start(opened, self._profile, lock, self._surroundings)
        except BaseException:
            opened.hold.release()
            if lock is not None:
                lock.release()
            raise
        return self

    async def _lock(self) -> FileLock | None:
        """The receiver's lock, if this is to receive. Raises ProfileInUse.

        A command that runs for a moment may have it: it is waited for, for a moment.
        """
        if self._receive is False:
            return None
        left = LOCK_TRIES
        while True:
            try:
                return take_receiver_lock(self._profile)
            except ProfileInUse:
                if self._receive is None:
                    return None
                left -= 1
                if not left:
                    raise
            await asyncio.sleep(POLL_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def handle(self) -> str:
        """Who this is, without the @.

        ```python
        async with Client.open("profiles/alice") as me:
            assert me.handle == "alice"
        ```
        """
        return self._open.account.handle

    async def send(
        self,
        peer: str,
        text: str | bytes,
        *,
        content_type: str = TEXT,
        reply_to: SomeMessage | None = None,
        expires_in_s: float | None = None,
        silent: bool = False,
    ) -> SentMessage:
        """Send a message to the user of a handle, or to a group; returns once it is on the server's disk.

        A group is called by its name, like `#Family`, or by `#` and its id (`Group.peer`). In it, `@handle`
        mentions a member.

        The message is on this machine's disk first and is sent exactly once, however often the
        connection, the server or this process dies in between. While offline this waits; if the
        wait is cancelled the message stays in the outbox and goes out later.
        With `expires_in_s` it vanishes so long after it was sent, everywhere; else the chat's timer
        holds. A `silent` one disturbs nobody.
        Raises Refused (no_such_user, too_large, request_pending, …): the message was removed;
        SessionEnded, StorageFailed, ClientClosed: it stays, if it was stored; ClientError for what is no
        text, or no time: nothing was stored.

        ```python
        async with Client.open("profiles/alice") as me:
            sent = await me.send("@bob", "hello")
            await me.send("@bob", "and one more thing", reply_to=sent, expires_in_s=3600)
        ```
        """
        return await self._open.send(
            peer, encoded(text), content_type, reply_to=reply_to, expires_in_s=expires_in_s, silent=silent
        )

    def events(self) -> AsyncGenerator[Event, None]:
        """What happens: a MessageEvent for each message that comes, and all that changes what is shown.

        A message that arrived is stored, and is yielded until the program has asked for the event
        after it, also by an earlier process that was killed: none is lost, and only the one that
        was being worked on is seen again. One loop at a time. Ends with `close`.
        Raises SessionEnded, StorageFailed.

        ```python
        async with Client.open("profiles/bob") as me:
            async for event in me.events():
                if isinstance(event, MessageEvent):
                    print(f"{event.sender}: {event.text}")
        ```
        """
        stream = self._open.stream
        if not self._receive:
            raise ClientError("cannot read events: this client was opened with receive=False")
        return stream.events()

    async def history(
        self, peer: str, *, limit: int = 50, before: MessageId | None = None, after: MessageId | None = None
    ) -> list[Message]:
        """Messages of a conversation from the server, in order: the latest, or those before or after one.

        `peer` is a handle, or a group as `send` takes it. Of a group that one is in no more the server tells
        nothing: of that it is what the profile has.

        Waits while offline. Raises Refused (no_such_user, invalid, …), SessionEnded.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            for message in await me.history("@bob", limit=20):
                print(message.sender, message.text, message.status.name)
        ```
        """
        parts = self._open
        known = await parts.find(peer)
        if self._receive:
            await parts.syncing.ready()  # the keys of what is new come with the inbox
        hidden = await parts.messages.hidden()
        try:
            return await fetch(
                parts.link.ask,
                parts.vault,
                known,
                parts.me,
                limit=limit,
                before=before,
                after=after,
                hidden=hidden,
                clock=parts.clock if self._receive else None,
            )
        except Refused as refusal:
            if refusal.code != NO_SUCH_CONVERSATION.code or not known.is_group:
                raise
            await parts.gone(known)
            if not await kept(parts.vault, known, parts.me, limit=1):
                raise
            return await kept(
                parts.vault, known, parts.me, limit=limit, before=before, after=after, hidden=hidden
            )

    async def mark_read(self, peer: str, *, up_to: MessageId | None = None) -> MessageId | None:
        """Say that the user has read what came from somebody, up to the newest received here.

        Returns as soon as that is stored in the profile; it is told to the server now or after
        the next connect (see `flushed`). Returns up to where, None if nothing was received.
        Raises ClientError if there cannot be such a message yet; Refused (no_such_user).

        ```python
        async with Client.open("profiles/bob") as me:
            await me.mark_read("@alice")
        ```
        """
        parts = self._open
        if up_to is not None:
            # What is not written yet cannot have been read: it would count as read for ever.
            bounded("up_to", up_to, 0, first_at(parts.time.now_ms() + AHEAD_MS))
        known = await parts.conversations.known_peer(normal(peer))
        if known is None:
            if up_to is None:
                return None
            known = await parts.find(peer)
        if up_to is None:
            up_to = await parts.vault.read(
                lambda database: inbox.newest_received(database, known.conversation_id)
            )
        if up_to is not None:
            await parts.reads.mark(known.conversation_id, up_to)
        return up_to

    async def state(self, *, messages: int = 200) -> State:
        """What the profile has, with so many of the newest messages of each conversation.

        Give it each event of `events()`, and it stays what a fresh one would be.
        Raises ClientError for less than one message.

        ```python
        async with Client.open("profiles/bob") as me:
            for chat in (await me.state()).chats:
                print(chat.peer, chat.unread)
        ```
        """
        parts = self._open
        bounded("messages", messages, 1, MANY)
        return await parts.vault.read(lambda database: state.load(database, parts.me, messages))

    async def flushed(self) -> None:
        """Wait until nothing waits in the profile: messages are sent, reads and settings are told.

        That includes what an earlier process left behind. Raises SessionEnded, StorageFailed.

        ```python
        async with Client.open("profiles/bob", receive=False) as me:
            await me.flushed()
        ```
        """
        parts = self._open
        while not await parts.vault.read(
            lambda database: (
                outbox.is_empty(database) and not reads.pending(database) and not settings.pending(database)
            )
        ):
            parts.raise_failure()
            await asyncio.sleep(POLL_S)

    @property
    def trouble(self) -> str:
        """Why there is no connection right now; empty if there is one, or none was tried yet.

        ```python
        async with Client.open("profiles/bob") as me:
            print(me.trouble or "fine")
        ```
        """
        return self._open.trouble

    async def close(self) -> None:
        """Close the connection and the profile. What waits in the outbox stays there.

        ```python
        me = await Client.open("profiles/alice").__aenter__()
        await me.close()
        ```
        """
        if self._parts is not None:
            await self._parts.stop()

    @property
    def account(self) -> OwnAccount:
        """One's own account: handle, password, second factor, phone, export, end.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            print(await me.account.info())
        ```
        """
        return self._open.own_account

    @property
    def devices(self) -> OwnDevices:
        """The account's devices.

        ```python
        async with Client.open("profiles/alice", receive=False) as me:
            print(await me.devices.list())
        ```
        """
        return self._open.own_devices

    @property
    def messages(self) -> Messages:
        """What can be done about messages: edit, delete, react, forward, star, …

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.messages.recent("@bob"))
        ```
        """
        return self._open.messages

    @property
    def chats(self) -> Chats:
        """The conversations: unread, pinned, muted, drafts, typing, …

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.chats.list())
        ```
        """
        return self._open.chats

    @property
    def people(self) -> People:
        """Others: look-ups, contacts, requests, blocks, reports; and what they are shown.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.people.contacts())
        ```
        """
        return self._open.people

    @property
    def groups(self) -> Groups:
        """Groups and channels: make them, join and leave, who is in them and who may what.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.groups.list())
        ```
        """
        return self._open.groups

    @property
    def safety(self) -> Safety:
        """Whether the keys that one encrypts for are those of the people that one means.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.safety.number("@bob"))
        ```
        """
        return self._open.safety

    @property
    def presence(self) -> OwnPresence:
        """Who is there.

        ```python
        async with Client.open("profiles/alice") as me:
            print(await me.presence.watch(["@bob"]))
        ```
        """
        return self._open.presence

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise ClientError(
                "cannot use a client that is not open", "use: async with Client.open(path) as me"
            )
        return self._parts
