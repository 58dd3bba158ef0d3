"""The tables of a profile's database.

Times are Unix milliseconds. In `outgoing`, `state` and `shown` are `frames.Status`: how far an own message
has come, and how far the user has been told. `messages` has everything that was said, edits, deletes and
reactions in rows of their own; they are folded when they are read. `settings.value` is what holds on this
device, `confirmed` what the server last said, and `pending` the revision of a change that it has not heard
of. `refused` has messages by client_id, and settings by what `settings.py` calls them.

`access` has the device's token, which the server renews.

In `conversations` a group has the peer `#` and its id in hexadecimal, and 0 for a `peer_id`. `groups.state`
is a `frames.Group` as it is known, `listed_at` the version at which `members` were complete, `rev` grows with
every change and `told` is the one that the program was told. `tallies` has how many members have an own
message. `foundings` are groups that the server was, or is to be, asked to make.

Of sealing: `message_keys` has the keys of own messages and the devices that they were sealed for, and goes
when the message does; `unopened` the content of messages whose key is still awaited; `answers` which device
was sent the key of which message. `said` is one's own chain, `chains` and `gaps` are those of others.

Of sealing in groups: `sender_keys` has this device's own, one a group; `given_keys` which devices were
given which of them, from which message on, and stays as long as one of them may ask. `handouts` are
SENDER_KEY frames that no answer came for. `spoken` has, for each own message, the sender key as it was
before that message, for who asks. `heard_keys` are those of others, with what was read with them (`heard`);
`unkeyed` are messages that wait for one. `group_infos` has the newest info of each group, `info_keys` what
opens them. `told_members` are those whom the user was told of, and where they went; `listless` users
without a device list, as of when.
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
    expires_in_ms INTEGER, expires_at INTEGER, sealed BLOB
);

CREATE TABLE refused (
    client_id BLOB PRIMARY KEY, code INTEGER NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE failed (
    client_id BLOB PRIMARY KEY, peer TEXT NOT NULL, content_type TEXT NOT NULL, content BLOB NOT NULL,
    relation INTEGER NOT NULL, about_device INTEGER, about_client BLOB, code INTEGER NOT NULL,
    reason TEXT NOT NULL, at_ms INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX failed_untold ON failed (at_ms) WHERE told = 0;

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
    silent INTEGER NOT NULL DEFAULT 0, expires_at INTEGER, fault INTEGER NOT NULL DEFAULT 0,
    is_sealed INTEGER NOT NULL DEFAULT 0, UNIQUE (sender_device, client_id)
);
CREATE INDEX messages_waiting ON messages (seq) WHERE consumed = 0;
CREATE INDEX messages_shown ON messages (conversation_id, message_id) WHERE relation IN (0, 1, 5);
CREATE INDEX messages_changes ON messages (target_device, target_client) WHERE relation IN (2, 3, 4, 9);
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
CREATE TABLE access (
    only INTEGER PRIMARY KEY CHECK (only = 0), token TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE warnings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, user_id INTEGER NOT NULL,
    conversation_id BLOB NOT NULL, detail TEXT NOT NULL
);
"""

SYNCED_AT = "synced_at"
"""mark: the server's time of the last Synced"""
NEWEST_ENTRY = "newest_entry"
"""mark: the newest inbox entry that is stored"""
COMPLETE_TO = "complete_to"
"""mark: up to which entry the inbox is stored without a gap; 0: up to the newest"""

COPIED_TO = "copied_to"
"""mark: the newest row that the outbox had when this profile was found to be an older copy"""
COPIED_AT = "copied_at"
"""mark: when that was, by the server's time"""
FILLED = "filled"
"""mark: 1 once the profile has what was said before this device was made"""

KEEP_MS = 50 * 24 * 3600 * 1000
"""how long a refusal is kept for who wrote the message"""
KEEP_REMOVED_MS = 200 * 24 * 3600 * 1000
"""how long a removed setting is remembered; longer than the server's 180 days"""
