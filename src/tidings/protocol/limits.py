"""Every bound of the system, with its unit, in one place.

A `Limits` value is part of the config and handed to whoever needs one; nothing else in the
code names a number that a stranger could push against.

spec §10
"""

import msgspec

KiB = 1024
MiB = 1024 * KiB


class Rate(msgspec.Struct, frozen=True):
    """A token bucket: `burst` at once, refilled at `per_s` a second."""

    per_s: float
    burst: int


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults suit one process on a small machine; each can be set in the config's `[limits]`."""

    # what comes in
    frame_bytes: int = 128 * KiB
    """largest WebSocket message, fragments joined"""
    hello_bytes: int = 16 * KiB
    """what a connection may send before its Hello is accepted"""
    content_bytes: int = 64 * KiB
    """largest content of one message"""
    content_type_chars: int = 64
    """largest content_type of one message"""
    envelopes: int = 64
    """envelopes in one direct Send"""
    envelope_bytes: int = 3 * KiB
    """largest envelope; one that begins a session and brings a sender key has 2.2 KiB"""
    key_request_bytes: int = 64
    """largest content of an ASK or KEYS"""
    link_bytes: int = 64
    """largest `link` of a device's keys"""
    link_reply_bytes: int = 4 * KiB
    """largest answer to a device that is being linked"""
    one_time_body_bytes: int = 256 * KiB
    """largest body of a request that brings one-time prekeys"""
    password_chars: int = 256
    """longest password"""
    device_name_chars: int = 64
    """longest name of a device"""
    agent_chars: int = 128
    """longest name that a client gives itself"""
    token_chars: int = 128
    """longest token that is looked at"""
    http_head_bytes: int = 16 * KiB
    """largest head of a request, its line included"""
    http_body_bytes: int = 64 * KiB
    """largest body of a request"""

    name_chars: int = 64
    """longest display name of a user"""
    about_chars: int = 256
    """longest text about a user"""
    picture_bytes: int = 64 * KiB
    """largest profile picture"""
    setting_key_chars: int = 128
    """longest key of a setting"""
    setting_bytes: int = 8 * KiB
    """largest value of a setting"""
    reaction_bytes: int = 1 * KiB
    """largest content of a reaction"""
    report_chars: int = 1000
    """longest reason of a report"""
    report_messages: int = 20
    """messages named in one report"""
    watched: int = 100
    """users whose presence a session watches"""
    people: int = 100
    """profiles asked for at once"""

    # groups
    group_members: int = 1024
    """members of a group; at most `fanout_read_members`"""
    group_members_sealed: int = 1024
    """members of an encrypted group"""
    group_members_told: int = 1024
    """members in one Conversation; of a larger group they are asked for in pages"""
    group_page: int = 1000
    """members in one MemberPage"""
    group_users: int = 256
    """users in one change of a group"""
    group_info_bytes: int = 4 * KiB
    """largest info of a group"""
    group_links: int = 8
    """invite links of a group"""
    group_link_s: int = 90 * 86_400
    """how far ahead an invite link may expire"""
    group_code_bytes: int = 64
    """longest invite code"""
    group_waiting: int = 100
    """who may ask to be let in at the same time"""
    group_pins: int = 8
    """messages pinned in a group"""
    group_rate: Rate = Rate(per_s=0.5, burst=30)
    """changes of one group"""
    groups_rate: Rate = Rate(per_s=0.5, burst=60)
    """groups made, changed or joined, a device"""
    sender_key_envelopes: int = 256
    """envelopes in one SENDER_KEY"""
    tallied: int = 256
    """messages in one Tally, and unfinished ones of a group that are followed"""
    tally_delay_s: float = 0.25
    """from a group's first receipt to the frame that tells of it; doubled up to"""
    tally_delay_most_s: float = 5.0
    """so long, while receipts go on coming"""
    fanout_write_members: int = 256
    """the largest group of which each member's inbox gets a copy"""
    fanout_write_again: int = 200
    """a larger one gets copies again once it has no more members than so many"""
    fanout_read_members: int = 10_000
    """the largest group; what is larger is a channel"""
    fanout_both_s: float = 30.0
    """how long messages go both ways when a group changes from one to the other"""

    # time
    http_head_s: float = 10.0
    """from the first byte of a request (or the accept) to the end of its head"""
    http_body_s: float = 30.0
    """from the end of a request's head to the end of its body"""
    hello_s: float = 10.0
    """from the upgrade to a Hello that was accepted"""
    heartbeat_s: float = 30.0
    """how often a client sends Heartbeat"""
    heartbeat_answer_s: float = 10.0
    """how long a client waits for the answer before it reconnects"""
    idle_s: float = 60.0
    """a connection that sent nothing for so long is closed"""
    close_s: float = 3.0
    """from our close frame to the abort of a peer that does not answer"""
    drain_s: int = 4
    """how long a stop waits for connections and requests to end"""
    receipt_delay_s: float = 0.05
    """how long receipts and cursors may wait for a commit to ride on"""

    store_retry_s: float = 1.0
    """from a write that failed to the next try of what can wait"""

    edit_s: int = 86_400
    """from a message to its last edit"""
    delete_s: int = 172_800
    """from a message to its deletion for everyone"""
    expires_s: int = 400 * 86_400
    """how far ahead a message's expires_at may be"""
    expiry_sweep_s: float = 10.0
    """how often messages whose time is over are looked for"""
    retention_sweep_s: float = 3600.0
    """how often rows that are older than their table keeps them are looked for"""
    typing_s: float = 3.0
    """a session's Typing frames of one conversation are passed on once in so long"""
    seen_s: int = 300
    """how often it is noted that a connected device is there"""
    dormant_s: int = 30 * 86_400
    """a device that was not seen for so long may be left out by senders"""
    dormant_sweep_s: int = 86_400
    """how often a group's members are looked at for those who were not seen"""
    unlink_s: int = 180 * 86_400
    """a device that was not seen for so long is logged out"""
    phone_code_s: int = 600
    """how long a code sent to a phone holds"""
    handle_kept_s: int = 30 * 86_400
    """how long a handle that was given up is kept for who gave it up"""

    # what goes out
    window_entries: int = 256
    """inbox entries sent to a device and not acknowledged"""
    window_bytes: int = 512 * KiB
    """the same in bytes; one entry may always go"""
    write_buffer_bytes: int = 1 * MiB
    """bytes queued on a socket before its reader counts as slow"""
    state_bytes: int = 256 * KiB
    """bytes queued on a socket from which on receipts and the like are left out, and Stale follows"""
    page_messages: int = 256
    """messages in one page of history"""
    page_bytes: int = 256 * KiB
    """content in one page of history; a page may be cut short by it and says so"""
    page_relations: int = 1000
    """edits, deletes and reactions in one page of history"""
    listed_conversations: int = 100
    """conversations in one ConversationList"""
    unread_counted: int = 100
    """unread messages that a ConversationList counts"""
    sync_conversations: int = 1000
    """conversations in one Synced answer"""

    # how many
    connections: int = 18_000
    """WebSockets of a node; also at most the descriptor limit less `reserved_files`"""
    reserved_files: int = 512
    """descriptors kept for the store, HTTP and logs"""
    sessions_per_address: int = 18_000
    """WebSockets from one address (a proxy counts as one)"""
    devices_per_user: int = 16
    sessions_per_user: int = 32
    """connections of one user to a node, side sessions included"""
    """devices that a user may have logged in"""
    settings_per_user: int = 10_000
    """contacts, blocks, stars, drafts and so on of a user"""
    relations_per_message: int = 200
    """edits, deletes and reactions that one message takes"""
    request_messages: int = 5
    """messages of somebody unknown that wait until the request is accepted"""
    request_messages_ever: int = 20
    """the same with those that were deleted or have expired"""
    requests_per_day: int = 50
    """people unknown to a user whom it may write to in a day"""
    claim_devices: int = 64
    """devices in one Claim"""
    claims_per_hour: int = 10
    """one-time prekeys of one device that a user is given in an hour"""
    one_time_keys: int = 200
    """one-time prekeys that are kept for a device"""
    one_time_keys_upload: int = 50
    """one-time prekeys in one request"""
    phone_tries: int = 5
    """wrong codes before a new one must be asked for"""
    conversations_cached: int = 65_536
    """conversations kept in memory"""
    members_cached: int = 1_000_000
    """members of them all, about 0.4 kB each"""
    device_lists_cached: int = 16_384
    """users of whom it is kept in memory which devices can be written to"""
    """users kept in memory"""
    backlog_frames: int = 256
    """frames of one session that wait while it does something slow; then reading pauses"""
    commit_rows: int = 65_536
    """rows that wait for the disk before new sends are refused"""
    commit_bytes: int = 64 * MiB
    """bytes that wait for the disk before new sends are refused"""
    pings_per_s: int = 20
    """WebSocket pings of one connection"""
    refusals: int = 1000
    """refused frames of one connection within 10 s before it is closed as a flood"""
    password_hashes: int = 2
    """passwords hashed at once (64 MiB of memory each)"""
    password_waiting: int = 64
    """logins that wait for that"""

    # rates, a device (look-ups and changes of an account a user, the last two an address)
    send_rate: Rate = Rate(per_s=1000, burst=2000)
    """messages"""
    light_rate: Rate = Rate(per_s=4000, burst=8000)
    """acknowledgements, reads, heartbeats"""
    query_rate: Rate = Rate(per_s=50, burst=200)
    """history, look-ups, sync"""
    typing_rate: Rate = Rate(per_s=5, burst=20)
    """typing"""
    setting_rate: Rate = Rate(per_s=20, burst=500)
    """settings, answers to requests, reports"""
    lookup_rate: Rate = Rate(per_s=0.2, burst=50)
    """look-ups of people by handle or phone, a user"""
    account_rate: Rate = Rate(per_s=0.1, burst=20)
    """changes of an account, a user"""
    one_time_rate: Rate = Rate(per_s=200, burst=4000)
    """one-time prekeys that a node hands out"""
    register_rate: Rate = Rate(per_s=1, burst=100)
    """accounts made"""
    login_rate: Rate = Rate(per_s=1, burst=60)
    """attempts to log in"""
    addresses_tracked: int = 10_000
    """addresses whose rates are remembered"""

    # disk
    store_free_bytes: int = 64 * MiB
    """below this much free space no new work is taken"""
