"""What a device may ask about groups. See `commands.py` for the manner.

spec §6.17
"""

from tidings.domain.conversation import Conversation
from tidings.protocol import frames
from tidings.protocol.frames import (
    ChangeGroup,
    CreateGroup,
    Join,
    Joined,
    LookInside,
    MemberPage,
    Members,
    Ok,
    Tallies,
    Tally,
)
from tidings.server.people_commands import confirmed
from tidings.server.session import Session


async def create(session: Session, frame: CreateGroup) -> None:
    """Make a group."""
    user_id = session.known_user.user_id
    await confirmed(session)
    await session.services.people.check_known(user_id, frame.users[: session.services.limits.group_users])
    conversation = await session.services.groups.create(user_id, frame)
    session.send(await description(session, conversation, frame.request_id))


async def change(session: Session, frame: ChangeGroup) -> None:
    """Change a group."""
    user_id = session.known_user.user_id
    await confirmed(session)
    await session.services.groups.change(user_id, frame)
    session.send(Ok(frame.request_id))


async def join(session: Session, frame: Join) -> None:
    """Join by an invite code."""
    await confirmed(session)
    conversation_id, waiting = await session.services.groups.join(session.known_user.user_id, frame.invite)
    session.send(Joined(frame.request_id, conversation_id, waiting))


async def look_inside(session: Session, frame: LookInside) -> None:
    """What an invite code leads to."""
    session.send(await session.services.groups.look_inside(frame.invite, frame.request_id))


async def members(session: Session, frame: Members) -> None:
    """Who is in a group."""
    user_id, groups = session.known_user.user_id, session.services.groups
    conversation = await groups.access(frame.conversation_id, user_id)
    page, more = await groups.members(conversation, user_id, frame.after, frame.limit)
    session.send(MemberPage(frame.request_id, page, more))


async def tally(session: Session, frame: Tally) -> None:
    """How far one's own messages have come."""
    user_id = session.known_user.user_id
    conversation = await session.services.groups.access(frame.conversation_id, user_id)
    items = await session.services.histories.tallies(conversation, user_id, frame.message_ids)
    session.send(Tallies(frame.conversation_id, items, frame.request_id))


async def description(session: Session, conversation: Conversation, request_id: int) -> frames.Conversation:
    """A conversation, as this device's user may see it."""
    services, user_id = session.services, session.known_user.user_id
    return frames.Conversation(
        request_id,
        conversation.conversation_id,
        conversation.kind,
        conversation.version,
        await services.histories.members(conversation, user_id),
        await services.groups.described(conversation, user_id),
    )
