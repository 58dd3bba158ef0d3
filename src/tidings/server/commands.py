"""What a device may ask: one row for each frame, with the function that obeys and its rate class.

A function either finishes at once or returns a coroutine, and then the session's later frames
wait for it. It answers through the session and refuses by raising ProtocolError. Everything
but Hello comes from a device that is known.

spec §4
"""

import asyncio

from tidings.domain.accepting import Answer, Outcome
from tidings.domain.commit import refusal
from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import MESSAGE_ENTRY
from tidings.domain.messages import Turn
from tidings.protocol import frames
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import RATE_LIMITED, TOO_LARGE, ProtocolError
from tidings.protocol.frames import (
    Ack,
    AnswerRequest,
    ChangeGroup,
    CreateGroup,
    Describe,
    Heartbeat,
    HeartbeatOk,
    Hello,
    History,
    InboxExpired,
    Info,
    Join,
    LookInside,
    Lookup,
    Members,
    Ok,
    OpenDirect,
    Profiles,
    Read,
    Report,
    Send,
    Sent,
    Set,
    Sync,
    Tally,
    Typing,
    Watch,
    Welcome,
)
from tidings.protocol.ids import ConversationId, EntryId, MessageId
from tidings.server import group_commands, people_commands, presence_commands
from tidings.server.feed import Feed
from tidings.server.people_commands import confirmed
from tidings.server.services import Command, RateClass, Slow
from tidings.server.session import Session
from tidings.server.shared_feed import SharedFeed
from tidings.store.contract import StoreError


async def hello(session: Session, frame: Hello) -> None:
    """Recognise the device, welcome it, and begin with its inbox."""
    services, limits = session.services, session.services.limits
    if len(frame.agent) > limits.agent_chars:
        raise ProtocolError(TOO_LARGE, f"agent is over {limits.agent_chars} characters")
    expulsions = -1
    while expulsions != services.connections.expulsions:
        # Who was signed out while this waited was in no table yet: look again.
        expulsions = services.connections.expulsions
        user, device_id, new_token = await services.accounts.authenticate(frame.token)
        # At once: each of them may be a way to another process.
        one_time_keys, cursor, generation = await asyncio.gather(
            services.prekeys.left(device_id),
            services.inboxes.cursor(device_id),
            services.generations.newest(device_id),
        )
        if services.cluster is not None:
            # What the device writes sorts after all that it has, whichever node gave that its ids.
            services.ids.observe(await services.inboxes.newest(user.user_id, services.ids.now_ms()))
        start, complete = cursor if frame.have is None else min(cursor, frame.have), None
        if frame.receive:
            # Before the inbox is read: from here on it gets all again. It may take seconds.
            complete = await services.dormancy.came_back(user.user_id, device_id, start)
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
            new_token,
            one_time_keys,
            generation,
        )
    )
    if frame.generation > generation:
        services.generations.note(device_id, frame.generation)
    session.began_s = services.loop.time()
    if frame.receive:
        _tell_expired(session, start, complete)
        session.start_receiving(_feed(session, start, keeps=frame.have is not None))
    else:
        session.stay_aside()


def _feed(session: Session, start: EntryId, *, keeps: bool) -> Feed:
    services = session.services
    if services.cluster is None:
        return Feed(session.device_id, start, session, services.limits, keeps=keeps)
    present = services.cluster.present
    return SharedFeed(session.device_id, start, session, services.limits, present, keeps=keeps)


def _tell_expired(session: Session, start: EntryId, complete: EntryId | None) -> None:
    """A device that was away for longer than inboxes are kept must know, before anything comes.

    `complete`: from where on it is, if its user was dormant since.
    """
    services = session.services
    expired = services.inboxes.expired(start, services.ids.now_ms())
    complete = max(complete or EntryId(0), expired or EntryId(0))
    if complete:
        session.complete_from = complete
        session.send(InboxExpired(start, complete))


def send(session: Session, frame: Send) -> Slow | None:
    """Take a message; the answer comes when it is durable."""
    conversation = session.services.conversations.cached(frame.conversation_id)
    messages = session.services.messages
    user = session.known_user
    if (
        conversation is None
        or session.has_waited
        or not messages.is_ready(user, session.device_id, conversation, frame)
    ):
        return _send_slowly(session, frame, session.came_s)
    if not conversation.has_member(user.user_id):
        return _send_slowly(session, frame, session.came_s)  # another node may have added them
    _accept(session, conversation, frame)
    return None


async def _send_slowly(session: Session, frame: Send, came_s: float) -> None:
    if frame.attempt > 1 and session.services.cluster is not None:
        await session.services.cluster.outwait_earlier(session.began_s)
    conversation = await _conversation(session, frame.conversation_id)
    turn = Turn(came_s, lambda: session.is_closed)
    await session.services.messages.accept_slowly(
        session.known_user, session.device_id, conversation, frame, _answer(session, frame), turn
    )


def _accept(session: Session, conversation: Conversation, frame: Send) -> None:
    session.services.messages.accept(
        session.known_user, session.device_id, conversation, frame, _answer(session, frame)
    )


def _answer(session: Session, frame: Send) -> Answer:
    def answer(outcome: Outcome) -> None:
        if isinstance(outcome, ProtocolError):
            session.refuse(outcome, frame)
        else:
            if isinstance(outcome, Sent):
                session.services.counts.accepted += 1
            session.send(outcome)

    return answer


def ack(session: Session, frame: Ack) -> Slow | None:
    """Move the device's cursor, and *delivered* in each conversation that it touches."""
    feed = session.feed
    if feed is None:
        return None
    stored = feed.acknowledge(frame.up_to)
    if not stored:
        return None
    cursor = feed.cursor(stored)
    if session.pulls is not None:
        session.pulls.acknowledged(stored)
    session.keep_draining()
    user_id = session.known_user.user_id
    if len(stored) == 1:
        # Most of them by far: in a group each member's device sends one.
        (entry,) = stored
        is_message = entry.kind == MESSAGE_ENTRY and entry.sender_id != user_id
        if is_message and not _delivered(session, entry.conversation_id, entry.message_id):
            return _deliver_slowly(session, [(entry.conversation_id, entry.message_id)], cursor)
        _move_cursor(session, cursor)
        return None
    newest: dict[ConversationId, MessageId] = {}
    for entry in stored:
        if entry.sender_id != user_id and entry.kind == MESSAGE_ENTRY:
            # Other nodes' entries may come out of order.
            before = newest.get(entry.conversation_id, entry.message_id)
            newest[entry.conversation_id] = max(before, entry.message_id)
    unknown = [
        (conversation_id, up_to)
        for conversation_id, up_to in newest.items()
        if not _delivered(session, conversation_id, up_to)
    ]
    if unknown:
        return _deliver_slowly(session, unknown, cursor)
    _move_cursor(session, cursor)
    return None


def _move_cursor(session: Session, cursor: EntryId | None) -> None:
    # Until the device has said that it knows of what its inbox lacks (see `sync`), it must be told again.
    if cursor is not None and session.complete_from is None:
        session.services.inboxes.acknowledge(session.device_id, cursor)


def _delivered(session: Session, conversation_id: ConversationId, up_to: MessageId) -> bool:
    conversation, user = session.services.conversations.cached(conversation_id), session.known_user.user_id
    if conversation is None or not (conversation.is_channel or conversation.counts(user)):
        return False
    session.services.receipts.delivered(conversation, user, session.device_id, up_to)
    return True


async def _deliver_slowly(
    session: Session, unknown: list[tuple[ConversationId, MessageId]], cursor: EntryId | None
) -> None:
    """Watermarks before the cursor: where one cannot be moved, the entries come again."""
    conversations, user = session.services.conversations, session.known_user.user_id

    async def deliver() -> None:
        for conversation_id, up_to in unknown:
            conversation = await conversations.find(conversation_id)
            if conversation is not None and not conversation.counts(user):
                # They have left, or have just come, by way of another node.
                conversation = await conversations.anew(conversation_id)
            if conversation is not None:
                session.services.receipts.delivered(conversation, user, session.device_id, up_to)
        _move_cursor(session, cursor)

    try:
        await session.patiently(deliver)
    except StoreError:
        session.close(CloseCode.UNAVAILABLE, "the store cannot be read")
        raise


def read(session: Session, frame: Read) -> Slow | None:
    """Move *read*; the answer comes when it is durable."""
    conversation = session.services.conversations.cached(frame.conversation_id)
    user_id = session.known_user.user_id
    if (
        conversation is None
        or frame.up_to > conversation.newest
        or not conversation.has_member(user_id)  # another node may have added them
    ):
        return _read_slowly(session, frame)
    _read(session, conversation, frame)
    return None


async def _read_slowly(session: Session, frame: Read) -> None:
    conversation = await _conversation(session, frame.conversation_id)
    if frame.up_to > conversation.newest:
        # Another node may have accepted it; what nobody has is cut off.
        await session.services.conversations.anew(frame.conversation_id)
    _read(session, conversation, frame)


def _read(session: Session, conversation: Conversation, frame: Read) -> None:
    def done(error: StoreError | None) -> None:
        if error is None:
            session.send(Ok(frame.request_id))
        else:
            session.refuse(refusal(error), frame)

    if session.known_user.user_id in conversation.pending:
        # They have seen nothing of it yet, and the stranger is told nothing.
        session.send(Ok(frame.request_id))
        return
    session.services.receipts.read(
        conversation, session.known_user.user_id, session.device_id, frame.up_to, done
    )


async def history(session: Session, frame: History) -> None:
    """A page of a conversation."""
    conversation = await _conversation(session, frame.conversation_id)
    page = await session.services.histories.page(conversation, session.known_user.user_id, frame)
    session.services.ids.observe(conversation.newest)
    session.send(page)


async def info(session: Session, frame: Info) -> None:
    """When a message was delivered and read."""
    services, viewer = session.services, session.known_user.user_id
    conversation = await _conversation(session, frame.conversation_id)
    row = await services.histories.message(conversation, viewer, frame.message_id)
    session.send(await services.receipts.info(conversation, viewer, row, frame.request_id))


async def conversations(session: Session, frame: frames.Conversations) -> None:
    """The user's conversations."""
    session.send(await session.services.histories.listed(session.known_user.user_id, frame))


async def answer_request(session: Session, frame: AnswerRequest) -> None:
    """Let somebody unknown in, or not."""
    await confirmed(session)
    conversation = await _conversation(session, frame.conversation_id)
    await session.services.requests.answer(conversation, session.known_user.user_id, accept=frame.accept)
    session.send(Ok(frame.request_id))


def heartbeat(session: Session, _: Heartbeat) -> None:
    """That it came is all; the session notes when it hears anything."""
    if session.pulls is not None:
        session.pulls.settle()
    complete_to = EntryId(0) if session.feed is None else session.feed.complete_to
    session.send(HeartbeatOk(session.services.ids.now_ms(), complete_to))


async def open_direct(session: Session, frame: OpenDirect) -> None:
    """Find or make the direct conversation with somebody."""
    user_id = session.known_user.user_id
    peer = await session.services.people.addressed(user_id, frame.handle)
    conversation = await session.services.conversations.open_direct(user_id, peer)
    session.send(await group_commands.description(session, conversation, frame.request_id))


async def describe(session: Session, frame: Describe) -> None:
    """Who is in a conversation."""
    conversation = await _conversation(session, frame.conversation_id)
    session.send(await group_commands.description(session, conversation, frame.request_id))


async def sync(session: Session, frame: Sync) -> None:
    """What moved while the device was away."""
    services = session.services
    if session.complete_from is not None:
        # Who asks has got everything that was sent before, and noted that its inbox was not complete.
        services.inboxes.acknowledge(session.device_id, session.complete_from)
        session.complete_from = None
    session.send(
        await services.receipts.changed_since(session.known_user.user_id, frame.since, frame.request_id)
    )


async def _conversation(session: Session, conversation_id: ConversationId) -> Conversation:
    return await session.services.groups.access(conversation_id, session.known_user.user_id)


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
    Info: Command(info, RateClass.QUERY),
    frames.Conversations: Command(conversations, RateClass.QUERY),
    AnswerRequest: Command(answer_request, RateClass.SETTING),
    Set: Command(people_commands.set_setting, RateClass.SETTING),
    Report: Command(people_commands.report, RateClass.SETTING),
    Lookup: Command(people_commands.look_up, RateClass.QUERY),
    Profiles: Command(people_commands.profiles, RateClass.QUERY),
    frames.Devices: Command(people_commands.devices, RateClass.QUERY),
    frames.Claim: Command(people_commands.claim, RateClass.QUERY),
    Watch: Command(presence_commands.watch, RateClass.QUERY),
    Typing: Command(presence_commands.typing, RateClass.TYPING),
    CreateGroup: Command(group_commands.create, RateClass.GROUP),
    ChangeGroup: Command(group_commands.change, RateClass.GROUP),
    Join: Command(group_commands.join, RateClass.GROUP),
    LookInside: Command(group_commands.look_inside, RateClass.GROUP),
    Members: Command(group_commands.members, RateClass.QUERY),
    Tally: Command(group_commands.tally, RateClass.QUERY),
}
