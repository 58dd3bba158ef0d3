"""The tables of a profile's database.

Times are Unix milliseconds. In `outgoing`, `state` and `shown` are `frames.Status`: how far an own message
has come, and how far the user has been told. `messages` has everything that was said, edits, deletes and
reactions in rows of their own; they are folded when they are read. `settings.value` is what holds on this
device, `confirmed` what the server last said, and `pending` the revision of a change that it has not heard
of. `refused` has messages by client_id, and settings by what `settings.py` calls them.
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
    content_type TEXT NOT NULL, content BLOB NOT NULL, attempt INTEGER NOT NULL, writer BLOB NOT NULL,
    relation INTEGER NOT NULL DEFAULT 0, target_device INTEGER, target_client BLOB,
    target INTEGER NOT NULL DEFAULT 0, silent INTEGER NOT NULL DEFAULT 0,
    expires_in_ms INTEGER, expires_at INTEGER
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

CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, sender_device INTEGER NOT NULL, client_id BLOB NOT NULL,
    message_id INTEGER NOT NULL, conversation_id BLOB NOT NULL, sender_id INTEGER NOT NULL,
    content_type TEXT NOT NULL, content BLOB NOT NULL, created_at INTEGER NOT NULL,
    own INTEGER NOT NULL, origin INTEGER NOT NULL DEFAULT 0, consumed INTEGER NOT NULL DEFAULT 0,
    relation INTEGER NOT NULL DEFAULT 0, target_device INTEGER, target_client BLOB,
    silent INTEGER NOT NULL DEFAULT 0, expires_at INTEGER,
    UNIQUE (sender_device, client_id)
);
CREATE INDEX messages_waiting ON messages (seq) WHERE consumed = 0;
CREATE INDEX messages_shown ON messages (conversation_id, message_id) WHERE relation IN (0, 1, 5);
CREATE INDEX messages_changes ON messages (target_device, target_client) WHERE relation IN (2, 3, 4);
CREATE INDEX messages_expiring ON messages (expires_at) WHERE expires_at IS NOT NULL AND content_type <> '';

CREATE TABLE watermarks (
    conversation_id BLOB NOT NULL, user_id INTEGER NOT NULL,
    delivered INTEGER NOT NULL, read INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation_id, user_id)
) WITHOUT ROWID;

CREATE TABLE reads (
    conversation_id BLOB PRIMARY KEY, up_to INTEGER NOT NULL
) WITHOUT ROWID;

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
"""

SYNCED_AT = "synced_at"
"""mark: the server's time of the last Synced"""
NEWEST_ENTRY = "newest_entry"
"""mark: the newest inbox entry that is stored"""
COMPLETE_TO = "complete_to"
"""mark: up to which entry the inbox is stored without a gap; 0: up to the newest"""

FILLED = "filled"
"""mark: 1 once the profile has what was said before this device was made"""

KEEP_MS = 50 * 24 * 3600 * 1000
"""how long a refusal is kept for who wrote the message"""
KEEP_REMOVED_MS = 200 * 24 * 3600 * 1000
"""how long a removed setting is remembered; longer than the server's 180 days"""
