"""Folding: what edits, deletes, reactions and votes make of the message that they are about.

Whatever order they come in, the result is the same: of two edits, and of two reactions or votes of one user,
the one with the greater message_id counts, and what was deleted or has expired stays gone. Nobody but the
author edits or deletes; in a group admins delete, too, which the server sees to. The profile, a page of
history and a `State` all fold with what is here.

spec §6.3
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from tidings.client import contents
from tidings.client.values import Message, Reaction, Vote
from tidings.protocol import frames
from tidings.protocol.frames import Relation
from tidings.protocol.ids import MessageId

M = TypeVar("M", bound=Message)


def folded(message: M, changes: Iterable[frames.Message], handles: dict[int, str]) -> M:
    """A message with all that was said about it. `handles` names those who did, by user_id."""
    for change in changes:
        is_author = change.sender_id == message.sender_id
        if change.relation == Relation.REACTION and change.content_type:
            reaction = Reaction(change.content.decode(errors="replace"), change.message_id)
            who = handles.get(change.sender_id, f"user {change.sender_id}")
            message = with_reaction(message, who, reaction)
        elif change.relation == Relation.VOTE and change.content_type:
            vote = Vote(contents.vote_of(change.content), change.message_id)
            who = handles.get(change.sender_id, f"user {change.sender_id}")
            message = with_vote(message, who, vote)
        elif change.relation == Relation.DELETE and (is_author or _by_admin(message, change)):
            message = with_delete(message, change.message_id)
        elif change.relation == Relation.EDIT and is_author:
            message = with_edit(message, change.message_id, change.content_type, change.content)
    return message


def with_edit(message: M, edit: MessageId, content_type: str, content: bytes) -> M:
    """The message after an edit. One whose own content was erased changes nothing."""
    if message.deleted or message.expired or edit <= message.edit or not content_type:
        return message
    return replace(message, edit=edit, content_type=content_type, content=content)


def with_delete(message: M, delete: MessageId) -> M:
    """The message after a delete: its place, and nothing of what it said."""
    delete = max(delete, message.delete)
    return replace(_emptied(message), delete=delete)


def with_reaction(message: M, who: str, reaction: Reaction) -> M:
    """The message after a reaction."""
    earlier = message.reacted.get(who)
    if message.deleted or message.expired or (earlier and earlier.message_id >= reaction.message_id):
        return message
    return replace(message, reacted={**message.reacted, who: reaction})


def with_vote(message: M, who: str, vote: Vote) -> M:
    """The message, a poll, after a vote."""
    earlier = message.voted.get(who)
    if message.deleted or message.expired or (earlier and earlier.message_id >= vote.message_id):
        return message
    return replace(message, voted={**message.voted, who: vote})


def with_expiry(message: M) -> M:
    """The message once its time is over."""
    return message if message.deleted else _emptied(message)


def _emptied(message: M) -> M:
    return replace(message, content=b"", content_type="", edit=MessageId(0), reacted={}, voted={})


def _by_admin(message: Message, delete: frames.Message) -> bool:
    return message.in_group and message.conversation_id == delete.conversation_id
