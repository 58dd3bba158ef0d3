"""The masters of a Redis Cluster: each has some of the 16,384 slots into which keys and channels fall.

What is sent to the wrong one is not done, and answered with MOVED: then, whenever a connection
breaks, and each `LOOK_S`, it is asked anew who has what.

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

import asyncio
from binascii import crc_hqx
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from structlog.typing import FilteringBoundLogger

from tidings.redis.config import Address, RedisMisconfigured, parsed
from tidings.redis.dial import Dialer
from tidings.redis.link import Link, Random
from tidings.redis.masters import PATIENCE_S, Keeper, timed
from tidings.redis.wire import NOBODY, Command, RedisUnavailable, Reply, Wire

SLOTS = 16_384
LOOK_S = 5.0
"""from one look at who has what to the next, if nothing asks for one"""
LOOK_SOON_S = 0.1
"""the same, if something does"""
REDIRECTIONS = 8
"""how often a command is sent on, before it fails"""


def slot_of(key: bytes) -> int:
    """The slot of a key or channel: of what stands between the first { and the next }, if anything does."""
    start = key.find(b"{") + 1
    end = key.find(b"}", start) if start else -1
    return crc_hqx(key[start:end] if end > start else key, 0) % SLOTS


Ranges = tuple[tuple[int, int, Address], ...]
"""first slot, last slot, and whose they are"""


def ranges_of(reply: Reply, asked: Address) -> Ranges:
    """Of the reply to CLUSTER SLOTS; who does not know its own address has the one at which it was asked."""
    return tuple(
        sorted(
            (first, last, Address(host.decode() if host else asked.host, port))
            for first, last, (host, port, *_), *_ in reply
        )
    )


class Slots:
    """Implements `masters.Masters`."""

    is_cluster = True

    def __init__(self, dialer: Dialer, user: Keeper, jitter: Random, log: FilteringBoundLogger) -> None:
        self._dialer = dialer
        self._seeds = [parsed(address) for address in dialer.config.addresses]
        self._user = _Watchful(self, user)
        self._jitter = jitter
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._ranges: Ranges = ()
        self._links: dict[Address, Link] = {}
        self._owners: list[Link | None] = [None] * SLOTS
        self._doubt = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._is_open = False
        self._why = "no server of the Cluster was reached yet"

    async def open(self) -> None:
        patience_s = 2 * self._dialer.config.timeout_s
        self._watch = self._loop.create_task(self._stay_informed())
        try:
            async with asyncio.timeout(patience_s):
                while not self._links:
                    await self.look()
                    await asyncio.sleep(0 if self._links else LOOK_SOON_S)
        except TimeoutError:
            raise RedisUnavailable(self._why) from None
        await asyncio.gather(*(link.ready(patience_s) for link in self._links.values()))
        if None in self._owners:
            raise RedisUnavailable("the Cluster is not complete: some slots have no server")
        self._is_open = True

    def of(self, key: bytes) -> Link | None:
        return self._owners[slot_of(key)]

    async def ask(self, keys: Sequence[bytes], commands: Sequence[Command]) -> tuple[list[Reply], list[int]]:
        assert len(keys) == len(commands)
        replies: list[Reply] = [None] * len(keys)
        times = [0] * len(keys)
        todo: Iterable[int] = range(len(keys))
        for redirected in range(REDIRECTIONS):
            if redirected > 1:
                await asyncio.sleep(LOOK_SOON_S)  # what has moved is not known everywhere yet
            by_link: dict[Link, list[int]] = {}
            for number in todo:
                by_link.setdefault(self._owner(keys[number]), []).append(number)
            asked = [self._ask(link, numbers, commands, replies, times) for link, numbers in by_link.items()]
            for failed in await asyncio.gather(*asked, return_exceptions=True):
                if failed is not None:
                    raise failed
            todo = [number for number in todo if _is_redirection(replies[number])]
            if not todo:
                return replies, times
            todo = [number for number in todo if not await self._follow(number, commands, replies)]
            if not todo:
                return replies, times
        raise RedisUnavailable("keys move from server to server")

    async def look(self) -> None:
        """See who has what. Whoever asks while that is being done is told with the same answer."""
        if self._looking is None:
            self._looking = self._loop.create_task(self._look())
        await asyncio.shield(self._looking)

    async def close(self) -> None:
        watch, self._watch = self._watch, None
        for task in (watch, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await asyncio.gather(*(link.close() for link in self._links.values()))

    def doubt(self) -> None:
        """Another may have what this one knew to be somebody's: look soon."""
        self._doubt.set()

    # --- asking ---------------------------------------------------------------------------

    def _owner(self, key: bytes) -> Link:
        link = self.of(key)
        if link is None:
            raise RedisUnavailable("the Cluster is not complete: some slots have no server")
        return link

    async def _ask(
        self,
        link: Link,
        numbers: list[int],
        commands: Sequence[Command],
        replies: list[Reply],
        times: list[int],
    ) -> None:
        """Have some of the commands carried out by one master, and put down what it says."""
        wire = await link.ready(PATIENCE_S)
        some, now_ms = await timed(wire, [commands[number] for number in numbers])
        for number, reply in zip(numbers, some, strict=True):
            replies[number] = reply
            times[number] = now_ms

    async def _follow(self, number: int, commands: Sequence[Command], replies: list[Reply]) -> bool:
        """Do as a redirection says; whether the command was carried out with that."""
        kind, _, address = str(replies[number]).split(" ", 2)
        if kind == "MOVED":
            if self._owner_address(replies[number]) != _address_of(address):
                await self.look()
            return False
        link = self._links.get(_address_of(address))
        if link is None:
            await self.look()
            return False
        # For this command alone: the slot is on its way, and the key is there already.
        wire = await link.ready(PATIENCE_S)
        replies[number] = (await wire.ask([(b"ASKING",), commands[number]]))[1]
        return not _is_redirection(replies[number])

    def _owner_address(self, moved: Reply) -> Address | None:
        slot = int(str(moved).split(" ", 2)[1])
        for first, last, address in self._ranges:
            if first <= slot <= last:
                return address
        return None

    # --- who has what ---------------------------------------------------------------------

    async def _stay_informed(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._doubt.wait()
            self._doubt.clear()
            if self._is_open:
                await self.look()
            await asyncio.sleep(LOOK_SOON_S * (1 + self._jitter()))
            if any(link.wire is None for link in self._links.values()):
                self.doubt()

    async def _look(self) -> None:
        try:
            found = await self._found()
            if found is not None and found != self._ranges:
                self._apply(found)
                if self._is_open:
                    self._log.info("the Cluster's slots have moved", masters=len(self._links))
                    self._user.moved()
        except Exception as bug:
            self._log.error("who has which slots could not be made out", exc_info=bug)
        finally:
            self._looking = None

    async def _found(self) -> Ranges | None:
        """What most masters say, of those that can be asked; if none can, the first server that can."""
        linked = [(link.wire, address) for address, link in self._links.items() if link.wire is not None]
        told = await asyncio.gather(*(self._told_by(*one) for one in linked), return_exceptions=True)
        # One that is cut off from the others would go on saying what was.
        said = Counter(one for one in told if isinstance(one, tuple))
        return said.most_common(1)[0][0] if said else await self._told_by_seed()

    async def _told_by_seed(self) -> Ranges | None:
        for address in self._seeds:
            try:
                wire = await self._dialer.any_server(address, NOBODY)
                try:
                    return await self._told_by(wire, address)
                finally:
                    wire.abort("it was not needed any more")
            except (RedisUnavailable, RedisMisconfigured) as error:
                self._why = str(error)
        return None

    async def _told_by(self, wire: Wire, address: Address) -> Ranges:
        reply = (await wire.ask([(b"CLUSTER", b"SLOTS")]))[0]
        if isinstance(reply, wire.error_type):
            raise RedisUnavailable(f"Redis at {address}: {reply}")
        return ranges_of(reply, address)

    def _apply(self, found: Ranges) -> None:
        """Have a link to each master and none to others."""
        self._ranges = found
        masters = {address for _, _, address in found}
        for address in [address for address in self._links if address not in masters]:
            # Cut off at once: as a replica it would go on telling what the new one tells, too.
            self._links.pop(address).cut_off("it is no master any more")
        for address in masters.difference(self._links):
            link = Link(partial(_here, address), self._dialer, self._user, self._jitter, self._log)
            self._links[address] = link
            link.start()
        self._owners = [None] * SLOTS
        for first, last, address in found:
            self._owners[first : last + 1] = [self._links[address]] * (last + 1 - first)


class _Watchful:
    """The user of the links: it passes everything on, and looks who has what when one breaks."""

    def __init__(self, slots: Slots, user: Keeper) -> None:
        self._slots = slots
        self._user = user
        self.moved = user.moved
        self.greet = user.greet
        self.connected = user.connected
        self.pushed = user.pushed

    def disconnected(self, link: Link) -> None:
        self._slots.doubt()
        self._user.disconnected(link)


async def _here(address: Address) -> Address:
    return address


def _address_of(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return Address(host, int(port))


def _is_redirection(reply: Any) -> bool:
    return isinstance(reply, Exception) and str(reply).startswith(("MOVED ", "ASK "))
