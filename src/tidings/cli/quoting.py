"""Finds the message that another one answers, or that a change is about, to be shown with it."""

from collections.abc import Sequence

from tidings.client import (
    Client,
    DeleteEvent,
    EditEvent,
    Event,
    Message,
    ReactionEvent,
    VoteEvent,
)
from tidings.protocol.frames import Reference


async def subject(me: Client, event: Event) -> Message | None:
    """The message that an event is about besides its own, if this profile has it."""
    match event:
        case Message(reply_to=Reference() as reference):
            return await me.messages.get(reference)
        case EditEvent() | DeleteEvent() | ReactionEvent() | VoteEvent():
            return await me.messages.get(event.reference)
        case _:
            return None


async def quotes(me: Client, messages: Sequence[Message]) -> list[Message | None]:
    """For each message of a page the one that it answers, out of the page or the profile."""
    page = {message.reference: message for message in messages}
    return [await _quoted(me, message.reply_to, page) for message in messages]


async def _quoted(me: Client, answered: Reference | None, page: dict[Reference, Message]) -> Message | None:
    if answered is None:
        return None
    return page.get(answered) or await me.messages.get(answered)
