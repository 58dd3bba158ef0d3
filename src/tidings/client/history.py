"""History: a conversation's messages from the server, page after page, changes folded in.

Of twins (a message that the server took twice, being killed just after it said so) only the one
with the greater message_id is shown, here as everywhere. What the user has hidden is left out.

spec §6.3, §6.5
"""

import sqlite3
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from tidings.client import group_changes, introductions, names
from tidings.client.conversations import Ask, Known
from tidings.client.folding import folded
from tidings.client.group_values import Tally
from tidings.client.surroundings import Clock
from tidings.client.transcript import Name, Self, message_of, names_in, newest, place_of, readable, shown
from tidings.client.values import Fault, Message
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.frames import CHANGES, History, Page, Reference, Scheme, Status
from tidings.protocol.ids import MessageId

PAGE = 256
"""messages asked for at once"""
ARRIVING_S = 0.05
ARRIVING_LOOKS = 60
"""how often it is looked whether the inbox has brought what the history has already, and its key"""


async def fetch(
    ask: Ask,
    vault: Vault,
    known: Known,
    me: Self,
    *,
    limit: int,
    before: MessageId | None,
    after: MessageId | None,
    hidden: Collection[Reference] = (),
    clock: Clock | None = None,
) -> list[Message]:
    """Up to `limit` messages in order. Raises what `ask` raises.

    `clock`: of a client that receives; what is on its way to it is waited for, for a moment.
    """
    found: dict[Name, _Item] = {}
    changes: dict[Reference, list[frames.Message]] = defaultdict(list)
    onwards = after is not None
    while len(found) < limit:
        page = await _page(ask, known, limit - len(found), before, after)
        read = await _read(vault, page, clock)
        for item in read.items:
            if Reference(*_name(item.message)) not in hidden:
                _keep(found, item)
        for change in read.said:
            if change.relates_to is not None:
                changes[change.relates_to].append(change)
        reached = page.next or _edge(page, onwards=onwards)
        # A page that gives no place to go on from is the last, whatever it says.
        if not page.more or reached is None or reached == (after if onwards else before):
            break
        if onwards:
            after = reached
        else:
            before = reached
    items = sorted(found.values(), key=lambda item: item.message.message_id)
    if known.is_group:
        said = [*(item.message for item in items), *(one for some in changes.values() for one in some)]
        named = set().union(*map(names.named_in, said))
        await introductions.learn(vault, named - {me.user_id}, ask)
    return await vault.read(
        lambda database: [
            _message(database, item, changes[Reference(*_name(item.message))], known, me) for item in items
        ]
    )


async def kept(
    vault: Vault,
    known: Known,
    me: Self,
    *,
    limit: int,
    before: MessageId | None = None,
    after: MessageId | None = None,
    hidden: Collection[Reference] = (),
) -> list[Message]:
    """The same of what the profile has, whatever the server says."""
    left: list[Message] = []
    while len(left) < limit:
        found = await vault.read(_shown(me, known, limit, before, after))
        some = [one for one in found if one.reference not in hidden and not one.expired]
        left = some + left if after is None else left + some
        if len(found) < limit:
            break
        if after is None:
            before = found[0].message_id
        else:
            after = found[-1].message_id
    if not limit:
        return []
    return left[-limit:] if after is None else left[:limit]


def _shown(
    me: Self, known: Known, limit: int, before: MessageId | None, after: MessageId | None
) -> Job[list[Message]]:
    return lambda database: shown(
        database, me, known.conversation_id, limit=limit, before=before, after=after
    )


class _Item(NamedTuple):
    """A message of a page, with the content that the profile has of it."""

    message: frames.Message
    status: int
    fault: Fault
    place: MessageId
    """the greatest that this device knows of it"""
    tally: Tally | None
    """of an own one in a group"""


def _keep(found: dict[Name, _Item], item: _Item) -> None:
    name, message_id = _name(item.message), item.message.message_id
    if message_id < item.place:
        return
    if name not in found or found[name].message.message_id < message_id:
        found[name] = item


async def _page(
    ask: Ask, known: Known, limit: int, before: MessageId | None, after: MessageId | None
) -> Page:
    answer = await ask(
        lambda request_id: History(request_id, known.conversation_id, before, after, min(limit, PAGE))
    )
    assert isinstance(answer, Page)
    return answer


def _edge(page: Page, *, onwards: bool) -> MessageId | None:
    if not page.items:
        return None
    return page.items[-1 if onwards else 0].message.message_id


class _Found(NamedTuple):
    """What there is of a page."""

    items: list[_Item]
    said: list[frames.Message]
    """about them, as far as it can be read"""
    is_ahead: bool
    """whether it has something sealed that is newer than all that has come here"""


async def _read(vault: Vault, page: Page, clock: Clock | None) -> _Found:
    found = await vault.read(_reading(page))
    for _ in range(ARRIVING_LOOKS):
        if clock is None or not found.is_ahead:
            break
        await clock.sleep(ARRIVING_S)
        found = await vault.read(_reading(page))
    return found


def _reading(page: Page) -> Job[_Found]:
    def read(database: sqlite3.Connection) -> _Found:
        items = []
        for item in page.items:
            message, fault = readable(database, item.message)
            if message.relation not in CHANGES:
                place = place_of(database, Reference(*_name(message))) or message.message_id
                tally = Tally(item.delivered, item.read, item.of) if item.of else None
                items.append(_Item(message, item.status, fault, place, tally))
        changes = [readable(database, change) for change in page.relations]
        ahead = [one for one in items if one.fault == Fault.NO_KEY]
        is_ahead = any(one.place > newest(database, one.message.conversation_id) for one in ahead)
        return _Found(items, [change for change, fault in changes if fault == Fault.NONE], is_ahead)

    return read


def _name(message: frames.Message) -> Name:
    return message.sender_device, message.client_id


def _message(
    database: sqlite3.Connection, item: _Item, changes: list[frames.Message], known: Known, me: Self
) -> Message:
    sender = item.message.sender_id
    message = message_of(
        item.message,
        me,
        known.peer,
        known.peer_id,
        Status(item.status),
        Message,
        called=names.of(database, [sender])[sender] if known.is_group else None,
        change=group_changes.shown(database, item.message, me.user_id, me.handle),
        tally=item.tally,
    )
    if item.message.scheme != Scheme.PLAIN or item.fault:
        message = replace(message, sealed=item.message.scheme != Scheme.PLAIN, fault=item.fault)
    return folded(message, changes, names_in(database, me, message, changes))
