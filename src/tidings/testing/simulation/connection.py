"""One connection of a simulated device: the protocol, as the SDK speaks it, in plain callbacks.

Hello, then the inbox: what is delivered is stored, then acknowledged by its count. What waits in the
profile goes out in its order, one unanswered message a conversation. Requests carry numbers. It hears
every frame that arrives until either side ends it; the device decides what comes next.

spec §6
"""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tidings.protocol import frames
from tidings.protocol.codec import MSGPACK
from tidings.protocol.errors import REGISTRY
from tidings.protocol.frames import (
    Ack,
    Changed,
    Deliver,
    Drained,
    Error,
    Frame,
    Heartbeat,
    HeartbeatOk,
    Hello,
    InboxExpired,
    Read,
    Receipt,
    Reference,
    Send,
    Sent,
    Set,
    Stale,
    Sync,
    Synced,
    Welcome,
)
from tidings.protocol.ids import ClientId, ConversationId, EntryId, MessageId
from tidings.testing.simulation.links import Wire
from tidings.testing.simulation.loop import Handle
from tidings.testing.simulation.profile import Draft, SettingName, stored

if TYPE_CHECKING:
    from tidings.testing.simulation.device import Device
    from tidings.testing.simulation.nodes import Node

WELCOME_S = 10.0
ACK_S = (0.0, 0.3)
"""how long a device takes that is slow to acknowledge"""
BROKEN = 1006

Answer = Callable[[Any], None]
Refusal = Callable[[Error], None]


class Asked(NamedTuple):
    """A request that waits for its answer."""

    make: Callable[[int], Frame]
    answer: Answer
    refused: Refusal | None


class Connection:
    """See the module's text. Implements `links.Peer`."""

    hears: ClassVar[dict[type[Any], Callable[[Any, Any], None]]]
    """what is done about each frame"""

    def __init__(self, device: "Device", node: "Node", random: Random) -> None:
        simulation = device.simulation
        self.device = device
        self.node = node
        self.loop = simulation.loop
        self.live_s: float | None = None
        """since when the inbox is drained"""
        self.began_s = self.loop.now_s
        self.is_over = False
        self.is_up = False
        """whether Welcome has come"""
        self._wire = Wire(self.loop, node, self, random, simulation.tally)
        self._prompt_acks = random.random() < 0.7
        self._random = random
        self._delivered = 0
        self._acked = 0
        self._ack_timer: Handle | None = None
        self._heard_beat = True
        self._requests: dict[int, Asked] = {}
        self._last_request = 0
        self._unanswered: dict[ConversationId, ClientId] = {}
        self._reads_asked: dict[ConversationId, MessageId] = {}
        self._sets_asked: dict[SettingName, bytes] = {}
        self._after(WELCOME_S, self._no_welcome)
        self._wire.connect()

    # --- the device's side ------------------------------------------------------------------

    @property
    def wire(self) -> Wire:
        """What it goes over."""
        return self._wire

    def hang_up(self) -> None:
        """Close it."""
        self._wire.hang_up()
        self._end()

    def ask(self, make: Callable[[int], Frame], answer: Answer, refused: Refusal | None = None) -> None:
        """Send a request; `answer` gets what comes, unless the connection ends or it is refused.

        `refused` is told of a refusal that is for good; without it there must be none.
        """
        self._last_request += 1
        self._requests[self._last_request] = Asked(make, answer, refused)
        self._say(make(self._last_request))

    def transmit(self) -> None:
        """Send what waits in the outbox and whose turn it is."""
        if not self.is_up or self is not self.device.connection:
            return  # a device sends over one connection at a time (spec §6.3)
        for draft in list(self.device.profile.outbox.values()):
            if draft.conversation not in self._unanswered:
                self._send(draft)

    def tell_reads(self) -> None:
        """Say what was read, as far as it was not said on this connection."""
        if not self.is_up:
            return
        for conversation, up_to in list(self.device.profile.reads.items()):
            if self._reads_asked.get(conversation, 0) < up_to:
                self._reads_asked[conversation] = up_to
                self._tell_read(conversation, up_to)

    def tell_sets(self) -> None:
        """Say which settings were changed."""
        if not self.is_up:
            return
        for name, value in list(self.device.profile.sets.items()):
            if self._sets_asked.get(name) != value:
                self._sets_asked[name] = value
                self._tell_set(name, value)

    # --- the link's side (Peer) ---------------------------------------------------------------

    def opened(self) -> None:
        device = self.device
        have = device.profile.newest_entry if device.boasts else device.profile.have
        self._say(Hello(device.token, "simulation", have))

    def received(self, batch: list[bytes]) -> None:
        for data in batch:
            frame = MSGPACK.decode_server(data)
            self.hears[type(frame)](self, frame)
            if self.is_over:
                return
        if self._delivered > self._acked and self._ack_timer is None:
            if self._prompt_acks:
                self._ack()
            else:
                self._ack_timer = self._after(self._random.uniform(*ACK_S), self._ack)

    def closed(self, code: int, reason: str) -> None:
        if not self.is_over:
            self._end()
            self.device.lost(self, code, reason)

    # --- frames -------------------------------------------------------------------------------

    def _welcome(self, frame: Welcome) -> None:
        self.is_up = True
        self.device.welcomed(self)
        self._after(frame.heartbeat_s, self._beat, frame)
        self.transmit()
        self.tell_reads()
        self.tell_sets()

    def _deliver(self, frame: Deliver) -> None:
        self._delivered += 1
        profile = self.device.profile
        profile.newest_entry = max(profile.newest_entry, frame.entry_id)
        self.device.store(stored(frame.message), self, stands=frame.stands)

    def _drained(self, frame: Drained) -> None:
        self.live_s = self.loop.now_s
        self._complete(getattr(frame, "complete_to", None) or self.device.profile.newest_entry)
        self._sync()
        self.device.drained(self)

    def _heartbeat_ok(self, frame: HeartbeatOk) -> None:
        self._heard_beat = True
        self._complete(getattr(frame, "complete_to", EntryId(0)))

    def _complete(self, up_to: EntryId) -> None:
        profile = self.device.profile
        profile.have = max(profile.have, up_to)

    def _sent(self, frame: Sent) -> None:
        self.device.sent(frame)
        self._go_on(frame.client_id)

    def _receipt(self, frame: Receipt) -> None:
        self.device.told(frame)

    def _changed(self, frame: Changed) -> None:
        for setting in frame.settings:
            self.device.profile.heed(setting)

    def _stale(self, _: Stale) -> None:
        self.device.simulation.tally.count("people: told to sync")
        self._sync()

    def _error(self, frame: Error) -> None:
        kind = REGISTRY[frame.code]
        wait_s = (frame.retry_after or 1.0) if kind.retry else None
        self.device.note("is refused", kind.name, frame.client_id or frame.request_id)
        if frame.client_id is not None:
            if wait_s is not None:
                self._after(wait_s, self._send_again, frame.client_id)
            else:
                self._send_refused(frame.client_id, frame)
        elif frame.request_id is not None:
            asked = self._requests.pop(frame.request_id, None)
            if asked is not None and wait_s is not None:
                self._after(wait_s, self.ask, *asked)
            elif asked is not None and asked.refused is not None:
                asked.refused(frame)
            elif asked is not None:
                self.device.simulation.broken("a request was refused", f"{self.device.name}: {kind.name}")
        elif wait_s is not None:
            # It may have been an Ack; without it the server would wait for ever.
            self._after(wait_s, self._ack)

    def _answered(self, frame: Any) -> None:
        asked = self._requests.pop(frame.request_id, None)
        if asked is not None:
            asked.answer(frame)

    def _expired(self, frame: InboxExpired) -> None:
        self.device.simulation.broken("an inbox was called expired", f"{self.device.name}: {frame}")

    def _ignored(self, frame: Any) -> None:
        """What is true for a moment only."""

    # --- inside -----------------------------------------------------------------------------

    def _send_refused(self, name: ClientId, frame: Error) -> None:
        """A message will not be accepted as it is."""
        self.device.refused(name, frame.code)
        self._go_on(name)

    def _send(self, draft: Draft) -> None:
        device = self.device
        target = MessageId(0)
        if draft.about is not None:
            about = device.profile.messages.get(draft.about)
            if about is None:
                device.refused(draft.name, 0)
                return
            target = about.message_id
        self._unanswered[draft.conversation] = draft.name
        after = device.profile.newest.get(draft.conversation, MessageId(0))
        version = device.version_of(draft.conversation)
        self._say(_frame(device.departs(draft), version, target, after))

    def _send_again(self, name: ClientId) -> None:
        draft = self.device.profile.outbox.get(name)
        if draft is None:
            self._go_on(name)
        elif self._unanswered.get(draft.conversation) == name:
            self._send(draft)

    def _go_on(self, name: ClientId) -> None:
        """A message was answered for: the next one of its conversation has its turn."""
        for conversation, waiting in list(self._unanswered.items()):
            if waiting == name:
                del self._unanswered[conversation]
                self.transmit()

    def _tell_read(self, conversation: ConversationId, up_to: MessageId) -> None:
        self.device.simulation.model.asks_read(self.device.user.user_id, conversation, up_to)

        def answered(_: Any) -> None:
            if self._reads_asked.get(conversation) == up_to:
                del self._reads_asked[conversation]
            self.device.read_answered(conversation, up_to)

        self.ask(lambda request_id: Read(request_id, conversation, up_to), answered)

    def _tell_set(self, name: SettingName, value: bytes) -> None:
        def answered(_: Any) -> None:
            if self._sets_asked.get(name) == value:
                del self._sets_asked[name]
            self.device.set_answered(name, value)

        self.ask(lambda request_id: Set(request_id, name[0], name[1], value), answered)

    def _sync(self) -> None:
        def answered(synced: Synced) -> None:
            for receipt in synced.receipts:
                self.device.told(receipt)
            for setting in synced.settings:
                self.device.profile.heed(setting)
            profile = self.device.profile
            profile.synced_ms = max(profile.synced_ms, synced.at_ms)
            if synced.more:
                self._sync()

        since = self.device.profile.synced_ms
        self.ask(lambda request_id: Sync(request_id, since), answered)

    def _ack(self) -> None:
        self._ack_timer = None
        self._acked = self._delivered
        self._say(Ack(self._delivered))

    def _beat(self, welcome: Welcome) -> None:
        self._heard_beat = False
        self._say(Heartbeat())
        self._after(welcome.heartbeat_answer_s, self._check_beat, welcome)

    def _check_beat(self, welcome: Welcome) -> None:
        if self._heard_beat:
            self._after(welcome.heartbeat_s, self._beat, welcome)
        else:
            self.device.note("hears no answer to its heartbeat")
            self.hang_up()
            self.device.lost(self, BROKEN, "no answer to a heartbeat")

    def _no_welcome(self) -> None:
        if not self.is_up:
            self.device.note("is not welcomed")
            self.hang_up()
            self.device.lost(self, BROKEN, "no answer to Hello")

    def _say(self, frame: Frame) -> None:
        if not self.is_over:
            self._wire.say(MSGPACK.encode(frame))

    def _after(self, seconds: float, work: Callable[..., None], *arguments: Any) -> Handle:
        return self.loop.after(seconds, self._unless_over, work, arguments)

    def _unless_over(self, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        if not self.is_over:
            work(*arguments)

    def _end(self) -> None:
        self.is_over = True
        self.is_up = False
        self.live_s = None


def _frame(draft: Draft, version: int, target: MessageId, after: MessageId) -> Send:
    about = draft.about
    return Send(
        draft.name,
        draft.attempt,
        draft.conversation,
        version,
        EntryId(0),
        frames.Scheme.PLAIN,
        "" if draft.relation == frames.Relation.DELETE else "text",
        draft.content,
        relates_to=None if about is None else Reference(about.device, about.name),
        expires_at=draft.expires_ms,
        relation=draft.relation,
        target=target,
        after=after,
    )


Connection.hears = {
    Welcome: Connection._welcome,
    Deliver: Connection._deliver,
    Drained: Connection._drained,
    HeartbeatOk: Connection._heartbeat_ok,
    Sent: Connection._sent,
    Receipt: Connection._receipt,
    Changed: Connection._changed,
    Stale: Connection._stale,
    Error: Connection._error,
    InboxExpired: Connection._expired,
    frames.Ok: Connection._answered,
    Synced: Connection._answered,
    frames.Page: Connection._answered,
    frames.Conversation: Connection._answered,
    frames.Presence: Connection._ignored,
    frames.Typed: Connection._ignored,
}
