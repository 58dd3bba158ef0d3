"""The parts of an open client: made, joined and ended here, and nowhere else.

When a part fails for good, all that waits and all that is asked later gets its error.
"""

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence

import msgspec

from tidings import __version__
from tidings.client import inbox, outbox, receipts
from tidings.client.account import OwnAccount
from tidings.client.conversations import Conversations, Known, normal
from tidings.client.devices import OwnDevices
from tidings.client.errors import ClientClosed, StorageFailed
from tidings.client.events import ConnectionEvent
from tidings.client.http import Server
from tidings.client.link import Link, Work
from tidings.client.outbox import ClientIds
from tidings.client.profile import Account, FileLock, Profile
from tidings.client.reads import Reads
from tidings.client.receiver import Receiver
from tidings.client.stream import Stream
from tidings.client.surroundings import Surroundings
from tidings.client.tables import NEWEST_ENTRY
from tidings.client.transmitter import Transmitter
from tidings.client.vault import Vault
from tidings.protocol.frames import Hello
from tidings.protocol.ids import CLIENT_ID_PREFIX_BYTES, EntryId

ELSEWHERE_S = 0.5
"""how often a receiving client looks whether another process changed the profile"""


class Parts:
    """See the module's text."""

    def __init__(
        self, account: Account, profile: Profile, lock: FileLock | None, vault: Vault, seq: int
    ) -> None:
        self.account = account
        self.profile = profile
        self.vault = vault
        self.me = inbox.Self(*account.ids(), account.handle)
        self.conversations = Conversations(vault, self.me.user_id)
        self.stream = Stream(vault, self.me, seq)
        self.trouble = ""
        """why there is no connection; empty while there is one, or before the first try"""
        self._receiver_lock = lock
        self._failure: Exception | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls, account: Account, profile: Profile, lock: FileLock | None, surroundings: Surroundings
    ) -> "Parts":
        opened = await Vault.open(profile.database, surroundings.connect, surroundings.clock.wall_ms())
        try:
            parts = cls(account, profile, lock, opened, await opened.read(inbox.newest_seq))
        except BaseException:
            await opened.close()
            raise
        parts._wire(surroundings)
        return parts

    def _wire(self, surroundings: Surroundings) -> None:
        clock, entropy = surroundings.clock, surroundings.entropy
        self._names = ClientIds(entropy(CLIENT_ID_PREFIX_BYTES))
        self._entropy = entropy
        self.transmitter = Transmitter(
            self.vault,
            self.conversations,
            FileLock(self.profile.outbox_lock),
            self.me.device_id,
            self._names,
            entropy(outbox.WRITER_BYTES),
            clock,
            self.stream.wake,
        )
        server = Server.at(self.account.server)
        self.own_account = OwnAccount(server, lambda: self.account.token, entropy)
        self.own_devices = OwnDevices(server, lambda: self.account.token)
        self.reads = Reads(self.vault, self.me.user_id, clock)
        works: Sequence[Work] = [self.transmitter.run, self.reads.run]
        if self._receiver_lock is not None:
            works = [Receiver(self.vault, self.conversations, self.stream, self.me, clock).run, *works]
        self.link = Link(server.ws, self._hello, works, self._renewed, self._told, surroundings)
        self._tasks = [
            asyncio.ensure_future(self._guard(self.link.run())),
            asyncio.ensure_future(self._guard(self.transmitter.watch())),
        ]
        if self._receiver_lock is not None:
            self._tasks.append(asyncio.ensure_future(self._guard(self._look_elsewhere(surroundings))))

    async def find(self, peer: str) -> Known:
        """The conversation with somebody. Raises Refused."""
        return await self.conversations.with_peer(normal(peer), self.link.ask)

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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.vault.close()
        if self._receiver_lock is not None:
            self._receiver_lock.release()

    async def _hello(self) -> Hello:
        self._names.renew(self._entropy(CLIENT_ID_PREFIX_BYTES))
        have = await self.vault.read(lambda database: receipts.mark(database, NEWEST_ENTRY))
        receive = self._receiver_lock is not None
        return Hello(
            self.account.token,
            f"tidings-python/{__version__}",
            # With nothing stored yet, say from where on it would have: a profile may be an old copy.
            EntryId(int(self.account.device_id) if have is None else have),
            receive,
        )

    async def _renewed(self, token: str) -> None:
        """The server gave this device another token; the old one holds until this one was used."""
        account = msgspec.structs.replace(self.account, token=token)
        try:
            await asyncio.to_thread(self.profile.replace, account)
        except OSError as error:
            raise StorageFailed(f"cannot write profile {self.profile.path}: {error.strerror}") from error
        self.account = account

    async def _guard(self, work: Coroutine[object, object, None]) -> None:
        """Run a part; what it fails with is what the client's callers get."""
        try:
            await work
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self.link.fail(error)
        self.transmitter.fail(error)
        self.stream.fail(error)

    def _told(self, event: ConnectionEvent) -> None:
        self.trouble = event.reason
        if self._receiver_lock is not None:
            self.stream.note(event)

    async def _look_elsewhere(self, surroundings: Surroundings) -> None:
        """Notice what other processes of this profile wrote: receipts may have become due."""
        seen = 0
        while True:
            await surroundings.clock.sleep(ELSEWHERE_S)
            version = await self.vault.read(data_version)
            if version != seen:
                seen = version
                self.stream.wake()
                self.transmitter.wake()


def data_version(database: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    (version,) = database.execute("PRAGMA data_version").fetchone()
    return int(version)
