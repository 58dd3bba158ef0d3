"""The directory: who bears which handle, as far as this profile has met them.

It asks the server as little as it can: look-ups are counted there (spec §6.12), and what is known
works offline.
"""

import sqlite3
from collections.abc import Collection, Iterable

from tidings.client import names
from tidings.client.conversations import Ask, Conversations, normal
from tidings.client.errors import ClientError
from tidings.client.group_values import is_group
from tidings.client.transcript import Self
from tidings.client.values import Person
from tidings.client.vault import Vault
from tidings.protocol import frames
from tidings.protocol.frames import Lookup, People, Profiles
from tidings.protocol.ids import UserId

PROFILES_AT_ONCE = 100
"""users asked for in one frame (spec §10, `people`)"""


class Directory:
    """Finds users by handle, phone or id; remembers whom it found."""

    def __init__(self, vault: Vault, conversations: Conversations, ask: Ask, me: Self) -> None:
        self._vault = vault
        self._conversations = conversations
        self._ask = ask
        self._me = me

    async def look_up(self, who: str) -> Person:
        """Ask the server for the user of a handle or, beginning with +, of a phone number. Raises Refused."""
        if who.startswith("+"):
            answer = await self._ask(lambda request_id: Lookup(request_id, phone=who))
        else:
            answer = await self._ask(lambda request_id: Lookup(request_id, handle=normal(who)))
        assert isinstance(answer, People)
        (found,) = await self._remembered(answer.people)
        return found

    async def user_id(self, handle: str) -> UserId:
        """The user of a handle, asked for only if nobody here knows it. Raises Refused, ClientError."""
        handle = normal(handle)
        if is_group(handle):
            raise not_a_user(handle)
        if handle == self._me.handle:
            return self._me.user_id
        known = await self._conversations.known_peer(handle)
        if known is not None:
            return known.peer_id
        met = await self._vault.read(
            lambda database: names.by_handle(database, handle) or _by_handle(database, handle)
        )
        return (await self.look_up(handle)).user_id if met is None else met

    async def handles(self, user_ids: Collection[UserId]) -> dict[UserId, str]:
        """The handles of users; those that are gone are missing. Raises Refused."""
        found = await self._vault.read(lambda database: _by_ids(database, user_ids))
        missing = [user_id for user_id in user_ids if user_id not in found]
        for person in await self.profiles(missing):
            found[person.user_id] = person.handle
        return found

    async def profiles(self, user_ids: Iterable[UserId]) -> list[Person]:
        """How users show themselves; those that are gone are missing. Raises Refused."""
        wanted = list(user_ids)
        found: list[Person] = []
        for first in range(0, len(wanted), PROFILES_AT_ONCE):
            found += await self._profiles(wanted[first : first + PROFILES_AT_ONCE])
        return found

    async def _profiles(self, user_ids: list[UserId]) -> list[Person]:
        answer = await self._ask(lambda request_id: Profiles(request_id, user_ids))
        assert isinstance(answer, People)
        return await self._remembered(answer.people)

    async def _remembered(self, people: list[frames.Person]) -> list[Person]:
        await self._vault.write(lambda database: _remember(database, people), durable=False)
        return [
            Person(person.user_id, person.handle, person.name, person.about, person.picture != 0)
            for person in people
        ]


def not_a_user(peer: str) -> ClientError:
    """The refusal of a group where a user is wanted."""
    return ClientError(f"{peer} is a group, and no user", "name somebody by their handle, like @bob")


def _remember(database: sqlite3.Connection, people: Iterable[frames.Person]) -> None:
    for person in people:
        # A handle that somebody gave up may be another's now.
        database.execute(
            "DELETE FROM people WHERE handle = ? AND user_id <> ?", (person.handle, person.user_id)
        )
        database.execute("INSERT OR REPLACE INTO people VALUES (?, ?)", (person.user_id, person.handle))


def _by_handle(database: sqlite3.Connection, handle: str) -> UserId | None:
    row = database.execute("SELECT user_id FROM people WHERE handle = ?", (handle,)).fetchone()
    return None if row is None else UserId(row[0])


def _by_ids(database: sqlite3.Connection, user_ids: Collection[UserId]) -> dict[UserId, str]:
    found = {}
    for user_id in user_ids:
        row = database.execute(
            "SELECT handle FROM people WHERE user_id = ? UNION ALL"
            " SELECT peer FROM conversations WHERE peer_id = ? UNION ALL"
            " SELECT handle FROM names WHERE user_id = ? LIMIT 1",
            (user_id, user_id, user_id),
        ).fetchone()
        if row is not None:
            found[user_id] = row[0]
    return found
