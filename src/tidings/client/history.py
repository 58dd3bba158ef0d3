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

from tidings.client.conversations import Ask, Known
from tidings.client.folding import folded
from tidings.client.transcript import Name, Self, message_of, names_in, place_of, readable
from tidings.client.values import Fault, Message
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.frames import CHANGES, History, Page, Reference, Scheme, Status
from tidings.protocol.ids import MessageId

PAGE = 256
"""messages asked for at once"""


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
) -> list[Message]:
    """Up to `limit` messages in order. Raises what `ask` raises."""
    found: dict[Name, _Item] = {}
    changes: dict[Reference, list[frames.Message]] = defaultdict(list)
    onwards = after is not None
    while len(found) < limit:
        page = await _page(ask, known, limit - len(found), before, after)
        items, said = await vault.read(_reading(page))
        for item in items:
            if Reference(*_name(item.message)) not in hidden:
                _keep(found, item)
        for change in said:
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
    return [_message(item, changes[Reference(*_name(item.message))], known, me) for item in items]


class _Item(NamedTuple):
    """A message of a page, with the content that the profile has of it."""

    message: frames.Message
    status: int
    fault: Fault
    place: MessageId
    """the greatest that this device knows of it"""


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


def _reading(page: Page) -> Job[tuple[list[_Item], list[frames.Message]]]:
    """The messages of a page, and what is said about them as far as it can be read."""

    def read(database: sqlite3.Connection) -> tuple[list[_Item], list[frames.Message]]:
        items = []
        for item in page.items:
            message, fault = readable(database, item.message)
            if message.relation not in CHANGES:
                place = place_of(database, Reference(*_name(message))) or message.message_id
                items.append(_Item(message, item.status, fault, place))
        changes = [readable(database, change) for change in page.relations]
        return items, [change for change, fault in changes if fault == Fault.NONE]

    return read


def _name(message: frames.Message) -> Name:
    return message.sender_device, message.client_id


def _message(item: _Item, changes: list[frames.Message], known: Known, me: Self) -> Message:
    message = message_of(item.message, me, known.peer, known.peer_id, Status(item.status), Message)
    if item.message.scheme != Scheme.PLAIN or item.fault:
        message = replace(message, sealed=item.message.scheme != Scheme.PLAIN, fault=item.fault)
    return folded(message, changes, names_in(me, message))
