"""Numbers out of measurements."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

PROBE_BYTES = 4096
PROBE_EVERY_S = 0.02


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed; 0.0 of none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def milliseconds(seconds: float) -> float:
    """Rounded to what these clocks can tell."""
    return round(seconds * 1e3, 2)


class FsyncProbe:
    """How long this disk takes for an fsync meanwhile: one small write each 20 ms, beside the store."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "fsync-probe"
        self.seconds: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "FsyncProbe":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _run(self) -> None:
        descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            while True:
                self.seconds.append(await asyncio.to_thread(_append, descriptor))
                await asyncio.sleep(PROBE_EVERY_S)
        finally:
            os.close(descriptor)


def _append(descriptor: int) -> float:
    os.write(descriptor, bytes(PROBE_BYTES))
    begun = time.perf_counter()
    os.fdatasync(descriptor)
    return time.perf_counter() - begun
