"""Exports: everything that the server has of a user, as one JSON document.

It is written as it is read, a page at a time, so that a long life costs no more memory than a short
one. There are no secrets in it and no hashes of any, and of conversations only what the user wrote:
the rest is the others' to export.
"""

import base64
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec

from tidings.domain.accounts import Accounts
from tidings.domain.clock import Clock, IdClock
from tidings.domain.devices import Devices
from tidings.domain.log import Log
from tidings.protocol import ids as snowflakes
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.protocol.ids import ConversationId, DeviceId, UserId
from tidings.store.contract import Row, Store
from tidings.store.paging import rows_of
from tidings.store.schema import (
    MEMBERSHIPS,
    PICTURES,
    REPORTS,
    REPORTS_BUCKET_S,
    SETTINGS,
    MessageRow,
    ReportRow,
    SettingRow,
)

R = TypeVar("R", bound=Row)

PAGE_ROWS = 64
"""read at once; large ones must not come by the hundred"""
AT_ONCE = 2
"""exports that run at the same time; each reads a whole life"""
LONGEST_S = 600.0
"""for one, if others wait"""


class Exports:
    """Writes exports."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: IdClock,
        accounts: Accounts,
        devices: Devices,
        log: Log,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._accounts = accounts
        self._devices = devices
        self._log = log
        self._running: dict[UserId, float] = {}
        """when each began"""

    def admit(self, user_id: UserId) -> None:
        """Whether an export may begin now. Raises ProtocolError (overloaded)."""
        now_s = self._clock.monotonic_s()
        # One that is read too slowly gives its place up; when it goes on, it finds that.
        self._running = {
            user: began_s for user, began_s in self._running.items() if now_s - began_s < LONGEST_S
        }
        if user_id in self._running or len(self._running) >= AT_ONCE:
            raise ProtocolError(OVERLOADED, "an export is running", retry_after_s=10.0)

    async def export(self, user_id: UserId, device_id: DeviceId) -> AsyncIterator[bytes]:
        """The parts of the document, in order, after `admit`. Raises ProtocolError, StoreError."""
        self.admit(user_id)
        began_s = self._running[user_id] = self._clock.monotonic_s()
        try:
            async for part in self._document(user_id, device_id):
                if self._running.get(user_id) != began_s:
                    raise ProtocolError(OVERLOADED, "the export took too long", retry_after_s=10.0)
                yield part
        finally:
            if self._running.get(user_id) == began_s:
                del self._running[user_id]

    async def _document(self, user_id: UserId, device_id: DeviceId) -> AsyncIterator[bytes]:
        account = await self._accounts.info(user_id)
        devices = await self._devices.listed(user_id, device_id)
        yield b'{"format":1,"exported_at":' + _json(self._ids.now_ms())
        yield b',"account":' + _json(account)
        yield b',"devices":' + _json(devices)
        picture = await self._store.get(PICTURES, (user_id,))
        if picture is not None:
            shown = {"media_type": picture.media_type, "data": _base64(picture.data)}
            yield b',"picture":' + _json(shown)
        async for part in _array("settings", self._settings(user_id)):
            yield part
        async for part in self._conversations(user_id):
            yield part
        async for part in _array("reports", self._reports(user_id)):
            yield part
        yield b"}\n"

    async def _settings(self, user_id: UserId) -> AsyncIterator[object]:
        async for row in rows_of(self._store, SETTINGS, (user_id,), at_once=PAGE_ROWS):
            assert isinstance(row, SettingRow)
            if row.kind and row.value:
                yield {
                    "kind": row.kind,
                    "key": row.key,
                    **_content("value", row.value),
                    "at": snowflakes.unix_ms(row.at),
                }

    async def _conversations(self, user_id: UserId) -> AsyncIterator[bytes]:
        yield b',"conversations":['
        comma = b""
        async for row in rows_of(self._store, MEMBERSHIPS, (user_id,), at_once=PAGE_ROWS):
            head = {"conversation_id": row.conversation_id.hex(), "kind": row.kind}
            yield comma + _json(head)[:-1]
            async for part in _array("messages", self._messages(row.conversation_id, user_id)):
                yield part
            yield b"}"
            comma = b","
        yield b"]"

    async def _messages(self, conversation_id: ConversationId, user_id: UserId) -> AsyncIterator[object]:
        async with self._log.walk(conversation_id, before=None, after=None) as rows:
            async for row in rows:
                if row.sender_id == user_id:
                    yield _message(row)

    async def _reports(self, user_id: UserId) -> AsyncIterator[object]:
        first, last = (
            (self_id >> snowflakes.TIME_SHIFT) // 1000 // REPORTS_BUCKET_S
            for self_id in (user_id, snowflakes.first_at(self._ids.now_ms()))
        )
        for number in range(first, last + 1):
            bucket = number * REPORTS_BUCKET_S
            async for row in rows_of(self._store, REPORTS, (bucket,), at_once=PAGE_ROWS):
                assert isinstance(row, ReportRow)
                if row.reporter == user_id:
                    yield {
                        "reported": str(row.reported),
                        "reason": row.reason,
                        "created_at": row.created_at,
                        "messages": [_reference(message) for message in row.messages],
                    }


async def _array(name: str, items: AsyncIterator[object]) -> AsyncIterator[bytes]:
    """A member of an object that is written already: one element a part."""
    yield b',"%s":[' % name.encode()
    comma = b""
    async for item in items:
        yield comma + _json(item)
        comma = b","
    yield b"]"


def _message(row: MessageRow) -> dict[str, object]:
    message: dict[str, Any] = {
        "message_id": str(row.message_id),
        "device_id": str(row.sender_device),
        "created_at": row.created_at,
        "content_type": row.content_type,
        "scheme": row.scheme,
        **_content("content", row.content),
    }
    if row.relation:
        message |= {"relation": row.relation, "target": str(row.target)}
    if row.relates_to is not None:
        message["relates_to"] = _reference(row.relates_to)
    if row.expires_at is not None:
        message["expires_at"] = row.expires_at
    return message


def _reference(named: Any) -> dict[str, str]:
    return {"sender_device": str(named.sender_device), "client_id": named.client_id.hex()}


def _content(name: str, value: bytes) -> dict[str, str]:
    """Text where it is text, else base64 under a name that says so."""
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": _base64(value)}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
