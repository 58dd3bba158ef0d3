"""What a device may ask about who is there, and say about typing. See `commands.py` for the manner.

spec §6.15
"""

from tidings.domain.conversation import Conversation, access_conversation
from tidings.protocol.frames import Presences, Typing, Watch
from tidings.server.services import Slow
from tidings.server.session import Session


async def watch(session: Session, frame: Watch) -> None:
    """Tell the session how these users are, and from now on when that changes."""
    services, viewer = session.services, session.known_user.user_id
    if len(frame.user_ids) <= services.limits.watched:  # else none is looked at
        await services.people.check_known(viewer, frame.user_ids)
    items = await services.presence.watch(session, viewer, frame.user_ids)
    session.send(Presences(frame.request_id, items))


def typing(session: Session, frame: Typing) -> Slow | None:
    """Tell the other members. There is no answer."""
    conversation = session.services.conversations.cached(frame.conversation_id)
    if conversation is None:
        return _typing_slowly(session, frame)
    _typing(session, conversation, frame)
    return None


async def _typing_slowly(session: Session, frame: Typing) -> None:
    _typing(session, await session.services.conversations.find(frame.conversation_id), frame)


def _typing(session: Session, conversation: Conversation | None, frame: Typing) -> None:
    user_id = session.known_user.user_id
    session.services.presence.typing(
        session, user_id, access_conversation(conversation, user_id), active=frame.active
    )
