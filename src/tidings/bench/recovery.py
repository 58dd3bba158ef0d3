"""How long it takes until everybody is served again after a blow."""

import asyncio
import time
from collections.abc import Sequence

from tidings.bench.crowd import Dialogue

POLL_S = 0.05


class Recovery:
    """One side of a conversation is served again once a new message of its own was answered, and it has
    heard a new one of the other.
    """

    def __init__(self, dialogues: Sequence[Dialogue]) -> None:
        self.waited_s: list[float] = []
        """how long each side had to wait"""
        self._dialogues = dialogues
        self._begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def begin(self) -> None:
        """The blow fell: from now on it counts."""
        self._begun.set_result(time.monotonic())

    async def all(self, at_most_s: float) -> bool:
        """Whether all are served again within that time."""
        began_s = await self._begun
        sides = [
            (mine, theirs)
            for (_, one), (_, other) in self._dialogues
            for mine, theirs in ((one, other), (other, one))
        ]
        away = [(mine, mine.written, theirs.written) for mine, theirs in sides]
        while away and time.monotonic() - began_s < at_most_s:
            await asyncio.sleep(POLL_S)
            before = len(away)
            away = [
                (side, own, their)
                for side, own, their in away
                if side.acked_up_to < own or side.heard_up_to < their
            ]
            self.waited_s += [time.monotonic() - began_s] * (before - len(away))
        return not away
