"""The transmitter: sends the outbox, in its order, one process of a profile at a time.

Whoever holds `outbox.lock` sends until the outbox is empty and then lets go; the others wait for
the lock and watch what becomes of their own messages. At most `WINDOW` messages are unanswered,
and only one of each conversation: if it is refused for now (`rate_limited`, `store_full`), those
behind it have not overtaken it. After a lost connection everything unanswered is still in the
outbox and is sent again, in order.

spec §6.3
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable

from tidings.client import outbox
from tidings.client.connection import Connection, SealedForOthers
from tidings.client.conversations import Conversations, Known, normal
from tidings.client.errors import Refused
from tidings.client.outbox import ClientIds, Draft, Outcome, Posting, Row
from tidings.client.profile import FileLock
from tidings.client.sealing.press import Press
from tidings.client.sealing.sealer import Unsealable
from tidings.client.server_time import ServerTime
from tidings.client.surroundings import Clock
from tidings.client.transcript import Self, newest, place_of
from tidings.client.values import SentMessage
from tidings.client.vault import Vault
from tidings.protocol.errors import NO_SUCH_CONVERSATION, NO_SUCH_MESSAGE, REGISTRY, TOO_LARGE, UNSEALABLE
from tidings.protocol.frames import UNSHOWN, Reference, Scheme, Send, Sent
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId

WINDOW = 64
"""messages that are sent and not answered"""
NAME_CHARS = 64
"""of content types and handles, as every server has it (spec §10)"""
POLL_S = 0.05
"""how often to look whether another process has sent a message, or let go of the lock"""

log = logging.getLogger("tidings.client")


class Transmitter:
    """See the module's text."""

    def __init__(
        self,
        vault: Vault,
        conversations: Conversations,
        lock: FileLock,
        me: Self,
        names: ClientIds,
        writer: bytes,
        clock: Clock,
        time: ServerTime,
        press: Press | None,
        changed: Callable[[], None],
    ) -> None:
        """`press` seals what is sent; None: nothing is sealed. `writer` is this process's random name.

        `changed` is called when a message was accepted.
        """
        self._vault = vault
        self._conversations = conversations
        self._lock = lock
        self._me = me
        self._names = names
        self._writer = writer
        self._clock = clock
        self._time = time
        self._press = press
        self._changed = changed
        self._awaited: dict[ClientId, asyncio.Future[SentMessage]] = {}
        self._tried: set[ClientId] = set()
        """this process's own messages that it has sent at least once"""
        self._has_awaited = asyncio.Event()
        self._wake = asyncio.Event()
        self._window = asyncio.Semaphore(WINDOW)
        self._turns: dict[ConversationId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._failure: Exception | None = None

    async def send(self, draft: Draft) -> SentMessage:
        """Put a message into the outbox and wait until the server has it. Raises Refused, …

        Cancelling the wait leaves the message in the outbox.
        """
        if self._failure is not None:
            raise self._failure
        name = next(self._names)
        awaited: asyncio.Future[SentMessage] = asyncio.get_running_loop().create_future()
        self._awaited[name] = awaited
        self._has_awaited.set()
        try:
            await self._vault.write(
                lambda database: outbox.append(
                    database, name, draft._replace(peer=normal(draft.peer)), self._writer
                )
            )
            self._wake.set()
            return await awaited
        finally:
            del self._awaited[name]

    def wake(self) -> None:
        """There may be something in the outbox."""
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """Nothing will be sent any more; what waits stays in the outbox."""
        self._failure = error
        for awaited in self._awaited.values():
            if not awaited.done():
                awaited.set_exception(error)

    async def run(self, connection: Connection) -> None:
        """Send over a connection until it is lost."""
        # What was answered just before the last one was lost may be recorded, and told to nobody.
        await self._hear_from_others()
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while not await self._vault.read(outbox.is_empty):
                if not self._lock.take():
                    await self._clock.sleep(POLL_S)
                    continue
                try:
                    await self._send_all(connection)
                finally:
                    self._lock.release()

    async def watch(self) -> None:
        """Hear of own messages that another process has sent."""
        while True:
            # Only while somebody waits: an idle program must not wake the machine.
            await self._has_awaited.wait()
            await self._clock.sleep(POLL_S)
            if not self._awaited:
                self._has_awaited.clear()
            elif not self._lock.is_held:
                await self._hear_from_others()

    # --- sending --------------------------------------------------------------------------

    async def _send_all(self, connection: Connection) -> None:
        carried: set[asyncio.Task[None]] = set()
        after = 0
        try:
            while True:
                rows = await self._take(after)
                for row in rows:
                    after = row.row_id
                    await self._start(connection, row, carried)
                if rows:
                    continue
                if not carried:
                    return
                await self._wait_for_more(carried)
        finally:
            for task in carried:
                task.cancel()
            await asyncio.gather(*carried, return_exceptions=True)

    async def _take(self, after: int) -> list[Row]:
        self._wake.clear()
        now_ms = self._time.now_ms()
        return await self._vault.write(
            lambda database: outbox.take(database, after, WINDOW, self._writer, self._tried, now_ms)
        )

    async def _wait_for_more(self, carried: set[asyncio.Task[None]]) -> None:
        """Return when a message was answered or another one was written."""
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({woken, *carried}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        _reap(carried)

    async def _start(self, connection: Connection, row: Row, carried: set[asyncio.Task[None]]) -> None:
        """Wait for a row's turn, then begin to send it."""
        _reap(carried)
        oversize = _oversize(row, connection.welcome.content_bytes)
        if oversize is not None:
            await self._refused(row, oversize)
            return
        known = await self._find(connection, row)
        if known is None:
            return
        turn = self._turns[known.conversation_id]
        await turn.acquire()
        try:
            await self._window.acquire()
        except BaseException:
            turn.release()
            raise
        task = asyncio.ensure_future(self._carry(connection, row, known))

        def done(_: "asyncio.Task[None]") -> None:
            self._window.release()
            turn.release()

        task.add_done_callback(done)
        carried.add(task)

    async def _find(self, connection: Connection, row: Row, *, is_known: bool = True) -> Known | None:
        """The conversation that a row goes to; None if the server says that there is none.

        With `is_known` false the server is asked, whatever the profile has.
        """
        find = self._conversations.with_peer if is_known else self._conversations.opened
        while True:
            try:
                return await find(row.draft.peer, connection.ask)
            except Refused as refusal:
                if refusal.retry_after_s is None:
                    await self._refused(row, refusal)
                    return None
                await self._clock.sleep(refusal.retry_after_s)

    async def _carry(self, connection: Connection, row: Row, known: Known) -> None:
        """Send a row until it is answered for good. Raises ConnectionLost."""
        is_reopened = False
        target = await self._target(row)
        if target is None:
            await self._refused(row, _no_such_message())
            return
        while True:
            try:
                row = await self._sealed(connection, row, known)
                self._tried.add(row.client_id)
                after = await self._vault.read(lambda database: newest(database, known.conversation_id))
                sent = await connection.transmit(_frame(row, known, target, after))
                break
            except SealedForOthers as outdated:
                assert self._press is not None
                row = await self._press.changed(row, outdated.changed)
                row = await self._again(row)
            except Refused as refusal:
                if refusal.code == NO_SUCH_CONVERSATION.code and not is_reopened:
                    # A server that was restored from a backup may not know what the profile knows.
                    is_reopened = True
                    if await self._find(connection, row, is_known=False) is None:
                        return
                elif refusal.retry_after_s is None:
                    await self._refused(row, refusal)
                    return
                else:
                    await self._clock.sleep(refusal.retry_after_s)
                row = await self._again(row)
        await self._sent(row, sent, known)

    async def _sealed(self, connection: Connection, row: Row, known: Known) -> Row:
        """The row as it is to be sent. Raises Refused, ConnectionLost."""
        if self._press is None:
            return row
        try:
            row = await self._press.seal(connection, row, known)
        except Unsealable as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise Refused(UNSEALABLE.code, UNSEALABLE.name, error.reason + hint) from None
        if row.sealed is not None and len(row.sealed.content) > connection.welcome.content_bytes:
            raise Refused(TOO_LARGE.code, TOO_LARGE.name, "encrypted, it is more than the server takes")
        return row

    async def _sent(self, row: Row, sent: Sent, known: Known) -> None:
        now_ms, posting = self._time.now_ms(), Posting(self._names, self._writer)
        await self._vault.write(
            lambda database: outbox.record_sent(
                database, row, sent, known.conversation_id, self._me, posting, now_ms
            )
        )
        self._hear(row.client_id, Outcome(sent, known.conversation_id))
        self._wake.set()  # others may need the key
        self._changed()

    async def _target(self, row: Row) -> MessageId | None:
        """Where the message stands that a row is about; 0 if it is about none, None if it is gone.

        It may have been in the outbox itself when this was written: those before it are sent by now.
        Or the server has it at another place since, having forgotten where it was.
        """
        about, written = row.draft.relates_to, row.draft.target
        if about is None:
            return written
        place = await self._vault.read(lambda database: place_of(database, about))
        return max(place or written, written) or None

    async def _again(self, row: Row) -> Row:
        return await self._vault.write(lambda database: outbox.raise_attempt(database, row))

    async def _refused(self, row: Row, refusal: Refused) -> None:
        now_ms = self._clock.wall_ms()
        self._tried.discard(row.client_id)
        await self._vault.write(
            lambda database: outbox.record_refused(database, row, refusal.code, refusal.reason, now_ms)
        )
        if row.client_id in self._awaited:
            await self._hear_from_others()
        else:
            log.warning("a message to @%s was not sent: %s", row.draft.peer, refusal.reason)

    # --- hearing --------------------------------------------------------------------------

    async def _hear_from_others(self) -> None:
        names = list(self._awaited)
        found = await self._vault.read(lambda database: outbox.outcomes(database, names, self._me.device_id))
        for name, outcome in found.items():
            self._hear(name, outcome)
            if outcome.sent is None:
                await self._vault.write(_forgetting(name))

    def _hear(self, name: ClientId, outcome: Outcome) -> None:
        self._tried.discard(name)
        awaited = self._awaited.get(name)
        if awaited is None or awaited.done():
            return
        sent = outcome.sent
        if sent is None:
            kind = REGISTRY.get(outcome.code)
            awaited.set_exception(
                Refused(outcome.code, kind.name if kind else f"error_{outcome.code}", outcome.message)
            )
            return
        reference = Reference(self._me.device_id, sent.client_id)
        awaited.set_result(SentMessage(reference, sent.message_id, outcome.conversation_id, sent.created_at))


def _oversize(row: Row, content_bytes: int) -> Refused | None:
    """What no server would take. A frame over its limit would end the connection, at every try."""
    if len(row.draft.content) > content_bytes:
        reason = f"the server takes at most {content_bytes} bytes of content"
    elif max(len(row.draft.content_type), len(row.draft.peer)) > NAME_CHARS:
        reason = f"a content type and a handle have at most {NAME_CHARS} characters"
    else:
        return None
    return Refused(TOO_LARGE.code, TOO_LARGE.name, reason)


def _forgetting(name: ClientId) -> Callable[..., None]:
    return lambda database: outbox.forget_refused(database, name)


def _no_such_message() -> Refused:
    return Refused(NO_SUCH_MESSAGE.code, NO_SUCH_MESSAGE.name, "the message that this is about was not sent")


def _frame(row: Row, known: Known, target: MessageId, after: MessageId) -> Send:
    draft, sealed = row.draft, row.sealed
    is_key = draft.relation in UNSHOWN
    return Send(
        row.client_id,
        row.attempt,
        known.conversation_id,
        known.version,
        EntryId(0) if sealed is None else EntryId(sealed.keys_at),
        Scheme.PLAIN if sealed is None and not is_key else Scheme.DIRECT,
        draft.content_type if sealed is None else sealed.content_type,
        draft.content if sealed is None else sealed.content,
        {} if sealed is None else {DeviceId(device): key for device, key in sealed.envelopes.items()},
        relates_to=draft.relates_to,
        silent=draft.silent,
        expires_at=row.expires_at,
        relation=draft.relation,
        target=target,
        after=after,
    )


def _reap(tasks: set["asyncio.Task[None]"]) -> None:
    """Drop those that are done. Raises what one of them raised."""
    for task in [task for task in tasks if task.done()]:
        tasks.remove(task)
        task.result()
