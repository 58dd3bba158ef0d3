"""Redis' master dies again and again, and its replica takes over, in a whole system that Sentinels watch.

As in `test_chaos`, whose system has one Redis.
"""

from pathlib import Path

import pytest

from cluster.breaking import FEW, TIMES, Breaker, broken, running_system
from redis.watched import Watched
from tidings.testing.toxics import is_there

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.long,
    pytest.mark.timeout(900 + 120 * TIMES),
    pytest.mark.skipif(not is_there(), reason="no Toxiproxy: run scripts/toxiproxy"),
]


async def test_redis_fails_over(tmp_path: Path, reports: Path) -> None:
    async with running_system(tmp_path, Watched(tmp_path / "redis")) as system:
        urls = [node.url for node in system.nodes]
        await broken(system, urls, reports, FEW, [Breaker.redis_failed_over] * TIMES)
