"""The press: seals what is about to be sent, asking the server for what is lacking.

spec §6.16
"""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tidings.client import copies, outbox, transcript
from tidings.client.connection import Connection
from tidings.client.conversations import Known
from tidings.client.outbox import Row
from tidings.client.sealing import asking, chains, lists
from tidings.client.sealing.lists import Listed
from tidings.client.sealing.opener import note_sealed
from tidings.client.sealing.sealer import (
    Lacking,
    NotYet,
    Sealed,
    Self,
    Unsealable,
    Writing,
    seal_key,
    seal_message,
)
from tidings.client.sealing.supplies import Supplies
from tidings.client.surroundings import Clock
from tidings.client.vault import Job, Vault
from tidings.protocol.frames import DevicesChanged, Relation
from tidings.protocol.ids import ClientId, DeviceId, EntryId, UserId

T = TypeVar("T")

LINK_AGAIN = "link it again: `tidings link`"
HANDED_OVER_S = 60.0
"""how long another identity of the user may take to come to this device"""
LOOK_S = 0.5
ROUNDS = 6
"""of asking for lists and bundles for one message; each brings something that was not there"""


class Press:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        me: Self,
        supplies: Supplies,
        published: Callable[[], Awaitable[None]],
        clock: Clock,
        now_ms: Callable[[], int],
    ) -> None:
        """`published` returns once this device's keys are published, or cannot be."""
        self._vault = vault
        self._me = me
        self._supplies = supplies
        self._clock = clock
        self._now_ms = now_ms
        self._published = published
        self._is_ready = False
        """whether it was waited for that"""
        self._outdated: dict[ClientId, int] = {}
        """how often the server said of a row that a device was removed, and had no list to show for it"""

    async def seal(self, connection: Connection, row: Row, known: Known) -> Row:
        """The row as it crosses the wire, durably so. Raises Unsealable, Refused, ConnectionLost."""
        if row.sealed is not None or row.draft.relation == Relation.ASK:
            return row
        await self.ready()
        if row.draft.relation == Relation.KEYS and not await self._vault.read(_knows_devices(row)):
            # One that was added just now, say.
            await self._supplies.lists(
                [self._me.user_id, known.peer_id],
                lambda make: connection.ask_patiently(make, self._clock),
            )
        without: set[DeviceId] = set()
        for _ in range(ROUNDS):
            made = await self.made_in_time(self._sealing(row, known, frozenset(without)))
            if isinstance(made, Row):
                return made
            without |= await self._supplies.fetch(
                made, lambda make: connection.ask_patiently(make, self._clock)
            )
            if made.lists_of:
                await self._check_lists(made)
        raise Unsealable("the server gives no keys of their devices", "try again later")

    async def ready(self) -> None:
        """Return once this device's keys are published, or cannot be."""
        await self._published()
        self._is_ready = True

    async def made_in_time(self, sealing: Job[T]) -> T:
        """What a job makes; it is waited for another identity, if there is one. Raises Unsealable."""
        until_s = self._clock.monotonic_s() + HANDED_OVER_S
        while True:
            try:
                return await self._vault.write(sealing)
            except NotYet:
                if self._clock.monotonic_s() > until_s:
                    raise
            await self._clock.sleep(LOOK_S)

    def seal_at_once(self, database: sqlite3.Connection, row: Row, known: Known) -> Row:
        """The row, sealed if nothing has to be asked for first: in the transaction that stores it.

        What stands before it in its conversation is sealed, or answered.
        """
        if not self._is_ready or row.sealed is not None or row.draft.relates_to is not None:
            return row
        try:
            made = self._sealing(row, known, frozenset())(database)
        except Unsealable:
            return row  # `seal` says why
        return made if isinstance(made, Row) else row

    async def changed(self, row: Row, changed: DevicesChanged) -> Row:
        """A device was removed: the row, to be sealed again. Raises Unsealable where no list says so.

        By a list that is not gone by (see `lists.store`) the row would be sealed as before, again and again:
        the server may say so `ROUNDS` times.
        """
        await self._supplies.take(changed.lists, changed.keys_at)
        users = [signed.user_id for signed in changed.lists]
        old = await self._vault.read(lambda database: _outdated(database, users, changed.keys_at))
        self._outdated[row.client_id] = rounds = self._outdated.get(row.client_id, 0) + 1 if old else 0
        if rounds > ROUNDS:
            del self._outdated[row.client_id]
            if self._me.user_id in old:
                raise Unsealable("this account has an identity that this device does not know", LINK_AGAIN)
            raise Unsealable(
                "the server's list of their devices is not to be gone by", "see `tidings verify`"
            )
        if old:
            await self._clock.sleep(LOOK_S)
        else:
            del self._outdated[row.client_id]
        return await self._vault.write(lambda database: outbox.unseal(database, row))

    def _sealing(
        self, row: Row, known: Known, without: frozenset[DeviceId]
    ) -> Callable[[sqlite3.Connection], Row | Lacking]:
        def job(database: sqlite3.Connection) -> Row | Lacking:
            made = self._made(database, row, known, without)
            if isinstance(made, Lacking):
                return made
            note_sealed(database, known.conversation_id)
            after = transcript.newest(database, known.conversation_id)
            return outbox.keep_sealed(database, row, made)._replace(after=after)

        return job

    def _made(
        self, database: sqlite3.Connection, row: Row, known: Known, without: frozenset[DeviceId]
    ) -> Sealed | Lacking:
        draft = row.draft
        if draft.relation == Relation.KEYS:
            assert draft.relates_to is not None
            answer = asking.answer(database, draft.relates_to, asking.devices_in(draft.content))
            if answer is None or not answer.devices:
                raise Unsealable("its key is gone", "")
            return seal_key(
                database, self._me, known.peer_id, answer.wrapped, answer.devices, answer.sealed_ms, without
            )
        writing = Writing(
            known.conversation_id,
            known.peer_id,
            row.client_id,
            draft.content_type,
            draft.content,
            draft.relation,
            draft.relates_to,
            draft.silent,
            row.expires_at,
        )
        made = seal_message(database, self._me, writing, self._now_ms(), without)
        if isinstance(made, Sealed) and copies.may_be_sent(database, row.row_id):
            # Of a copy of a profile: what was sent in its other life, and is there, may be another one.
            chains.given_up(database, row.client_id)
        return made

    async def _check_lists(self, lacking: Lacking) -> None:
        """Raise Unsealable if the server had no list to give."""
        for user_id in lacking.lists_of:
            if await self._vault.read(_knowing(user_id)) is None:
                if user_id == self._me.user_id:
                    raise Unsealable("this account has no device list", "open the profile again, connected")
                raise Unsealable(
                    "they have no keys: nothing can be encrypted for them",
                    "they use a client that does not encrypt; a profile made with --plain can write to them",
                )


def _knows_devices(row: Row) -> Callable[[sqlite3.Connection], bool]:
    """Whether the devices that a KEYS is for are in lists that this device has."""
    return lambda database: all(
        lists.owner(database, device) is not None for device in asking.devices_in(row.draft.content)
    )


def _outdated(database: sqlite3.Connection, users: list[UserId], keys_at: EntryId) -> list[UserId]:
    """Those of whom a list is gone by here that is not the newest of a time."""
    known = {user: lists.known(database, user) for user in users}
    return [user for user, listed in known.items() if listed is None or listed.keys_at < keys_at]


def _knowing(user_id: UserId) -> Callable[[sqlite3.Connection], Listed | None]:
    return lambda database: lists.known(database, user_id)
