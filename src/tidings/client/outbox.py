"""The outbox's rows: what was written and is not answered yet, and what became of it.

A row is written before its message is sent and removed in the transaction that records the
answer. `attempt` counts the transmissions: only the process that wrote a row, sending it for the
first time, uses 1; the server then need not look for an earlier one.

spec §6.3
"""

import itertools
import sqlite3
from collections.abc import Collection
from typing import NamedTuple

from tidings.client import copies, keys, settings, transcript
from tidings.client.sealing import asking, chains, sender_keys
from tidings.client.sealing.sealer import Sealed, sealed
from tidings.client.transcript import Origin, Self
from tidings.protocol import frames, ids
from tidings.protocol.frames import UNSHOWN, Reference, Relation, Scheme, Send, Sent, SettingKind
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId

WRITER_BYTES = 16
MISSING_AT_ONCE = 40
"""devices that one SENDER_KEY is for which the server missed: each may have to begin a session"""


class Draft(NamedTuple):
    """A message as it was written."""

    peer: str
    content_type: str
    content: bytes
    relation: Relation = Relation.NONE
    relates_to: Reference | None = None
    target: MessageId = MessageId(0)
    """where `relates_to` stands, if that is known; else it is looked up when the message is sent"""
    silent: bool = False
    expires_in_ms: int | None = None
    """counted from the first time it is sent, so that waiting offline costs none of it"""
    by_timer: bool = False
    """that is as long as the conversation's timer says when this is stored"""


class Row(NamedTuple):
    """A message that waits."""

    row_id: int
    client_id: ClientId
    draft: Draft
    attempt: int
    expires_at: int | None = None
    sealed: Sealed | None = None
    """as it was sealed before; a repeat is the same"""
    after: MessageId | None = None
    """the newest message of the conversation when it was sealed just now; None: to be looked up"""


class Outcome(NamedTuple):
    """What became of a message: `sent`, else an error of the registry."""

    sent: Sent | None
    conversation_id: ConversationId
    code: int = 0
    message: str = ""


class ClientIds:
    """Names messages: 8 random bytes, drawn anew at each connection, and a counter. spec §3.3"""

    def __init__(self, prefix: bytes) -> None:
        self.renew(prefix)

    def renew(self, prefix: bytes) -> None:
        """A new connection stands."""
        self._names = prefix, itertools.count(1)

    def __next__(self) -> ClientId:
        """A name that was never given. The vault's thread asks for some, too."""
        prefix, counter = self._names
        return ids.client_id(prefix, next(counter))


class Posting(NamedTuple):
    """What it takes to put messages into the outbox that nobody wrote: ASK and KEYS."""

    names: ClientIds
    writer: bytes


def next_attempt(stored: int, *, is_writer: bool, was_tried: bool) -> int:
    """The attempt to transmit a row with, given the one it was stored with."""
    return stored if stored == 1 and is_writer and not was_tried else stored + 1


def append(database: sqlite3.Connection, client_id: ClientId, draft: Draft, writer: bytes) -> Row:
    """Put a message at the end."""
    about = draft.relates_to
    if draft.by_timer:
        draft = draft._replace(expires_in_ms=_timer_ms(database, draft.peer), by_timer=False)
    added = database.execute(
        "INSERT INTO outbox (client_id, peer, content_type, content, attempt, writer, relation,"
        " target_device, target_client, target, silent, expires_in_ms) VALUES (?,?,?,?,1,?,?,?,?,?,?,?)",
        (
            client_id,
            draft.peer,
            draft.content_type,
            draft.content,
            writer,
            draft.relation,
            None if about is None else about.sender_device,
            None if about is None else about.client_id,
            draft.target,
            draft.silent,
            draft.expires_in_ms,
        ),
    )
    assert added.lastrowid is not None
    return Row(added.lastrowid, client_id, draft, attempt=1)


def _timer_ms(database: sqlite3.Connection, peer: str) -> int | None:
    """After how long what is sent to somebody vanishes; None: it stays, or nobody is known by the handle."""
    row = database.execute("SELECT conversation_id FROM conversations WHERE peer = ?", (peer,)).fetchone()
    if row is None:
        return None
    after_s = keys.number(settings.value_of(database, SettingKind.OPAQUE, keys.of_timer(row[0])))
    return after_s * 1000 or None


def asking_for(peer: str, message: frames.Message) -> Draft:
    """What asks the author of a message for its key."""
    about = Reference(message.sender_device, message.client_id)
    return Draft(peer, "", b"", Relation.ASK, about, message.message_id, silent=True)


def answering(peer: str, about: Reference, target: MessageId, devices: list[DeviceId]) -> Draft:
    """What sends the key of an own message to devices."""
    return Draft(peer, "", asking.naming(devices), Relation.KEYS, about, target, silent=True)


def giving(peer: str) -> Draft:
    """What gives this device's sender key to all members of a group that have it not."""
    return Draft(peer, "", b"", Relation.SENDER_KEY, silent=True)


def giving_missing(peer: str, client_id: ClientId, devices: list[DeviceId]) -> Draft:
    """What gives devices that the server missed the sender key from an own message on."""
    content = sender_keys.Missing(client_id, devices).bytes()
    return Draft(peer, "", content, Relation.SENDER_KEY, silent=True)


def is_giving(database: sqlite3.Connection, peer: str) -> bool:
    """Whether members of a group are still to be given this device's sender key."""
    row = database.execute(
        "SELECT 1 FROM outbox WHERE peer = ? AND relation = ? AND content = x'' LIMIT 1",
        (peer, Relation.SENDER_KEY),
    ).fetchone()
    return row is not None


def frame_of(
    row: Row,
    conversation_id: ConversationId,
    is_grouped: bool,
    version: int,
    target: MessageId,
    after: MessageId,
) -> Send:
    """A row as it crosses the wire."""
    draft, sealed = row.draft, row.sealed
    scheme = Scheme.SENDER_KEY if is_grouped else Scheme.DIRECT
    return Send(
        row.client_id,
        row.attempt,
        conversation_id,
        version,
        EntryId(0) if sealed is None else EntryId(sealed.keys_at),
        Scheme.PLAIN if sealed is None and draft.relation not in UNSHOWN else scheme,
        draft.content_type if sealed is None else sealed.content_type,
        draft.content if sealed is None else sealed.content,
        {} if sealed is None else {DeviceId(device): key for device, key in sealed.envelopes.items()},
        relates_to=draft.relates_to,
        silent=draft.silent,
        expires_at=row.expires_at,
        relation=draft.relation,
        target=target,
        after=after,
    )


def drop(database: sqlite3.Connection, row: Row) -> None:
    """Nothing is left to send of a row."""
    database.execute("DELETE FROM outbox WHERE row_id = ?", (row.row_id,))


def is_empty(database: sqlite3.Connection) -> bool:
    """Whether nothing waits."""
    return database.execute("SELECT 1 FROM outbox LIMIT 1").fetchone() is None


def is_last(database: sqlite3.Connection, row_id: int) -> bool:
    """Whether nothing waits after a row."""
    return database.execute("SELECT 1 FROM outbox WHERE row_id > ? LIMIT 1", (row_id,)).fetchone() is None


def begin(database: sqlite3.Connection, row: Row, now_ms: int) -> Row:
    """The row, which is about to be sent for the first time: its time begins."""
    if row.expires_at is not None or row.draft.expires_in_ms is None:
        return row
    begun = row._replace(expires_at=now_ms + row.draft.expires_in_ms)
    database.execute("UPDATE outbox SET expires_at = ? WHERE row_id = ?", (begun.expires_at, row.row_id))
    return begun


def take(
    database: sqlite3.Connection,
    after: int,
    limit: int,
    writer: bytes,
    tried: Collection[ClientId],
    now_ms: int,
) -> list[Row]:
    """The next rows to transmit; the attempt and the end that they have now are stored with them."""
    found = database.execute(
        "SELECT row_id, client_id, attempt, writer, expires_at, sealed, peer, content_type, content,"
        " relation, target_device, target_client, target, silent, expires_in_ms FROM outbox"
        " WHERE row_id > ? ORDER BY row_id LIMIT ?",
        (after, limit),
    ).fetchall()
    rows = []
    for row_id, client_id, stored, wrote, expires_at, kept, *written in found:
        name = ClientId(client_id)
        attempt = next_attempt(stored, is_writer=wrote == writer, was_tried=name in tried)
        if attempt != stored:
            database.execute("UPDATE outbox SET attempt = ? WHERE row_id = ?", (attempt, row_id))
        made = None if kept is None else sealed(kept)
        row = Row(row_id, name, _draft(*written), attempt, expires_at, made)
        rows.append(begin(database, row, now_ms))
    return rows


def _draft(
    peer: str,
    content_type: str,
    content: bytes,
    relation: int,
    target_device: int | None,
    target_client: bytes | None,
    target: int,
    silent: int,
    expires_in_ms: int | None,
) -> Draft:
    about = None
    if target_device is not None and target_client is not None:
        about = Reference(DeviceId(target_device), ClientId(target_client))
    return Draft(
        peer,
        content_type,
        content,
        Relation(relation),
        about,
        MessageId(target),
        bool(silent),
        expires_in_ms,
    )


def raise_attempt(database: sqlite3.Connection, row: Row) -> Row:
    """The row, for another try on the same connection."""
    raised = row._replace(attempt=row.attempt + 1, after=None)
    database.execute("UPDATE outbox SET attempt = ? WHERE row_id = ?", (raised.attempt, row.row_id))
    return raised


def keep_sealed(database: sqlite3.Connection, row: Row, made: Sealed) -> Row:
    """The row as it was sealed, before it is sent."""
    database.execute("UPDATE outbox SET sealed = ? WHERE row_id = ?", (made.bytes(), row.row_id))
    return row._replace(sealed=made)


def unseal(database: sqlite3.Connection, row: Row) -> Row:
    """The row, to be sealed again: nobody was sent it as it was."""
    database.execute("UPDATE outbox SET sealed = NULL WHERE row_id = ?", (row.row_id,))
    return row._replace(sealed=None)


def sealed_of(database: sqlite3.Connection, client_id: ClientId) -> Sealed | None:
    """How what waits for its answer under a name was sealed, if it was."""
    row = database.execute("SELECT sealed FROM outbox WHERE client_id = ?", (client_id,)).fetchone()
    return None if row is None or row[0] is None else sealed(row[0])


def draft_of(database: sqlite3.Connection, client_id: ClientId) -> Draft | None:
    """What waits under a name."""
    row = database.execute(
        "SELECT peer, content_type, content, relation, target_device, target_client, target, silent,"
        " expires_in_ms FROM outbox WHERE client_id = ?",
        (client_id,),
    ).fetchone()
    return None if row is None else _draft(*row)


def record_sent(
    database: sqlite3.Connection,
    row: Row,
    sent: Sent,
    conversation_id: ConversationId,
    me: Self,
    posting: Posting,
    now_ms: int,
) -> bool:
    """The server has it: move the row to the messages. Devices that were added meanwhile are sent the key.

    Returns whether that was put into the outbox.
    """
    database.execute("DELETE FROM outbox WHERE row_id = ?", (row.row_id,))
    draft = row.draft
    if draft.relation in UNSHOWN:
        return False
    missing: list[DeviceId] = []
    name = Reference(me.device_id, row.client_id)
    is_as_sealed = row.sealed is not None and not copies.was_sent(database, row.row_id, sent.created_at)
    said = None if row.sealed is None else sender_keys.spoken(database, row.client_id)
    if said is not None and not is_as_sealed:
        sender_keys.unspeak(database, name)
    elif said is not None:
        # The server does not know who has the key.
        missing = sender_keys.lacking(database, said, sent.missing)
        for first in range(0, len(missing), MISSING_AT_ONCE):
            some = missing[first : first + MISSING_AT_ONCE]
            given = giving_missing(draft.peer, row.client_id, some)
            append(database, next(posting.names), given, posting.writer)
    elif row.sealed is not None and is_as_sealed:
        asking.keep_key(database, name, row.sealed, now_ms)
    if is_as_sealed and sent.missing and said is None:
        asking.add_devices(database, name, sent.missing)
        missing = [device for device in sent.missing if asking.may_answer(database, name, device)]
        if missing:
            draft_of_key = answering(draft.peer, name, sent.message_id, missing)
            append(database, next(posting.names), draft_of_key, posting.writer)
    message = frames.Message(
        message_id=sent.message_id,
        conversation_id=conversation_id,
        sender_id=me.user_id,
        sender_device=me.device_id,
        client_id=row.client_id,
        version=0,
        scheme=Scheme.PLAIN if row.sealed is None else Scheme.DIRECT,
        content_type=draft.content_type,
        content=draft.content,
        created_at=sent.created_at,
        relates_to=draft.relates_to,
        expires_at=row.expires_at,
        silent=draft.silent,
        relation=draft.relation,
    )
    transcript.add(database, message, me, Origin.HERE)
    return bool(missing)


def record_refused(database: sqlite3.Connection, row: Row, code: int, message: str, now_ms: int) -> None:
    """The server will never take it: remove the row, and keep the reason for who wrote it."""
    database.execute("DELETE FROM outbox WHERE row_id = ?", (row.row_id,))
    if chains.given_up(database, row.client_id):
        # Those after it, which nobody was sent yet, are sealed again: they excuse it.
        database.execute(
            "UPDATE outbox SET sealed = NULL WHERE row_id > ? AND peer = ? AND attempt = 1",
            (row.row_id, row.draft.peer),
        )
    if row.draft.relation in UNSHOWN:
        return  # nobody wrote it
    database.execute(
        "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?)", (row.client_id, code, message, now_ms)
    )


def outcomes(
    database: sqlite3.Connection, names: Collection[ClientId], device: DeviceId
) -> dict[ClientId, Outcome]:
    """What has become of messages, for those that another process may have sent."""
    found: dict[ClientId, Outcome] = {}
    for name in names:
        row = database.execute(
            "SELECT conversation_id, message_id, created_at FROM messages"
            " WHERE sender_device = ? AND client_id = ?",
            (device, name),
        ).fetchone()
        if row is not None:
            found[name] = Outcome(Sent(name, row[1], created_at=row[2]), ConversationId(row[0]))
            continue
        row = database.execute("SELECT code, message FROM refused WHERE client_id = ?", (name,)).fetchone()
        if row is not None:
            found[name] = Outcome(None, ConversationId(b""), *row)
    return found


def forget_refused(database: sqlite3.Connection, name: ClientId) -> None:
    """The writer has heard of the refusal."""
    database.execute("DELETE FROM refused WHERE client_id = ?", (name,))
