"""What is under a node: the store, and what it shares with other nodes, as the config names them.

Without `[cassandra]` and `[redis]` a node has an embedded store of its own and shares nothing. The drivers
of what many nodes share are imported only where they are asked for.
"""

from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from structlog.typing import FilteringBoundLogger

from tidings.bus.contract import BusError
from tidings.directory.contract import DirectoryError
from tidings.redis.config import RedisConfig, RedisMisconfigured
from tidings.server.cluster import Shared
from tidings.server.config import Config, ConfigError
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.contract import Store, StoreUnavailable
from tidings.store.counts import StoreCounts
from tidings.store.rocks import RocksStore

EXTRA = "tidings[cluster]"


class Backends(NamedTuple):
    """Open, and the caller's to close."""

    store: Store
    shared: Shared | None
    store_counts: StoreCounts | None
    """of a store that is reached over the network"""
    opened: AsyncExitStack

    async def close(self) -> None:
        """Release all of it, the last opened first."""
        await self.opened.aclose()


def store_name(config: Config) -> str:
    """What the store is called, for operators."""
    return "rocksdb" if config.cassandra is None else "cassandra"


async def open_backends(config: Config, log: FilteringBoundLogger) -> Backends:
    """Open what a config names. Raises ConfigError, StoreError."""
    async with AsyncExitStack() as opened:
        if config.cassandra is None or config.redis is None:
            store: Store = RocksStore.open(
                Path(config.data), sync=config.sync, min_free_bytes=config.limits.store_free_bytes
            )
            opened.push_async_callback(store.close)
            shared = counts = None
        else:
            _make_folder(config)
            shared = await _open_shared(config.redis, log, opened)
            counts = StoreCounts()
            store = await open_cassandra(config.cassandra, counts)
            opened.push_async_callback(store.close)
        return Backends(store, shared, counts, opened.pop_all())


async def open_cassandra(config: CassandraConfig, counts: StoreCounts | None = None) -> Store:
    """The store that many nodes share, which counts in `counts`. Raises ConfigError, StoreError."""
    backend = _driven("tidings.store.cassandra.store", "[cassandra]")
    store: Store = await backend.CassandraStore.open(config, counts=counts)
    return store


async def reach_shared(config: RedisConfig, log: FilteringBoundLogger) -> None:
    """See that bus and directory could be opened. Raises ConfigError, StoreUnavailable."""
    async with AsyncExitStack() as opened:
        await _open_shared(config, log, opened)


async def _open_shared(config: RedisConfig, log: FilteringBoundLogger, opened: AsyncExitStack) -> Shared:
    """Bus and directory. Raises ConfigError, StoreUnavailable."""
    buses, directories = (_driven(f"tidings.{part}.redis", "[redis]") for part in ("bus", "directory"))
    try:
        bus = await buses.RedisBus.open(config, log)
        opened.push_async_callback(bus.close)
        directory = await directories.RedisDirectory.open(config, log)
        opened.push_async_callback(directory.close)
    except RedisMisconfigured as error:
        raise ConfigError(f"config: [redis] {error}") from None
    except (BusError, DirectoryError) as error:
        raise StoreUnavailable(
            f"{error}\nhint: a node starts only where it finds the others; see `addresses` under [redis]"
        ) from None
    return Shared(bus, directory)


def _make_folder(config: Config) -> None:
    """For the audit log, and the file that tells of the admin port: an embedded store makes it itself."""
    try:
        Path(config.data).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"config: `data`: cannot make {config.data}: {error.strerror}") from None


def _driven(module: str, section: str) -> Any:
    """A backend with its driver. Raises ConfigError where that is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tidings"):
            raise
        raise ConfigError(
            f"config: {section} needs {error.name}, which is not installed\nhint: pip install {EXTRA!r}"
        ) from None
