"""The tables of a profile's database.

Times are Unix milliseconds. `state` and `shown` are `frames.Status`: how far a message has come,
and how far the user has been told.
"""

SCHEMA = """
CREATE TABLE marks (
    name TEXT PRIMARY KEY, value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE conversations (
    conversation_id BLOB PRIMARY KEY, version INTEGER NOT NULL, peer_id INTEGER NOT NULL, peer TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX conversations_by_peer ON conversations (peer);

CREATE TABLE outbox (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT, client_id BLOB NOT NULL UNIQUE, peer TEXT NOT NULL,
    content_type TEXT NOT NULL, content BLOB NOT NULL, attempt INTEGER NOT NULL, writer BLOB NOT NULL
);

CREATE TABLE refused (
    client_id BLOB PRIMARY KEY, code INTEGER NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE outgoing (
    sender_device INTEGER NOT NULL, client_id BLOB NOT NULL, conversation_id BLOB NOT NULL,
    message_id INTEGER NOT NULL, created_at INTEGER NOT NULL, state INTEGER NOT NULL, shown INTEGER NOT NULL,
    PRIMARY KEY (sender_device, client_id)
) WITHOUT ROWID;
CREATE INDEX outgoing_unread ON outgoing (conversation_id, message_id) WHERE state < 3;
CREATE INDEX outgoing_unshown ON outgoing (conversation_id, message_id) WHERE shown < state;

CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sender_device INTEGER NOT NULL, client_id BLOB NOT NULL,
    message_id INTEGER NOT NULL, conversation_id BLOB NOT NULL, sender_id INTEGER NOT NULL,
    content_type TEXT NOT NULL, content BLOB NOT NULL, created_at INTEGER NOT NULL,
    own INTEGER NOT NULL, stored_ms INTEGER NOT NULL, consumed INTEGER NOT NULL DEFAULT 0,
    UNIQUE (sender_device, client_id)
);
CREATE INDEX inbox_waiting ON inbox (seq) WHERE consumed = 0;
CREATE INDEX inbox_received ON inbox (conversation_id, message_id) WHERE own = 0;

CREATE TABLE watermarks (
    conversation_id BLOB NOT NULL, user_id INTEGER NOT NULL,
    delivered INTEGER NOT NULL, read INTEGER NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;

CREATE TABLE reads (
    conversation_id BLOB PRIMARY KEY, up_to INTEGER NOT NULL
) WITHOUT ROWID;
"""

SYNCED_AT = "synced_at"
"""mark: the server's time of the last Synced"""
NEWEST_ENTRY = "newest_entry"
"""mark: the newest inbox entry that is stored"""

KEEP_MS = 50 * 24 * 3600 * 1000
"""how long what was consumed is kept, to recognise what comes again; longer than the server's 45 days"""
