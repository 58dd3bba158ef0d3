"""The proxies do to real connections what they say, one way or both, and stop doing it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tidings.testing.toxics import Proxy, Toxiproxy, Way, is_there, toxiproxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_there(), reason="no Toxiproxy: run scripts/toxiproxy"),
]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
QUIET_S = 0.3
PATIENCE_S = 10.0


class Echo:
    """Says what it hears, and keeps it."""

    def __init__(self) -> None:
        self.heard = b""
        self.left_s: list[float] = []
        """when somebody hung up"""
        self.news = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                self.heard += data
                writer.write(data)
                self.news.set()
        except ConnectionError:
            pass
        self.left_s.append(time.monotonic())
        self.news.set()
        writer.close()


@pytest.fixture
async def proxies() -> AsyncIterator[Toxiproxy]:
    async with toxiproxy() as running:
        yield running


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def proxy(proxies: Toxiproxy, echo: Echo) -> AsyncIterator[Proxy]:
    async with await asyncio.start_server(echo.answer, "127.0.0.1", 0) as server:
        yield await proxies.before(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def said(streams: Streams, text: bytes) -> float:
    """How long it takes until the echo comes."""
    began_s = time.monotonic()
    streams[1].write(text)
    async with asyncio.timeout(PATIENCE_S):
        assert await streams[0].readexactly(len(text)) == text
    return time.monotonic() - began_s


async def is_silent(streams: Streams, text: bytes) -> bool:
    streams[1].write(text)
    try:
        async with asyncio.timeout(QUIET_S):
            await streams[0].read(1)
    except TimeoutError:
        return True
    return False


async def test_what_is_late_one_way_is_late_by_that(proxy: Proxy) -> None:
    async with connected(proxy) as streams:
        await said(streams, b"one")
        await proxy.delay(0.2)
        await proxy.delay(0.1, way=Way.THERE)
        assert await said(streams, b"two") >= 0.3
        await proxy.heal()
        assert min([await said(streams, b"three") for _ in range(5)]) < 0.2


async def test_a_proxy_stands_where_it_is_told_to(proxies: Toxiproxy, proxy: Proxy) -> None:
    # Another address of this machine, at a port that is free on the first one.
    second = await proxies.before(proxy.port, listen=f"127.0.0.2:{proxy.port}")
    assert second.port == proxy.port
    reader, writer = await asyncio.open_connection("127.0.0.2", second.port)
    await said((reader, writer), b"one")
    writer.close()


async def test_a_narrow_way_takes_its_time(proxy: Proxy) -> None:
    async with connected(proxy) as streams:
        await proxy.slow(100)
        assert await said(streams, bytes(50_000)) >= 0.3


async def test_half_open_is_accepted_and_says_nothing(proxy: Proxy, echo: Echo) -> None:
    async with connected(proxy) as old:
        await said(old, b"one")
        await proxy.silence()
        assert await is_silent(old, b"lost")
        async with connected(proxy) as new:
            assert await is_silent(new, b"lost, too")
        assert echo.heard == b"one"
        await proxy.heal()
        async with asyncio.timeout(PATIENCE_S):
            assert await old[0].read() == b"", "what was lost is not made up for"
    async with connected(proxy) as streams:
        await said(streams, b"two")


async def test_cut_one_way_is_heard_the_other(proxy: Proxy, echo: Echo) -> None:
    await proxy.silence(Way.BACK)
    async with connected(proxy) as streams:
        assert await is_silent(streams, b"hello")
        async with asyncio.timeout(PATIENCE_S):
            await echo.news.wait()
        assert echo.heard == b"hello"


async def test_a_reset_is_one(proxy: Proxy) -> None:
    async with connected(proxy) as old:
        await said(old, b"one")
        await proxy.reset()
        old[1].write(b"two")
        async with asyncio.timeout(PATIENCE_S):
            assert await old[0].read() == b""
    async with connected(proxy) as new:
        new[1].write(b"three")
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(PATIENCE_S):
                await new[0].read()
    await proxy.heal()
    async with connected(proxy) as streams:
        await said(streams, b"four")


async def test_a_slow_close_comes_late(proxy: Proxy, echo: Echo) -> None:
    await proxy.close_slowly(0.3)
    async with connected(proxy) as streams:
        await said(streams, b"one")
        echo.news.clear()
    closed_s = time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        await echo.news.wait()
    assert echo.left_s[0] - closed_s >= 0.25


async def test_who_is_closed_refuses_until_healed(proxy: Proxy) -> None:
    async with connected(proxy) as streams:
        await said(streams, b"one")
        await proxy.close()
        async with asyncio.timeout(PATIENCE_S):
            assert await streams[0].read() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.heal()
    async with connected(proxy) as streams:
        await said(streams, b"two")
