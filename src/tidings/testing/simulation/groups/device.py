"""A device that is in groups: the profile of before, groups in it, and what its user wants of them."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from tidings.protocol import errors, frames
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import Frame, InboxExpired, Message, MessageTally, Receipt, SettingKind
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, unix_ms
from tidings.testing.simulation.connection import Connection
from tidings.testing.simulation.device import Device, User
from tidings.testing.simulation.groups.connection import MARGIN_MS, GroupConnection
from tidings.testing.simulation.groups.model import Holds, Wished
from tidings.testing.simulation.groups.profile import UNKNOWN, Gap, GroupProfile, is_change
from tidings.testing.simulation.machines import EPOCH_MS
from tidings.testing.simulation.profile import Profile, Ref, Stored, ref_of, stored

if TYPE_CHECKING:
    from tidings.testing.simulation.groups.run import GroupSimulation
    from tidings.testing.simulation.nodes import Node

WITH_REASON = frozenset(
    kind.code
    for kind in (
        errors.GROUP_RIGHTS,
        errors.GROUP_FULL,
        errors.NO_SUCH_CONVERSATION,
        errors.NO_SUCH_MESSAGE,
        errors.NO_SUCH_USER,
        errors.NOT_YOURS,
        errors.BAD_LINK,
        errors.TOO_LARGE,
    )
)
"""why something about a group may be refused for good"""


FILLED_S = 30.0
"""after a device was told that its inbox lacks something: until it has looked twice into the history"""


class Wish(NamedTuple):
    """A change that a device's user wants, until it is answered."""

    number: int
    text: str
    conversation: ConversationId | None
    make: Callable[[int], Frame]
    holds: Holds | None
    """what is so once it is done"""
    asked_s: float


class GroupDevice(Device):
    """See the module's text."""

    simulation: "GroupSimulation"
    connection: GroupConnection | None

    def __init__(
        self,
        simulation: "GroupSimulation",
        name: str,
        user: User,
        device_id: DeviceId,
        token: str,
        random: Random,
    ) -> None:
        super().__init__(simulation, name, user, device_id, token, random)
        self.wishes: dict[int, Wish] = {}
        self.restored_s: list[float] = []
        """when its profile was set back"""
        self.unfilled: dict[ConversationId, None] = {}
        """groups of which it lacks what stood in no inbox, since its profile was set back"""
        self.tallies: dict[MessageId, MessageTally] = {}
        """of its user's messages: the greatest counts that it was told"""
        self.is_revoked = False
        self.away_until_s = 0.0
        """it does not connect before, whatever it is told"""
        self._wishes = 0

    @property
    def groups_profile(self) -> GroupProfile:
        """What it knows of groups."""
        assert isinstance(self.profile, GroupProfile)
        return self.profile

    def new_profile(self, have: EntryId) -> Profile:
        """What is on its disk in the beginning."""
        return GroupProfile(have)

    def connects_to(self, node: "Node") -> Connection:
        """A connection of its."""
        return GroupConnection(self, node, self._random)

    def version_of(self, conversation: ConversationId) -> int:
        """Which version of a group it knows."""
        return max(1, self.groups_profile.groups.get(conversation, UNKNOWN).version)

    def reads(self, one: Stored) -> bool:
        """Changes are no messages: of a channel some stand in no log."""
        return bool(one.ref.device)

    def go_online(self) -> None:
        """Be connected from now on, unless its user is away."""
        if self.loop.now_s >= self.away_until_s and not self.is_revoked:
            super().go_online()

    def stay_away(self, until_s: float) -> None:
        """Be away, until then."""
        self.away_until_s = until_s
        self.note("is away until", until_s)
        self.go_offline()

    def hide(self, what: str, *, hides: bool) -> None:
        """Show others less, or let them do less; or do so no longer."""
        self.profile.sets[SettingKind.PRIVACY, what] = b"nobody" if hides else b"everyone"
        self.simulation.model.privacy.asked(self.user.user_id, what, hides=hides, now_s=self.loop.now_s)
        self.note("hides" if hides else "shows", what)
        if self.connection is not None:
            self.connection.tell_sets()

    def set_answered(self, name: tuple[int, str], value: bytes) -> None:
        """A setting is durable."""
        super().set_answered(name, value)
        self.simulation.model.privacy.answered(self.user.user_id, name[1], self.loop.now_s)

    def turned_away(self, code: int, reason: str) -> None:
        """It was signed out, or there is a bug."""
        if self.is_revoked and code == CloseCode.NOT_ALLOWED:
            self.is_wanted = False
        else:
            super().turned_away(code, reason)

    def restore(self) -> bool:
        """Begin again with an older profile; whether there is one."""
        self.unfilled.update(dict.fromkeys(self.groups_profile.groups))
        is_restored = super().restore()
        if is_restored:
            self.restored_s.append(self.loop.now_s)
        return is_restored

    # --- what its user wants --------------------------------------------------------------------

    def wish(
        self,
        text: str,
        conversation: ConversationId | None,
        make: Callable[[int], Frame],
        holds: Holds | None,
    ) -> None:
        """Ask for a change, again on each connection until it is answered."""
        self._wishes += 1
        wish = Wish(self._wishes, text, conversation, make, holds, self.loop.now_s)
        self.wishes[wish.number] = wish
        self.note("wants", text, conversation)
        if self.connection is not None:
            self.connection.tell_wish(wish)

    def wish_answered(self, wish: Wish, frame: Any) -> None:
        """It is done."""
        self._wish_over(wish)
        self.note("has", wish.text, type(frame).__name__)
        now_s = self.loop.now_s
        conversation = wish.conversation
        if isinstance(frame, frames.Conversation):
            self.described(frame)
        elif isinstance(frame, frames.Joined):
            conversation = frame.conversation_id
            if frame.waiting:
                return
            if self.connection is not None and self.connection.is_up:
                self.connection.describe(conversation)
        if wish.holds is not None and conversation is not None:
            wished = Wished(f"{self.name} {wish.text}", conversation, wish.holds, wish.asked_s, now_s)
            self.simulation.model.wished.append(wished)

    def wish_refused(self, wish: Wish, code: int) -> None:
        """It will not be done."""
        self._wish_over(wish)
        if code == errors.NOT_ADDABLE.code and self.simulation.anybody_hides(wish.asked_s):
            return
        if wish.conversation is None:
            self._excuse(code)
        else:
            self.excuse(code, wish.conversation, wish.asked_s)

    # --- its connection's side ----------------------------------------------------------------

    def take(self, message: Message, connection: Connection, way: str, *, stands: bool) -> None:
        """A message has come, by its inbox, from the log, or in a page of the history."""
        model = self.simulation.model
        record = model.records[message.conversation_id]
        user = self.user.user_id
        ref = ref_of(message)
        version = message.version
        model.versions[message.message_id] = version
        if is_change(message):
            self.groups_profile.heed_change(message, user)
            is_theirs = record.is_entitled(user, version) or user in record.concerned(version)
        else:
            is_theirs = record.is_entitled(user, version)
        if not is_theirs:
            text = f"{self.name} got by its {way} what is of version {version}: {record.stays}"
            self.simulation.broken("4 rights", text, ref)
        self.simulation.tally.count(f"people: told by {way}")
        self.store(stored(message), connection, stands=stands)

    def told_expired(self, frame: InboxExpired) -> None:
        """Its inbox is not complete: that is noted before anything is said."""
        now_s = self.loop.now_s
        self.note("is told that its inbox lacks something", frame)
        user = self.user.user_id
        # (Of an account that has ended nothing is left that says so, and its devices may stay for a moment.)
        if not self.simulation.ever_slept(user) and user not in self.simulation.model.departed:
            self.simulation.broken("an inbox was called expired", f"{self.name}: {frame}")
        self.simulation.tally.count("people: told that an inbox is not complete")
        gap = self.groups_profile.gap or Gap(frame.since, frame.until)
        self.groups_profile.gap = Gap(min(gap.since, frame.since), max(gap.until, frame.until))
        self.calm.disturbed(now_s, now_s + FILLED_S)

    def bridged(self, gap: Gap) -> None:
        """All that the history has of a gap is here; what was just written comes with the next look."""
        now_ms = EPOCH_MS + int(self.loop.now_s * 1000)
        if self.groups_profile.gap == gap and unix_ms(gap.until) + MARGIN_MS < now_ms:
            self.groups_profile.gap = None
            self.note("has filled its inbox up", gap)

    def described(self, found: frames.Conversation) -> None:
        """What a group is."""
        self.groups_profile.learn(found.conversation_id, found.version, is_in=True)

    def filled(self, conversation: ConversationId) -> None:
        """The history of a group is here."""
        self.unfilled.pop(conversation, None)

    def unfinished(self, conversation: ConversationId) -> list[MessageId]:
        """Its user's messages in a group that not everybody has read, as far as it was told."""
        user = self.user.user_id
        return [
            one.message_id
            for one in self.profile.messages.values()
            if one.conversation == conversation
            and one.sender == user
            and one.ref.device
            and not self._is_finished(one.message_id)
        ]

    def tallied(
        self, conversation: ConversationId, items: Sequence[MessageTally], *, pushed: bool = False
    ) -> None:
        """How far messages have come: counts only grow, and are never more than is so."""
        model = self.simulation.model
        for told in items:
            most = model.tally(conversation, told.message_id, self.user.user_id, most=True)
            if most is not None and (told.delivered > most.delivered or told.read > most.read):
                self.simulation.broken("3 tallies", f"{self.name} was told {told}, it is {most}")
            old = self.tallies.get(told.message_id, told)
            delivered, read = max(old.delivered, told.delivered), max(old.read, told.read)
            self.tallies[told.message_id] = MessageTally(told.message_id, delivered, read, told.of)
        self.simulation.tally.count("people: told a tally" if pushed else "people: asked for tallies")

    def told(self, receipt: Receipt) -> None:
        """A watermark: in groups only one's own are told."""
        if receipt.user_id != self.user.user_id:
            self.simulation.broken("receipts of others", f"{self.name} was told {receipt}")
        super().told(receipt)

    def refused(self, name: ClientId, code: int) -> None:
        """A message will never be accepted."""
        said = self.simulation.model.said[Ref(self.device_id, name)]
        if code and said.sent_s is not None and said.expires_ms is None:  # else it came too late
            self.excuse(code, said.conversation, said.sent_s, said.ref)
        super().refused(name, code)

    def excuse(self, code: int, conversation: ConversationId, since_s: float, *refs: Ref) -> None:
        """Something was refused for good: there must be a reason."""
        self._excuse(code)
        if code == errors.NO_SUCH_CONVERSATION.code:
            model, user = self.simulation.model, self.user.user_id
            now_s = self.loop.now_s
            is_in = model.was_member(conversation, user, since_s, now_s)
            if is_in and self.simulation.is_listed(conversation, user, since_s, now_s):
                text = f"{self.name} is told that there is no such group, and is in it"
                self.simulation.broken("a member was turned away", text, *refs)

    # --- inside -----------------------------------------------------------------------------

    def _wish_over(self, wish: Wish) -> None:
        self.wishes.pop(wish.number, None)
        # Until every node knows of it, what comes after the request waits: acknowledgements, too.
        self.calm.disturbed(wish.asked_s, self.loop.now_s + 1.0)

    def _excuse(self, code: int) -> None:
        if code not in WITH_REASON:
            self.simulation.broken("a request was refused", f"{self.name}: {REGISTRY[code].name}")

    def _is_finished(self, message_id: MessageId) -> bool:
        tally = self.tallies.get(message_id)
        return tally is not None and tally.read >= tally.of
