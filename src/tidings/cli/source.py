"""A data folder whose store is to be copied, with or without a server that runs on it."""

import asyncio
import fcntl
import time
from pathlib import Path

from tidings import __version__
from tidings.cli.failure import Failure
from tidings.cli.operator import Operator
from tidings.store.contract import StoreInUse
from tidings.store.rocks import RocksStore
from tidings.store.rocks_checkpoint import files_of

STOP_S = 120.0
"""within this a server that was told to drain must be gone"""
LOOK_S = 0.05


class Source:
    """See the module's text. Raises Failure, StoreError, OSError."""

    def __init__(self, data: Path) -> None:
        self.data = data
        if not (data / "CURRENT").is_file():
            raise Failure(f"there is no store in {data}", hint="name the server's data folder with --data")

    @property
    def bytes_used(self) -> int:
        """About what a copy takes."""
        return sum(file.stat().st_size for file in files_of(self.data) if file.exists())

    def is_served(self) -> bool:
        """Whether a process has the store open."""
        try:
            with (self.data / "LOCK").open("r+b") as lock:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def require_ready(self) -> bool:
        """Whether a server runs. Raises Failure if it cannot be asked to stop, or is of another version."""
        if not self.is_served():
            return False
        status = Operator(self.data).ask("GET", "status")
        if status["version"] != __version__:
            raise Failure(
                f"the server is of version {status['version']}, this is {__version__}",
                hint="upgrade the server first, or use the command that came with it",
            )
        if status["store"] != "ok":
            raise Failure(f"the server's store is not well: {status['store']}", hint="look into its log")
        return True

    async def snapshot(self, path: Path) -> None:
        """Copy the store as it is now into a new folder."""
        if self.is_served():
            operator = Operator(self.data)
            await asyncio.to_thread(operator.ask, "POST", "backup", {"path": str(path)}, timeout_s=None)
            return
        store = RocksStore.open(self.data, as_it_is=True, min_free_bytes=0)
        try:
            await store.checkpoint(path)
        finally:
            await store.close()

    async def take(self) -> RocksStore:
        """Have the server drain and stop, if one runs, and open its store in its place."""
        deadline_s = time.monotonic() + STOP_S
        if self.is_served():
            operator = Operator(self.data)
            await asyncio.to_thread(operator.ask, "POST", "drain")
        while True:
            try:
                return RocksStore.open(self.data, as_it_is=True, min_free_bytes=0)
            except StoreInUse:
                if time.monotonic() > deadline_s:
                    raise Failure(
                        f"the server did not stop within {STOP_S:g} s, or was started again",
                        hint="stop it, and see that nothing starts it again; then run this again",
                    ) from None
            await asyncio.sleep(LOOK_S)
