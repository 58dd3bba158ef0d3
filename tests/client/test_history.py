"""Pages of history put together, against a server that the test speaks for."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from client.at_rest import KEY
from client.test_inbox import BOB, LAPTOP, ME, THERE, name, write_and_send
from tidings.client.connection import Answer
from tidings.client.conversations import Known
from tidings.client.history import fetch
from tidings.client.surroundings import connect
from tidings.client.vault import Vault, create
from tidings.protocol.frames import Frame, History, HistoryItem, Message, Page
from tidings.protocol.ids import MessageId

KNOWN = Known(THERE, 1, BOB, "bob")


class FakeLog:
    """A conversation's log: (client id, message_id) in order, `page` at most at once."""

    def __init__(self, *messages: tuple[int, int], page: int) -> None:
        self._items = [
            HistoryItem(
                Message(
                    MessageId(number),
                    THERE,
                    ME.user_id,
                    LAPTOP,
                    name(who),
                    1,
                    0,
                    "text/plain",
                    b"%d" % who,
                    0,
                ),
                1,
            )
            for who, number in messages
        ]
        self._page = page

    async def ask(self, make: Callable[[int], Frame]) -> Answer:
        query = make(1)
        assert isinstance(query, History)
        items = [
            item
            for item in self._items
            if (query.before is None or item.message.message_id < query.before)
            and (query.after is None or item.message.message_id > query.after)
        ]
        limit = min(query.limit, self._page)
        chosen = items[:limit] if query.after is not None else items[-limit:]
        return Page(1, chosen, len(items) > limit)


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    create(tmp_path / "profile.db", KEY)
    opened = await Vault.open(tmp_path / "profile.db", KEY, connect, now_ms=0)
    yield opened
    await opened.close()


@pytest.mark.parametrize("page", [1, 2, 3, 10])
async def test_of_twins_the_greater_is_shown_and_the_limit_is_reached(vault: Vault, page: int) -> None:
    log = FakeLog((1, 10), (2, 11), (2, 12), (3, 13), (4, 14), page=page)

    async def texts(**query: object) -> list[tuple[str, int]]:
        options = {"limit": 10, "before": None, "after": None} | query
        found = await fetch(log.ask, vault, KNOWN, ME, **options)  # type: ignore[arg-type]
        return [(one.text, one.message_id) for one in found]

    assert await texts() == [("1", 10), ("2", 12), ("3", 13), ("4", 14)]
    assert await texts(limit=4) == [("1", 10), ("2", 12), ("3", 13), ("4", 14)]
    assert await texts(limit=3, after=0) == [("1", 10), ("2", 12), ("3", 13)]
    assert await texts(limit=2, before=14) == [("2", 12), ("3", 13)]


async def test_a_lesser_twin_alone_is_known_for_one_by_the_profile(vault: Vault) -> None:
    await vault.write(lambda database: write_and_send(database, 2, 12))
    log = FakeLog((1, 10), (2, 11), (2, 12), page=10)
    found = await fetch(log.ask, vault, KNOWN, ME, limit=10, before=MessageId(12), after=None)
    assert [one.text for one in found] == ["1"]
