"""What a person sees on a device, as lines of text.

```
alice: Supper at seven (edited) [bob 👍] ✓✓ read
bob: I'll be late (to: Supper at seven)
— alice added carol —
alice: When? {at six: bob, carol} {at seven: } ✓ 2 of 3, read by 1
```
"""

from collections.abc import Sequence

from tidings.client import Chat, Message, Status

TICKS = {Status.SENT: " ✓", Status.DELIVERED: " ✓✓", Status.READ: " ✓✓ read"}


def chat_lines(messages: Sequence[Message], *, ticks: bool = True) -> list[str]:
    """A conversation: who said what; own messages have their ticks, if wanted."""
    texts = {message.reference: message.text for message in messages}

    def line(message: Message) -> str:
        if message.change is not None:
            return f"— {message.text} —"
        marks = ["(deleted)"] if message.deleted else [message.text]
        if message.reply_to is not None and not message.deleted:
            marks.append(f"(to: {texts.get(message.reply_to, '…')})")
        if message.forwarded:
            marks.append("(forwarded)")
        if message.edited and not message.deleted:
            marks.append("(edited)")
        if message.reactions:
            marks.append(
                "[" + ", ".join(f"{who} {what}" for who, what in sorted(message.reactions.items())) + "]"
            )
        poll = message.poll
        if poll is not None:
            votes = message.votes
            marks += [f"{{{option}: {', '.join(votes[at])}}}" for at, option in enumerate(poll.options)]
        if message.mentions_me:
            marks.append("(to me)")
        tick = _ticks(message) if message.own and ticks else ""
        return f"{message.sender}: {' '.join(marks)}{tick}"

    return [line(message) for message in messages]


def _ticks(message: Message) -> str:
    tally = message.tally
    if tally is None or message.status == Status.READ:
        return TICKS.get(message.status, "")
    return f"{TICKS.get(message.status, '')} {tally.delivered} of {tally.of}, read by {tally.read}"


def chat_line(chat: Chat) -> str:
    """A conversation in the list of chats: whom it is with, and what is to be known of it."""
    marks = {
        "pinned": chat.pinned,
        "archived": chat.archived,
        "muted": chat.muted_until > 0,
        "blocked": chat.blocked,
        "left": chat.group is not None and chat.group.is_left,
        f"{chat.unread} unread": chat.unread > 0,
        f"draft: {chat.draft}": bool(chat.draft),
    }
    shown = ", ".join(mark for mark, holds in marks.items() if holds)
    return f"{chat.title} ({shown})" if shown else chat.title
