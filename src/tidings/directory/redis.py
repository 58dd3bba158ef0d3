"""The directory in Redis: see `tidings.directory.contract.Directory`.

```
presence:{user}   hash, gone 60 s after the last of its fields was heard of
    device        "node session heard_ms"
```

What is heard of is stamped with Redis' own clock, by a script that compares and enters at once. Readers
leave out what is older than `KEEP_S`, and the script sweeps it from the hashes that it touches.

A place counts by its session, so what a failover brings back from a replica is put right by the next refresh.
What it forgot is not: so a loss is told of whenever another server answers, or one that was started again.
"""

import random
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any

from structlog.typing import FilteringBoundLogger

from tidings.directory.contract import KEEP_S, DirectoryUnavailable, Entered, Found, Place
from tidings.protocol.ids import DeviceId, UserId
from tidings.redis.config import RedisConfig
from tidings.redis.dial import Dialer
from tidings.redis.link import Link, Random
from tidings.redis.masters import PATIENCE_S, time_of
from tidings.redis.reach import reach
from tidings.redis.wire import Command, RedisUnavailable, Reply, Wire

_KEEP_MS = KEEP_S * 1000
_OWN = Entered(Found.OWN)
_NOTHING = Entered(Found.NOTHING)

_TIME_KEY = b"time"
"""all nodes ask the master that has this one's slot"""


class _Script:
    """What Redis does in one step. It is known there by its hash, and sent whole where it is not known."""

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.sha = sha1(self.text).hexdigest().encode()  # noqa: S324 - Redis' own name for it

    def called(self, key: bytes, *arguments: int) -> Command:
        """A call of the script."""
        return (b"EVALSHA", self.sha, 1, key, *arguments)

    def in_full(self, called: Command) -> Command:
        """The same call, for a server that has forgotten it."""
        return (b"EVAL", self.text, *called[2:])


# Numbers of 64 bits are more than Lua's can hold: they are compared as text, which is that of the number.
# Not by `<` alone, which goes by length last. A key that expires after n ms is there for n ms and a bit.
ENTER = _Script(f"""
local key, device, session, node = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local fields = redis.call('HGETALL', key)
local found
for i = 1, #fields, 2 do
    local its_node, its_session, heard = string.match(fields[i + 1], '^(%d+) (%d+) (%d+)$')
    if not heard or math.abs(now - heard) >= {_KEEP_MS} then
        redis.call('HDEL', key, fields[i])
    elseif fields[i] == device then
        found = {{its_node, its_session}}
    end
end
if found and (#found[2] > #session or #found[2] == #session and found[2] > session) then
    return {{{Found.NEWER:d}, found[1], found[2]}}
end
redis.call('HSET', key, device, node .. ' ' .. session .. ' ' .. string.format('%d', now))
redis.call('PEXPIRE', key, {_KEEP_MS - 1})
if not found then
    return {Found.NOTHING:d}
elseif found[2] == session then
    return {Found.OWN:d}
end
return {{{Found.OLDER:d}, found[1], found[2]}}
""")

LEAVE = _Script("""
local place = redis.call('HGET', KEYS[1], ARGV[1])
if place and string.match(place, '^%d+ (%d+) ') == ARGV[2] then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return 0
""")


class RedisDirectory:
    """A node's end. Make one with `open`."""

    def __init__(self, dialer: Dialer, log: FilteringBoundLogger, *, jitter: Random = random.random) -> None:
        self._log = log
        self._prefix = dialer.config.prefix
        self._masters = reach(dialer, self, jitter, log)
        self._lost: list[Callable[[], None]] = []
        self._is_open = False

    @classmethod
    async def open(cls, config: RedisConfig, log: FilteringBoundLogger, **options: Any) -> "RedisDirectory":
        """Connect. Raises RedisMisconfigured, and DirectoryUnavailable if Redis cannot be used.

        `options` are those of `RedisDirectory`.
        """
        directory = cls(Dialer(config), log, **options)
        try:
            await directory._masters.open()
            directory._is_open = True
            # What its user must not do is found out now. Nobody has these numbers.
            nobody = Place(UserId(0), DeviceId(0), 0, 0)
            await directory.enter([nobody])
            await directory.leave([nobody])
            await directory.look_up([nobody.user_id])
            await directory.time_ms()
        except BaseException as error:
            await directory.close()
            if isinstance(error, RedisUnavailable):
                raise DirectoryUnavailable(str(error)) from None
            raise
        return directory

    async def enter(self, places: Sequence[Place]) -> list[Entered]:
        replies = await self._run(
            ENTER, places, [(place.device_id, place.session, place.node) for place in places]
        )
        return [_entered(reply) for reply in replies]

    async def leave(self, places: Sequence[Place]) -> None:
        await self._run(LEAVE, places, [(place.device_id, place.session) for place in places])

    async def look_up(self, users: Sequence[UserId]) -> list[list[Place]]:
        keys = [self._key(user) for user in users]
        replies, times = await self._ask(keys, [(b"HGETALL", key) for key in keys])
        return [
            _current(user, reply, now_ms) if reply else []
            for user, reply, now_ms in zip(users, replies, times, strict=True)
        ]

    async def time_ms(self, *, fresh: bool = False) -> int:  # noqa: ARG002 - it always is
        """Redis' clock, asked each time; all that ask in one turn of the loop share the answer.

        Nothing less keeps the promise. The store is another machine than Redis, so no answer of it says
        what Redis' clock shows; and what Redis said before and the time that has gone by since, by this
        machine's clocks, is too early if this machine was paused together with its clocks. A TIME that is
        sent after the caller has seen the end of a store operation is carried out after it.

        In a Cluster it is the clock of one of the masters, which all nodes ask.
        """
        self._require_open()
        link = self._masters.of(_TIME_KEY)
        if link is None:
            raise DirectoryUnavailable("the Cluster is not complete: some slots have no server")
        try:
            wire = await link.ready(PATIENCE_S)
            return time_of((await wire.time())[0])
        except RedisUnavailable as error:
            raise DirectoryUnavailable(str(error)) from None

    def on_loss(self, lost: Callable[[], None]) -> None:
        self._lost.append(lost)

    async def close(self) -> None:
        self._is_open = False
        await self._masters.close()

    # --- for the masters (Keeper) -----------------------------------------------------------

    async def greet(self, link: Link, wire: Wire) -> None:  # noqa: ARG002 - each server needs them
        """Have the scripts known, so that the first calls do not all come back."""
        await wire.ask([(b"SCRIPT", b"LOAD", script.text) for script in (ENTER, LEAVE)])

    def connected(self, link: Link, *, forgotten: bool) -> None:  # noqa: ARG002 - any of them may
        if self._is_open and forgotten:
            for lost in self._lost:
                lost()

    def disconnected(self, link: Link) -> None:
        """Whoever asks is told."""

    def moved(self) -> None:
        """Keys that move from master to master stay; of one that was promoted `connected` tells."""

    def pushed(self, push: Sequence[Any]) -> None:
        """There are no subscriptions."""

    # --- inside -----------------------------------------------------------------------------

    def _key(self, user: UserId) -> bytes:
        return b"%bpresence:{%d}" % (self._prefix.encode(), user)

    async def _run(
        self, script: _Script, places: Sequence[Place], arguments: Sequence[tuple[int, ...]]
    ) -> list[Reply]:
        """Have a script do its work for each place; what it answers."""
        keys = [self._key(place.user_id) for place in places]
        calls = [script.called(key, *its) for key, its in zip(keys, arguments, strict=True)]
        replies, _ = await self._ask(keys, calls, may_lack_script=True)
        lacking = [number for number, reply in enumerate(replies) if _lacks_script(reply)]
        if lacking:
            again, _ = await self._ask(
                [keys[number] for number in lacking], [script.in_full(calls[number]) for number in lacking]
            )
            for number, reply in zip(lacking, again, strict=True):
                replies[number] = reply
        return replies

    async def _ask(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, may_lack_script: bool = False
    ) -> tuple[list[Reply], list[int]]:
        """See `Masters.ask`, but that errors are raised, as DirectoryUnavailable."""
        self._require_open()
        if not keys:
            return [], []
        try:
            replies, times = await self._masters.ask(keys, commands)
        except RedisUnavailable as error:
            raise DirectoryUnavailable(str(error)) from None
        for reply in replies:
            if isinstance(reply, Exception) and not (may_lack_script and _lacks_script(reply)):
                raise DirectoryUnavailable(f"Redis refuses: {reply}")
        return replies, times

    def _require_open(self) -> None:
        if not self._is_open:
            raise DirectoryUnavailable("the directory is closed")


def _entered(reply: Reply) -> Entered:
    if reply == Found.OWN:
        return _OWN
    if reply == Found.NOTHING:
        return _NOTHING
    found, node, session = reply
    return Entered(Found(found), int(node), int(session))


def _current(user: UserId, fields: dict[bytes, bytes], now_ms: int) -> list[Place]:
    places = []
    for device, place in fields.items():
        node, session, heard_ms = place.split()
        if abs(now_ms - int(heard_ms)) < _KEEP_MS:
            places.append(Place(user, DeviceId(int(device)), int(session), int(node)))
    return places


def _lacks_script(reply: Reply) -> bool:
    return isinstance(reply, Exception) and str(reply).startswith("NOSCRIPT")
