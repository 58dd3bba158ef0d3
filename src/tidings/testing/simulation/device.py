"""A device: a profile on a disk, and a program that keeps a connection for it.

It reconnects with backoff, to any node. Now and then it connects to another node while the old connection
still stands, is restarted, or is restored from an older copy of its profile.
"""

from random import Random
from typing import TYPE_CHECKING, NamedTuple

from tidings.client.backoff import Backoff
from tidings.client.outbox import next_attempt
from tidings.protocol import ids
from tidings.protocol.close import CloseCode, may_reconnect
from tidings.protocol.frames import Receipt, Relation, Sent, SettingKind
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId
from tidings.testing.simulation.calm import Calm
from tidings.testing.simulation.connection import Connection
from tidings.testing.simulation.links import Wire
from tidings.testing.simulation.machines import EPOCH_MS
from tidings.testing.simulation.profile import NO_MARK, Draft, Mark, Profile, Ref, Stored

if TYPE_CHECKING:
    from tidings.testing.simulation.nodes import Node
    from tidings.testing.simulation.run import Simulation

BOASTING = 0.3
"""of the devices"""
REPLACED_S = (1.0, 8.0)
"""until somebody opens the program again after another connection took over"""


class User(NamedTuple):
    """Whose devices they are."""

    user_id: UserId
    handle: str


class Span(NamedTuple):
    """When a device received as it should, and from where."""

    begin_s: float
    end_s: float
    node: "Node"


class Device:
    """See the module's text."""

    def __init__(
        self,
        simulation: "Simulation",
        name: str,
        user: User,
        device_id: DeviceId,
        token: str,
        random: Random,
    ) -> None:
        self.simulation = simulation
        self.loop = simulation.loop
        self.name = name
        self.user = user
        self.device_id = device_id
        self.token = token
        self.born_s = self.loop.now_s
        self.profile = self.new_profile(EntryId(device_id))
        self.copies: list[Profile] = []
        self.connection: Connection | None = None
        self.former: list[Connection] = []
        """connections that it has left, and that may not know it yet"""
        self.run = 1
        """of the program"""
        self.tried: set[ClientId] = set()
        """what this run of the program has sent at least once"""
        self.first_seen_s: dict[Ref, float] = {}
        """when each message was stored here for the first time"""
        self.calm = Calm()
        """when nothing was wrong with its connections but that they were torn"""
        self.is_wanted = False
        """whether it is to be connected"""
        self.live_s: float | None = None
        """since when it receives as it should"""
        self.live_spans: list[Span] = []
        """when it did before"""
        self.boasts = random.random() < BOASTING
        """whether it says that it has all up to its newest entry, be that true or not"""
        self._random = random
        self._backoff = Backoff(random)
        self._prefix = random.randbytes(8)
        self._count = 0
        self._dials = 0

    def note(self, what: str, *more: object) -> None:
        """Tell the transcript."""
        self.simulation.note(self.name, what, *more)

    # --- what other kinds of devices do differently -------------------------------------------

    def new_profile(self, have: EntryId) -> Profile:
        """What is on its disk in the beginning."""
        return Profile(have)

    def connects_to(self, node: "Node") -> Connection:
        """A connection of its."""
        return Connection(self, node, self._random)

    def version_of(self, conversation: ConversationId) -> int:  # noqa: ARG002
        """Which version of a conversation it knows."""
        return 1

    def reads(self, one: Stored) -> bool:  # noqa: ARG002
        """Whether its user reads a message that is there."""
        return True

    def turned_away(self, code: int, reason: str) -> None:
        """The server does not want it any more."""
        self.simulation.broken("a device was turned away", f"{self.name}: {code} {reason}")

    # --- what its user does -------------------------------------------------------------------

    def write(
        self,
        conversation: ConversationId,
        content: bytes,
        *,
        relation: Relation = Relation.NONE,
        about: Ref | None = None,
        expires_in_ms: int | None = None,
    ) -> None:
        """Write a message; it goes out when it can."""
        self._count += 1
        name = ids.client_id(self._prefix, self._count)
        draft = Draft(name, 1, self.run, conversation, relation, about, content, expires_in_ms)
        self.profile.outbox[name] = draft
        ref = Ref(self.device_id, name)
        self.simulation.model.wrote(ref, self.user.user_id, draft, self.loop.now_s)
        self.note("writes", ref, "to", conversation, relation.name, about, content)
        if self.connection is not None:
            self.connection.transmit()

    def read(self, conversation: ConversationId) -> None:
        """Read what is there."""
        newest = max(
            (
                one.message_id
                for one in self.profile.messages.values()
                if one.conversation == conversation and one.sender != self.user.user_id and self.reads(one)
            ),
            default=MessageId(0),
        )
        if newest <= self.profile.reads.get(conversation, 0):
            return
        self.profile.reads[conversation] = newest
        key = conversation, self.user.user_id
        old = self.profile.marks.get(key, NO_MARK)
        self.profile.marks[key] = Mark(max(old.delivered, newest), max(old.read, newest))
        self.note("reads", conversation, newest)
        if self.connection is not None:
            self.connection.tell_reads()

    def block(self, peer: UserId, *, on: bool) -> None:
        """Block somebody, or lift the block."""
        self.profile.sets[SettingKind.BLOCK, str(peer)] = b"1" if on else b""
        self.simulation.model.block(self.user.user_id, peer, on=on, now_s=self.loop.now_s)
        self.note("blocks" if on else "unblocks", peer)
        if self.connection is not None:
            self.connection.tell_sets()

    def go_online(self) -> None:
        """Be connected from now on."""
        if not self.is_wanted:
            self.is_wanted = True
            self._backoff = Backoff(self._random)
            self._dial(0.0)

    def go_offline(self) -> None:
        """Hang up, and stay away."""
        if self.is_wanted:
            self.is_wanted = False
            self.note("goes offline")
            self._leave()

    def restart(self) -> None:
        """The program ends and begins again."""
        self._leave()
        self.run += 1
        self.tried.clear()
        self._rename()
        self.note("is restarted")
        if self.is_wanted:
            self._dial(0.0)

    def snapshot(self) -> None:
        """Copy the profile away, if it is one that knows what it has."""
        if self.live_s is not None and not self.profile.sets and not self.boasts:
            self.copies.append(self.profile.copy())

    def restore(self) -> bool:
        """Begin again with an older profile; whether there is one."""
        if not self.copies or self.profile.sets:
            return False
        place = self._random.randrange(len(self.copies))
        self._leave()
        self.profile = self.copies[place].copy()
        self.note("is restored to", len(self.profile.messages), "messages, has", self.profile.have)
        self.restart()
        return True

    def connect_twice(self) -> bool:
        """Connect anew while the connection of before still stands; whether there was one."""
        old = self.connection
        if old is None or not old.is_up:
            return False
        self.former.append(old)
        self._not_live()
        self.connection = None
        self.note("connects anew beside", old.node.name)
        self._dial(0.0)
        return True

    @property
    def wire(self) -> Wire | None:
        """The connection, if the server has welcomed it."""
        return self.connection.wire if self.connection is not None and self.connection.is_up else None

    # --- its connection's side ----------------------------------------------------------------

    def welcomed(self, connection: Connection) -> None:
        """The server knows it."""
        if connection is self.connection:
            self._rename()
            self.note("is welcome on", connection.node.name)

    def drained(self, connection: Connection) -> None:
        """The inbox is here as a whole."""
        self.note("has drained", connection.node.name, self.profile.have)
        if connection is self.connection and self.live_s is None:
            self.live_s = self.loop.now_s

    def interrupted(self) -> None:
        """Its connection is torn, whether it notices or not."""
        self._not_live()

    def lost(self, connection: Connection, code: int, reason: str) -> None:
        """A connection has ended."""
        self.note("loses", connection.node.name, code, reason)
        if connection is not self.connection:
            if connection in self.former:
                self.former.remove(connection)
            return
        self._not_live()
        self.connection = None
        self._backoff.held(self.loop.now_s - connection.began_s)
        if code == CloseCode.DRAIN:
            pause_s = float(reason)
        elif code == CloseCode.REPLACED:
            pause_s = self._random.uniform(*REPLACED_S)
        else:
            pause_s = self._backoff.next_s()
            if not may_reconnect(code):
                self.turned_away(code, reason)
        self._dial(pause_s)

    def store(self, one: Stored, connection: Connection, *, stands: bool) -> None:
        """A message has come."""
        if one.ref not in self.first_seen_s:
            self.first_seen_s[one.ref] = self.loop.now_s
        is_new = self.profile.add(one, stands=stands)
        if self.simulation.transcript.keeps:
            self.note(
                "gets" if is_new else "gets again", one.ref, one.message_id, "from", connection.node.name
            )

    def sent(self, frame: Sent) -> None:
        """A message was accepted."""
        profile = self.profile
        ref = Ref(self.device_id, frame.client_id)
        self.simulation.model.acked(ref, frame.message_id, self.loop.now_s)
        self.note("is told sent", ref, frame.message_id)
        draft = profile.outbox.pop(frame.client_id, None)
        self.tried.discard(frame.client_id)
        if draft is not None:
            self.first_seen_s.setdefault(ref, self.loop.now_s)
            profile.add(
                Stored(
                    ref,
                    frame.message_id,
                    draft.conversation,
                    self.user.user_id,
                    draft.relation,
                    draft.about,
                    draft.content,
                    draft.expires_ms,
                )
            )
        elif (known := profile.messages.get(ref)) is not None:
            # Another connection was answered first. Who sent it over this one records what it is answered.
            profile.add(known._replace(message_id=frame.message_id))

    def refused(self, name: ClientId, code: int) -> None:
        """A message will never be accepted."""
        self.profile.outbox.pop(name, None)
        self.tried.discard(name)
        self.simulation.model.refused(Ref(self.device_id, name), code)

    def told(self, receipt: Receipt) -> None:
        """Somebody's watermarks."""
        if self.profile.merge(receipt):
            self.note("learns", receipt)

    def departs(self, draft: Draft) -> Draft:
        """A message is about to be sent: its attempt, and when it ends, are on the disk before."""
        was_tried = draft.name in self.tried
        attempt = next_attempt(draft.attempt, is_writer=draft.writer == self.run, was_tried=was_tried)
        self.tried.add(draft.name)
        expires_ms = draft.expires_ms
        if expires_ms is None and draft.expires_in_ms is not None:
            expires_ms = EPOCH_MS + int(self.loop.now_s * 1000) + draft.expires_in_ms
        departing = draft._replace(attempt=attempt, expires_ms=expires_ms)
        self.profile.outbox[draft.name] = departing
        after = self.profile.newest.get(draft.conversation, MessageId(0))
        ref = Ref(self.device_id, draft.name)
        self.simulation.model.sent(ref, after, expires_ms, self.loop.now_s)
        self.note("sends", ref, "attempt", attempt)
        return departing

    def read_answered(self, conversation: ConversationId, up_to: MessageId) -> None:
        """A Read is durable."""
        if self.profile.reads.get(conversation) == up_to:
            del self.profile.reads[conversation]
        self.simulation.model.read_answered(self.user.user_id, conversation, up_to, self.loop.now_s)

    def set_answered(self, name: tuple[int, str], value: bytes) -> None:
        """A setting is durable."""
        if self.profile.sets.get(name) == value:
            del self.profile.sets[name]
            if name[0] == SettingKind.BLOCK:
                self.simulation.model.block_answered(self.user.user_id, UserId(int(name[1])), self.loop.now_s)
            self.note("has set", *name, value)

    def spans(self) -> list[Span]:
        """When it received as it should."""
        if self.live_s is None:
            return self.live_spans
        assert self.connection is not None
        return [*self.live_spans, Span(self.live_s, self.loop.now_s, self.connection.node)]

    # --- inside -----------------------------------------------------------------------------

    def _leave(self) -> None:
        self._dials += 1  # what was about to dial does not
        connections = [*self.former, *([self.connection] if self.connection else [])]
        self.former.clear()
        self._not_live()
        self.connection = None
        for one in connections:
            one.hang_up()

    def _not_live(self) -> None:
        if self.live_s is not None:
            assert self.connection is not None
            self.live_spans.append(Span(self.live_s, self.loop.now_s, self.connection.node))
            self.live_s = None

    def _rename(self) -> None:
        self._prefix = self._random.randbytes(8)
        self._count = 0

    def _dial(self, pause_s: float) -> None:
        self._dials += 1
        self.loop.after(pause_s, self._connect, self._dials)

    def _connect(self, dial: int) -> None:
        if dial == self._dials and self.is_wanted:
            node = self._random.choice(self.simulation.nodes)
            self.note("dials", node.name)
            self.connection = self.connects_to(node)
