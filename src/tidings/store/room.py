"""Whether the disk has room: asked before each batch, so that RocksDB never meets a full one."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from tidings.store.contract import StoreFull

FreeBytes = Callable[[Path], int]

_ASK_AGAIN_S = 1.0
_ASK_AGAIN_BYTES = 1 << 20
_PROBE_BYTES = 1 << 20


def free_bytes(path: Path) -> int:
    """The bytes that this process may still write to the disk of `path`."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


class Room:
    """Asks the file system once a second and each MiB; every time while there is too little."""

    def __init__(
        self,
        path: Path,
        min_free_bytes: int,
        *,
        free: FreeBytes = free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._min_free_bytes = min_free_bytes
        self._free = free
        self._clock = clock
        self._ask_at = clock()
        self._unasked_bytes = 0

    def take(self, count: int) -> None:
        """Count bytes that are about to be written. Raises StoreFull."""
        self._unasked_bytes += count
        now = self._clock()
        if now < self._ask_at and self._unasked_bytes < _ASK_AGAIN_BYTES:
            return
        free = self._free(self._path)
        if free - count < self._min_free_bytes:
            self._ask_at = now
            raise StoreFull(
                f"{free >> 20} MiB are free on the disk of {self._path}, "
                f"{self._min_free_bytes >> 20} MiB are kept in reserve\n"
                "hint: make room, or lower limits.store_free_bytes"
            )
        self._ask_at = now + _ASK_AGAIN_S
        self._unasked_bytes = 0


def probe(path: Path) -> None:
    """Write a file of a MiB and remove it. Raises OSError when that fails."""
    file = path / "PROBE"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        data = bytes(_PROBE_BYTES)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        file.unlink()
