"""The group sealer: from a message of a group as it was written to what crosses the wire.

The sender key goes first, to every device of every member that stands in a list which its user signed; then
the message, which that key encrypts. All of it are jobs that look at what the profile knows, do the next step
and say what is lacking:

```
 lists, sessions ── Lacking: ask the server ──► handouts made ── Handing: send them ──► sealed
```

spec §6.17
"""

import sqlite3
from collections.abc import Collection, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from tidings.client.sealing import chains, handouts, infos, lists, rosters, sender_keys, sessions
from tidings.client.sealing.handouts import Posting
from tidings.client.sealing.inside import Shared
from tidings.client.sealing.rosters import Roster, Untold
from tidings.client.sealing.sealer import (
    Lacking,
    Sealed,
    Self,
    Unsealable,
    Writing,
    blocked,
    check_own,
    inside_of,
    linked,
    outside_of,
)
from tidings.client.sealing.sender_keys import Mine
from tidings.protocol.frames import Relation, Scheme
from tidings.protocol.ids import DeviceId, EntryId, UserId
from tidings.protocol.keys import ListedDevice

STEP = 256
"""devices that are looked after in one job"""
AGAIN_MS = 3600 * 1000
"""when those are tried again that had no list, or no bundle"""


class Handing(NamedTuple):
    """Handouts wait: they are to be answered first."""


class Ready(NamedTuple):
    """Every device that is to have the sender key was sent it."""

    mine: Mine
    keys_at: EntryId


class _Lists(NamedTuple):
    """What is known of the members' devices."""

    users: tuple[UserId, ...]
    """those who have a list"""
    keys_at: EntryId
    """as of when all of these were the newest"""
    stamp: bytes
    """another one, if a device came or went"""

    def devices(
        self, database: sqlite3.Connection, me: DeviceId
    ) -> dict[DeviceId, tuple[UserId, ListedDevice]]:
        """Those that are to have the sender key."""
        return {
            device.device_id: (user, device)
            for user in self.users
            if (listed := lists.known(database, user)) is not None
            for device in listed.devices
            if device.device_id != me
        }


def seal_in_group(
    database: sqlite3.Connection,
    me: Self,
    roster: Roster,
    writing: Writing,
    posting: Posting,
    now_ms: int,
    without: Collection[DeviceId] = (),
    *,
    is_patient: bool = False,
) -> Sealed | Lacking | Untold | Handing:
    """Seal a message for all members. Raises Unsealable.

    `without`: devices of which the server has no bundle; they ask for the key when they are back.
    `is_patient`: of whom the user was not told is said, to be waited for; else they are warned of.
    """
    ready = make_ready(database, me, roster, posting, now_ms, without, is_patient=is_patient)
    if not isinstance(ready, Ready):
        return ready
    about = writing.relates_to
    if writing.relation == Relation.DELETE and about is not None:
        chains.erased(database, me.device_id, about)
    at = chains.place(database, writing.conversation_id, writing.client_id, linked(database).generation)
    inside, outside = (
        inside_of(database, writing, at, now_ms),
        outside_of(me, writing, Scheme.SENDER_KEY),
    )
    content = sender_keys.speak(database, writing.conversation_id, ready.mine, inside, outside, now_ms)
    chains.said(database, writing.conversation_id, writing.client_id, at, content, writing.expires_at)
    return Sealed(content, {}, ready.keys_at, b"", version=roster.version)


def make_ready(
    database: sqlite3.Connection,
    me: Self,
    roster: Roster,
    posting: Posting,
    now_ms: int,
    without: Collection[DeviceId] = (),
    *,
    is_patient: bool = False,
) -> Ready | Lacking | Untold | Handing:
    """See to it that all members' devices have this device's sender key. Raises Unsealable."""
    known = _lists(database, me, roster, now_ms)
    if isinstance(known, Lacking):
        return known
    mine = sender_keys.current(database, roster.conversation_id)
    is_settled = mine is not None and mine.stamp == known.stamp
    if mine is not None and (
        sender_keys.is_worn(mine, roster, now_ms) or not (is_settled or _is_safe(database, me, mine, known))
    ):
        mine, is_settled = None, False
    if mine is None:
        mine = sender_keys.begin(database, roster, now_ms)
    if mine.look_ms and now_ms >= mine.look_ms:
        is_settled = False
    if not is_settled:
        unsaid = rosters.untold(database, roster)
        if unsaid and is_patient:
            return unsaid
        rosters.warn_of(database, roster, unsaid)
        step = _hand_on(database, me, roster, mine, known, posting, now_ms, without)
        if step is not None:
            return step
    if handouts.are_waiting(database, roster.conversation_id):
        return Handing()
    return Ready(mine, known.keys_at)


def seal_share(
    database: sqlite3.Connection,
    me: Self,
    roster: Roster,
    said: sender_keys.Spoken,
    devices: Collection[DeviceId],
    now_ms: int,
    without: Collection[DeviceId] = (),
    since_ms: int = 0,
) -> Sealed | Lacking:
    """Seal the sender key of an own message, from that on, for devices of members. Raises Unsealable.

    `since_ms`: over sessions made since. There are no envelopes if nothing can be sealed for any of them now.
    """
    known = _lists(database, me, roster, now_ms)
    if isinstance(known, Lacking):
        return known
    members = known.devices(database, me.device_id)
    listed = [device for device in devices if device in members]
    if not listed:
        raise Unsealable("the device that lacks the key is in no list of a member", "")
    absent = [device for device in listed if device in without]
    sender_keys.leave_out(database, said.key_id, absent, said.position)
    wanted = [members[device] for device in listed if device not in without]
    lacking = [one for one in wanted if not sessions.has(database, one[1].device_id, since_ms)]
    if lacking:
        return Lacking([], lacking)
    data = _shared(database, roster, said.key_id, said.share).bytes()
    names = [device.device_id for _, device in wanted]
    sender_keys.give(database, said.key_id, names, said.position)
    envelopes = {int(device): sessions.wrap(database, device, data) for device in names}
    return Sealed(b"", envelopes, known.keys_at, b"", "", roster.version)


def note_listless(database: sqlite3.Connection, users: Sequence[UserId], now_ms: int) -> None:
    """The server has no lists of these users: they are left out, for a while."""
    database.executemany("INSERT OR REPLACE INTO listless VALUES (?, ?)", [(user, now_ms) for user in users])


def _hand_on(
    database: sqlite3.Connection,
    me: Self,
    roster: Roster,
    mine: Mine,
    known: _Lists,
    posting: Posting,
    now_ms: int,
    without: Collection[DeviceId],
) -> Lacking | Handing | None:
    """Have the sender key brought to some who lack it; None if nobody does."""
    targets = known.devices(database, me.device_id)
    left_out = sender_keys.left_out(database, mine.key_id)
    is_time = mine.look_ms and now_ms >= mine.look_ms
    lacking_key = targets.keys() - sender_keys.holders(database, mine.key_id)
    lacking_key -= left_out.intersection(without) if is_time else left_out
    some = sorted(lacking_key)[:STEP]
    if not some:
        look_ms = now_ms + AGAIN_MS if left_out else 0
        sender_keys.settle(database, roster.conversation_id, known.stamp, look_ms)
        return None
    written_to = [device for device in some if device not in without]
    lacking = [targets[device] for device in written_to if not sessions.has(database, device)]
    if lacking:
        return Lacking([], lacking)
    index = mine.key.index
    sender_keys.leave_out(database, mine.key_id, [device for device in some if device in without], index)
    shared = _shared(database, roster, mine.key_id, mine.key.share())
    handouts.add(database, posting, roster.version, known.keys_at, shared, index, written_to)
    return Handing()


def _shared(database: sqlite3.Connection, roster: Roster, key_id: bytes, share: bytes) -> Shared:
    keys = infos.keys_to_give(database, roster.conversation_id)
    return Shared(roster.conversation_id, key_id, share, keys)


def _is_safe(database: sqlite3.Connection, me: Self, mine: Mine, known: _Lists) -> bool:
    """Whether all who may have a sender key may read what comes next."""
    return sender_keys.suspects(database, mine.key_id) <= known.devices(database, me.device_id).keys()


def _lists(database: sqlite3.Connection, me: Self, roster: Roster, now_ms: int) -> _Lists | Lacking:
    """The lists of all members that have one. Raises Unsealable."""
    mine = linked(database)
    if me.user_id not in roster.members:
        raise Unsealable("you are not in this group", "")
    members = msgspec.json.encode(sorted(roster.members)).decode()
    in_group = "user_id IN (SELECT value FROM json_each(?))"
    rows = database.execute(
        f"SELECT user_id, version, identity, gone, blocked, keys_at FROM device_lists WHERE {in_group}"  # noqa: S608
        " ORDER BY user_id",
        (members,),
    ).fetchall()
    unknown = set(roster.members).difference([row[0] for row in rows])
    if unknown:
        asked = database.execute(
            f"SELECT user_id FROM listless WHERE {in_group} AND asked_ms > ?",  # noqa: S608
            (members, now_ms - AGAIN_MS),
        )
        unknown.difference_update([UserId(row[0]) for row in asked if row[0] != me.user_id])
    if unknown:
        return Lacking(sorted(unknown), [])
    if any(row[4] for row in rows):
        raise blocked("a member's")
    listed = lists.known(database, me.user_id)
    assert listed is not None
    check_own(me, mine, listed)
    told = (roster.version, roster.removal_at, members, [row[:4] for row in rows])
    return _Lists(
        tuple(UserId(row[0]) for row in rows),
        EntryId(min(row[5] for row in rows)),
        sha256(msgspec.msgpack.encode(told)).digest(),
    )
