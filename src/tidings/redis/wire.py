"""One connection to one Redis server: commands out, replies and publications in (RESP3).

All that one turn of the event loop sends goes out in one write, in its order, and nothing waits for an
earlier reply. Replies come in the order of the commands; publications come between them at any time. A
server from which nothing comes while it owes a reply is taken for gone; it is pinged when it owes none.

This does not know what is asked, nor which server is the right one (`link`, `masters`).

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, cast

from tidings.redis.config import RedisMisconfigured

CLOSE_S = 1.0
"""for the server to take what it was sent, when a connection is closed"""
UNANSWERED = 262_144
"""commands that may wait for their replies"""
SWEEPS = 2
"""looks at a connection within the time in which something must come"""

Command = tuple[str | bytes | int, ...]
TIME: Command = (b"TIME",)
Reply = Any
"""What Redis answers; `ReplyError` is a value like others."""
Take = Callable[[Reply], None]
"""Is given one reply, or the `RedisUnavailable` that came instead. Must not raise, and must not wait."""


class RedisUnavailable(Exception):
    """Redis cannot be reached, broke off, or does not do its work now. It may or may not have done it."""


class Owner(Protocol):
    """Whose connection it is."""

    @property
    def pushed(self) -> Callable[[Sequence[Any]], None]:
        """Redis says something that answers no command: a publication, or the end of a subscription."""

    def ended(self, wire: "Wire", why: str) -> None:
        """The connection is gone. Called once; what was owed has failed by then."""


class _Nobody:
    """Owns connections on which nothing is heard but replies."""

    def pushed(self, push: Sequence[Any]) -> None:
        """There are no subscriptions."""

    def ended(self, wire: "Wire", why: str) -> None:
        """Whoever asked is told."""


NOBODY = _Nobody()


def hiredis() -> ModuleType:
    """The library, which only who uses Redis needs. Raises RedisMisconfigured if it is not there."""
    try:
        return import_module("hiredis")
    except ImportError:
        raise RedisMisconfigured(
            "the package hiredis is missing (hint: pip install 'tidings[cluster]')"
        ) from None


class _Confirmation:
    """Takes not a reply, but that a channel is subscribed to, or is no more."""

    __slots__ = ("_channel", "_kind", "_take")

    def __init__(self, kind: bytes, channel: bytes, take: Take) -> None:
        self._kind = kind
        self._channel = channel
        self._take = take

    def is_it(self, push: Sequence[Any]) -> bool:
        """Whether this is what is waited for."""
        return bool(push[0] == self._kind and push[1] == self._channel)

    def __call__(self, reply: Reply) -> None:
        self._take(reply)


class _Answers:
    """The replies to some commands, as they come in."""

    __slots__ = ("_count", "_replies", "future")

    def __init__(self, count: int, future: "asyncio.Future[list[Reply]]") -> None:
        self.future = future
        self._count = count
        self._replies: list[Reply] = []

    def take(self, reply: Reply) -> None:
        if self.future.done():
            return  # whoever asked waits no more, or knows already
        if type(reply) is RedisUnavailable:
            self.future.set_exception(reply)
            self.future.exception()  # whoever asked more than this may have heard it already
            return
        self._replies.append(reply)
        if len(self._replies) == self._count:
            self.future.set_result(self._replies)


class Wire(asyncio.Protocol):
    """See the module's text. A `Dialer` makes them."""

    def __init__(self, owner: Owner, timeout_s: float) -> None:
        library = hiredis()
        self._owner = owner
        self._pushed = owner.pushed
        self._loop = asyncio.get_running_loop()
        self._more: Any = object()
        self._reader = library.Reader(notEnoughData=self._more)
        self._pack: Callable[[Command], bytes] = library.pack_command
        self._push_type: type[list[Any]] = library.PushNotification
        self._protocol_error: type[Exception] = library.ProtocolError
        self.error_type: type[Exception] = library.ReplyError
        self._transport: asyncio.Transport | None = None
        self._owed: deque[Take] = deque()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._time: asyncio.Future[list[Reply]] | None = None
        """TIME, where this turn has asked for it"""
        self._heard = False
        self._silent = 0
        """looks in a row at which nothing had come"""
        self._why = "Redis closed the connection"
        self._interval_s = timeout_s / SWEEPS
        self._sweeper: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[str] = self._loop.create_future()
        """ends when the connection has, with the reason"""

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known."""
        return self._transport is not None

    @property
    def waiting_bytes(self) -> int:
        """What was handed over and the kernel has not taken yet."""
        if self._transport is None:
            return 0
        return self._unsent_bytes + self._transport.get_write_buffer_size()

    # --- sending --------------------------------------------------------------------------

    def send(self, command: Command, take: Take) -> None:
        """Have a command carried out; `take` is given its reply."""
        if self._may_owe(take):
            self._owed.append(take)
            self._say(self._pack(command))

    def send_channel(self, command: bytes, channel: bytes, take: Take) -> None:
        """(S)SUBSCRIBE or (S)UNSUBSCRIBE; `take` is given the confirmation, or an error."""
        if self._may_owe(take):
            self._owed.append(_Confirmation(command.lower(), channel, take))
            self._say(self._pack((command, channel)))

    def ask(self, commands: Sequence[Command]) -> "asyncio.Future[list[Reply]]":
        """Have commands, at least one, carried out: their replies, in their order, errors among them.

        Awaiting raises RedisUnavailable if the connection ends before.
        """
        answers = _Answers(len(commands), self._loop.create_future())
        for command in commands:
            self.send(command, answers.take)
        return answers.future

    def time(self) -> "asyncio.Future[list[Reply]]":
        """The reply to a TIME that is sent with this turn, for all that ask in it."""
        if self._time is None or self._time.done():  # done before it was sent: it could not be
            self._time = self.ask([TIME])
        return asyncio.shield(self._time)

    def _may_owe(self, take: Take) -> bool:
        if self._transport is None:
            take(RedisUnavailable(self._why))
        elif len(self._owed) >= UNANSWERED:
            take(RedisUnavailable("too many commands are unanswered"))
        else:
            return True
        return False

    def _say(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)

    def flush(self) -> None:
        """Send what waits now."""
        unsent, self._unsent, self._unsent_bytes, self._time = self._unsent, [], 0, None
        if unsent and self._transport is not None:
            self._transport.writelines(unsent)

    # --- what comes -----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._heard = True
        reply: Reply
        gets, more, push_type, owed = self._reader.gets, self._more, self._push_type, self._owed
        try:
            self._reader.feed(data)
            while (reply := gets()) is not more:
                if type(reply) is push_type:
                    if owed and type(first := owed[0]) is _Confirmation and first.is_it(reply):
                        owed.popleft()(reply)
                    else:
                        self._pushed(reply)
                elif owed:
                    owed.popleft()(reply)
                else:
                    self.abort("Redis said what nobody asked for")
                    return
        except self._protocol_error as error:
            self.abort(f"what came is not Redis' protocol: {error}")

    # --- its life -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What uvloop gives is one in all but name.
        self._transport = cast(asyncio.Transport, transport)
        self._sweeper = self._loop.call_later(self._interval_s, self._sweep)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None:
            self._end(str(exc))
        else:
            self._end(self._why)

    def abort(self, why: str) -> None:
        """Break it off."""
        transport = self._transport
        self._end(why)
        if transport is not None:
            transport.abort()

    async def close(self) -> None:
        """Send what waits, until it has been taken or `CLOSE_S` are over, and end."""
        if self._transport is not None:
            self.send((b"PING",), lambda _: self.abort("it was closed"))
            self.flush()
            await asyncio.wait([self.lost], timeout=CLOSE_S)
            self.abort("it was closed")

    def _end(self, why: str) -> None:
        self._transport = None
        if self._sweeper is not None:
            self._sweeper.cancel()
        if not self.lost.done():
            self._why = why
            self.lost.set_result(why)
            owed, self._owed = self._owed, deque()
            for take in owed:
                take(RedisUnavailable(why))
            self._owner.ended(self, why)

    def _sweep(self) -> None:
        """Look whether anything came since the last look.

        Silence must last for a whole further interval, so that a process that was stopped itself, whose
        timers are due before it has read what came meanwhile, does not take its server for gone.
        """
        self._sweeper = self._loop.call_later(self._interval_s, self._sweep)
        if self._heard or not self._owed:
            self._heard = False
            self._silent = 0
            if not self._owed:
                self.send((b"PING",), lambda _: None)
            return
        self._silent += 1
        if self._silent >= SWEEPS:
            self.abort(f"it does not answer within {self._interval_s * SWEEPS:g} s")
