"""The model: what everybody said and was answered, seen from above.

It knows nothing of the rules. It notes what devices did and what the server answered, with the true time
of each, and from that alone follows who must have a message, and who must never see it.
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

from tidings.protocol.ids import ConversationId, DeviceId, MessageId, UserId
from tidings.testing.simulation.profile import Draft, Ref


class Said:
    """A message, from the moment at which it was written."""

    __slots__ = (
        "about",
        "acked_s",
        "after",
        "attempts",
        "content",
        "conversation",
        "expires_ms",
        "message_ids",
        "ref",
        "refused",
        "relation",
        "sender",
        "sent_s",
        "written_s",
    )

    def __init__(self, ref: Ref, sender: UserId, draft: Draft, written_s: float) -> None:
        self.ref = ref
        self.sender = sender
        self.conversation = draft.conversation
        self.relation = draft.relation
        self.about = draft.about
        self.content = draft.content
        self.written_s = written_s
        self.sent_s: float | None = None
        """when it left its device first"""
        self.after = MessageId(0)
        """the newest message of the conversation that its device had then"""
        self.attempts = 0
        """how often it left its device"""
        self.acked_s: float | None = None
        """when Sent arrived first"""
        self.message_ids: list[MessageId] = []
        """that Sent told, without repetition"""
        self.refused: int | None = None
        self.expires_ms: int | None = None


class BlockChange:
    """A block that was set or lifted."""

    __slots__ = ("answered_s", "asked_s", "blocked", "blocker", "on")

    def __init__(self, blocker: UserId, blocked: UserId, *, on: bool, asked_s: float) -> None:
        self.blocker = blocker
        self.blocked = blocked
        self.on = on
        self.asked_s = asked_s
        self.answered_s: float | None = None


class Verdict(Enum):
    """Whether the other one gets a message."""

    SHOWN = auto()
    HIDDEN = auto()
    EITHER = auto()
    """the block changed while it was on its way"""


class Reading(NamedTuple):
    """A Read that was answered."""

    user: UserId
    conversation: ConversationId
    up_to: MessageId
    answered_s: float


class Model:
    """See the module's text."""

    def __init__(self) -> None:
        self.said: dict[Ref, Said] = {}
        self.blocks: list[BlockChange] = []
        self.readings: list[Reading] = []
        self.read_asked: dict[tuple[UserId, ConversationId], MessageId] = {}
        """the most that any device of the user ever said to have read"""
        self.members: dict[ConversationId, tuple[UserId, ...]] = {}
        """who opened it, and who was asked"""
        self.asking: set[ConversationId] = set()
        """conversations in which the second member has to let the first one in"""
        self.opened_s: dict[ConversationId, float] = {}
        self.user_of: dict[DeviceId, UserId] = {}

    def wrote(self, ref: Ref, sender: UserId, draft: Draft, now_s: float) -> None:
        """A message was written."""
        self.said[ref] = Said(ref, sender, draft, now_s)

    def sent(self, ref: Ref, after: MessageId, expires_ms: int | None, now_s: float) -> None:
        """It leaves its device, perhaps not for the first time."""
        said = self.said[ref]
        if said.sent_s is None:
            said.sent_s = now_s
            said.after = after
        said.expires_ms = expires_ms
        said.attempts += 1

    def acked(self, ref: Ref, message_id: MessageId, now_s: float) -> None:
        """Sent has arrived."""
        said = self.said[ref]
        if said.acked_s is None:
            said.acked_s = now_s
        if said.conversation in self.asking and said.sender == self.members[said.conversation][1]:
            self.opened(said.conversation, now_s)  # by writing oneself one lets in
        if message_id not in said.message_ids:
            said.message_ids.append(message_id)

    def refused(self, ref: Ref, code: int) -> None:
        """It was refused for good."""
        self.said[ref].refused = code

    def asks_read(self, user: UserId, conversation: ConversationId, up_to: MessageId) -> None:
        """A device says what was read."""
        key = user, conversation
        self.read_asked[key] = max(up_to, self.read_asked.get(key, MessageId(0)))

    def read_answered(
        self, user: UserId, conversation: ConversationId, up_to: MessageId, now_s: float
    ) -> None:
        """What was read is durable."""
        self.readings.append(Reading(user, conversation, up_to, now_s))

    def block(self, blocker: UserId, blocked: UserId, *, on: bool, now_s: float) -> None:
        """A device asks for a block to be set or lifted."""
        self.blocks.append(BlockChange(blocker, blocked, on=on, asked_s=now_s))

    def block_answered(self, blocker: UserId, blocked: UserId, now_s: float) -> None:
        """Ok has arrived."""
        for change in reversed(self.blocks):
            if (change.blocker, change.blocked) == (blocker, blocked):
                change.answered_s = change.answered_s or now_s
                return

    def block_pending(self, blocker: UserId, blocked: UserId) -> bool:
        """Whether a change was asked for and not answered yet."""
        return any(
            change.answered_s is None
            for change in self.blocks
            if (change.blocker, change.blocked) == (blocker, blocked)
        )

    def is_blocked(self, blocker: UserId, blocked: UserId) -> bool:
        """Whether the last change was a block."""
        for change in reversed(self.blocks):
            if (change.blocker, change.blocked) == (blocker, blocked):
                return change.on
        return False

    def ever_blocked(self, blocker: UserId, blocked: UserId) -> bool:
        """Whether there ever was a block."""
        return any((change.blocker, change.blocked) == (blocker, blocked) for change in self.blocks)

    def opened(self, conversation: ConversationId, now_s: float) -> None:
        """Whoever was asked has let the other one in."""
        self.opened_s.setdefault(conversation, now_s)

    def is_shut(self, said: Said) -> bool:
        """Whether a message may have waited for the other one to let its sender in."""
        if said.conversation not in self.asking or said.sender != self.members[said.conversation][0]:
            return False
        opened_s = self.opened_s.get(said.conversation)
        return said.sent_s is None or opened_s is None or said.sent_s < opened_s

    def titles(self, users: Mapping[Any, str]) -> dict[ConversationId, str]:
        """What conversations are called, by the names of users."""
        return {
            conversation: "-".join(users[member] for member in members)
            for conversation, members in self.members.items()
        }

    def other(self, said: Said) -> UserId:
        """The one who is written to."""
        one, other = self.members[said.conversation]
        return other if said.sender == one else one

    def verdict(self, said: Said) -> Verdict:
        """Whether the other one gets a message, by the blocks that hold while it is on its way.

        It was accepted between its first leaving and its answer; a change holds from some moment between
        its asking and its answer.
        """
        blocker = self.other(said)
        first_s = said.sent_s if said.sent_s is not None else said.written_s
        last_s = said.acked_s if said.acked_s is not None else float("inf")
        before = False
        for change in self.blocks:
            if (change.blocker, change.blocked) != (blocker, said.sender) or change.asked_s > last_s:
                continue
            if change.answered_s is None or change.answered_s >= first_s:
                return Verdict.EITHER
            before = change.on
        return Verdict.HIDDEN if before else Verdict.SHOWN

    def deletes(self) -> dict[Ref, Said]:
        """What was, or may have been, deleted by its author: by its name, the message that says so."""
        return {
            said.about: said
            for said in self.said.values()
            if said.relation == 3 and said.about is not None and said.sent_s is not None
        }
