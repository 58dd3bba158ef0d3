"""The group press: seals what is about to be sent in groups, and sends the sender key before it.

It asks the server for what is lacking: who is in the group, their lists, their bundles. The handouts of a
group are sent one after the other, by whoever sends the group's messages; so none of these is sent before the
key that it needs is accepted.

spec §6.17
"""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from tidings.client import copies, known_groups, outbox, transcript
from tidings.client.connection import Connection, SealedForOthers
from tidings.client.conversations import Conversations, Known
from tidings.client.errors import Refused
from tidings.client.outbox import Row
from tidings.client.sealing import asking, chains, group_asking, handouts, lists, rosters, sender_keys
from tidings.client.sealing.group_sealer import (
    Handing,
    Ready,
    make_ready,
    note_listless,
    seal_in_group,
    seal_share,
)
from tidings.client.sealing.handouts import Handout, Posting
from tidings.client.sealing.opener import note_sealed
from tidings.client.sealing.press import Press
from tidings.client.sealing.rosters import Roster, Untold
from tidings.client.sealing.sealer import Lacking, Sealed, Self, Unsealable, Writing
from tidings.client.sealing.supplies import Supplies
from tidings.client.surroundings import Clock
from tidings.client.vault import Job, Vault
from tidings.protocol.errors import GROUP_CHANGED, NO_SUCH_CONVERSATION
from tidings.protocol.frames import DevicesChanged, Relation
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, UserId

T = TypeVar("T")

ROUNDS = 200
"""of asking and handing out for one message: a large group takes many"""
UNLISTED_MAX = 4
"""times that the server is asked who is in a group, for one message"""
REFUSED_MAX = 3
"""times that the same may be refused for a reason that this device cannot see"""
TOLD_S = 3.0
"""how long the server may take to say who came and who went, after it acted on it"""
LOOK_S = 0.1
CHANGED_S = 0.5
"""how long a node may go on saying that a group is what it was before a change"""


class Unlisted:
    """Not all members are known."""


class GroupPress:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        me: Self,
        press: Press,
        conversations: Conversations,
        supplies: Supplies,
        posting: Posting,
        clock: Clock,
        now_ms: Callable[[], int],
    ) -> None:
        self._vault = vault
        self._me = me
        self._press = press
        self._conversations = conversations
        self._supplies = supplies
        self._posting = posting
        self._clock = clock
        self._now_ms = now_ms
        self._tried: set[ClientId] = set()
        """handouts that this process has sent at least once"""

    async def seal(self, connection: Connection, row: Row, known: Known) -> Row:
        """The row as it crosses the wire, durably so. Raises Unsealable, Refused, ConnectionLost."""
        if row.sealed is not None or row.draft.relation == Relation.ASK:
            return row
        await self._press.ready()
        if _is_for_all(row):
            return await self._until_made(connection, known, partial(self._give_all, row))
        if row.draft.relation in (Relation.KEYS, Relation.SENDER_KEY):
            await self._know_devices(connection, row, known)
            return await self._until_made(connection, known, partial(self._share, row))
        return await self._until_made(connection, known, partial(self._seal, row, known))

    async def changed(self, row: Row, changed: DevicesChanged) -> Row:
        """A device was removed: the row, to be sealed again. Raises Unsealable where no list says so."""
        return await self._press.changed(row, changed)

    # --- jobs -----------------------------------------------------------------------------

    def _seal(
        self,
        row: Row,
        known: Known,
        database: sqlite3.Connection,
        roster: Roster,
        without: frozenset[DeviceId],
        is_patient: bool,
    ) -> Row | Lacking | Untold | Handing:
        draft = row.draft
        writing = Writing(
            known.conversation_id,
            UserId(0),
            row.client_id,
            draft.content_type,
            draft.content,
            draft.relation,
            draft.relates_to,
            draft.silent,
            row.expires_at,
        )
        made = seal_in_group(
            database,
            self._me,
            roster,
            writing,
            self._posting,
            self._now_ms(),
            without,
            is_patient=is_patient,
        )
        if not isinstance(made, Sealed):
            return made
        if copies.may_be_sent(database, row.row_id):
            # Of a copy of a profile: what was sent in its other life, and is there, may be another one.
            chains.given_up(database, row.client_id)
        note_sealed(database, known.conversation_id)
        after = transcript.newest(database, known.conversation_id)
        return outbox.keep_sealed(database, row, made)._replace(after=after)

    def _share(
        self,
        row: Row,
        database: sqlite3.Connection,
        roster: Roster,
        without: frozenset[DeviceId],
        is_patient: bool,  # noqa: ARG002
    ) -> Row | Lacking:
        """A sender key for those who asked (KEYS), or whom the server missed (SENDER_KEY)."""
        draft, since_ms = row.draft, 0
        if draft.relation == Relation.KEYS:
            assert draft.relates_to is not None
            answer = group_asking.answer(database, draft.relates_to, asking.devices_in(draft.content))
            said, devices = answer or (None, [])
            since_ms = 0 if said is None else said.sealed_ms
        else:
            about = sender_keys.missing_of(draft.content)
            said, devices = sender_keys.spoken(database, about.client_id), about.devices
        if said is None or not devices or said.conversation_id != roster.conversation_id:
            raise Unsealable("its key is gone", "")
        made = seal_share(database, self._me, roster, said, devices, self._now_ms(), without, since_ms)
        return outbox.keep_sealed(database, row, made) if isinstance(made, Sealed) else made

    def _give_all(
        self,
        row: Row,
        database: sqlite3.Connection,
        roster: Roster,
        without: frozenset[DeviceId],
        is_patient: bool,
    ) -> Row | Lacking | Untold | Handing:
        """This device's sender key for all who have it not; then there is nothing to send any more."""
        ready = make_ready(
            database, self._me, roster, self._posting, self._now_ms(), without, is_patient=is_patient
        )
        if not isinstance(ready, Ready):
            return ready
        return row._replace(sealed=Sealed(b"", {}, ready.keys_at, b"", ""))

    async def _unlisted(self, where: ConversationId) -> Exception:
        """Why it cannot be said who is in a group."""
        row = await self._vault.read(lambda database: known_groups.find(database, where))
        if row is not None and row.is_left:
            return Refused(NO_SUCH_CONVERSATION.code, NO_SUCH_CONVERSATION.name, "you are not in this group")
        return Unsealable("the server does not tell who is in the group", "try again later")

    # --- what they lack -------------------------------------------------------------------

    async def _until_made(
        self,
        connection: Connection,
        known: Known,
        job: Callable[
            [sqlite3.Connection, Roster, frozenset[DeviceId], bool], T | Lacking | Untold | Handing
        ],
    ) -> T:
        """What a job makes, once it lacks nothing. Raises Unsealable, Refused, ConnectionLost."""
        where, without = known.conversation_id, set[DeviceId]()
        unlisted = refusals = 0
        patient_until_s = self._clock.monotonic_s() + TOLD_S
        for _ in range(ROUNDS):
            is_patient = self._clock.monotonic_s() < patient_until_s
            made = await self._press.made_in_time(_knowing(where, job, frozenset(without), is_patient))
            match made:
                case Unlisted() if unlisted < UNLISTED_MAX:
                    unlisted += 1
                    await self._ask_who(connection, where)
                case Unlisted():
                    raise await self._unlisted(where)
                case Lacking():
                    without |= await self._fetch(connection, made)
                case Untold():
                    await self._clock.sleep(LOOK_S)
                case Handing():
                    refusal = await self._send_handouts(connection, where)
                    if refusal is not None:
                        refusals += 1
                        if refusals == REFUSED_MAX:
                            raise refusal
                        await self._look_anew(connection, where)
                case _:
                    return made
        raise Unsealable("the server gives no keys of the members' devices", "try again later")

    async def _fetch(self, connection: Connection, lacking: Lacking) -> set[DeviceId]:
        without = await self._supplies.fetch(
            lacking, lambda make: connection.ask_patiently(make, self._clock)
        )
        if lacking.lists_of:
            await self._vault.write(self._noting_listless(lacking.lists_of))
        return without

    def _noting_listless(self, users: list[UserId]) -> Job[None]:
        def note(database: sqlite3.Connection) -> None:
            left = [user for user in users if lists.known(database, user) is None]
            if self._me.user_id in left:
                raise Unsealable("this account has no device list", "open the profile again, connected")
            note_listless(database, left, self._now_ms())

        return note

    async def _know_devices(self, connection: Connection, row: Row, known: Known) -> None:
        """Ask who is in the group, and for lists, if a device is in none: it was added just now, say."""
        content = row.draft.content
        is_key = row.draft.relation == Relation.KEYS
        devices = asking.devices_in(content) if is_key else sender_keys.missing_of(content).devices
        for is_asked in (False, True):
            unknown = await self._vault.read(_unknown_of(known.conversation_id, devices))
            if not unknown:
                return
            if not is_asked:
                await self._ask_who(connection, known.conversation_id)
        await self._look_anew(connection, known.conversation_id)

    async def _ask_who(self, connection: Connection, conversation_id: ConversationId) -> None:
        await self._conversations.asked(
            conversation_id, lambda make: connection.ask_patiently(make, self._clock)
        )

    # --- handouts -------------------------------------------------------------------------

    async def _send_handouts(self, connection: Connection, conversation_id: ConversationId) -> Refused | None:
        """Send what waits, until it is accepted, or refused for what it was made of.

        Returns a refusal that says nothing of that: a device may be gone of which this one has not heard.
        """
        writer, tried = self._posting.writer, frozenset(self._tried)
        waiting = await self._vault.write(
            lambda database: handouts.take(database, conversation_id, writer, tried)
        )
        for handout in waiting:
            name = handout.client_id
            self._tried.add(name)
            try:
                await self._send_handout(connection, handout)
            except SealedForOthers as outdated:
                await self._supplies.take(outdated.changed.lists, outdated.changed.keys_at)
                await self._clock.sleep(LOOK_S)  # if they are not gone by, it is the same again
                refusal, is_changed = None, False
            except Refused as error:
                if error.retry_after_s is not None:
                    await self._clock.sleep(error.retry_after_s)
                    return None  # it waits still, and is sent again
                is_changed = error.code == GROUP_CHANGED.code
                refusal = None if is_changed else error
            else:
                continue
            self._tried.discard(name)
            await self._vault.write(_refusing(handout))
            if is_changed:
                await self._follow_change(connection, handout)
            return refusal
        return None

    async def _send_handout(self, connection: Connection, handout: Handout) -> None:
        await connection.transmit(handout.frame())
        await self._vault.write(lambda database: handouts.done(database, handout.client_id))
        self._tried.discard(handout.client_id)

    async def _follow_change(self, connection: Connection, handout: Handout) -> None:
        """Somebody was removed from the group: ask who is in it now."""
        await self._ask_who(connection, handout.conversation_id)
        if await self._vault.read(_is_as_before(handout)):
            await self._clock.sleep(CHANGED_S)

    async def _look_anew(self, connection: Connection, conversation_id: ConversationId) -> None:
        """Ask who is in a group, and which devices they have, whatever is known of that."""
        await self._ask_who(connection, conversation_id)
        roster = await self._vault.read(lambda database: rosters.of(database, conversation_id))
        if roster is not None:
            await self._supplies.lists(
                roster.members, lambda make: connection.ask_patiently(make, self._clock)
            )


def _is_for_all(row: Row) -> bool:
    return row.draft.relation == Relation.SENDER_KEY and not row.draft.content


def _knowing(
    conversation_id: ConversationId,
    job: Callable[[sqlite3.Connection, Roster, frozenset[DeviceId], bool], T],
    without: frozenset[DeviceId],
    is_patient: bool,
) -> Job[T | Unlisted]:
    def run(database: sqlite3.Connection) -> T | Unlisted:
        roster = rosters.of(database, conversation_id)
        return Unlisted() if roster is None else job(database, roster, without, is_patient)

    return run


def _unknown_of(conversation_id: ConversationId, devices: list[DeviceId]) -> Job[list[DeviceId]]:
    """Those of some devices that are in no list of a member."""

    def find(database: sqlite3.Connection) -> list[DeviceId]:
        roster = rosters.of(database, conversation_id)
        members = () if roster is None else roster.members
        return [device for device in devices if lists.owner(database, device) not in members]

    return find


def _refusing(handout: Handout) -> Job[None]:
    return lambda database: handouts.refused(database, handout)


def _is_as_before(handout: Handout) -> Job[bool]:
    def compare(database: sqlite3.Connection) -> bool:
        roster = rosters.of(database, handout.conversation_id)
        return roster is not None and roster.version <= handout.version

    return compare
