"""A scene: nodes, the people on them, and what must be true of all of them when it ends."""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tidings.testing.actors import Device, Person
from tidings.testing.nodes import Node
from tidings.testing.pace import PacedClock
from tidings.testing.stage import Stage


class Scene:
    """See the module's text. Device after device gets the next node as its home."""

    def __init__(
        self,
        nodes: Sequence[Node],
        folder: Path,
        clock: PacedClock,
        restart: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`restart`: see `nodes.Ground`."""
        self.nodes = nodes
        self._restart = restart
        self._clock = clock
        self._stage = Stage(nodes, folder, clock)
        self._people: list[Person] = []

    async def strangers(self, *handles: str, sealed: bool = True) -> list[Person]:
        """People who never heard of each other, each with a phone that is on.

        With `sealed` false their devices encrypt nothing.
        """
        people = [Person(self._stage, handle, sealed=sealed) for handle in handles]
        for person in people:
            self._people.append(person)
            await person.phone.logs_in()
        return people

    async def friends(self, *handles: str, sealed: bool = True) -> list[Person]:
        """People who have each other in their contacts, each with a phone that is on."""
        people = await self.strangers(*handles, sealed=sealed)
        for one, other in itertools.permutations(people, 2):
            await one.phone.adds(other)
        return people

    def seconds_pass(self, seconds: float) -> None:
        """It is later now, everywhere."""
        self._stage.note(f"{seconds:g} seconds pass")
        self._clock.skip(seconds)

    async def the_store_restarts(self) -> None:
        """What holds the store ends and begins anew: nodes that live without it stay, others die with it."""
        self._stage.note("the store restarts")
        if self._restart is not None:
            await self._restart()
            return
        for node in self.nodes:
            await node.dies()
        for node in self.nodes:
            await node.starts()

    async def end(self) -> None:
        """End everything. What was begun has come to its end, all devices agree, and no node complained."""
        try:
            if not self._stage.has_failed:
                await self._check()
        finally:
            for device in self._devices():
                await device.stop()
            for node in self.nodes:
                if node.is_up.is_set():
                    await node.dies()

    async def _check(self) -> None:
        await self._stage.all_done()
        await self._agreement()
        for device in self._devices():
            assert not device.told_twice, f"{device} was told twice of {device.told_twice}"
        for node in self.nodes:
            assert not node.complaints, f"{node.name} complained: {node.complaints}"

    async def _agreement(self) -> None:
        difference = ""
        async with self._stage.patience(lambda: difference):
            while difference := await self._difference():
                await self._stage.moment()

    async def _difference(self) -> str:
        devices = [device for device in self._devices() if not device.is_ended]
        for device in devices:
            if not await device.is_fresh():
                return f"{device} shows something else than it would after a restart"
        for one, other in itertools.combinations(devices, 2):
            if difference := one.disagreement(other):
                return difference
        return ""

    def _devices(self) -> list[Device]:
        return [device for person in self._people for device in person.devices if device.is_on]
