"""Calling what does not answer as a Redis should."""

import asyncio
import contextlib

import pytest

from tidings.redis.config import RedisConfig, parsed
from tidings.redis.dial import Dialer
from tidings.redis.wire import NOBODY, RedisUnavailable


async def test_an_old_redis_that_repeats_what_it_was_told_does_not_tell_the_password() -> None:
    answering: list[asyncio.Task[None]] = []

    def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.append(asyncio.ensure_future(answer(reader, writer)))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.readuntil(b"SETNAME")
        assert b"correct horse" in heard
        # As all of them do with a command that they do not know.
        said = (
            b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'correct horse' "
        )
        writer.write(9 * (said + b"\r\n"))
        with contextlib.suppress(ConnectionError):
            await reader.read()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(answers, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        address = f"{host}:{port}"
        for dialer in (
            Dialer(RedisConfig(addresses=(address,), password="correct horse")),
            Dialer(RedisConfig(addresses=(address,), sentinel_password="correct horse")),
        ):
            call = dialer.master if dialer.config.password else dialer.sentinel
            with pytest.raises(RedisUnavailable, match="HELLO") as refusal:
                await call(parsed(address), NOBODY)
            assert "horse" not in str(refusal.value)
        await asyncio.gather(*answering)
