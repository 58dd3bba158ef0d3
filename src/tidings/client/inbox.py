"""The inbox: what stands between Deliver and Ack, and what of it the program has not been told.

A row waits, also over restarts, until the program that reads `Client.events()` has asked for the
next event. What only this process could still show (what this device sent itself) is no news to a
later one.

spec §6.4
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from tidings.client import (
    comings,
    contents,
    copies,
    known_groups,
    names,
    notices,
    outbox,
    receipts,
    settings,
    tallies,
    transcript,
)
from tidings.client.connection import Arrival
from tidings.client.events import (
    DeleteEvent,
    EditEvent,
    ExpiredEvent,
    MessageEvent,
    OpenedEvent,
    PastEvent,
    ReactionEvent,
    SentEvent,
    VoteEvent,
)
from tidings.client.group_values import is_group
from tidings.client.outbox import Draft, Posting
from tidings.client.sealing import asking, chains, group_asking, rosters
from tidings.client.sealing.group_opener import open_in_group, reopen, take_share
from tidings.client.sealing.opener import (
    Opened,
    is_open,
    open_key,
    open_message,
    open_unsealed,
    open_with,
)
from tidings.client.sealing.own import raise_generation
from tidings.client.sealing.sealer import Self as Sealing
from tidings.client.sealing.warnings import warn
from tidings.client.tables import COMPLETE_TO, NEWEST_ENTRY
from tidings.client.transcript import Origin, Self
from tidings.client.values import Fault, Message
from tidings.protocol import frames
from tidings.protocol.frames import (
    CHANGES,
    Changed,
    Deliver,
    Drained,
    HeartbeatOk,
    InboxExpired,
    Receipt,
    Reference,
    Relation,
    Scheme,
    Tallies,
)
from tidings.protocol.ids import ConversationId, EntryId, MessageId

Whole = MessageEvent | SentEvent | PastEvent | OpenedEvent
Told = Whole | EditEvent | DeleteEvent | ReactionEvent | VoteEvent | ExpiredEvent

KINDS: dict[Origin, type[Whole]] = {
    Origin.INBOX: MessageEvent,
    Origin.HERE: SentEvent,
    Origin.HISTORY: PastEvent,
    Origin.OPENED: OpenedEvent,
}


class Waiting(NamedTuple):
    """A row that is stored and not consumed. `event` is None where there is nothing to tell."""

    seq: int
    event: Told | None
    fault: int = Fault.NONE
    """that it had when it was read"""


def store(
    database: sqlite3.Connection, arrived: Sequence[Arrival], me: Self, posting: Posting, now_ms: int
) -> int:
    """Open and store what arrived together; returns the newest row's `seq`."""
    newest_entry = 0
    for frame in arrived:
        match frame:
            case Deliver():
                _deliver(database, frame, me, posting, now_ms)
                newest_entry = max(newest_entry, frame.entry_id)
            case Tallies():
                tallies.apply(database, frame)
            case Changed():
                settings.apply(database, frame.settings)
            case InboxExpired():
                _note_gap(database, frame)
                chains.excuse_all(database)
            case Drained() | HeartbeatOk():
                receipts.set_mark(database, COMPLETE_TO, frame.complete_to)
    receipts.apply(database, [frame for frame in arrived if isinstance(frame, Receipt)], me.user_id)
    if newest_entry:
        receipts.raise_mark(database, NEWEST_ENTRY, newest_entry)
    return transcript.newest_seq(database)


def have(database: sqlite3.Connection) -> EntryId | None:
    """Up to which entry this profile has all that it was sent; None: it was sent nothing yet."""
    complete_to = receipts.mark(database, COMPLETE_TO)
    # Where there are several nodes an older entry may come after a newer one.
    found = complete_to or receipts.mark(database, NEWEST_ENTRY)
    return None if found is None else EntryId(found)


def waiting(database: sqlite3.Connection, me: Self, limit: int) -> tuple[list[Waiting], int]:
    """The oldest rows that nobody has consumed, and the newest `seq` of all."""
    rows = database.execute(
        f"SELECT {transcript.COLUMNS}, coalesce(c.peer, 'user ' || m.sender_id), m.seq, m.origin, m.fault"  # noqa: S608
        " FROM messages m LEFT JOIN conversations c ON c.conversation_id = m.conversation_id"
        " WHERE m.consumed = 0 ORDER BY m.seq LIMIT ?",
        (limit,),
    ).fetchall()
    return [_waiting(database, row, me) for row in rows], transcript.newest_seq(database)


def consume(database: sqlite3.Connection, one: Waiting) -> None:
    """The program is done with a row."""
    done = database.execute(
        "UPDATE messages SET consumed = 1 WHERE seq = ? AND fault = ?", (one.seq, one.fault)
    ).rowcount
    if not done and one.event is not None:
        # It was told as one that cannot be read, and its key has come since.
        database.execute("UPDATE messages SET origin = ? WHERE seq = ?", (Origin.OPENED, one.seq))
    if isinstance(one.event, Message) and one.event.change is not None and not one.event.change.name:
        notices.check(database, one.seq)
    if isinstance(one.event, Message) and one.event.content_type:
        # It may have had its time since it was read.
        transcript.tell_expired(database, "seq = ? AND expires_at IS NOT NULL AND content_type = ''", one.seq)


def forget_own(database: sqlite3.Connection) -> None:
    """What this device sent while nobody looked is told to nobody."""
    database.execute("UPDATE messages SET consumed = 1 WHERE consumed = 0 AND origin = ?", (Origin.HERE,))


def newest_received(database: sqlite3.Connection, conversation_id: ConversationId) -> MessageId | None:
    """The newest message that came from the other one of a conversation."""
    (newest,) = database.execute(
        "SELECT max(message_id) FROM messages"
        " WHERE own = 0 AND conversation_id = ? AND relation IN (0, 1, 5)",
        (conversation_id,),
    ).fetchone()
    return None if newest is None else MessageId(newest)


def _deliver(database: sqlite3.Connection, frame: Deliver, me: Self, posting: Posting, now_ms: int) -> None:
    message = frame.message
    name = Reference(message.sender_device, message.client_id)
    if message.relation == Relation.ASK:
        _answer(database, message, me, posting, now_ms)
    elif message.relation == Relation.KEYS:
        _take_key(database, frame, me, now_ms)
    elif message.relation == Relation.SENDER_KEY:
        _take_share(database, frame, me, now_ms)
    elif contents.is_notice(message):
        notice(database, message, me, Origin.INBOX)
        _read_who_went(database, message, me, now_ms)
    elif transcript.is_stored(database, name) and not asking.is_unopened(database, name):
        # It came before: only where it stands may be news.
        transcript.add(database, message, me, _origin(database, message, me), stands=frame.stands)
    elif message.sender_device == me.device_id:
        _take_back(database, frame, me, now_ms)
    else:
        _open(database, frame, me, posting, now_ms)


def notice(
    database: sqlite3.Connection,
    message: frames.Message,
    me: Self,
    origin: Origin,
    *,
    consumed: bool = False,
) -> None:
    """The server tells of a change of a group: it is heeded, and stands among what was said."""
    if known_groups.find(database, message.conversation_id) is None or not known_groups.is_genuine(message):
        warn(database, "forged", message.sender_id, "no group was changed so", message.conversation_id)
        return
    if not transcript.is_stored(database, Reference(message.sender_device, message.client_id)):
        comings.tell_members(database, message, me)
    known_groups.apply(database, message, me.user_id)
    transcript.add(database, message, me, origin, consumed=consumed)


def _read_who_went(database: sqlite3.Connection, message: frames.Message, me: Self, now_ms: int) -> None:
    """Who went may have written before, and it was not known that they had been in the group."""
    went = comings.of(message).went
    where = message.conversation_id
    for name in group_asking.waiting_in(database, where) if went else ():
        stored = transcript.stored(database, name)
        if stored is not None and stored.sender_id in went:
            _reopen(database, name, me, now_ms)


def _open(database: sqlite3.Connection, frame: Deliver, me: Self, posting: Posting, now_ms: int) -> None:
    message = frame.message
    name = Reference(message.sender_device, message.client_id)
    if _is_grouped(database, message.conversation_id):
        opened = _open_in_group(database, message, me, now_ms)
    else:
        opened = open_message(database, sealing(me), message, frame.envelope, now_ms)
    if not transcript.is_stored(database, name):
        transcript.add(database, opened.message, me, Origin.INBOX, stands=frame.stands, fault=opened.fault)
    elif opened.fault == Fault.NONE:
        asking.opened(database, name)
        group_asking.keyed(database, name)
        transcript.fill(database, opened.message, me, opened.fault)
    if opened.sealed is not None:
        asking.keep_unopened(database, message, opened.sealed)
        if opened.fault == Fault.NO_KEY and message.scheme == Scheme.SENDER_KEY:
            group_asking.await_key(database, message, opened.sealed, now_ms)
        elif opened.fault == Fault.NO_KEY:
            _ask(database, message, me, posting)


def _is_grouped(database: sqlite3.Connection, conversation_id: ConversationId) -> bool:
    peer = _peer(database, conversation_id)
    return peer is not None and is_group(peer)


def _open_in_group(database: sqlite3.Connection, message: frames.Message, me: Self, now_ms: int) -> Opened:
    if _may_speak(database, message, me):
        return open_in_group(database, sealing(me), message, now_ms, is_member=True)
    if message.scheme == Scheme.SENDER_KEY and comings.may_have_gone(database, message):
        return Opened(msgspec.structs.replace(message, content=b""), Fault.NO_KEY, message.content)
    return open_in_group(database, sealing(me), message, now_ms, is_member=False)


def _may_speak(database: sqlite3.Connection, message: frames.Message, me: Self) -> bool:
    where = message.conversation_id
    return rosters.may_speak(database, where, message.sender_id, message.message_id) or (
        rosters.was_never_told(database, where, me.user_id, message.message_id)
    )


def miss(
    database: sqlite3.Connection, message: frames.Message, me: Self, posting: Posting, now_ms: int
) -> None:
    """Store what the inbox could not bring any more; where its key is not here, ask for that."""
    if _is_grouped(database, message.conversation_id):
        _open(database, Deliver(EntryId(0), message), me, posting, now_ms)
        return
    empty = msgspec.structs.replace(message, content=b"")
    transcript.add(database, empty, me, Origin.INBOX, fault=Fault.NO_KEY)
    asking.keep_unopened(database, message, message.content)
    _ask(database, message, me, posting)


def _ask(database: sqlite3.Connection, message: frames.Message, me: Self, posting: Posting) -> None:
    peer = _peer(database, message.conversation_id)
    if peer is not None and asking.may_ask(database, message, me.device_id):
        outbox.append(database, next(posting.names), outbox.asking_for(peer, message), posting.writer)


def _take_back(database: sqlite3.Connection, frame: Deliver, me: Self, now_ms: int) -> None:
    """What this device wrote itself: it waits for its answer still, or the profile is an older copy."""
    message, draft = frame.message, outbox.draft_of(database, frame.message.client_id)
    fault = Fault.NONE
    if message.sender_id != me.user_id:
        warn(database, "forged", message.sender_id, "it came as of this device", message.conversation_id)
        message, fault = msgspec.structs.replace(message, content=b""), Fault.FORGED
    elif draft is not None and draft.peer != _peer(database, message.conversation_id):
        return  # it goes elsewhere; its answer says where it stands
    elif draft is not None:
        message = _as_written(message, draft)
    elif is_open(message):
        message, fault, _ = open_unsealed(database, message)
    else:
        # It was written in another life.
        raise_generation(database)
        copies.begin_anew(database, now_ms)
        message, fault = msgspec.structs.replace(message, content=b""), Fault.NO_KEY
    origin = Origin.INBOX if draft is None else Origin.HERE
    transcript.add(database, message, me, origin, stands=frame.stands, fault=fault)


def _as_written(message: frames.Message, draft: Draft) -> frames.Message:
    """What waits for its answer, as this device wrote it: the server only says where it stands."""
    return msgspec.structs.replace(
        message,
        content_type=draft.content_type,
        content=draft.content,
        relation=draft.relation,
        relates_to=draft.relates_to,
        silent=draft.silent,
    )


def _take_key(database: sqlite3.Connection, frame: Deliver, me: Self, now_ms: int) -> None:
    """A key that was asked for, or that comes late."""
    if _is_grouped(database, frame.message.conversation_id):
        _take_share(database, frame, me, now_ms)
        return
    name = frame.message.relates_to
    key = open_key(database, sealing(me), frame.message, frame.envelope, now_ms)
    if name is None or key is None:
        return
    sealed, stored = asking.unopened(database, name), transcript.stored(database, name)
    if stored is None:
        asking.keep_early(database, name, key)
    elif sealed is not None:
        whole = msgspec.structs.replace(stored, content=sealed, scheme=Scheme.DIRECT)
        opened = open_with(database, sealing(me), whole, key, now_ms)
        asking.opened(database, name)
        transcript.fill(database, opened.message, me, opened.fault)


def _take_share(database: sqlite3.Connection, frame: Deliver, me: Self, now_ms: int) -> None:
    """The sender key of a member's device, and what it opens that waited."""
    message, where = frame.message, frame.message.conversation_id
    may_speak = _may_speak(database, message, me)
    if not (may_speak or comings.may_have_gone(database, message)):
        return
    # (Who has gone cannot say what the group is called.)
    taken = take_share(database, sealing(me), message, frame.envelope, now_ms, with_info=may_speak)
    if taken is None:
        return
    for name in group_asking.waiting(database, where, message.sender_device, taken.key_id):
        _reopen(database, name, me, now_ms)
    notices.read(database, where, taken.info_keys)


def _reopen(database: sqlite3.Connection, name: Reference, me: Self, now_ms: int) -> None:
    """Open a message of a group that waited, if its key is there, and its author was in the group."""
    sealed, stored = asking.unopened(database, name), transcript.stored(database, name)
    if sealed is None or stored is None:
        group_asking.keyed(database, name)
        return
    if not _may_speak(database, stored, me):
        return
    whole = msgspec.structs.replace(stored, content=sealed, scheme=Scheme.SENDER_KEY)
    opened = reopen(database, sealing(me), whole, now_ms)
    if opened is not None:
        asking.opened(database, name)
        transcript.fill(database, opened.message, me, opened.fault)


def ask_for_keys(
    database: sqlite3.Connection, me: Self, posting: Posting, now_ms: int, jitter_ms: int
) -> bool:
    """Ask for sender keys that are overdue; whether more may be."""
    for one in group_asking.due(database, me.device_id, now_ms, lambda: jitter_ms):
        peer = _peer(database, one.conversation_id)
        if peer is not None:
            draft = Draft(peer, "", b"", Relation.ASK, one.name, one.message_id, silent=True)
            outbox.append(database, next(posting.names), draft, posting.writer)
    return group_asking.is_any_awaited(database)


def _answer(
    database: sqlite3.Connection, message: frames.Message, me: Self, posting: Posting, now_ms: int
) -> None:
    """Somebody asks for the key of an own message."""
    name, peer = message.relates_to, _peer(database, message.conversation_id)
    if name is None or peer is None:
        return
    if is_group(peer):
        if group_asking.may_answer(database, name, message.sender_device, message.conversation_id):
            draft = outbox.answering(peer, name, message.target, [message.sender_device])
            outbox.append(database, next(posting.names), draft, posting.writer)
        return
    waiting = outbox.sealed_of(database, name.client_id)
    if waiting is not None and name.sender_device == me.device_id:
        # That it was accepted is not recorded yet; who asks has it already.
        asking.keep_key(database, name, waiting, now_ms)
    if asking.may_answer(database, name, message.sender_device):
        draft = outbox.answering(peer, name, message.target, [message.sender_device])
        outbox.append(database, next(posting.names), draft, posting.writer)


def _peer(database: sqlite3.Connection, conversation_id: ConversationId) -> str | None:
    row = database.execute(
        "SELECT peer FROM conversations WHERE conversation_id = ?", (conversation_id,)
    ).fetchone()
    return None if row is None else str(row[0])


def _origin(database: sqlite3.Connection, message: frames.Message, me: Self) -> Origin:
    """HERE for what this profile wrote and the server sends back (after `Hello.have`) unanswered."""
    if message.sender_device != me.device_id:
        return Origin.INBOX
    row = database.execute("SELECT 1 FROM outbox WHERE client_id = ?", (message.client_id,)).fetchone()
    return Origin.INBOX if row is None else Origin.HERE


def sealing(me: Self) -> Sealing:
    """Who reads, as the one who seals and opens."""
    return Sealing(me.user_id, me.device_id)


def _note_gap(database: sqlite3.Connection, expired: InboxExpired) -> None:
    # One that was not filled yet begins where it began.
    database.execute(
        "INSERT INTO gap VALUES (0, ?, ?) ON CONFLICT DO UPDATE SET"
        " since = min(since, excluded.since), until = max(until, excluded.until)",
        (expired.since, expired.until),
    )


def _waiting(database: sqlite3.Connection, row: Any, me: Self) -> Waiting:
    message = transcript.wire(row)
    peer, seq, origin, fault = row[13:]
    if origin == Origin.EXPIRED:
        named = Reference(message.sender_device, message.client_id)
        return Waiting(seq, ExpiredEvent(message.conversation_id, peer, named), fault)
    if message.relation in CHANGES:
        if fault:
            return Waiting(seq, None, fault)
        return Waiting(seq, _change(database, message, peer, seq, me))
    return Waiting(seq, transcript.read_message(database, seq, me, KINDS[Origin(origin)]), fault)


def _change(
    database: sqlite3.Connection, change: frames.Message, peer: str, seq: int, me: Self
) -> EditEvent | DeleteEvent | ReactionEvent | VoteEvent | None:
    """What changed a message; None if it is not here or not told yet, or is not this author's to change."""
    target = change.relates_to
    row = None
    if target is not None:
        row = database.execute(
            "SELECT sender_id, seq, content_type, conversation_id FROM messages"
            " WHERE sender_device = ? AND client_id = ?",
            (target.sender_device, target.client_id),
        ).fetchone()
    if target is None or row is None or row[1] > seq:
        return None
    own = change.sender_id == me.user_id
    is_gone, is_author = not row[2], change.sender_id == row[0]
    if change.relation == Relation.DELETE:
        is_in_group = row[3] == change.conversation_id and is_group(peer)
        if not (is_author or is_in_group):
            return None
        return DeleteEvent(change.conversation_id, peer, target, own, change.message_id)
    if is_gone or not change.content_type:
        return None
    if change.relation in (Relation.REACTION, Relation.VOTE):
        sender = me.handle if own else peer
        if is_group(peer) and not own:
            sender = names.of(database, [change.sender_id])[change.sender_id]
        if change.relation == Relation.VOTE:
            options = contents.vote_of(change.content)
            return VoteEvent(change.conversation_id, peer, target, sender, own, options, change.message_id)
        reaction = change.content.decode(errors="replace")
        return ReactionEvent(change.conversation_id, peer, target, sender, own, reaction, change.message_id)
    if not is_author:
        return None
    return EditEvent(
        change.conversation_id, peer, target, own, change.message_id, change.content, change.content_type
    )
