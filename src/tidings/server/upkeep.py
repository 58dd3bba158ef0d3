"""Upkeep: what a node does by itself, so that its operator need not.

Silent connections are closed, disappeared messages erased, rows past their time dropped, devices
that nobody uses any more logged out. A round that fails is logged, and the next one comes all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from tidings.protocol.errors import ProtocolError
from tidings.server.services import Services
from tidings.store.contract import Store, StoreError

SWEEP_S = 1.0
SETTLE_S = 60.0
"""from the start to the first round of what is heavy: everybody is reconnecting just then"""


class Upkeep:
    """Runs the rounds until it is stopped."""

    def __init__(self, services: Services, store: Store) -> None:
        self._services = services
        self._store = store
        self._tasks: list[asyncio.Task[None]] = []
        self._swept_s = services.loop.time()

    def start(self) -> None:
        """Begin."""
        limits, loop = self._services.limits, self._services.loop
        self._tasks = [
            loop.create_task(rounds(work, every_s, first_s, self._services.log))
            for work, every_s, first_s in (
                (self._connections, lambda: SWEEP_S, SWEEP_S),
                (self._expired, lambda: limits.expiry_sweep_s, limits.expiry_sweep_s),
                (self._dormant, lambda: limits.retention_sweep_s, SETTLE_S),
                (self._retention, lambda: limits.retention_sweep_s, SETTLE_S),
            )
        ]

    async def stop(self) -> None:
        """End, and wait until nothing runs any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connections(self) -> None:
        services, now_s = self._services, self._services.loop.time()
        services.counts.lagged(now_s - self._swept_s - SWEEP_S, now_s)
        services.connections.sweep(now_s)
        services.presence.sweep()
        if services.cluster is not None:
            services.following.sweep(now_s)
        self._swept_s = services.loop.time()

    async def _expired(self) -> None:
        if await self._is_ours():
            await self._services.eraser.sweep(self._services.ids.now_ms())

    async def _dormant(self) -> None:
        # Each node looks at the groups that it has in memory.
        if count := await self._services.dormancy.sweep():
            self._services.log.info("members fell asleep", count=count)

    async def _is_ours(self) -> bool:
        """Whether this node sees to what all nodes share: one of them does."""
        cluster = self._services.cluster
        return cluster is None or await cluster.keeps_up()

    async def _retention(self) -> None:
        if not await self._is_ours():
            return
        now_ms = self._services.ids.now_ms()
        unlinked = await self._services.account_rules.devices.unlink_unseen(now_ms)
        dropped = await self._store.expire(now_ms)
        if dropped or unlinked:
            self._services.log.info("kept up", rows_dropped=dropped, devices_unlinked=unlinked)


async def rounds(
    work: Callable[[], Awaitable[None]],
    every_s: Callable[[], float],
    first_s: float,
    log: FilteringBoundLogger,
) -> None:
    """Do something again and again, whatever becomes of a single round."""
    await asyncio.sleep(first_s)
    while True:
        try:
            await work()
        except (ProtocolError, StoreError) as refusal:
            log.warning("upkeep was put off", work=getattr(work, "__name__", str(work)), reason=str(refusal))
        except Exception as bug:
            log.error("upkeep failed", work=getattr(work, "__name__", str(work)), exc_info=bug)
        await asyncio.sleep(every_s())
