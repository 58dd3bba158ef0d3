"""History: a conversation's messages from the server, page after page.

Of twins (a message that the server took twice, being killed just after it said so) only the one
with the greater message_id is shown, here as everywhere.

spec §6.3, §6.5
"""

import sqlite3
from collections.abc import Collection

from tidings.client.conversations import Ask, Known
from tidings.client.events import HistoryMessage
from tidings.client.inbox import Self
from tidings.client.vault import Job, Vault
from tidings.protocol.frames import History, HistoryItem, Message, Page
from tidings.protocol.ids import ClientId, DeviceId, MessageId

PAGE = 256
"""messages asked for at once"""

Name = tuple[DeviceId, ClientId]


async def fetch(
    ask: Ask,
    vault: Vault,
    known: Known,
    me: Self,
    *,
    limit: int,
    before: MessageId | None,
    after: MessageId | None,
) -> list[HistoryMessage]:
    """Up to `limit` messages in order. Raises what `ask` raises."""
    found: dict[Name, HistoryItem] = {}
    onwards = after is not None
    while len(found) < limit:
        page = await _page(ask, known, limit - len(found), before, after)
        newest = await vault.read(_reading([_name(item.message) for item in page.items]))
        for item in page.items:
            _keep(found, item, newest)
        # An empty page gives no place to go on from, whatever it says.
        if not page.more or not page.items:
            break
        if onwards:
            after = page.items[-1].message.message_id
        else:
            before = page.items[0].message.message_id
    items = sorted(found.values(), key=lambda item: item.message.message_id)
    return [_message(item, known, me) for item in items]


def newest_ids(database: sqlite3.Connection, names: Collection[Name]) -> dict[Name, MessageId]:
    """The greatest message_id that this device knows of messages, for those that it knows."""
    found: dict[Name, MessageId] = {}
    for name in names:
        (newest,) = database.execute(
            "SELECT max(message_id) FROM ("
            " SELECT message_id FROM inbox WHERE sender_device = ? AND client_id = ?"
            " UNION ALL SELECT message_id FROM outgoing WHERE sender_device = ? AND client_id = ?)",
            (*name, *name),
        ).fetchone()
        if newest is not None:
            found[name] = MessageId(newest)
    return found


def _keep(found: dict[Name, HistoryItem], item: HistoryItem, newest: dict[Name, MessageId]) -> None:
    name, message_id = _name(item.message), item.message.message_id
    if message_id < newest.get(name, message_id):
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


def _reading(names: Collection[Name]) -> Job[dict[Name, MessageId]]:
    return lambda database: newest_ids(database, names)


def _name(message: Message) -> Name:
    return message.sender_device, message.client_id


def _message(item: HistoryItem, known: Known, me: Self) -> HistoryMessage:
    own = item.message.sender_id == me.user_id
    sender = me.handle if own else known.peer
    return HistoryMessage.of(item.message, item.status, sender=sender, own=own)
