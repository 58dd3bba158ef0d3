"""From each older format of the store to the one that follows it.

A step may be run again after a crash in its middle: it writes what is not there yet. Tables that
are new have been created before it, and columns with a default need no step. A row that a step puts
has the cause 0, or one that the table's bound (`Family.bound`) is not below.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from rocksdict import Rdict, WriteBatch

from tidings.store.rocks_family import Family, bound_key
from tidings.store.schema import DEVICES, SEEN, TABLES, SeenRow

PAGE_ROWS = 1000

Migration = Callable[[Rdict, Path, int], None]
"""Of an open database, the directory that errors name, and Unix ms."""


def _to_2(rocks: Rdict, path: Path, now_ms: int) -> None:
    """Every device has been seen now: one without a row would count as unseen since its birth."""
    devices, seen = Family(DEVICES, path), Family(SEEN, path)
    devices.attach(rocks)
    seen.attach(rocks)
    try:
        after = None
        while rows := devices.scan(after, PAGE_ROWS):
            batch = WriteBatch(raw_mode=True)
            for row in rows:
                at = SeenRow(row.user_id, row.device_id, now_ms)
                key = seen.keys.of_row(at)
                if seen.get(key) is None:
                    batch.put(key, seen.value(at, 0), seen.handle)
            rocks.write(batch)
            after = DEVICES.key_of(rows[-1])
    finally:
        devices.detach()
        seen.detach()


def _to_3(rocks: Rdict, path: Path, now_ms: int) -> None:
    """Keys have tables of their own, which are there by now: a binary of before would not heed them."""


def _to_4(rocks: Rdict, path: Path, now_ms: int) -> None:  # noqa: ARG001
    """Groups have tables of their own, likewise. Every table has a bound of the causes in it."""
    for table in TABLES:
        family = Family(table, path)
        if family.codec.takes_puts:
            family.attach(rocks)
            try:
                rocks[bound_key(table.name)] = family.greatest_cause()
            finally:
                family.detach()


def _to_5(rocks: Rdict, path: Path, now_ms: int) -> None:
    """Rows of memberships got two fields at their end: older ones are read without them."""


MIGRATIONS: Mapping[int, Migration] = {1: _to_2, 2: _to_3, 3: _to_4, 4: _to_5}
