"""Message requests: somebody unknown may knock, and is let in or not.

Until the other one has let them in, what a stranger writes is in the log and in nobody's inbox;
the other one is told who it is and how many messages wait, as a setting of theirs. Letting in
writes inbox entries for what waited, under entry ids of their own.

Between nodes one may let in while another, which does not know yet, takes a message for the log alone.
So who lets in looks for such messages once it is durable that they are in, and who took one looks
whether they are in once it is durable: one of both finds it. The request itself goes last, so that a
node that dies half-way leaves it to be answered again.

spec §6.14
"""

import asyncio
from collections import OrderedDict
from typing import NamedTuple

import msgspec

from tidings.domain.accounts import User
from tidings.domain.clock import IdClock
from tidings.domain.commit import GroupCommit, refusal
from tidings.domain.conversation import Conversation
from tidings.domain.inboxes import Entry, bucket_of, inbox_row
from tidings.domain.log import Log, has_expired, is_erased, message_of
from tidings.domain.peers import Peers
from tidings.domain.privacy import Privacy
from tidings.domain.router import Router
from tidings.domain.sends import Sends
from tidings.domain.settings import Settings
from tidings.protocol.codec import encode_message
from tidings.protocol.errors import QUOTA, REQUEST_PENDING, ProtocolError
from tidings.protocol.frames import MemberState, Relation, SettingKind
from tidings.protocol.ids import EntryId, UserId, first_at
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store, StoreError, Write
from tidings.store.schema import INBOX, INBOX_KEEP_S, MEMBERS, MESSAGES, MemberRow, MessageRow

DAY_MS = 86_400_000
KNOCKS = (Relation.NONE, Relation.REPLY, Relation.FORWARD)
"""what a stranger may send so often; changes of it are not counted"""
KNOCKS_SCANNED = 2000
"""rows looked at to count them, changes included; whoever has written more has written enough"""
SENDERS_TRACKED = 10_000
"""users whose requests of today are counted"""


class Knock(msgspec.Struct, array_like=True):
    """The value of a REQUEST setting, in MessagePack."""

    user_id: UserId
    handle: str
    count: int
    first_at_ms: int


class _Knocks(NamedTuple):
    """What a stranger has written to who has not let them in."""

    waiting: list[MessageRow]
    is_first: bool
    """whether nothing ever was"""
    is_full: bool
    """whether no more is taken"""

    def shown_to(self, member: UserId) -> int:
        """How many of them a member will get."""
        return sum(member not in row.hidden_from for row in self.waiting)


class Requests:
    """Announces strangers, and lets them in or not. All of it under the conversation's lock."""

    def __init__(
        self,
        store: Store,
        commit: GroupCommit,
        id_clock: IdClock,
        log: Log,
        sends: Sends,
        settings: Settings,
        privacy: Privacy,
        router: Router,
        limits: Limits,
        peers: Peers,
    ) -> None:
        self._store = store
        self._peers = peers
        self._commit = commit
        self._ids = id_clock
        self._log = log
        self._sends = sends
        self._settings = settings
        self._privacy = privacy
        self._router = router
        self._limits = limits
        self._today: OrderedDict[UserId, tuple[int, int]] = OrderedDict()
        """of senders: the day, and how many people they wrote to for the first time"""

    async def announce(self, conversation: Conversation, sender: User) -> None:
        """A stranger is about to write: tell who has not let them in yet, before it is accepted.

        Under the lock. Raises ProtocolError (request_pending, quota, store_…).
        """
        for member in conversation.pending - {sender.user_id}:
            if await self._privacy.is_contact(member, sender.user_id):
                # Made a contact while the door was being shut, or something failed when it was to open.
                await self.answer_held(conversation, member, accept=True)
        if not conversation.pending:
            return
        knocks = await self._knocks(conversation)
        if knocks.is_full:
            raise ProtocolError(REQUEST_PENDING)
        if knocks.is_first:
            self._count(sender.user_id)
        for member in conversation.pending - conversation.declined - conversation.blockers:
            key = conversation.conversation_id.hex()
            known = await self._settings.get(member, SettingKind.REQUEST, key)
            first_at_ms = self._ids.now_ms() if not known else _decode(known).first_at_ms
            knock = Knock(sender.user_id, sender.handle, knocks.shown_to(member) + 1, first_at_ms)
            await self._settings.write(member, SettingKind.REQUEST, key, _encode(knock))

    async def withdrawn(self, conversation: Conversation) -> None:
        """What waited was deleted or has expired: who was told how much waits, is told anew.

        Under the lock, once that is durable. Raises ProtocolError (store_…).
        """
        key = conversation.conversation_id.hex()
        for member in conversation.pending:
            known = await self._settings.get(member, SettingKind.REQUEST, key)
            if known:
                knock = _decode(known)
                count = (await self._knocks(conversation)).shown_to(member)
                if count != knock.count:
                    knock.count = count
                    value = _encode(knock) if count else b""
                    await self._settings.write(member, SettingKind.REQUEST, key, value)

    async def answer(self, conversation: Conversation, user: UserId, *, accept: bool) -> None:
        """A member lets the other one in, or does not want to be asked again; durable on return.

        Without effect on who was let in before. Raises ProtocolError (store_…).
        """
        async with conversation.lock:
            await self.answer_held(conversation, user, accept=accept)

    async def answer_held(self, conversation: Conversation, user: UserId, *, accept: bool) -> None:
        """As `answer`, for who holds the lock."""
        if user in conversation.pending:
            if accept:
                await self._let_in(conversation, user)
            else:
                await self._commit.write([self._member(conversation, user, MemberState.DECLINED)])
                conversation.declined |= {user}
                conversation.changes += 1
        key = conversation.conversation_id.hex()
        if await self._settings.get(user, SettingKind.REQUEST, key):
            if accept:
                await self._let_in_missed(conversation, user)
            await self._settings.write(user, SettingKind.REQUEST, key, b"")

    async def _let_in(self, conversation: Conversation, user: UserId) -> None:
        was_declined = conversation.declined
        # Under the lock nothing is accepted while somebody is pending; what was, is in the log then.
        await self._commit.barrier()
        rows = await self._waiting(conversation, user)
        try:
            # From here on messages go to the inbox by themselves. In the same turn of the loop what
            # waited gets its entry ids and joins the commit: it stays before whatever comes after.
            conversation.pending -= {user}
            conversation.declined -= {user}
            conversation.changes += 1
            await self._copied(rows, user)
            await self._commit.write([self._member(conversation, user, MemberState.ACCEPTED)])
        except BaseException:
            conversation.pending |= {user}
            conversation.declined = was_declined
            conversation.changes += 1
            raise

    async def let_in_elsewhere(self, conversation: Conversation) -> None:
        """A message was taken for the log alone: whoever was let in on another node gets it now.

        Under the lock. Raises ProtocolError (store_…).
        """
        if not self._peers.are_there:
            return
        for member in conversation.pending:
            row = await self._store.get(MEMBERS, (conversation.conversation_id, member))
            if row is not None and row.state == MemberState.ACCEPTED:
                await self._let_in_missed(conversation, member)
                conversation.pending -= {member}
                conversation.declined -= {member}
                conversation.changes += 1

    async def _let_in_missed(self, conversation: Conversation, user: UserId) -> None:
        """Copy what another node took for the log alone while the user was being let in."""
        if not self._peers.are_there:
            return
        rows = await self._waiting(conversation, user)
        entries = await self._store.get_many(
            INBOX, [(user, bucket_of(row.message_id), row.message_id) for row in rows]
        )
        missed = [row for row, entry in zip(rows, entries, strict=True) if entry is None]
        if missed:
            await self._copied(missed, user)

    async def _waiting(self, conversation: Conversation, user: UserId) -> list[MessageRow]:
        """What a stranger wrote and nobody has in their inbox yet; oldest first."""
        now_ms = self._ids.now_ms()
        async with self._log.walk(conversation.conversation_id, before=None, after=None) as log:
            rows = [row async for row in log if _is_due(row, user, now_ms)]
        rows.reverse()
        has = await self._has_copies(rows, user)
        due = [row for row in rows if not any(entry_id in has for entry_id in row.entry_ids)]
        return [row for row in due if await self._counts(row, due)]

    async def _counts(self, row: MessageRow, due: list[MessageRow]) -> bool:
        """Whether no twin of a message counts in its place: an entry of its own says where it stands."""
        name = (row.sender_device, row.client_id)
        sent = await self._sends.find(name)
        places = [one.message_id for one in due if (one.sender_device, one.client_id) == name]
        return row.message_id == max([*places, sent.message_id if sent else 0])

    async def _has_copies(self, rows: list[MessageRow], user: UserId) -> set[EntryId]:
        """Which of the entries that messages name are in the inbox of a user.

        A batch may be torn: that the log names an entry does not mean that it is there.
        """
        named = [entry_id for row in rows for entry_id in row.entry_ids]
        found = await self._store.get_many(INBOX, [(user, bucket_of(one), one) for one in named])
        kept_from = first_at(self._ids.now_ms() - INBOX_KEEP_S * 1000)
        return {one for one, entry in zip(named, found, strict=True) if entry is not None or one < kept_from}

    async def _knocks(self, conversation: Conversation) -> "_Knocks":
        """What a stranger has written so far: looked up each time, for it is rare and soon done."""
        limits, now_ms = self._limits, self._ids.now_ms()
        most_ever = max(limits.request_messages, limits.request_messages_ever)
        waiting: list[MessageRow] = []
        ever = looked_at = 0
        async with self._log.walk(conversation.conversation_id, before=None, after=None) as rows:
            async for row in rows:
                looked_at += 1
                if row.relation in KNOCKS:
                    ever += 1
                    if not is_erased(row) and not has_expired(row, now_ms):
                        waiting.append(row)
                if looked_at >= KNOCKS_SCANNED:
                    ever = most_ever
                    break
        is_full = len(waiting) >= limits.request_messages or ever >= most_ever
        return _Knocks(waiting, is_first=not ever, is_full=is_full)

    async def _copied(self, rows: list[MessageRow], user: UserId) -> None:
        """Write inbox entries for messages, and offer them once durable. Raises ProtocolError.

        They have their ids and have joined the commit before this waits for anything. What came too
        late for readers is written once more, under ids of then.
        """
        in_time = False
        while not in_time:
            copied = self._copied_in_time(rows, user)
            # A cause of its own, else either row may stay; of now, else it would undo what erases them.
            dropping = self._ids.next()
            in_time = await copied
        self._drop_envelopes(rows, dropping)

    def _drop_envelopes(self, rows: list[MessageRow], cause: int) -> None:
        """They are where they belong, which is durable: only then the log loses them."""
        dropped: list[Write] = [
            Put(MESSAGES, msgspec.structs.replace(row, envelopes={}), cause) for row in rows if row.envelopes
        ]
        if dropped:
            self._commit.add(dropped, lambda _: None)

    def _copied_in_time(self, rows: list[MessageRow], user: UserId) -> "asyncio.Future[bool]":
        """Write entries for messages; `rows` then say where these stand, too."""
        writes: list[Write] = []
        entries: list[Entry] = []
        for place, row in enumerate(rows):
            self._ids.observe(row.message_id)  # of another node: what is answered sorts after it
            entry = Entry(
                EntryId(self._ids.next()),
                row.conversation_id,
                row.message_id,
                row.sender_id,
                row.sender_device,
                encode_message(message_of(row)),
                row.envelopes,
            )
            placed = rows[place] = msgspec.structs.replace(row, entry_ids=[*row.entry_ids, entry.entry_id])
            writes.append(Put(INBOX, inbox_row(user, entry, row.expires_at), entry.entry_id))
            writes.append(Put(MESSAGES, placed, entry.entry_id))
            entries.append(entry)
        copied: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def done(error: StoreError | None) -> None:
            if error is None:
                for entry in entries:
                    self._router.deliver(entry, [user])
            if not copied.done():
                if error is None:
                    copied.set_result(not self._commit.came_late)
                else:
                    copied.set_exception(refusal(error))

        self._commit.add(writes, done)
        return copied

    def _member(self, conversation: Conversation, user: UserId, state: MemberState) -> Put:
        row = MemberRow(conversation.conversation_id, user, conversation.kind, state=state)
        return Put(MEMBERS, row, self._ids.next())

    def _count(self, sender: UserId) -> None:
        """Count a new person that a user writes to. Raises ProtocolError (quota)."""
        today = self._ids.now_ms() // DAY_MS
        day, count = self._today.get(sender, (today, 0))
        if day == today and count >= self._limits.requests_per_day:
            raise ProtocolError(QUOTA, "no more people who do not know you, today")
        self._today[sender] = (today, count + 1 if day == today else 1)
        self._today.move_to_end(sender)
        if len(self._today) > SENDERS_TRACKED:
            self._today.popitem(last=False)


def _is_due(row: MessageRow, user: UserId, now_ms: int) -> bool:
    return not (
        row.sender_id == user
        or user in row.hidden_from
        or (is_erased(row) and row.relation != Relation.DELETE)
        or has_expired(row, now_ms)
    )


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Knock).decode
