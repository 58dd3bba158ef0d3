"""What a device may ask: one row for each frame, with the function that obeys and its rate class.

A function either finishes at once or returns a coroutine, and then the session's later frames
wait for it. It answers through the session and refuses by raising ProtocolError. Everything
but Hello comes from a device that is known.

spec §4
"""

from tidings.domain.commit import refusal
from tidings.domain.conversations import Conversation, access_conversation
from tidings.protocol import frames
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import RATE_LIMITED, TOO_LARGE, ProtocolError
from tidings.protocol.frames import (
    Ack,
    Describe,
    Heartbeat,
    HeartbeatOk,
    Hello,
    History,
    Member,
    Ok,
    OpenDirect,
    Read,
    Send,
    Sent,
    Sync,
    Welcome,
)
from tidings.protocol.ids import ConversationId, EntryId, MessageId
from tidings.server.feed import Feed
from tidings.server.services import Command, RateClass, Slow
from tidings.server.session import Session
from tidings.store.contract import StoreError


async def hello(session: Session, frame: Hello) -> None:
    """Recognise the device, welcome it, and begin with its inbox."""
    services, limits = session.services, session.services.limits
    if len(frame.agent) > limits.agent_chars:
        raise ProtocolError(TOO_LARGE, f"agent is over {limits.agent_chars} characters")
    user, device_id = await services.accounts.authenticate(frame.token)
    cursor = await services.inboxes.cursor(device_id)
    start = cursor if frame.have is None else min(cursor, frame.have)
    if session.is_closed:
        return
    if user.sessions >= limits.sessions_per_user:
        raise ProtocolError(RATE_LIMITED, "too many connections of this user", retry_after_s=10.0)
    user.sessions += 1
    session.user, session.device_id = user, device_id
    session.link.greeted()
    session.send(
        Welcome(
            user.user_id,
            device_id,
            user.handle,
            services.ids.now_ms(),
            limits.heartbeat_s,
            limits.heartbeat_answer_s,
            limits.window_entries,
            limits.content_bytes,
        )
    )
    if frame.receive:
        session.start_receiving(Feed(device_id, start, session, limits, rewound=start < cursor))


def send(session: Session, frame: Send) -> Slow | None:
    """Take a message; the answer comes when it is durable."""
    conversation = session.services.conversations.cached(frame.conversation_id)
    messages = session.services.messages
    if conversation is None or not messages.is_ready(session.device_id, conversation, frame):
        return _send_slowly(session, frame)
    access_conversation(conversation, session.known_user.user_id)
    _accept(session, conversation, frame)
    return None


async def _send_slowly(session: Session, frame: Send) -> None:
    conversation = await _conversation(session, frame.conversation_id)
    earlier = await session.services.messages.prepare(session.device_id, conversation, frame)
    if earlier is not None:
        session.send(earlier)
    else:
        _accept(session, conversation, frame)


def _accept(session: Session, conversation: Conversation, frame: Send) -> None:
    def answer(outcome: Sent | ProtocolError) -> None:
        if isinstance(outcome, ProtocolError):
            session.refuse(outcome, frame)
        else:
            session.send(outcome)

    user, device = session.known_user, session.device_id
    session.services.messages.accept(user, device, conversation, frame, answer)


def ack(session: Session, frame: Ack) -> Slow | None:
    """Move the device's cursor, and *delivered* in each conversation that it touches."""
    feed = session.feed
    if feed is None:
        return None
    stored = feed.acknowledge(frame.up_to)
    if not stored:
        return None
    cursor = feed.cursor(stored)
    session.keep_draining()
    user_id = session.known_user.user_id
    newest: dict[ConversationId, MessageId] = {}
    for entry in stored:
        if entry.sender_id != user_id:
            newest[entry.conversation_id] = entry.message_id
    unknown = [
        (conversation_id, up_to)
        for conversation_id, up_to in newest.items()
        if not _delivered(session, conversation_id, up_to)
    ]
    if unknown:
        return _deliver_slowly(session, unknown, cursor)
    session.services.inboxes.acknowledge(session.device_id, cursor)
    return None


def _delivered(session: Session, conversation_id: ConversationId, up_to: MessageId) -> bool:
    conversation = session.services.conversations.cached(conversation_id)
    if conversation is None:
        return False
    session.services.receipts.delivered(conversation, session.known_user.user_id, session.device_id, up_to)
    return True


async def _deliver_slowly(
    session: Session, unknown: list[tuple[ConversationId, MessageId]], cursor: EntryId
) -> None:
    """Watermarks before the cursor: where one cannot be moved, the entries come again."""
    try:
        for conversation_id, up_to in unknown:
            await _conversation(session, conversation_id)
            _delivered(session, conversation_id, up_to)
    except StoreError:
        session.close(CloseCode.UNAVAILABLE, "the store cannot be read")
        raise
    session.services.inboxes.acknowledge(session.device_id, cursor)


def read(session: Session, frame: Read) -> Slow | None:
    """Move *read*; the answer comes when it is durable."""
    conversation = session.services.conversations.cached(frame.conversation_id)
    if conversation is None:
        return _read_slowly(session, frame)
    _read(session, access_conversation(conversation, session.known_user.user_id), frame)
    return None


async def _read_slowly(session: Session, frame: Read) -> None:
    _read(session, await _conversation(session, frame.conversation_id), frame)


def _read(session: Session, conversation: Conversation, frame: Read) -> None:
    def done(error: StoreError | None) -> None:
        if error is None:
            session.send(Ok(frame.request_id))
        else:
            session.refuse(refusal(error), frame)

    session.services.receipts.read(
        conversation, session.known_user.user_id, session.device_id, frame.up_to, done
    )


async def history(session: Session, frame: History) -> None:
    """A page of a conversation."""
    conversation = await _conversation(session, frame.conversation_id)
    session.send(await session.services.messages.history(conversation, session.known_user.user_id, frame))


def heartbeat(session: Session, _: Heartbeat) -> None:
    """That it came is all; the session notes when it hears anything."""
    session.send(HeartbeatOk(session.services.ids.now_ms()))


async def open_direct(session: Session, frame: OpenDirect) -> None:
    """Find or make the direct conversation with somebody."""
    peer = await session.services.accounts.by_handle(frame.handle)
    conversation = await session.services.conversations.open_direct(session.known_user.user_id, peer.user_id)
    session.send(await _description(session, conversation, frame.request_id))


async def describe(session: Session, frame: Describe) -> None:
    """Who is in a conversation."""
    conversation = await _conversation(session, frame.conversation_id)
    session.send(await _description(session, conversation, frame.request_id))


async def sync(session: Session, frame: Sync) -> None:
    """Which watermarks moved while the device was away."""
    session.send(
        await session.services.receipts.changed_since(
            session.known_user.user_id, frame.since, frame.request_id
        )
    )


async def _conversation(session: Session, conversation_id: ConversationId) -> Conversation:
    found = await session.services.conversations.find(conversation_id)
    return access_conversation(found, session.known_user.user_id)


async def _description(session: Session, conversation: Conversation, request_id: int) -> frames.Conversation:
    users = [await session.services.accounts.user(member) for member in conversation.members]
    return frames.Conversation(
        request_id,
        conversation.conversation_id,
        conversation.kind,
        conversation.version,
        [Member(user.user_id, user.handle) for user in users],
    )


COMMANDS: dict[type[frames.Frame], Command] = {
    Hello: Command(hello, RateClass.QUERY),
    Send: Command(send, RateClass.SEND),
    Ack: Command(ack, RateClass.LIGHT),
    Read: Command(read, RateClass.LIGHT),
    History: Command(history, RateClass.QUERY),
    Heartbeat: Command(heartbeat, RateClass.LIGHT),
    OpenDirect: Command(open_direct, RateClass.QUERY),
    Describe: Command(describe, RateClass.QUERY),
    Sync: Command(sync, RateClass.QUERY),
}
