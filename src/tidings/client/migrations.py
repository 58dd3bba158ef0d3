"""Profiles of older formats, brought up to date when they are opened.

A migration is one transaction: a kill leaves the old format or the new one. Each stays for ever, so
that a profile may lie for years.
"""

import sqlite3

TO_2 = """
ALTER TABLE outbox ADD COLUMN relation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN target_device INTEGER;
ALTER TABLE outbox ADD COLUMN target_client BLOB;
ALTER TABLE outbox ADD COLUMN target INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN silent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN expires_in_ms INTEGER;
ALTER TABLE outbox ADD COLUMN expires_at INTEGER;

CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sender_device INTEGER NOT NULL, client_id BLOB NOT NULL,
    message_id INTEGER NOT NULL, conversation_id BLOB NOT NULL, sender_id INTEGER NOT NULL,
    content_type TEXT NOT NULL, content BLOB NOT NULL, created_at INTEGER NOT NULL,
    own INTEGER NOT NULL, origin INTEGER NOT NULL DEFAULT 0, consumed INTEGER NOT NULL DEFAULT 0,
    relation INTEGER NOT NULL DEFAULT 0, target_device INTEGER, target_client BLOB,
    silent INTEGER NOT NULL DEFAULT 0, expires_at INTEGER,
    UNIQUE (sender_device, client_id)
);
INSERT INTO messages (seq, sender_device, client_id, message_id, conversation_id, sender_id, content_type,
    content, created_at, own, consumed)
    SELECT seq, sender_device, client_id, message_id, conversation_id, sender_id, content_type,
    content, created_at, own, consumed FROM inbox;
DROP TABLE inbox;
CREATE INDEX messages_waiting ON messages (seq) WHERE consumed = 0;
CREATE INDEX messages_shown ON messages (conversation_id, message_id) WHERE relation IN (0, 1, 5);
CREATE INDEX messages_changes ON messages (target_device, target_client) WHERE relation IN (2, 3, 4);
CREATE INDEX messages_expiring ON messages (expires_at) WHERE expires_at IS NOT NULL AND content_type <> '';

ALTER TABLE watermarks ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
UPDATE watermarks SET told = read;

CREATE TABLE settings (
    kind INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, confirmed BLOB NOT NULL,
    at INTEGER NOT NULL, pending INTEGER NOT NULL, told BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX settings_pending ON settings (kind) WHERE pending > 0;
CREATE INDEX settings_untold ON settings (kind) WHERE told <> value;
CREATE TABLE people (
    user_id INTEGER PRIMARY KEY, handle TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX people_by_handle ON people (handle);
CREATE TABLE gap (
    only INTEGER PRIMARY KEY CHECK (only = 0), since INTEGER NOT NULL, until INTEGER NOT NULL
) WITHOUT ROWID;

-- Format 1 knew no settings: have the server tell all of them.
DELETE FROM marks WHERE name = 'synced_at';
"""

MIGRATIONS = {1: TO_2}
"""by the format that they start from"""


def migrate(database: sqlite3.Connection, found: int) -> None:
    """Take a database to the next format, and the next. Another process may do it at the same time."""
    while (script := MIGRATIONS.get(found)) is not None:
        database.execute("BEGIN IMMEDIATE")
        try:
            (found,) = database.execute("PRAGMA user_version").fetchone()
            if MIGRATIONS.get(found) is script:
                for statement in script.split(";"):
                    if statement.strip():
                        database.execute(statement)
                found += 1
                database.execute(f"PRAGMA user_version = {found}")
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
