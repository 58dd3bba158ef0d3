"""Wall clocks that a test sets, for processes that run with a library of ours (`set_clock.c`)."""

import atexit
import contextlib
import mmap
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest


@cache
def set_clock() -> Path:
    """The library of `set_clock.c`, for all tests. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = lasting_folder() / "set_clock.so"
    source = Path(__file__).with_name("set_clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", library, source], check=True)
    return library


@cache
def lasting_folder() -> Path:
    """One that is there until the last test is over."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-redis-"))
    atexit.register(shutil.rmtree, folder)
    return folder


class _Told:
    """A number of milliseconds that processes which run with its `environment` are told."""

    def __init__(self, file: Path, name: str, ms: int) -> None:
        file.write_bytes(bytes(8))
        with file.open("r+b") as opened:
            self._told = memoryview(mmap.mmap(opened.fileno(), 8)).cast("q")
        self._told[0] = ms
        self.environment = {"LD_PRELOAD": str(set_clock()), name: str(file)}


class ShownClock(_Told):
    """It stands still, and shows what it is told."""

    def __init__(self, folder: Path, now_ms: int) -> None:
        super().__init__(folder / "clock", "SHOWN_CLOCK", now_ms)

    def show(self, now_ms: int) -> None:
        """What it shows from now on."""
        self._told[0] = now_ms

    @contextlib.contextmanager
    def following(self, now_ms: Callable[[], int]) -> Iterator[None]:
        """Have it show what another clock does, to within some milliseconds."""
        is_over = threading.Event()

        def follow() -> None:
            while not is_over.wait(0.001):
                self.show(now_ms())

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


class ShiftedClock(_Told):
    """It goes on as the machine's does, and may jump."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "shift", "SHIFTED_CLOCK", 0)

    def shift(self, ms: int) -> None:
        """How far it is ahead of the machine's from now on."""
        self._told[0] = ms
