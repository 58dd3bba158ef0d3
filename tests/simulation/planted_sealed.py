"""Ten bugs of clients that encrypt, planted from outside: the simulation must find each."""

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tidings.client import inbox
from tidings.client.connection import Arrival
from tidings.client.errors import ClientClosed
from tidings.client.outbox import Posting
from tidings.client.sealing import (
    asking,
    group_opener,
    group_sealer,
    heard_keys,
    infos,
    lists,
    press,
    sealer,
    sender_keys,
    sessions,
)
from tidings.client.sealing.lists import Listed
from tidings.client.sealing.opener import outside_of
from tidings.client.transcript import Self
from tidings.domain import sealing
from tidings.protocol.frames import Drained, Reference
from tidings.protocol.ids import UserId

Plant = Callable[[pytest.MonkeyPatch], None]


def seals_for_the_removed(patch: pytest.MonkeyPatch) -> None:
    """A sender goes on sealing for every device that it ever knew, and the server lets it."""
    known = lists.known

    def ever_known(database: sqlite3.Connection, user_id: UserId) -> Listed | None:
        found = known(database, user_id)
        if found is None:
            return None
        rows = database.execute(
            "SELECT device_id FROM known_devices WHERE user_id = ?", (user_id,)
        ).fetchall()
        devices = [lists.device(database, user_id, row[0]) for row in rows]
        return found._replace(devices=[device for device in devices if device is not None])

    class Lists:
        """`lists`, for the sealer alone."""

        known = staticmethod(ever_known)

    write = lists._write

    def keeping(database: sqlite3.Connection, *arguments: Any, **options: Any) -> None:
        kept = database.execute("SELECT * FROM sessions").fetchall()
        write(database, *arguments, **options)
        database.executemany("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, ?, ?, ?)", kept)

    patch.setattr(sealer, "lists", Lists)
    patch.setattr(lists, "_write", keeping)
    patch.setattr(sealing, "_is_behind", lambda *_: False)
    patch.setattr(sealing, "_strangers", lambda *_: [])


def never_answers(patch: pytest.MonkeyPatch) -> None:
    """Who is asked for a key, or told that a device lacks it, does nothing."""
    patch.setattr(asking, "may_answer", lambda *_: False)


def asks_and_answers_without_end(patch: pytest.MonkeyPatch) -> None:
    """Each time that the inbox is drained all that is unopened is asked for, and each question answered."""
    store = inbox.store

    def asking_again(
        database: sqlite3.Connection, arrived: Sequence[Arrival], me: Self, posting: Posting, now_ms: int
    ) -> int:
        newest = store(database, arrived, me, posting, now_ms)
        if any(isinstance(frame, Drained) for frame in arrived):
            database.execute("UPDATE unopened SET asked = 0")
            for device, name in database.execute("SELECT sender_device, client_id FROM unopened").fetchall():
                message = inbox.transcript.stored(database, Reference(device, name))
                if message is not None:
                    inbox._ask(database, message, me, posting)
        return newest

    def always(database: sqlite3.Connection, name: Any, device: Any) -> bool:
        answering = asking.answer(database, name, [device])
        return answering is not None and bool(answering.devices)

    patch.setattr(inbox, "store", asking_again)
    patch.setattr(asking, "may_answer", always)


def saves_the_ratchet_later(patch: pytest.MonkeyPatch) -> None:
    """What was sealed is stored first, and the ratchets that sealed it in a transaction of their own."""
    keep, sealing_of, seal = sessions._keep, press.Press._sealing, press.Press.seal
    sealing_now: list[list[Any]] = []

    def noted(database: sqlite3.Connection, device: Any, session: Any) -> None:
        if sealing_now:
            sealing_now[-1].append((device, session))
        else:
            keep(database, device, session)

    def apart(self: press.Press, *arguments: Any) -> Any:
        job = sealing_of(self, *arguments)

        def doing(database: sqlite3.Connection) -> Any:
            sealing_now.append(self.__dict__.setdefault("stepped", []))
            try:
                return job(database)
            finally:
                sealing_now.pop()

        return doing

    async def sealed(self: press.Press, *arguments: Any) -> Any:
        def later(database: sqlite3.Connection) -> None:
            stepped = self.__dict__.get("stepped", [])
            while stepped:
                keep(database, *stepped.pop(0))

        made = await seal(self, *arguments)
        with contextlib.suppress(ClientClosed):
            await self._vault.write(later)
        return made

    patch.setattr(sessions, "_keep", noted)
    patch.setattr(press.Press, "_sealing", apart)
    patch.setattr(press.Press, "seal", sealed)
    patch.setattr(press.Press, "seal_at_once", lambda self, database, row, known: row)


def keeps_its_sender_key(patch: pytest.MonkeyPatch) -> None:
    """The sender key of a group is used on, whoever has it by now."""
    patch.setattr(group_sealer, "_is_safe", lambda *_: True)


def trusts_a_refusal(patch: pytest.MonkeyPatch) -> None:
    """Those whom a sender key was sealed for in a frame that the server refused are taken not to have it."""

    def forget(database: sqlite3.Connection, handout: Any) -> None:
        database.execute("DELETE FROM given_keys WHERE handout = ?", (handout,))

    patch.setattr(sender_keys, "doubt", forget)


def renews_nothing_on_a_removal(patch: pytest.MonkeyPatch) -> None:
    """When a member is removed the sender key that they have is used on."""
    patch.setattr(group_sealer, "_is_safe", lambda *_: True)
    is_worn = sender_keys.is_worn

    def worn_by_use(mine: Any, roster: Any, now_ms: int) -> bool:
        return is_worn(mine, roster._replace(removal_at=0), now_ms)

    patch.setattr(sender_keys, "is_worn", worn_by_use)


def gives_joiners_the_key_from_its_start(patch: pytest.MonkeyPatch) -> None:
    """Who comes later is given the sender key as it was before its first message."""
    shared_of = group_sealer._shared

    def from_the_start(database: sqlite3.Connection, roster: Any, key_id: bytes, share: bytes) -> Any:
        first = database.execute(
            "SELECT share FROM spoken WHERE key_id = ? ORDER BY position LIMIT 1", (key_id,)
        ).fetchone()
        return shared_of(database, roster, key_id, share if first is None else first[0])

    patch.setattr(group_sealer, "_shared", from_the_start)


def keeps_the_key_of_the_name(patch: pytest.MonkeyPatch) -> None:
    """Who edits what a group is called seals it with the key that somebody has who was removed."""
    key_for = infos._key_for
    patch.setattr(infos, "_key_for", lambda database, where, _: key_for(database, where, 0))


def takes_what_is_told_again(patch: pytest.MonkeyPatch) -> None:
    """A message counts whatever name it comes under: what the seal binds is not compared."""
    patch.setattr(group_opener, "outside_of", _as_first_told({}))
    patch.setattr(heard_keys, "is_read", lambda *_: False)


def _as_first_told(first: dict[bytes, Any]) -> Callable[..., Any]:
    def outside(message: Any, scheme: Any) -> Any:
        return first.setdefault(message.content, outside_of(message, scheme))

    return outside


PLANTS: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        seals_for_the_removed,
        never_answers,
        asks_and_answers_without_end,
        saves_the_ratchet_later,
        keeps_its_sender_key,
        trusts_a_refusal,
        renews_nothing_on_a_removal,
        gives_joiners_the_key_from_its_start,
        keeps_the_key_of_the_name,
        takes_what_is_told_again,
    )
}
