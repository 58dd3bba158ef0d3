"""That `bench redis` measures something, and leaves nothing behind."""

import pytest

from redis.servers import Server
from tidings.bench.progress import Progress
from tidings.bench.redis import BATCHES, RedisOptions, redis


@pytest.mark.cluster
async def test_it_measures_and_leaves_nothing(redis_server: Server) -> None:
    result = await redis(RedisOptions(redis_server.address, operations=100), Progress("redis"))
    for name in ("look_up", "refresh", "time", "publish_and_hear"):
        measured = result[f"{name}_cpu_us"]
        assert isinstance(measured, list)
        assert len(measured) == len(BATCHES)
        assert all(0 < one < 10_000 for one in measured)
    assert redis_server.run("KEYS", "*") == []


@pytest.mark.slow
async def test_it_says_that_nobody_is_there() -> None:
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:1"):
        await redis(RedisOptions("127.0.0.1:1"), Progress("redis"))
