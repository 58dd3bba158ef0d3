"""The transmitter: sends the outbox, in its order, one process of a profile at a time.

Whoever holds `outbox.lock` sends until the outbox was empty for a moment and then lets go; the others
wait for the lock and watch what becomes of their own messages. At most `WINDOW` messages are unanswered,
and only one of each conversation: if it is refused for now (`rate_limited`, `store_full`), those
behind it have not overtaken it. After a lost connection everything unanswered is still in the
outbox and is sent again, in order.

A message that nothing waits before is stored and sealed in one transaction. What was answered is recorded
with others, soon: a row whose answer was lost on the way to the disk is sent once more, as it was sealed,
and the server says again what it said.

spec §6.3
"""

import asyncio
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable

from tidings.client import failures, outbox
from tidings.client.connection import Connection, SealedForOthers
from tidings.client.conversations import Conversations, Known, normal
from tidings.client.errors import ClientError, Refused
from tidings.client.group_values import is_group
from tidings.client.outbox import ClientIds, Draft, Outcome, Posting, Row
from tidings.client.profile import FileLock
from tidings.client.sealing.group_press import GroupPress
from tidings.client.sealing.press import Press
from tidings.client.sealing.sealer import Unsealable
from tidings.client.server_time import ServerTime
from tidings.client.surroundings import Clock
from tidings.client.transcript import Self, newest, place_of
from tidings.client.values import SentMessage
from tidings.client.vault import Vault
from tidings.protocol.errors import (
    GROUP_CHANGED,
    INVALID,
    NO_SUCH_CONVERSATION,
    NO_SUCH_MESSAGE,
    REGISTRY,
    TOO_LARGE,
    UNSEALABLE,
)
from tidings.protocol.frames import DevicesChanged, Reference, Relation, Scheme, Sent
from tidings.protocol.ids import ClientId, ConversationId, MessageId

WINDOW = 64
"""messages that are sent and not answered"""
NAME_CHARS = 64
"""of content types and handles, as every server has it (spec §10)"""
LINGER_S = 0.05
"""how long the lock is kept with nothing to send: who writes one message after the other writes soon"""
POLL_S = 0.05
"""how often to look whether another process has sent a message, or let go of the lock"""
CHANGED_S = 0.5
"""how long a node may go on saying that a group is what it was before a change"""
CHANGED_MAX = 20
"""how often a message is sent anew because its group was changed meanwhile"""

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
        changed: Callable[[int | None], None],
        group_press: GroupPress | None = None,
    ) -> None:
        """`press` and `group_press` seal what is sent; None: nothing is. `writer` names this process.

        `changed` is called when a message was accepted, with the moment at which it vanishes.
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
        self._group_press = group_press
        self._changed = changed
        self._awaited: dict[ClientId, asyncio.Future[SentMessage]] = {}
        self._tried: set[ClientId] = set()
        """this process's own messages that it has sent at least once"""
        self._has_awaited = asyncio.Event()
        self._wake = asyncio.Event()
        self._is_written = False
        """whether there may be rows that were not taken"""
        self._sealing: set[ClientId] = set()
        """rows that are sent and not sealed yet: something has to be asked for first"""
        self._outdated: set[ClientId] = set()
        """rows that were sealed after one that was refused, or sealed again, since: they are to say so"""
        self._off = 0
        """calls whose message is about to be stored"""
        self._taking = asyncio.Lock()
        self._taken: list[Row] = []
        """rows to be sent, in their order, all up to the one of `_after`"""
        self._after = 0
        self._connection: Connection | None = None
        """over which the outbox is being sent: this process has the lock"""
        self._carried: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        """why an answer could not be recorded"""
        self._window = asyncio.Semaphore(WINDOW)
        self._turns: dict[ConversationId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._answered: dict[ConversationId, MessageId] = defaultdict(lambda: MessageId(0))
        """the newest message that was accepted of each: it may not be recorded yet"""
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
            await self._write(name, draft._replace(peer=normal(draft.peer)))
            return await awaited
        finally:
            del self._awaited[name]

    def wake(self) -> None:
        """There may be something in the outbox."""
        self._is_written = True
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
        self.wake()
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

    # --- writing --------------------------------------------------------------------------

    async def _write(self, name: ClientId, draft: Draft) -> None:
        """Put a message into the outbox. If nothing is before it, it is taken and sealed with that."""

        def append(database: sqlite3.Connection) -> Row:
            return outbox.append(database, name, draft, self._writer)

        try:
            if self._connection is not None and self._is_idle and not self._taking.locked():
                await self._take(self._connection, append)
            elif self._is_awaited(draft.peer):
                await self._put_off(append)
            else:
                await self._vault.write(append, ahead=True)
                self._is_written = True
        except BaseException:
            self._is_written = True  # who was cancelled may have written it all the same
            raise
        finally:
            self._wake.set()

    def _is_awaited(self, peer: str) -> bool:
        """Whether a message to somebody is on its way: the next one cannot go yet."""
        known = self._conversations.at_hand(peer)
        return known is not None and self._turns[known.conversation_id].locked()

    async def _put_off(self, append: Callable[[sqlite3.Connection], Row]) -> None:
        """Store a message together with what is done next for those before it."""
        self._off += 1
        try:
            await self._vault.later(append, durable=True)
        finally:
            self._off -= 1
            self._is_written = True

    async def _take(
        self, connection: Connection, write: Callable[[sqlite3.Connection], Row] | None = None
    ) -> None:
        """Take the next rows, after one was written."""
        now_ms = self._time.now_ms()

        def take(database: sqlite3.Connection) -> list[Row]:
            is_alone = outbox.is_last(database, self._after)
            written = None if write is None else write(database)
            if is_alone:
                rows = [] if written is None else [outbox.begin(database, written, now_ms)]
            else:
                rows = outbox.take(database, self._after, WINDOW, self._writer, self._tried, now_ms)
            return self._sealed_at_once(database, connection, rows) if is_clear else rows

        async with self._taking:
            # Not before: who had the lock until now may have had a row that is to be sealed again.
            is_idle, is_clear = self._is_idle, self._is_clear
            self._is_written = False
            # With no row taken yet, what was answered must be recorded first: it would be taken again.
            rows = await self._vault.write(take, ahead=self._after > 0)
            self._is_written |= len(rows) == WINDOW
            if rows:
                self._after = rows[-1].row_id
            if is_idle and rows and rows[0].after is not None and connection is self._connection:
                # It was sealed just now, so nothing has to be asked for or refused.
                await self._start(connection, rows.pop(0))
            self._taken += rows

    @property
    def _is_idle(self) -> bool:
        """Whether nothing that was taken is unanswered."""
        return not self._taken and all(task.done() for task in self._carried)

    @property
    def _is_clear(self) -> bool:
        """Whether all that was taken is sealed: what is sealed next comes after it."""
        return not self._sealing and all(row.sealed is not None for row in self._taken)

    def _sealed_at_once(
        self, database: sqlite3.Connection, connection: Connection, rows: list[Row]
    ) -> list[Row]:
        """The rows, sealed as far as that can be done here and now; one that is not ends it."""
        if self._press is None:
            return rows
        done: list[Row] = []
        for row in rows:
            known = self._conversations.at_hand(row.draft.peer)
            if known is None or known.is_group or _oversize(row, connection.welcome.content_bytes):
                break
            made = self._press.seal_at_once(database, row, known)
            if made.sealed is None:
                break
            # What comes from others before a later one is sent is not known yet.
            done.append(made._replace(after=None) if done else made)
        return done + rows[len(done) :]

    # --- sending --------------------------------------------------------------------------

    async def _send_all(self, connection: Connection) -> None:
        """Send until nothing has waited for a moment: who writes a message after the other keeps the lock."""
        async with self._taking:
            self._after, self._taken, self._is_written = 0, [], True
            self._outdated.clear()
            self._sealing.clear()
        self._connection = connection
        try:
            while await self._send_some(connection):
                pass
        finally:
            self._connection = None
            # Let go of first: this wait may be cancelled, and what is left would end the next run.
            carried, self._carried = self._carried, set()
            for task in carried:
                task.cancel()
            await asyncio.gather(*carried, return_exceptions=True)

    async def _send_some(self, connection: Connection) -> bool:
        """Send what waits; whether to go on."""
        self._wake.clear()
        if self._broken is not None:
            raise self._broken
        _reap(self._carried)
        is_due = self._is_written or (self._off > 0 and self._is_idle)
        if is_due and not self._taken and not self._taking.locked():
            await self._take(connection)
        if self._taken:
            await self._start(connection, self._taken[0])
            del self._taken[0]
            return True
        if self._carried or self._taking.locked():
            await self._wake.wait()
            return True
        lingered = asyncio.get_running_loop().call_later(LINGER_S, self._wake.set)
        await self._wake.wait()
        lingered.cancel()
        return self._is_written or bool(self._taken or self._carried) or self._taking.locked()

    async def _start(self, connection: Connection, row: Row) -> None:
        """Wait for a row's turn, then begin to send it."""
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
        if row.client_id in self._outdated:
            self._outdated.remove(row.client_id)
            row = row._replace(sealed=None, after=None)
        if row.sealed is None:
            self._sealing.add(row.client_id)
        task = asyncio.ensure_future(self._carry(connection, row, known))

        def done(_: "asyncio.Task[None]") -> None:
            self._sealing.discard(row.client_id)
            self._window.release()
            turn.release()
            self._wake.set()

        task.add_done_callback(done)
        self._carried.add(task)

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
            except ClientError as error:
                await self._refused(row, Refused(INVALID.code, INVALID.name, error.message))
                return None

    async def _carry(self, connection: Connection, row: Row, known: Known) -> None:
        """Send a row until it is answered for good. Raises ConnectionLost."""
        is_reopened, changes, version = False, 0, known.version
        target = await self._target(row)
        if target is None:
            await self._refused(row, _no_such_message())
            return
        while True:
            try:
                row = await self._sealed(connection, row, known)
                self._sealing.discard(row.client_id)
                if await self._is_done(row):
                    return
                self._tried.add(row.client_id)
                after, version = await self._newest(row, known), await self._version(row, known)
                frame = outbox.frame_of(row, known.conversation_id, known.is_group, version, target, after)
                sent = await connection.transmit(frame)
                break
            except SealedForOthers as outdated:
                unsealed = await self._unsealed(row, outdated.changed)
                if unsealed is None:
                    return
                row = await self._again(unsealed)
            except Refused as refusal:
                if refusal.code == NO_SUCH_CONVERSATION.code and not is_reopened:
                    # A server that was restored from a backup may not know what the profile knows.
                    is_reopened = True
                    if await self._find(connection, row, is_known=False) is None:
                        return
                elif refusal.code == GROUP_CHANGED.code and changes < CHANGED_MAX:
                    changes += 1
                    caught_up = await self._caught_up(connection, row, known, version)
                    if caught_up is None:
                        return
                    row = caught_up
                elif refusal.retry_after_s is None:
                    await self._refused(row, refusal)
                    return
                else:
                    await self._clock.sleep(refusal.retry_after_s)
                row = await self._again(row)
        self._sent(row, sent, known)

    async def _caught_up(self, connection: Connection, row: Row, known: Known, version: int) -> Row | None:
        """Ask what has become of a group that was changed since a version; None: the row was refused.

        Somebody was removed, who may have the key that it was sealed with: it is sealed again.
        """
        if await self._find(connection, row, is_known=False) is None:
            return None
        if await self._conversations.version(known) <= version:
            await self._clock.sleep(CHANGED_S)
        return row if row.sealed is None else await self._unsealed_again(row)

    async def _sealed(self, connection: Connection, row: Row, known: Known) -> Row:
        """The row as it is to be sent. Raises Refused, ConnectionLost."""
        direct = Scheme.PLAIN if self._press is None else Scheme.DIRECT
        scheme = await self._conversations.scheme(known, direct)
        if scheme == Scheme.PLAIN:
            return row
        press = {Scheme.DIRECT: self._press, Scheme.SENDER_KEY: self._group_press}.get(scheme)
        if press is None:
            raise _unsealable(Unsealable("it is encrypted in a way that this profile does not know", ""))
        try:
            row = await press.seal(connection, row, known)
        except Unsealable as error:
            raise _unsealable(error) from None
        if row.sealed is not None and len(row.sealed.content) > connection.welcome.content_bytes:
            raise Refused(TOO_LARGE.code, TOO_LARGE.name, "encrypted, it is more than the server takes")
        return row

    def _outdate(self, row: Row, *, was_accepted: bool) -> None:
        """What was sealed after a row follows it as it was: that is sealed again when its turn comes.

        A repeat may have been sent as it is, if an earlier process got as far; but none behind a row that was
        not accepted.
        """
        later = [one for one in self._taken if one.row_id > row.row_id]
        self._outdated.update(
            one.client_id
            for one in later
            if one.draft.peer == row.draft.peer and (one.attempt == 1 or not was_accepted)
        )

    async def _unsealed(self, row: Row, changed: DevicesChanged) -> Row | None:
        """The row, to be sealed again; None if that is of no use."""
        assert self._press is not None
        async with self._taking:
            self._outdate(row, was_accepted=False)
            self._sealing.add(row.client_id)
        try:
            return await self._press.changed(row, changed)
        except Unsealable as error:
            await self._refused(row, _unsealable(error))
            return None

    async def _is_done(self, row: Row) -> bool:
        """Whether nothing is left to send: who was to get a key was sent it by now, or cannot be."""
        is_of_key = row.draft.relation in (Relation.SENDER_KEY, Relation.KEYS)
        if not is_of_key or row.sealed is None or row.sealed.envelopes:
            return False
        await self._vault.write(lambda database: outbox.drop(database, row))
        return True

    async def _unsealed_again(self, row: Row) -> Row:
        """The row, to be sealed again: somebody was removed who may have the key."""
        async with self._taking:
            self._outdate(row, was_accepted=False)
            self._sealing.add(row.client_id)
        return await self._vault.write(lambda database: outbox.unseal(database, row))

    async def _newest(self, row: Row, known: Known) -> MessageId:
        """The newest message of the conversation that this device has, or was answered."""
        after = row.after
        if after is None:
            after = await self._vault.read(
                lambda database: newest(database, known.conversation_id), ahead=True
            )
        return max(after, self._answered[known.conversation_id])

    async def _version(self, row: Row, known: Known) -> int:
        """The version of the conversation that a row is written for."""
        if row.sealed is not None and row.sealed.version:
            # Not what is known by now: who joined since lacks the key, and the server is to say so.
            return row.sealed.version
        return await self._conversations.version(known)

    def _sent(self, row: Row, sent: Sent, known: Known) -> None:
        """Have it recorded, and tell who wrote it. What is not recorded is sent again, and answered alike."""
        now_ms, posting = self._time.now_ms(), Posting(self._names, self._writer)
        recorded = self._vault.later(
            lambda database: outbox.record_sent(
                database, row, sent, known.conversation_id, self._me, posting, now_ms
            )
        )
        self._answered[known.conversation_id] = max(sent.message_id, self._answered[known.conversation_id])
        recorded.add_done_callback(lambda _: self._recorded(row.client_id, recorded))
        self._hear(row.client_id, Outcome(sent, known.conversation_id))
        self._changed(row.expires_at)

    def _recorded(self, name: ClientId, recorded: "asyncio.Future[bool]") -> None:
        if recorded.cancelled():
            return
        error = recorded.exception()
        if error is not None:
            self._broken = error
            self._wake.set()
            return
        self._tried.discard(name)
        if recorded.result():
            self.wake()  # others need the key

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
        async with self._taking:
            self._outdate(row, was_accepted=True)
            await self._vault.write(_refusing(row, refusal, now_ms))
        if row.client_id in self._awaited:
            await self._hear_from_others()
        else:
            to = row.draft.peer if is_group(row.draft.peer) else f"@{row.draft.peer}"
            log.warning("a message to %s was not sent: %s", to, refusal.reason)
            # Who waits in another process has heard of it by then.
            asyncio.get_running_loop().call_later(failures.HEARD_MS / 1000, self._changed, None)

    # --- hearing --------------------------------------------------------------------------

    async def _hear_from_others(self) -> None:
        names = list(self._awaited)
        found = await self._vault.read(lambda database: outbox.outcomes(database, names, self._me.device_id))
        for name, outcome in found.items():
            self._tried.discard(name)
            self._hear(name, outcome)
            if outcome.sent is None:
                await self._vault.write(_forgetting(name))

    def _hear(self, name: ClientId, outcome: Outcome) -> None:
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
    def forget(database: sqlite3.Connection) -> None:
        outbox.forget_refused(database, name)
        failures.forget(database, name)

    return forget


def _refusing(row: Row, refusal: Refused, now_ms: int) -> Callable[[sqlite3.Connection], None]:
    def note(database: sqlite3.Connection) -> None:
        outbox.record_refused(database, row, refusal.code, refusal.reason, now_ms)
        failures.keep(database, row, refusal.code, refusal.reason, now_ms)

    return note


def _unsealable(error: Unsealable) -> Refused:
    hint = f" ({error.hint})" if error.hint else ""
    return Refused(UNSEALABLE.code, UNSEALABLE.name, error.reason + hint)


def _no_such_message() -> Refused:
    return Refused(NO_SUCH_MESSAGE.code, NO_SUCH_MESSAGE.name, "the message that this is about was not sent")


def _reap(tasks: set["asyncio.Task[None]"]) -> None:
    """Drop those that are done. Raises what one of them raised."""
    for task in [task for task in tasks if task.done()]:
        tasks.remove(task)
        task.result()
