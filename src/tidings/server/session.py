"""A session: one device's conversation with the server, from Hello to the end of its connection.

```
 greeting --Hello--> receiving (or side) --anything final--> closed
```

It decodes frames, keeps their order, and hands each to its command (see `commands.py`). Most
commands finish at once; while one waits for the store, later frames of this session wait in
its backlog, and beyond a bound the socket is not read. It knows nothing of sockets (`Link`) and
nothing of rows (the rules).

spec §6
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from tidings.directory.contract import Place
from tidings.domain.accounts import User
from tidings.domain.commit import refusal
from tidings.domain.inboxes import Entry
from tidings.domain.messages import WAITED_S
from tidings.domain.peers import MARGIN_S
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import Codec
from tidings.protocol.errors import (
    INTERNAL,
    OUT_OF_STATE,
    UNAUTHENTICATED,
    ProtocolError,
)
from tidings.protocol.frames import ClientFrame, Drained, Error, Frame, Hello, Send, Stale
from tidings.protocol.ids import ConversationId, DeviceId, EntryId
from tidings.server.feed import Feed
from tidings.server.link import Link
from tidings.server.pulls import Pulls
from tidings.server.rate import Buckets, limited
from tidings.server.services import RateClass, Services
from tidings.store.contract import StoreError, StoreUnavailable

REFUSALS_WINDOW_S = 10.0
NEVER = float("inf")
UNREAD_S = 30.0
"""A device whose rows cannot be read for so long is sent away: maybe only this node lacks the store."""


class Session:
    """See the module's text. Implements `link.Handler` and `connections.Receiver`."""

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_busy",
        "_draining",
        "_has_looked",
        "_heard_at",
        "_is_stale",
        "_owes_drained",
        "_paused",
        "_refusals",
        "_refusals_since",
        "_sync_due_s",
        "_to_look_at",
        "began_s",
        "buckets",
        "came_s",
        "codec",
        "complete_from",
        "device_id",
        "feed",
        "is_closed",
        "link",
        "place",
        "pulls",
        "services",
        "user",
    )

    def __init__(self, services: Services, link: Link, codec: Codec) -> None:
        self.services = services
        self.link = link
        self.codec = codec
        self.user: User | None = None
        self.device_id = DeviceId(0)
        self.feed: Feed | None = None
        """None on a side session"""
        self.pulls: Pulls | None = None
        """what stands in no inbox; None where there is none of it"""
        self._has_looked = False
        """whether it is known what there is of it"""
        self.complete_from: EntryId | None = None
        """from where on the inbox is complete, once the device was told that it is not before"""
        self.place: Place | None = None
        """in the directory, where there are other nodes"""
        self.is_closed = False
        self.began_s = 0.0
        """when its device was recognised, by the loop's clock"""
        self._heard_at = self.came_s = services.loop.time()
        """`came_s`: when the frame came that is being handled; it may have waited for its turn"""
        self.buckets: Buckets = []
        self._backlog: deque[tuple[float, bytes]] | None = None
        """frames, and when each came"""
        self._backlog_bytes = 0
        self._busy: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._paused = False
        self._is_stale = False
        self._owes_drained = False
        """the inbox was found empty, and logs are still being read"""
        self._to_look_at: dict[ConversationId, None] | None = None
        """groups that changed, so that they may have to be pulled"""
        self._sync_due_s = NEVER
        """when the device is told to sync once more: what moved while it did was not there yet"""
        self._refusals = 0
        self._refusals_since = 0.0
        services.connections.opened(self)

    # --- the link's side ------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """One frame from the device."""
        if self.is_closed:
            return
        self._heard_at = self.services.loop.time()
        if self._busy is None:
            self.came_s = self._heard_at
            self._handle(data)
        elif data == self.codec.heartbeat and self.user is not None:
            # Whether the connection stands, is asked, not whether the store answers: else all who write
            # would come anew, all at once, where it is slow, and make it slower.
            self._handle(data)
        else:
            self._wait(data)

    def lost(self) -> None:
        """The connection is gone."""
        self.is_closed = True
        self.services.connections.closed(self)
        self._stop_receiving()
        if self.user is not None:
            self.user.sessions -= 1
        # A command under way goes on to its end: what it answers is dropped, what it did holds.
        if self._draining is not None:
            self._draining.cancel()

    def shutdown(self) -> None:
        """The server is stopping: tell this client its own moment to come back."""
        self.close(CloseCode.DRAIN, f"{self.services.connections.come_back_in_s():.2f}")

    # --- the node's side ------------------------------------------------------------------

    def offer(self, entry: Entry) -> None:
        """An inbox entry of this user became durable."""
        feed = self.feed
        assert feed is not None
        feed.offer(entry)

    def tell(self, frame: Frame) -> None:
        """A frame that no inbox holds. A device that reads slowly is told later that it missed some."""
        if self._is_stale or self.link.unsent_bytes > self.services.limits.state_bytes:
            self._is_stale = True
        else:
            self.send(frame)

    def fail(self, bug: Exception) -> None:
        """An entry could not be offered."""
        self._failed(bug, None)
        self.close(CloseCode.UNAVAILABLE, "an entry could not be sent")

    def lose(self, due_s: float) -> None:
        """Something that was meant for this session may be lost: look again at this moment."""
        if self.feed is not None:
            self.feed.lose(due_s)

    def replace(self) -> None:
        """A newer session of this device has come."""
        self.close(CloseCode.REPLACED, "another connection of this device took over")

    def sweep(self, now_s: float) -> None:
        """Close a connection that has said nothing for too long."""
        if self.is_closed:
            return  # what is left of it must not enter the directory again
        is_late_sync = now_s >= self._sync_due_s
        self._is_stale = self._is_stale or is_late_sync
        if self.feed is not None and self.feed.is_due(now_s):
            self._is_stale = self._is_stale or self.feed.has_lost()
            self.keep_draining()
        limits = self.services.limits
        silent_s = now_s - self._heard_at
        if self.user is None and silent_s > limits.hello_s:
            self.close(CloseCode.HELLO_TIMEOUT, "no Hello came")
        elif silent_s > limits.idle_s:
            self.close(CloseCode.HEARTBEAT_TIMEOUT, "no heartbeat came")
        elif self._is_stale and self.link.unsent_bytes <= limits.state_bytes:
            self._is_stale = False
            self._sync_due_s = now_s + MARGIN_S if self._may_miss and not is_late_sync else NEVER
            self.send(Stale())

    # --- the commands' side ---------------------------------------------------------------

    @property
    def has_waited(self) -> bool:
        """Whether what is being handled may have waited so long that another node was sent it meanwhile."""
        services = self.services
        return services.cluster is not None and services.loop.time() - self.came_s > WAITED_S

    @property
    def _may_miss(self) -> bool:
        """Whether `Sync` tells only later what other nodes are writing just now."""
        return self.services.cluster is not None

    @property
    def known_user(self) -> User:
        """Whose device this is; commands other than Hello run only once that is known."""
        assert self.user is not None
        return self.user

    def send(self, frame: Frame) -> None:
        """Send the device a frame at the end of this turn."""
        if not self.is_closed:
            self.link.send(self.codec.encode(frame))

    def send_entry(self, entry: Entry) -> None:
        """Send the device an inbox entry at the end of this turn."""
        self.link.send(entry.encoded(self.codec, self.device_id))
        if not entry.sender_device and entry.entry_id:
            self.heed(entry)

    def heed(self, entry: Entry) -> None:
        """A group was changed: it may have to be pulled from now on, or not any more."""
        if self._has_looked:
            if self._to_look_at is None:
                self._to_look_at = {}
            self._to_look_at[entry.conversation_id] = None
            self._drain_soon()

    def _drain_soon(self) -> None:
        self.services.loop.call_soon(self.keep_draining)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """End the session; the device may or may not come back, as the code says."""
        if not self.is_closed:
            self.is_closed = True
            self._stop_receiving()
            self.link.close(code, reason)

    def refuse(self, error: ProtocolError, frame: ClientFrame | None) -> None:
        """Answer a frame that is not obeyed, and close where the registry says so."""
        self.services.counts.refuse(error.kind.code)
        request_id = getattr(frame, "request_id", None)
        client_id = frame.client_id if isinstance(frame, Send) else None
        self.send(Error(error.kind.code, error.message, request_id, client_id, error.retry_after_s))
        if error.kind.close is not None:
            self.close(error.kind.close, error.kind.name)
        elif self.user is None:
            # One chance: what is refused before it is welcome may not stay and try again.
            self.close(CloseCode.UNAVAILABLE if error.kind.retry else CloseCode.NOT_ALLOWED, error.kind.name)
        elif self._count_refusal() > self.services.limits.refusals:
            self.close(CloseCode.FLOOD, "too many refused frames")

    def start_receiving(self, feed: Feed) -> None:
        """Become the device's receiving session and drain its inbox."""
        assert self.user is not None
        self.feed = feed
        if self._may_miss:
            self._sync_due_s = self.began_s + MARGIN_S
        self.services.connections.register(self.user.user_id, self)
        self.keep_draining()

    def stay_aside(self) -> None:
        """Become a side session, which receives nothing."""
        self.services.connections.joined(self.known_user.user_id, self)

    def keep_draining(self) -> None:
        """Read the inbox on, if the feed waits for it and has room."""
        feed = self.feed
        if self._draining is not None or feed is None or self.is_closed:
            return
        pulls = self.pulls
        pulls_stalled = not self._has_looked if pulls is None else pulls.is_stalled
        if (pulls_stalled or self._to_look_at or feed.is_stalled) and feed.has_room:
            self._draining = self.services.loop.create_task(self._drain(feed))

    async def patiently(self, read: Callable[[], Awaitable[None]]) -> None:
        """Read until it succeeds or the session is closed. Raises StoreUnavailable after `UNREAD_S`.

        A new hub, a node of a ring that restarts: no reason to send everybody away at once.
        """
        failing_since_s: float | None = None
        while not self.is_closed:
            try:
                await read()
            except StoreUnavailable as error:
                now_s = self.services.loop.time()
                if failing_since_s is None:
                    failing_since_s = now_s
                    self._failed(error, None)
                elif now_s - failing_since_s > UNREAD_S:
                    raise
                await self._wait_to_read_again(now_s)
            else:
                return

    # --- inside ---------------------------------------------------------------------------

    def _handle(self, data: bytes) -> None:
        frame = None
        try:
            frame = self.codec.decode_client(data)
            run, rate = self.services.commands[type(frame)]
            self._admit(frame, rate)
            slow = run(self, frame)
        except ProtocolError as error:
            self.refuse(error, frame)
            return
        except Exception as error:
            self._failed(error, frame)
            return
        if slow is not None:
            self._busy = self.services.loop.create_task(self._finish(slow, frame))

    def _admit(self, frame: ClientFrame, rate: RateClass) -> None:
        """Raise ProtocolError for a frame that is out of state or comes too fast."""
        if self.user is None:
            if not isinstance(frame, Hello):
                raise ProtocolError(UNAUTHENTICATED, "the first frame is Hello")
            return  # said once: there is nothing to count
        if type(frame) is Hello:
            raise ProtocolError(OUT_OF_STATE, "Hello was said before")
        bucket = self.buckets[rate]
        if bucket is None:
            bucket = self.buckets[rate] = self.services.rates.bucket(rate, self._heard_at)
        wait_s = bucket.take(self._heard_at)
        if wait_s:
            raise limited(wait_s)

    async def _finish(self, slow: Coroutine[Any, Any, None], frame: ClientFrame) -> None:
        """Run a command that waits for something, then the frames that came meanwhile."""
        try:
            await slow
        except ProtocolError as error:
            self.refuse(error, frame)
        except Exception as error:
            self._failed(error, frame)
        self._busy = None
        backlog = self._backlog
        while backlog and self._busy is None and not self.is_closed:
            self.came_s, data = backlog.popleft()
            self._backlog_bytes -= len(data)
            self._handle(data)
        if not backlog:
            self._backlog = None
            if self._paused:
                self._paused = False
                self.link.resume_reading()

    def _wait(self, data: bytes) -> None:
        if self._backlog is None:
            self._backlog = deque()
        self._backlog.append((self._heard_at, data))
        self._backlog_bytes += len(data)
        if not self._paused and self._is_behind():
            self._paused = True
            self.link.pause_reading()

    def _is_behind(self) -> bool:
        """Whether the socket should wait; before we know who this is, at once."""
        limits = self.services.limits
        waiting = len(self._backlog or ())
        return (
            self.user is None or waiting >= limits.backlog_frames or self._backlog_bytes >= limits.frame_bytes
        )

    async def _drain(self, feed: Feed) -> None:
        try:
            await self.patiently(lambda: self._drain_once(feed))
        except ProtocolError as error:
            self.close(CloseCode.UNAVAILABLE, error.kind.name)
        except Exception as error:
            self._failed(error, None)
            self.close(CloseCode.UNAVAILABLE, "the inbox cannot be read")

    async def _wait_to_read_again(self, now_s: float) -> None:
        services = self.services
        due_s = services.connections.look_again_s()  # not all in one second
        await asyncio.sleep(max(due_s - now_s, services.limits.store_retry_s))

    async def _drain_once(self, feed: Feed) -> None:
        services = self.services
        floor = EntryId(0)
        if services.cluster is not None and self.place is None:
            # Before the inbox is read: what comes after the read must find the way here.
            await services.cluster.places.enter(self, self.known_user.user_id)
            if self.is_closed:
                return
        if feed.is_old(services.ids.now_ms()):
            # Nothing may have come for weeks: what the barrier has passed is in what is read next.
            floor = EntryId(services.ids.last)
            await services.commit.barrier()
        drained = False
        if feed.is_stalled:
            drained = await feed.drain(self._read)
            self._owes_drained = self._owes_drained or drained
        all_pulled = not feed.is_stalled and await self._pull()
        self._draining = None
        if self._owes_drained and all_pulled:
            self._owes_drained = False
            self.send(Drained(services.ids.now_ms(), feed.complete_to))
        passed_over = None if feed.is_stalled else feed.passed_over(floor, first=drained)
        # Until the device knows that its inbox was not complete, it must be told so again.
        if passed_over is not None and self.complete_from is None:
            services.inboxes.acknowledge(self.device_id, passed_over)
        self.keep_draining()  # something may have come up while this went on

    async def _pull(self) -> bool:
        """Read the logs of what stands in no inbox; whether all of them are live."""
        pulls = self.pulls
        if pulls is None:
            assert self.feed is not None
            if self._has_looked and not self._to_look_at:
                return True
            user_id = self.known_user.user_id
            pulls = Pulls(user_id, self.device_id, self.feed, self.services.means, self._drain_soon)
            pulls.is_loaded, self._has_looked, self.pulls = self._has_looked, True, pulls
        while self._to_look_at:
            conversation_id = next(iter(self._to_look_at))
            # Before: what changes while it is looked at is to be looked at once more.
            del self._to_look_at[conversation_id]
            try:
                await pulls.look_at(conversation_id)
            except StoreError:
                self._to_look_at[conversation_id] = None
                raise
        all_live = await pulls.drain()
        if pulls.is_empty:
            self.pulls = None
        return all_live

    async def _read(self, after: EntryId, limit: int, limit_bytes: int) -> list[Entry]:
        services = self.services
        entries = await services.inboxes.read(
            self.known_user.user_id,
            after,
            now_ms=services.ids.now_ms(),
            limit=limit,
            limit_bytes=limit_bytes,
        )
        if entries:
            # What this device answers to them sorts after them, whichever node gave their ids.
            services.ids.observe(max(entry.message_id for entry in entries))
        return entries

    def _failed(self, error: Exception, frame: ClientFrame | None) -> None:
        """The store cannot be read, or we have a bug: say so, and to the log, of a bug in full."""
        name, log = type(frame).__name__, self.services.log
        if isinstance(error, StoreUnavailable):
            # Of its surroundings: there is nothing to look for in here.
            log.warning("frame failed", frame=name, device=self.device_id, reason=str(error))
        else:
            log.error("frame failed", frame=name, device=self.device_id, exc_info=error)
        if frame is not None:
            self.refuse(refusal(error) if isinstance(error, StoreError) else ProtocolError(INTERNAL), frame)

    def _count_refusal(self) -> int:
        if self._heard_at - self._refusals_since > REFUSALS_WINDOW_S:
            self._refusals_since = self._heard_at
            self._refusals = 0
        self._refusals += 1
        return self._refusals

    def _stop_receiving(self) -> None:
        if self.user is None:
            return
        if self.feed is not None:
            if self.pulls is not None:
                self.pulls.close()
            self.services.connections.unregister(self.user.user_id, self)
            if self.services.cluster is not None:
                self.services.cluster.places.left(self)
        else:
            self.services.connections.left(self.user.user_id, self)
