"""The parts of an open client: made, joined and ended here, and nowhere else.

When a part fails for good, all that waits and all that is asked later gets its error.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

import msgspec

from tidings import __version__
from tidings.client import access, contents, copies, http, inbox, known_groups, names, outbox, transcript
from tidings.client.account import OwnAccount
from tidings.client.chats import Chats
from tidings.client.connection import Answer, Connection, Passing
from tidings.client.conversations import Conversations, Known, normal
from tidings.client.devices import OwnDevices
from tidings.client.directory import Directory
from tidings.client.errors import ClientClosed
from tidings.client.events import ConnectionEvent, TypingEvent
from tidings.client.expiry import Expiry
from tidings.client.filling import Filling
from tidings.client.founding import Founding
from tidings.client.group_requests import GroupRequests
from tidings.client.group_values import group_peer, is_group
from tidings.client.grouping import Grouping
from tidings.client.groups import Groups
from tidings.client.http import Server
from tidings.client.link import Link, Work
from tidings.client.messages import Messages, SomeMessage
from tidings.client.opening import Opened
from tidings.client.outbox import ClientIds, Draft
from tidings.client.people import People
from tidings.client.presence import OwnPresence
from tidings.client.profile import Account, FileLock, Profile
from tidings.client.reads import Reads
from tidings.client.receiver import Receiver
from tidings.client.safety import Safety
from tidings.client.sealing import handouts, own
from tidings.client.sealing.group_press import GroupPress
from tidings.client.sealing.linking import Linking
from tidings.client.sealing.press import Press
from tidings.client.sealing.publishing import Publishing
from tidings.client.sealing.supplies import Supplies
from tidings.client.sealing.upkeep import Upkeep
from tidings.client.server_time import ServerTime, keep_offset, offset_of
from tidings.client.settings import Settings
from tidings.client.stream import Passing as PassingEvent
from tidings.client.stream import Stream
from tidings.client.surroundings import Surroundings
from tidings.client.syncing import Syncing
from tidings.client.transmitter import Transmitter
from tidings.client.values import LONG_S, TEXT, SentMessage, bounded
from tidings.client.vault import Vault
from tidings.client.watching import Watching
from tidings.protocol.frames import Frame, Hello, Presence, Relation, Typed, Welcome
from tidings.protocol.ids import CLIENT_ID_PREFIX_BYTES, EntryId, MessageId, UserId

T = TypeVar("T")

log = logging.getLogger("tidings.client")

ELSEWHERE_S = 0.5
"""how often a client looks whether another process changed the profile"""


class Parts:
    """See the module's text."""

    def __init__(
        self,
        account: Account,
        profile: Profile,
        hold: FileLock,
        lock: FileLock | None,
        vault: Vault,
        seq: int,
        offset_ms: int,
        surroundings: Surroundings,
    ) -> None:
        clock, entropy = surroundings.clock, surroundings.entropy
        self.account = account
        self.profile = profile
        self.vault = vault
        self.trouble = ""
        """why there is no connection; empty while there is one, or before the first try"""
        self._hold = hold
        self._receiver_lock = lock
        self._surroundings = surroundings
        self._failure: Exception | None = None
        self._generation = 0
        """that this process told last"""
        self._tasks: list[asyncio.Task[None]] = []
        self._typings: set[asyncio.Task[None]] = set()

        self.me = me = transcript.Self(*account.ids(), account.handle)
        self.clock = clock
        self.time = ServerTime(clock, offset_ms)
        self.conversations = Conversations(vault, me.user_id, self._ready)
        self._expiry = Expiry(vault, clock, self.time, self._erased)
        self.stream = Stream(vault, me, seq, self._expiry.wake, clock)
        self.settings = Settings(
            vault,
            clock,
            self.stream.wake,
            FileLock(profile.settings_lock),
            is_sealed=account.sealed,
            published=self._published,
        )
        self.syncing = Syncing(vault, self.conversations, me, clock, self.stream.wake)
        self.reads = Reads(vault, me.user_id, clock, self.stream.wake)
        self._names = ClientIds(entropy(CLIENT_ID_PREFIX_BYTES))
        self._writer = entropy(outbox.WRITER_BYTES)
        server = Server.at(account.server)._replace(request=surroundings.request)
        self._server = server
        sealing = inbox.sealing(me)
        self.supplies = Supplies(
            vault, sealing, self.time.now_ms, strict=surroundings.strict, warned=self.stream.wake
        )
        self.publishing = Publishing(vault, sealing, self._http, self.supplies, self.time.now_ms)
        self.press = Press(vault, sealing, self.supplies, self.publishing.published, clock, self.time.now_ms)
        self.group_press = GroupPress(
            vault,
            sealing,
            self.press,
            self.conversations,
            self.supplies,
            handouts.Posting(self._names, self._writer),
            clock,
            self.time.now_ms,
        )
        self.linking = Linking(
            vault,
            sealing,
            self._http,
            self.supplies,
            clock,
            self.time.now_ms,
            self.settings.wake,
            self._got_identity,
            surroundings.stretch,
            self._welcome_device,
        )
        self.transmitter = Transmitter(
            vault,
            self.conversations,
            FileLock(profile.outbox_lock),
            me,
            self._names,
            self._writer,
            clock,
            self.time,
            self.press if account.sealed else None,
            self._changed,
            self.group_press if account.sealed else None,
        )
        self.upkeep = Upkeep(
            self.publishing,
            self.linking,
            self.syncing.sync,
            self.transmitter.wake,
            clock,
            surroundings.random,
        )
        founding = Founding(
            vault, self.conversations, entropy, clock, self._wrote, me.user_id, self._give_key
        )
        self.grouping = Grouping(vault, self.conversations, founding, me, clock, self.stream.wake)
        self.link = Link(server.ws, self._hello, self._works(), self._welcomed, self._told, surroundings)
        self._watching = Watching(self.link.ask, clock, self._note)
        self.directory = Directory(vault, self.conversations, self.link.ask, me)

        self.own_account = OwnAccount(server, self._token, entropy, self._login_secret)
        self.own_devices = OwnDevices(
            server,
            self._token,
            self.linking if account.sealed else None,
            self._ask_published,
            self.publishing.published,
            self._login_secret,
        )
        self.safety = Safety(vault, self.conversations, self.supplies, self._ask_published, me)
        self.presence = OwnPresence(self.directory, self._watching)
        self.messages = Messages(
            vault,
            self.conversations,
            self.transmitter,
            self.settings,
            self.syncing,
            self.link.ask,
            me,
            self._mentioned,
            clock,
        )
        self.chats = Chats(vault, self.conversations, self.settings, self.syncing, self.link, me, self.time)
        self.people = People(
            self.directory, self.settings, self.syncing, self.link.ask, me, server, self._token
        )
        self.groups = Groups(
            vault,
            self.conversations,
            GroupRequests(
                vault,
                self.conversations,
                self.directory,
                self.link.ask,
                me,
                self._wrote,
                self._give_key,
                clock,
            ),
            founding,
            self._watching,
            self.syncing,
            self.link.ask,
            me,
            self.time,
            entropy,
            server,
            self._token,
            self._wrote,
            is_sealed=account.sealed,
        )

    @classmethod
    async def start(
        cls, opened: Opened, profile: Profile, lock: FileLock | None, surroundings: Surroundings
    ) -> "Parts":
        path, now_ms = profile.database(opened.account), surroundings.clock.wall_ms()
        vault = await Vault.open(path, opened.key, surroundings.connect, now_ms, surroundings.worker)
        try:
            if lock is not None:
                await vault.write(inbox.forget_own, durable=False)
            account = msgspec.structs.replace(opened.account, token=await vault.read(access.token))
            seq = await vault.read(transcript.newest_seq)
            offset_ms = await vault.read(offset_of)
            parts = cls(account, profile, opened.hold, lock, vault, seq, offset_ms, surroundings)
        except BaseException:
            await vault.close()
            raise
        parts._begin()
        return parts

    def _works(self) -> Sequence[Work]:
        """What runs beside each connection."""
        works: list[Work] = [
            self.transmitter.run,
            self.reads.run,
            self.settings.run,
            self.grouping.run,
            self._watch,
        ]
        if self.account.sealed:
            works.append(self.upkeep.run)
        if self._receiver_lock is None:
            return [self.syncing.run, *works]
        clock = self._surroundings.clock
        posting = outbox.Posting(self._names, self._writer)
        filling = Filling(
            self.vault,
            self.conversations,
            self.grouping,
            self.stream,
            posting,
            self.me,
            clock,
            self.time.now_ms,
        )
        receiver = Receiver(
            self.vault,
            self.conversations,
            self.stream,
            self.syncing,
            filling,
            self.grouping,
            self.supplies,
            posting,
            self.me,
            clock,
            self.time,
            self.transmitter.wake,
            self.upkeep.devices_changed,
            self._surroundings.random,
        )
        return [receiver.run, *works]

    def _begin(self) -> None:
        works = [self.link.run, self.transmitter.watch, self._expiry.run, self._look_elsewhere]
        self._tasks = [asyncio.ensure_future(self._guard(work)) for work in works]

    async def find(self, peer: str) -> Known:
        """The conversation with somebody, or a group. Raises Refused, ClientError."""
        return await self.conversations.with_peer(normal(peer), self.link.ask)

    async def gone(self, known: Known) -> None:
        """The server says that this user is in a group no more."""
        await self.vault.write(lambda database: known_groups.leave(database, known.conversation_id))
        self._wrote()

    async def send(
        self,
        peer: str,
        content: bytes,
        content_type: str,
        *,
        reply_to: SomeMessage | None,
        expires_in_s: float | None,
        silent: bool,
    ) -> SentMessage:
        """As `Client.send`."""
        peer = await self.conversations.address(normal(peer), self.link.ask)
        if is_group(peer) and content_type == TEXT:
            content_type, content = await self._marked(peer, content)
        draft = Draft(
            peer,
            content_type,
            content,
            Relation.NONE if reply_to is None else Relation.REPLY,
            None if reply_to is None else reply_to.reference,
            MessageId(0) if reply_to is None else reply_to.message_id,
            silent,
            None if expires_in_s is None else _milliseconds(expires_in_s),
            by_timer=expires_in_s is None,
        )
        return await self.transmitter.send(draft)

    async def _mentioned(self, peer: str, handles: Collection[str]) -> dict[str, UserId]:
        if not handles:
            return {}
        return await self.vault.read(lambda database: known_groups.mentioned(database, peer, handles))

    async def _marked(self, peer: str, content: bytes) -> tuple[str, bytes]:
        """A text to a group, with whom it mentions. Raises ClientError."""
        text = content.decode(errors="replace")
        if text.encode() != content:
            return TEXT, content
        return contents.marked(text, await self._mentioned(peer, contents.handles_in(text)))

    def _give_key(self, database: sqlite3.Connection, peer: str) -> None:
        """Have this device's sender key given to all members of a group that have it not."""
        outbox.append(database, next(self._names), outbox.giving(peer), self._writer)

    async def _ready(self) -> None:
        await self.syncing.ready()

    async def _welcome_device(self) -> None:
        """Another device of the user is in: give it what opens the names of the groups, and sender keys."""

        def give(database: sqlite3.Connection) -> None:
            for row in known_groups.sealed(database):
                self._give_key(database, group_peer(row.conversation_id))

        await self.vault.write(give)
        self._wrote()

    def _wrote(self) -> None:
        """Something was stored, perhaps into the outbox."""
        self.stream.wake()
        self.transmitter.wake()

    def raise_failure(self) -> None:
        """Raise what the client has ended with, if it has."""
        if self._failure is not None:
            raise self._failure

    async def stop(self) -> None:
        """End everything, in an order that leaves no call waiting."""
        closed = ClientClosed(
            "the client was closed", "what was stored goes out when the profile is opened again"
        )
        self._fail(closed)
        self.stream.close()
        tasks = [*self._tasks, *self._typings]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.vault.close()
        if self._receiver_lock is not None:
            self._receiver_lock.release()
        self._hold.release()

    async def _hello(self) -> Hello:
        self._names.renew(self._surroundings.entropy(CLIENT_ID_PREFIX_BYTES))
        have = await self.vault.read(inbox.have)
        # A copy of the profile that was restored is behind, and told so.
        self._generation = await self.vault.read(own.next_generation)
        receive = self._receiver_lock is not None
        return Hello(
            self.account.token,
            f"tidings-python/{__version__}",
            # With nothing stored yet, say from where on it would have: a profile may be an old copy.
            EntryId(int(self.account.device_id) if have is None else have),
            receive,
            self._generation,
        )

    async def _welcomed(self, welcome: Welcome) -> None:
        offset_ms = self.time.heard(welcome.now_ms)
        await self.vault.write(lambda database: keep_offset(database, offset_ms), durable=False)
        self._expiry.wake()
        if self.account.sealed:
            await self.vault.write(lambda database: self._judge(database, welcome.generation))
        if welcome.token is not None:
            await self._renew(welcome.token)

    def _judge(self, database: sqlite3.Connection, newest: int) -> None:
        """Notice that this profile is an older copy, and forget what must not be used again, at once."""
        if own.is_copy(database, self._generation, newest):
            copies.begin_anew(database, self.time.now_ms())

    async def _renew(self, token: str) -> None:
        """The server gave this device another token; the old one holds until this one was used."""
        await self.vault.write(lambda database: access.keep_token(database, token))
        self.account = msgspec.structs.replace(self.account, token=token)

    async def _published(self) -> None:
        await self.publishing.published()

    async def _ask_published(self, make: Callable[[int], Frame]) -> Answer:
        """Ask the server, once it has this device's keys."""
        await self.publishing.published()
        return await self.link.ask(make)

    def _got_identity(self) -> None:
        self.upkeep.got_identity()

    async def _http(self, method: str, path: str, answer: type[T], body: msgspec.Struct | None = None) -> T:
        """A request as this device. Raises Refused, Unreachable."""
        return await http.ask(
            self._server,
            method,
            path,
            answer,
            body,
            token=self._token(),
        )

    async def _login_secret(self, password: str) -> str:
        """What the server is shown instead of the password. Raises Refused, Unreachable, ClientError."""
        handle = (await self.own_account.info()).handle
        # Who has the device has typed this password here before; it is the account's own way to show it.
        return await http.secret_of(self._server, handle, password, plain_password=True)

    def _token(self) -> str:
        return self.account.token

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a part; what it fails with is what the client's callers get."""
        try:
            await work()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self.link.fail(error)
        self.transmitter.fail(error)
        self.settings.fail(error)
        self._watching.fail(error)
        self.syncing.settled()
        self.stream.fail(error)

    def _told(self, event: ConnectionEvent) -> None:
        self.trouble = event.reason
        if event.state == "disconnected":
            self.syncing.settled()
        self._note(event)

    def _note(self, event: PassingEvent) -> None:
        if self._receiver_lock is not None:
            self.stream.note(event)

    def _changed(self, expires_at: int | None) -> None:
        """A message was accepted."""
        self.stream.wake()
        if expires_at is not None:
            self._expiry.wake()

    def _erased(self) -> None:
        """A message has had its time."""
        self.stream.wake()

    async def _watch(self, connection: Connection) -> None:
        """Take what is stored nowhere, over a connection until it is lost."""

        def passed(frame: Passing) -> None:
            if isinstance(frame, Presence):
                self._watching.passed(frame)
            elif frame.user_id != self.me.user_id:
                task = asyncio.ensure_future(self._typed(frame))
                self._typings.add(task)
                task.add_done_callback(self._typings.discard)

        connection.passed = passed
        await self._watching.run(connection)

    async def _typed(self, typed: Typed) -> None:
        known = await self.conversations.known_id(typed.conversation_id)
        if known is not None:
            sender = known.peer
            if known.is_group:
                called = await self.vault.read(lambda database: names.of(database, [typed.user_id]))
                sender = called[typed.user_id]
            self._note(TypingEvent(known.conversation_id, known.peer, typed.active, sender))

    async def _look_elsewhere(self) -> None:
        """Notice what other processes of this profile wrote."""
        seen = 0
        while True:
            await self._surroundings.clock.sleep(ELSEWHERE_S)
            version = await self.vault.read(data_version)
            if version != seen:
                seen = version
                self.stream.wake()
                self.transmitter.wake()
                self.settings.wake()
                self.reads.wake()
                self._expiry.wake()


def _milliseconds(expires_in_s: float) -> int:
    bounded("expires_in_s", expires_in_s, 0.001, LONG_S)
    return round(expires_in_s * 1000)


def data_version(database: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    (version,) = database.execute("PRAGMA data_version").fetchone()
    return int(version)
