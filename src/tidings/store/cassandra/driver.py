"""The connection to the cluster: the only module that knows the driver, acsylla.

Bounds. At most `in_flight` requests are at the cluster; further ones wait here in their order. Each
is answered, or fails, within `request_s`; what the driver loses fails `LOST_S` later. Statements are
prepared at their first use and kept: as many as there are texts. A result is fetched in pages of
`PAGE_ROWS`.

What fails is raised as a StoreError, see `refusals`.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from tidings.store.cassandra.columns import Values
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.refusals import refusal
from tidings.store.contract import StoreUnavailable
from tidings.store.counts import StoreCounts

try:
    import acsylla
except ImportError:  # an extra, `tidings[cluster]`
    acsylla = None

PAGE_ROWS = 200
LOST_S = 2.0
"""after the time of a request it is given up here: where all nodes go the driver may never answer some"""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
"""between two tries of `repeated`"""

T = TypeVar("T")

Prepared = Any
Statement = Any
Result = Any


class Driver:
    """A session with the cluster. Make one with `connect`."""

    def __init__(self, config: CassandraConfig, cluster: Any, session: Any, counts: StoreCounts) -> None:
        self._config = config
        self.counts = counts
        self._now_s = asyncio.get_running_loop().time
        self._cluster = cluster
        self._session = session
        self._prepared: dict[str, Prepared] = {}
        self._preparing: dict[str, asyncio.Future[Prepared]] = {}
        self._free = config.in_flight
        self._waiting: deque[asyncio.Future[None]] = deque()
        local = config.consistency == "local_quorum"
        levels = acsylla.Consistency
        self._serial = levels.LOCAL_SERIAL if local else levels.SERIAL

    @classmethod
    async def connect(cls, config: CassandraConfig, counts: StoreCounts | None = None) -> "Driver":
        """Connect to the cluster; requests are counted in `counts`. Raises StoreUnavailable."""
        if acsylla is None:
            raise StoreUnavailable(
                "the driver for Cassandra is not installed\nhint: run pip install 'tidings[cluster]'"
            )
        logging.getLogger("acsylla").addFilter(_is_news)
        try:
            cluster = _cluster(config)
        except acsylla.errors.CassException as error:
            raise refusal(error, config) from None
        try:
            session = await cluster.create_session()
        except acsylla.errors.CassException as error:
            cluster.destroy()
            raise refusal(error, config) from None
        return cls(config, cluster, session, counts or StoreCounts())

    # --- requests ---------------------------------------------------------------------------

    async def query(
        self, cql: str, *, host: str = "", timeout_s: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Send a statement as it is; its rows. For what is sent once. Raises StoreError.

        `host` is who to ask, `timeout_s` how long to wait instead of `request_s`.
        """
        statement = acsylla.create_statement(cql, timeout=timeout_s)
        if host:
            statement.set_host(host, self._config.port)
        result = await self._settled(self._session.execute(statement), timeout_s=timeout_s)
        return [row.as_tuple() for row in result]

    async def least_host(self) -> str:
        """The address of the cluster's first host, the same for whoever asks. Raises StoreError."""
        ((own,),) = await self.query("SELECT rpc_address FROM system.local")
        peers = await self.query("SELECT rpc_address FROM system.peers", host=str(own))
        return min([str(own), *(str(peer) for (peer,) in peers)])

    async def prepared(self, cql: str) -> Prepared:
        """The statement of a text, for `bind`. Raises StoreError."""
        found = self._prepared.get(cql)
        if found is not None:
            return found
        preparing = self._preparing.get(cql)
        if preparing is None:
            preparing = self._preparing[cql] = asyncio.ensure_future(self._prepare(cql))
            preparing.add_done_callback(lambda _: self._preparing.pop(cql, None))
        # Shielded: others may be waiting for the same one.
        return await asyncio.shield(preparing)

    async def _prepare(self, cql: str) -> Prepared:
        prepared = await self._settled(self._session.create_prepared(cql, timeout=self._config.request_s))
        self._prepared[cql] = prepared
        return prepared

    async def bound(self, sent: Sequence[tuple[str, Values]]) -> list[Statement]:
        """Statements of texts and values, to be written. Raises StoreError."""
        known = self._prepared
        return [(known.get(cql) or await self.prepared(cql)).bind(values) for cql, values in sent]

    async def write(self, statements: Sequence[Statement]) -> None:
        """Send writes, of each partition all or none. They may be sent again. Raises StoreError."""
        if len(statements) == 1:
            statements[0].set_is_idempotent(True)
            await self._settled(self._session.execute(statements[0]))
            return
        batch = acsylla.create_batch_unlogged()
        batch.set_is_idempotent(True)
        for statement in statements:
            batch.add_statement(statement)
        await self._settled(self._session.execute_batch(batch))

    async def write_if(self, statements: Sequence[Statement]) -> tuple[bool, list[dict[str, Any]]]:
        """Send writes of one partition with a condition: whether they were done, else what was found.

        Never sent twice. Raises OutcomeUnknown, StoreError.
        """
        if len(statements) == 1:
            first = statements[0]
            first.set_serial_consistency(self._serial)
            first.set_retry_policy("fallthrough")
            result = await self._settled(self._session.execute(first), conditional=True)
        else:
            batch = acsylla.create_batch_unlogged()
            batch.set_serial_consistency(self._serial)
            batch.set_retry_policy("fallthrough")
            for statement in statements:
                batch.add_statement(statement)
            result = await self._settled(self._session.execute_batch(batch), conditional=True)
        names = result.columns_names()
        rows = [dict(zip(names, row.as_tuple(), strict=True)) for row in result]
        return bool(rows[0]["[applied]"]), rows

    async def read(
        self, cql: str, values: Values, *, limit: int | None = None, serial: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows of a query, at most `limit`. Raises StoreError.

        `serial`: as they are after every conditional write that was begun before.
        """
        prepared = self._prepared.get(cql) or await self.prepared(cql)
        size = PAGE_ROWS if limit is None else min(limit, PAGE_ROWS)
        found: list[tuple[Any, ...]] = []
        state = None
        while True:
            result = await self._page(prepared, values, size, state, serial=serial)
            found += [row.as_tuple() for row in result]
            if not result.has_more_pages() or (limit is not None and len(found) >= limit):
                return found[:limit]
            state = result.page_state()

    async def pages(
        self, cql: str, values: Values, *, size: int = PAGE_ROWS, serial: bool = False, patience_s: float = 0
    ) -> AsyncGenerator[list[tuple[Any, ...]], None]:
        """The rows of a query, some at a time, each asked for again for so long. Raises StoreError."""
        prepared = await self.prepared(cql)
        state = None
        while True:
            ask = partial(self._page, prepared, values, size, state, serial=serial)
            result = await repeated(ask, patience_s)
            yield [row.as_tuple() for row in result]
            if not result.has_more_pages():
                return
            state = result.page_state()

    async def _page(
        self, prepared: Prepared, values: Values, size: int, state: bytes | None, *, serial: bool
    ) -> Result:
        """Rows of a query from a place on."""
        statement = prepared.bind(
            values, page_size=size, page_state=state, consistency=self._serial if serial else None
        )
        statement.set_is_idempotent(True)
        return await self._settled(self._session.execute(statement))

    async def close(self) -> None:
        """Take leave of the cluster. Nothing may be on its way."""
        try:
            await self._session.close()
        finally:
            self._cluster.destroy()

    # --- inside -----------------------------------------------------------------------------

    async def _settled(
        self, request: Awaitable[Any], *, conditional: bool = False, timeout_s: float | None = None
    ) -> Result:
        """The answer to a request, once there is room for it."""
        began_s = self._now_s()
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self.counts.waiting += 1
            try:
                await turn
            except asyncio.CancelledError:
                request.close()  # type: ignore[attr-defined]
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
            finally:
                self.counts.waiting -= 1
        try:
            async with asyncio.timeout((timeout_s or self._config.request_s) + LOST_S):
                return await request
        except (acsylla.errors.CassException, TimeoutError) as error:
            self.counts.failures += 1
            raise refusal(error, self._config, conditional=conditional) from None
        finally:
            self.counts.requests += 1
            self.counts.seconds += self._now_s() - began_s
            self._leave()

    def _leave(self) -> None:
        """Give the place to who waits longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


async def repeated(work: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """Do what may be done again until the cluster does it, for so long. Raises StoreError."""
    deadline_s = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await work()
        except StoreUnavailable:
            if time.monotonic() + pause_s > deadline_s:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the driver's log says more than that Cassandra is not ScyllaDB."""
    return "SHARD-AWARENESS" not in record.getMessage()


def _cluster(config: CassandraConfig) -> Any:
    if config.tls and not config.tls_ca:
        raise StoreUnavailable(
            "tls to the cluster without tls_ca would trust anybody\n"
            "hint: set tls_ca to the file of the certificate that signs those of its nodes"
        )
    return acsylla.create_cluster(
        list(config.contact_points),
        port=config.port,
        username=config.user or None,
        password=config.password or None,
        connect_timeout=config.connect_s,
        request_timeout=config.request_s,
        log_level="error",
        ssl_enabled=config.tls,
        ssl_trusted_cert=_file(config.tls_ca),
        ssl_cert=_file(config.tls_cert),
        ssl_private_key=_file(config.tls_key),
        ssl_verify_flags=acsylla.SSLVerifyFlags.PEER_IDENTITY,
        consistency=config.consistency,
        serial_consistency="local_serial" if config.consistency == "local_quorum" else "serial",
        load_balance_dc_aware=config.datacenter or None,
        # How long a node that was lost stays away at most, once it is back.
        exponential_reconnect_base_delay_ms=250,
        exponential_reconnect_max_delay_ms=5000,
        # Of what is idempotent; once, or a cluster that is only slow would get many times as much to do.
        speculative_execution_policy=acsylla.SpeculativeExecutionPolicy(int(config.again_s * 1000), 1),
        # A node that hangs is found out, and given up, before `request_s` is over.
        heartbeat_interval_sec=2,
        idle_timeout_sec=max(4, int(config.request_s * 0.6)),
        application_name="tidings",
    )


def _file(path: str) -> str | None:
    """The text of a PEM file. Raises StoreUnavailable."""
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"cannot read {path}: {error}") from None
