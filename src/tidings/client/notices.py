"""Notices: changes of a group that were told without what it was called, since no key opened that.

spec §6.17
"""

import sqlite3
from collections.abc import Collection

from tidings.client import contents, known_groups
from tidings.client.sealing import infos
from tidings.client.transcript import Origin
from tidings.protocol.ids import ConversationId


def read(database: sqlite3.Connection, conversation_id: ConversationId, key_ids: Collection[bytes]) -> None:
    """Keys came that were not known: what the group is called can be read now, and what it was in changes."""
    if not key_ids:
        return
    known_groups.read_info(database, conversation_id)
    rows = database.execute(
        "SELECT seq, content FROM messages WHERE conversation_id = ? AND sender_device = 0 AND consumed = 1"
        " AND content_type = ?",
        (conversation_id, contents.CHANGE),
    ).fetchall()
    for seq, content in rows:
        if infos.is_sealed_with(contents.info_in(content), key_ids):
            _tell_again(database, seq)


def check(database: sqlite3.Connection, seq: int) -> None:
    """A change was told without what the group is called: that may have become readable meanwhile."""
    where, content = database.execute(
        "SELECT conversation_id, content FROM messages WHERE seq = ?", (seq,)
    ).fetchone()
    if infos.peek(database, ConversationId(where), contents.info_in(content)):
        _tell_again(database, seq)


def _tell_again(database: sqlite3.Connection, seq: int) -> None:
    """A program that was told of a change is told once more."""
    database.execute("UPDATE messages SET origin = ?, consumed = 0 WHERE seq = ?", (Origin.OPENED, seq))
