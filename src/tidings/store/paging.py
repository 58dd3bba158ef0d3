"""Walking along a partition, some rows at a time."""

from collections.abc import AsyncIterator

from tidings.store.contract import Key, R, Store, Table


async def rows_of(store: Store, table: Table[R], partition: Key, *, at_once: int) -> AsyncIterator[R]:
    """All rows of a partition in its order, read `at_once` at a time. Raises StoreError."""
    after = None
    while True:
        rows = await store.range(table, partition, after=after, limit=at_once)
        for row in rows:
            yield row
        if len(rows) < at_once:
            return
        after = table.key_of(rows[-1])[len(partition) :]
