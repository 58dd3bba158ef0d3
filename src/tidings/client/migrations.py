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

TO_3 = """
ALTER TABLE outbox ADD COLUMN sealed BLOB;
ALTER TABLE messages ADD COLUMN fault INTEGER NOT NULL DEFAULT 0;
ALTER TABLE messages ADD COLUMN is_sealed INTEGER NOT NULL DEFAULT 0;

CREATE TABLE own_keys (
    only INTEGER PRIMARY KEY CHECK (only = 0), device BLOB NOT NULL, identity BLOB NOT NULL,
    generation INTEGER NOT NULL, next_id INTEGER NOT NULL, link_key BLOB, fresh BLOB, former BLOB
);

CREATE TABLE prekeys (
    kind INTEGER NOT NULL, key_id INTEGER NOT NULL, secret BLOB NOT NULL, made_ms INTEGER NOT NULL,
    PRIMARY KEY (kind, key_id)
) WITHOUT ROWID;

CREATE TABLE device_lists (
    user_id INTEGER PRIMARY KEY, version INTEGER NOT NULL, identity BLOB NOT NULL, body BLOB NOT NULL,
    keys_at INTEGER NOT NULL, gone BLOB NOT NULL, blocked INTEGER NOT NULL,
    verified INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE known_devices (
    device_id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL, signing BLOB NOT NULL, agreement BLOB NOT NULL,
    listed_at INTEGER NOT NULL, removed_at INTEGER
);
CREATE INDEX known_devices_by_user ON known_devices (user_id);

CREATE TABLE sessions (
    device_id INTEGER NOT NULL, session_id BLOB NOT NULL, state BLOB NOT NULL, made_ms INTEGER NOT NULL,
    used INTEGER NOT NULL, is_outbound_lost INTEGER NOT NULL, PRIMARY KEY (device_id, session_id)
) WITHOUT ROWID;

CREATE TABLE said (
    conversation_id BLOB NOT NULL, epoch INTEGER NOT NULL, counter INTEGER NOT NULL, client_id BLOB NOT NULL,
    previous BLOB NOT NULL, link BLOB NOT NULL, excused_ms INTEGER,
    PRIMARY KEY (conversation_id, epoch, counter), UNIQUE (conversation_id, client_id)
) WITHOUT ROWID;
CREATE TABLE chains (
    conversation_id BLOB NOT NULL, device_id INTEGER NOT NULL, epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL, link BLOB NOT NULL, place INTEGER NOT NULL, is_excused INTEGER NOT NULL,
    since INTEGER NOT NULL, PRIMARY KEY (conversation_id, device_id)
) WITHOUT ROWID;
CREATE TABLE gaps (
    conversation_id BLOB NOT NULL, device_id INTEGER NOT NULL, epoch INTEGER NOT NULL,
    counter INTEGER NOT NULL, sender_id INTEGER NOT NULL, since_ms INTEGER NOT NULL, excused_ms INTEGER,
    after INTEGER NOT NULL, before INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, device_id, epoch, counter)
) WITHOUT ROWID;

CREATE TABLE sealed_conversations (
    conversation_id BLOB PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE message_keys (
    sender_device INTEGER NOT NULL, client_id BLOB NOT NULL, key BLOB NOT NULL, devices BLOB NOT NULL,
    sealed_ms INTEGER NOT NULL, PRIMARY KEY (sender_device, client_id)
) WITHOUT ROWID;
CREATE TABLE unopened (
    sender_device INTEGER NOT NULL, client_id BLOB NOT NULL, sealed BLOB NOT NULL, asked INTEGER NOT NULL,
    PRIMARY KEY (sender_device, client_id)
) WITHOUT ROWID;
CREATE INDEX unopened_unasked ON unopened (asked) WHERE asked = 0;
CREATE TABLE early_keys (
    sender_device INTEGER NOT NULL, client_id BLOB NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (sender_device, client_id)
) WITHOUT ROWID;
CREATE TABLE answers (
    device_id INTEGER NOT NULL, client_id BLOB NOT NULL, PRIMARY KEY (device_id, client_id)
) WITHOUT ROWID;
CREATE TABLE access (
    only INTEGER PRIMARY KEY CHECK (only = 0), token TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE warnings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, user_id INTEGER NOT NULL,
    conversation_id BLOB NOT NULL, detail TEXT NOT NULL
);
"""

TO_4 = """
DROP INDEX messages_changes;
CREATE INDEX messages_changes ON messages (target_device, target_client) WHERE relation IN (2, 3, 4, 9);

CREATE TABLE groups (
    conversation_id BLOB PRIMARY KEY, kind INTEGER NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL,
    name TEXT NOT NULL, about TEXT NOT NULL, is_left INTEGER NOT NULL, listed_at INTEGER NOT NULL,
    rev INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE members (
    conversation_id BLOB NOT NULL, user_id INTEGER NOT NULL, role INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;
CREATE TABLE names (
    user_id INTEGER PRIMARY KEY, handle TEXT NOT NULL UNIQUE
) WITHOUT ROWID;
CREATE TABLE tallies (
    conversation_id BLOB NOT NULL, message_id INTEGER NOT NULL, delivered INTEGER NOT NULL,
    read INTEGER NOT NULL, entitled INTEGER NOT NULL, told_delivered INTEGER NOT NULL DEFAULT 0,
    told_read INTEGER NOT NULL DEFAULT 0, told_entitled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation_id, message_id)
) WITHOUT ROWID;
CREATE INDEX tallies_untold ON tallies (conversation_id)
    WHERE delivered <> told_delivered OR read <> told_read OR entitled <> told_entitled;
CREATE TABLE foundings (
    nonce BLOB PRIMARY KEY, request BLOB NOT NULL, at_ms INTEGER NOT NULL
) WITHOUT ROWID;
"""

TO_5 = """
CREATE TABLE sender_keys (
    conversation_id BLOB PRIMARY KEY, key_id BLOB NOT NULL, state BLOB NOT NULL, made_ms INTEGER NOT NULL,
    version INTEGER NOT NULL, stamp BLOB NOT NULL, look_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE given_keys (
    key_id BLOB NOT NULL, device_id INTEGER NOT NULL, since INTEGER NOT NULL, handout BLOB,
    state INTEGER NOT NULL, PRIMARY KEY (key_id, device_id)
) WITHOUT ROWID;
CREATE INDEX given_keys_by_handout ON given_keys (handout) WHERE handout IS NOT NULL;
CREATE TABLE handouts (
    client_id BLOB PRIMARY KEY, conversation_id BLOB NOT NULL, version INTEGER NOT NULL,
    keys_at INTEGER NOT NULL, attempt INTEGER NOT NULL, writer BLOB NOT NULL, envelopes BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX handouts_by_conversation ON handouts (conversation_id);
CREATE TABLE spoken (
    client_id BLOB PRIMARY KEY, sender_device INTEGER NOT NULL, conversation_id BLOB NOT NULL,
    key_id BLOB NOT NULL, position INTEGER NOT NULL, share BLOB NOT NULL, sealed_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX spoken_by_key ON spoken (key_id);
CREATE TABLE heard_keys (
    conversation_id BLOB NOT NULL, device_id INTEGER NOT NULL, key_id BLOB NOT NULL, state BLOB NOT NULL,
    since INTEGER NOT NULL, heard BLOB NOT NULL, place INTEGER NOT NULL, came_ms INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, device_id, key_id)
) WITHOUT ROWID;
CREATE TABLE unkeyed (
    sender_device INTEGER NOT NULL, client_id BLOB NOT NULL, conversation_id BLOB NOT NULL,
    key_id BLOB NOT NULL, position INTEGER NOT NULL, message_id INTEGER NOT NULL, since_ms INTEGER NOT NULL,
    asked_ms INTEGER, PRIMARY KEY (sender_device, client_id)
) WITHOUT ROWID;
CREATE INDEX unkeyed_by_key ON unkeyed (conversation_id, sender_device, key_id);
CREATE TABLE group_infos (
    conversation_id BLOB PRIMARY KEY, counter INTEGER NOT NULL, sealed BLOB NOT NULL, refused BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE info_keys (
    conversation_id BLOB NOT NULL, key_id BLOB NOT NULL, key BLOB NOT NULL, place INTEGER NOT NULL,
    removal_at INTEGER NOT NULL, PRIMARY KEY (conversation_id, key_id)
) WITHOUT ROWID;
CREATE TABLE told_members (
    conversation_id BLOB NOT NULL, user_id INTEGER NOT NULL, gone_at INTEGER,
    PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;
CREATE TABLE listless (
    user_id INTEGER PRIMARY KEY, asked_ms INTEGER NOT NULL
);
"""

TO_6 = """
CREATE TABLE failed (
    client_id BLOB PRIMARY KEY, peer TEXT NOT NULL, content_type TEXT NOT NULL, content BLOB NOT NULL,
    relation INTEGER NOT NULL, about_device INTEGER, about_client BLOB, code INTEGER NOT NULL,
    reason TEXT NOT NULL, at_ms INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX failed_untold ON failed (at_ms) WHERE told = 0;
"""

MIGRATIONS = {1: TO_2, 2: TO_3, 3: TO_4, 4: TO_5, 5: TO_6}
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
