"""Restoring: a copy of a store becomes a store that may take up where another one ended.

Between the backup and the loss people went on, and their devices remember it. So the copy is
prepared before anybody may open it:

- No id is given twice. What was given after the backup was given before now, so ids go on from a
  minute after now; the minute is for a machine whose clock is behind the lost one's.
- Versions of memberships go up by so much that none is met again: a device that saw version 7 of a
  membership that the backup knows as 5 would else take the next 7, another one, for the one it knows.
  In a group somebody may have been removed since: whoever writes in it has to look at it first.
- Every device gets another token when it comes back. The one it has holds until it has used the
  new one; so does one that it had been offered at the time of the backup, which it may use by now.
- One-time prekeys are given to nobody any more: those that were given after the backup are not known.
  Devices bring others when they come back.
- Every device list counts as changed: who sealed a message by another one looks at it again.
- Devices count as seen lately enough that an old backup does not log everybody out.

Prepared, it is moved into its place. Until that is done the directory RESTORING is there: a server
refuses the folder, and a restore that was interrupted is begun anew.
"""

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec

from tidings.protocol import ids
from tidings.store.contract import Put, R, Raise, Store, StoreError, StoreInUse, Table, Write
from tidings.store.rocks import RocksStore
from tidings.store.rocks_checkpoint import copy_store, files_of, sync_directory, take_place
from tidings.store.rocks_database import CREATING, RESTORING
from tidings.store.schema import (
    DAY_S,
    DEVICE_LISTS,
    DEVICES,
    HEAD_MEMBER,
    HEADS,
    KEY_MARKS,
    MEMBERS,
    NODES,
    ONE_TIME_COUNTERS,
    ROSTERS,
    SEEN,
    DeviceRow,
    GroupHead,
    HeadRow,
    KeyMarkRow,
    MemberRow,
    NodeRow,
    RosterRow,
    SeenRow,
)

IDS_MARGIN_MS = 60_000
VERSIONS_SKIPPED = 1_000_000
SEEN_AGO_MS = 30 * DAY_S * 1000
LONE_NODE = 0
PAGE_ROWS = 1000

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much (0: not known)."""


class RestoreRefused(StoreError):
    """Nothing was begun: the source is no store, or the place is taken."""


def no_progress(_step: str, _done: int, _total: int) -> None:
    """For who does not want to know."""


async def restore(source: Path, data: Path, *, now_ms: int, progress: Progress = no_progress) -> None:
    """Make a data folder of a backup, or of the folder of a server that is stopped.

    When this returns the folder is whole and durable; `source` is as it was. Raises RestoreRefused,
    StoreInUse, StoreTooNew, StoreDamaged, StoreFull, StoreUnavailable, OSError.
    """
    _require_store(source)
    with _not_in_use(source):
        staging = _begin(data, source)
        copy_store(source, staging, lambda done, total: progress("copying", done, total))
    store = RocksStore.open(staging)
    try:
        await prepare(store, now_ms=now_ms, progress=progress)
    finally:
        await store.close()
    _finish(staging, data)


async def prepare(store: Store, *, now_ms: int, progress: Progress = no_progress) -> None:
    """Change what a restored store must not remember as it was. Raises StoreError."""
    nodes = await store.scan(NODES, limit=PAGE_ROWS)
    floor = max(ids.first_at(now_ms + IDS_MARGIN_MS), *(row.ids_until for row in nodes), 0)
    await store.write(
        [Raise(NODES, NodeRow(node, floor)) for node in {LONE_NODE, *(row.node for row in nodes)}]
    )
    done = 0
    async for members in pages(store, MEMBERS):
        await store.write([_raised(row, floor) for row in members if row.user_id == HEAD_MEMBER])
        done += len(members)
        progress("versions", done, 0)
    async for rosters in pages(store, ROSTERS):
        for row in rosters:
            if row.head is not None:
                await _raise_group(store, row, row.head, floor)
        done += len(rosters)
        progress("versions", done, 0)
    done = 0
    async for devices in pages(store, DEVICES):
        await store.write([write for row in devices for write in _renewing(row, floor, now_ms)])
        done += len(devices)
        progress("devices", done, 0)
    await _renew_keys(store, floor, progress)


async def _raise_group(store: Store, row: RosterRow, head: GroupHead, floor: int) -> None:
    """Nobody knows who was removed since the backup: whoever writes has to look first."""
    version = head.version + VERSIONS_SKIPPED
    raised = msgspec.structs.replace(
        head, version=version, removal_at=version, cause=max(floor, head.cause + 1), change=None
    )
    request_id = hashlib.sha256(row.request_id + b"restored").digest()[:16]
    # That there is nothing to be told comes first: else whoever finds it would tell the last change anew.
    await store.write([Raise(HEADS, HeadRow(row.conversation_id, told=version))])
    await store.compare_and_set(
        ROSTERS, row, msgspec.structs.replace(row, request_id=request_id, head=raised)
    )


async def _renew_keys(store: Store, floor: int, progress: Progress) -> None:
    done = 0
    async for counters in pages(store, ONE_TIME_COUNTERS):
        for row in counters:
            given_up = msgspec.structs.replace(row, next=row.newest + 1, left=0)
            await store.compare_and_set(ONE_TIME_COUNTERS, row, given_up)
        done += len(counters)
        progress("keys", done, 0)
    async for lists in pages(store, DEVICE_LISTS):
        await store.write([Raise(KEY_MARKS, KeyMarkRow(row.user_id, floor)) for row in lists])


async def pages(store: Store, table: Table[R]) -> AsyncIterator[list[R]]:
    """All rows of a table, some at a time."""
    after = None
    while rows := await store.scan(table, after=after, limit=PAGE_ROWS):
        yield rows
        after = table.key_of(rows[-1])


def _raised(row: MemberRow, cause: int) -> Write:
    return Put(MEMBERS, msgspec.structs.replace(row, version=row.version + VERSIONS_SKIPPED), cause)


def _renewing(row: DeviceRow, cause: int, now_ms: int) -> tuple[Write, Write]:
    return (
        Put(DEVICES, msgspec.structs.replace(row, renew=True), cause),
        Raise(SEEN, SeenRow(row.user_id, row.device_id, now_ms - SEEN_AGO_MS)),
    )


def _require_store(source: Path) -> None:
    if not (source / "CURRENT").is_file():
        raise RestoreRefused(
            f"{source} is no store of Tidings\nhint: name the folder that `backup --to` filled"
        )
    if (source / CREATING).exists() or (source / RESTORING).exists():
        raise RestoreRefused(f"{source} was never finished\nhint: take another backup")


@contextlib.contextmanager
def _not_in_use(source: Path) -> Iterator[None]:
    """Hold, where there is one, the lock that an open store would hold. Raises StoreInUse."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(FileNotFoundError):
            lock = stack.enter_context((source / "LOCK").open("rb"))
            try:
                fcntl.lockf(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                raise StoreInUse(
                    f"{source} is the folder of a server that runs\n"
                    "hint: take a backup of it first: tidings backup --data DIR --to DIR"
                ) from None
        yield


def _begin(data: Path, source: Path) -> Path:
    """An empty directory RESTORING within the folder, which is otherwise empty."""
    staging = data / RESTORING
    if staging.exists():
        shutil.rmtree(staging)
        for file in reversed(files_of(data)):
            file.unlink()
        data.mkdir(exist_ok=True)
        sync_directory(data)
    try:
        take_place(data, apart_from=source)
    except OSError as error:
        raise RestoreRefused(
            f"cannot restore into {data}: {error.strerror}\nhint: name an empty folder with --data"
        ) from None
    staging.mkdir(mode=0o700)
    sync_directory(data)
    return staging


def _finish(staging: Path, data: Path) -> None:
    for file in files_of(staging):
        if file.name == "CURRENT":
            sync_directory(data)
        file.rename(data / file.name)
    sync_directory(data)
    shutil.rmtree(staging)
    sync_directory(data)
    sync_directory(data.parent)
