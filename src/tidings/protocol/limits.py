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
    envelope_bytes: int = 2 * KiB
    """largest envelope"""
    """longest handle"""
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

    # what goes out
    window_entries: int = 256
    """inbox entries sent to a device and not acknowledged"""
    window_bytes: int = 512 * KiB
    """the same in bytes; one entry may always go"""
    write_buffer_bytes: int = 1 * MiB
    """bytes queued on a socket before its reader counts as slow"""
    page_messages: int = 256
    """messages in one page of history"""
    page_bytes: int = 256 * KiB
    """content in one page of history; a page may be cut short by it and says so"""
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
    conversations_cached: int = 65_536
    """conversations kept in memory"""
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

    # rates, a connection (the last two an address)
    send_rate: Rate = Rate(per_s=1000, burst=2000)
    """messages"""
    light_rate: Rate = Rate(per_s=4000, burst=8000)
    """acknowledgements, reads, heartbeats"""
    query_rate: Rate = Rate(per_s=50, burst=200)
    """history, look-ups, sync"""
    register_rate: Rate = Rate(per_s=1, burst=100)
    """accounts made"""
    login_rate: Rate = Rate(per_s=1, burst=60)
    """attempts to log in"""
    addresses_tracked: int = 10_000
    """addresses whose rates are remembered"""

    # disk
    store_free_bytes: int = 64 * MiB
    """below this much free space no new work is taken"""
