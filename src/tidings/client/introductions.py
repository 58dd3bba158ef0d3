"""Introductions: asks the server for the names of those who write, before what they wrote is stored.

spec §6.12
"""

import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable

from tidings.client import names
from tidings.client.connection import Answer
from tidings.client.errors import Refused
from tidings.client.vault import Job, Vault
from tidings.protocol import frames
from tidings.protocol.frames import Frame, People, Profiles
from tidings.protocol.ids import UserId

AT_ONCE = 100
"""users asked for in one frame (spec §10, `people`)"""

Ask = Callable[[Callable[[int], Frame]], Awaitable[Answer]]


async def learn(vault: Vault, user_ids: Collection[UserId], ask: Ask) -> None:
    """Get to know the names of users, as far as they are not known. Raises what `ask` does but Refused."""
    unknown = await vault.read(
        lambda database: [one for one in sorted(set(user_ids)) if not names.has(database, one)]
    )
    for first in range(0, len(unknown), AT_ONCE):
        # Refused: too many of them are gone. They stay numbers.
        with contextlib.suppress(Refused):
            some = unknown[first : first + AT_ONCE]
            answer = await ask(_asking(some))
            assert isinstance(answer, People)
            await vault.write(_noting(some, answer.people), durable=False)


def _asking(user_ids: list[UserId]) -> Callable[[int], Frame]:
    return lambda request_id: Profiles(request_id, user_ids)


def _noting(asked: Iterable[UserId], people: Iterable[frames.Person]) -> Job[None]:
    # Who is missing is gone, and stays a number.
    told = dict.fromkeys(asked, "") | {one.user_id: one.handle for one in people}
    return lambda database: names.note(
        database, [(user_id, handle or names.number(user_id)) for user_id, handle in told.items()]
    )
