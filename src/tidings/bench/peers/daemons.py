"""Servers of others as child processes, and what they use by /proc.

A daemon ends with this process, however that ends: the kernel is told to signal it (`setpriv
--pdeathsig`). Nothing here is ended by its name.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tidings.bench.peers.contract import Missing, Used
from tidings.bench.process import TICKS_PER_S

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
IS_ROOT = os.geteuid() == 0


class Stat(NamedTuple):
    """What is used here of /proc/PID/stat."""

    parent: int
    cpu_ticks: int


def parse_stat(text: str) -> Stat:
    """proc(5): ppid, and utime, stime, cutime and cstime; the name in the middle may hold anything."""
    fields = text.rpartition(")")[2].split()
    return Stat(int(fields[1]), sum(int(field) for field in fields[11:15]))


def parse_memory(text: str) -> int:
    """The proportional set size out of /proc/PID/smaps_rollup, in bytes; 0 of a process that has ended."""
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def tree(roots: Iterable[int], stats: Mapping[int, Stat]) -> set[int]:
    """The processes under the roots, they included."""
    found = {root for root in roots if root in stats}
    while True:
        more = {pid for pid, stat in stats.items() if stat.parent in found} - found
        if not more:
            return found
        found |= more


def used(roots: Iterable[int]) -> Used:
    """What whole trees of processes have used so far."""
    stats = _all_stats()
    pids = tree(roots, stats)
    memory = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            memory += parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return Used(sum(stats[pid].cpu_ticks for pid in pids) / TICKS_PER_S, memory)


def _all_stats() -> dict[int, Stat]:
    stats = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it has just ended
                stats[int(entry.name)] = parse_stat(Path(entry.path, "stat").read_text())
    return stats


class Daemon:
    """A server process; `start` it, and `stop` it in the end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        *,
        port: int,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`user` is whom it runs as where this process is root: some refuse to be root."""
        self._name = name
        self._command = as_user(command, user, stop_signal)
        self._log = folder / f"{name}.log"
        self._folder = folder
        self._port = port
        self._environment = {**os.environ, **(environment or {})}
        self._stop_signal = stop_signal
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until its port answers. Raises RuntimeError with what it last said."""
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await self._answers():
            if self._process.returncode is not None or time.monotonic() > deadline:
                await self.stop()
                raise RuntimeError(f"{self._name} did not start: {self.last_words()}")
            await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Ask it to end; kill it and its children if it does not."""
        if self._process is None or self._process.returncode is not None:
            return
        family = tree([self.pid], _all_stats())
        self._process.send_signal(self._stop_signal)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self._process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-1000:].strip() or "it said nothing"

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True


def as_user(
    command: Sequence[str], user: str = "", stop_signal: signal.Signals = signal.SIGTERM
) -> list[str]:
    """A command that ends with this process, and is another user's where this one is root's."""
    setpriv = ["setpriv", "--pdeathsig", stop_signal.name.removeprefix("SIG")]
    if user and IS_ROOT:
        setpriv += ["--reuid", user, "--regid", user, "--init-groups"]
    return [*setpriv, "--", *command]


async def run(command: Sequence[str], folder: Path, user: str = "") -> str:
    """Run a command to its end; returns what it printed. Raises RuntimeError where it fails."""
    process = await asyncio.create_subprocess_exec(
        *as_user(command, user),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {output.decode(errors='replace')[-1000:].strip()}")
    return output.decode()


def make_own(folder: Path, user: str) -> None:
    """Make a folder that belongs to the user that a daemon runs as."""
    folder.mkdir()
    if IS_ROOT:
        shutil.chown(folder, user, user)


def program(*places: str) -> str:
    """The path of the first of several programs that is there. Raises Missing."""
    for place in places:
        found = shutil.which(place)
        if found is not None:
            return found
    raise Missing(f"{places[0]} is not installed: run scripts/peers")


def version_of(*command: str) -> str:
    """The first number with dots in what a program prints of itself."""
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+(\.\d+)+", printed)
    return found.group() if found else printed.strip()
