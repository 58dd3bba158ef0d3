"""The processes of a server, as /proc shows them: one alone, or a supervisor with a hub and workers."""

import os
from pathlib import Path
from typing import NamedTuple

from tidings.server.workers.service import HUB_ROLE, WORKER_ROLE

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """What a process, or several, have used."""

    cpu_s: float
    """user and system time"""
    rss_bytes: int


class Stat(NamedTuple):
    """A line of /proc/PID/stat (proc(5))."""

    parent: int
    started_ticks: int
    """after the machine's start; tells a process from a later one with its number"""
    own: Usage
    ended_cpu_s: float
    """of its children that have ended"""


class Family(NamedTuple):
    """The processes of one server."""

    first: int
    """the one that was started: it is alone, or the supervisor"""
    hub: int | None
    workers: tuple[int, ...]

    @property
    def pids(self) -> tuple[int, ...]:
        """All of them."""
        return (self.first, *(() if self.hub is None else (self.hub,)), *self.workers)


class Usages(NamedTuple):
    """What the processes of a server have used so far."""

    all: Usage
    """those that have ended included"""
    hub: Usage
    workers: Usage
    by_process: dict[str, Usage]
    """`server`; or `supervisor`, `hub`, `worker1` and so on, in the order in which they were started"""


def family(first: int) -> Family:
    """The processes of the server whose first one this is."""
    roles: dict[str, list[int]] = {HUB_ROLE: [], WORKER_ROLE: []}
    for pid in _children(first):
        for role in roles.keys() & set(_command(pid)):
            roles[role].append(pid)
    hubs = roles[HUB_ROLE]
    return Family(first, hubs[-1] if hubs else None, tuple(roles[WORKER_ROLE]))


def usages(of: Family) -> Usages:
    """What they have used; one that has ended meanwhile counts for nothing."""
    first = stat(of.first)
    hub = Usage(0.0, 0) if of.hub is None else usage(of.hub)
    workers = [usage(pid) for pid in of.workers]
    total = _sum([first.own, hub, *workers])
    names = {f"worker{number}": one for number, one in enumerate(workers, 1)}
    by_process = {"supervisor": first.own, "hub": hub, **names} if workers else {"server": first.own}
    return Usages(
        total._replace(cpu_s=total.cpu_s + first.ended_cpu_s),
        hub,
        _sum(workers),
        by_process,
    )


def usage(pid: int) -> Usage:
    """What a process has used so far; nothing if there is none."""
    try:
        return stat(pid).own
    except (FileNotFoundError, ProcessLookupError):
        return Usage(0.0, 0)


def stat(pid: int) -> Stat:
    """What the kernel tells of a process. Raises FileNotFoundError, ProcessLookupError if there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own_s, ended_s = (sum(map(int, fields[at : at + 2])) / TICKS_PER_S for at in (11, 13))
    return Stat(int(fields[1]), int(fields[19]), Usage(own_s, int(fields[21]) * PAGE_BYTES), ended_s)


def is_same(pid: int, started_ticks: int) -> bool:
    """Whether this process is still there, and not another one with its number, nor a zombie."""
    try:
        return stat(pid).started_ticks == started_ticks and bool(_command(pid))
    except (FileNotFoundError, ProcessLookupError):
        return False


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                child = stat(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
            if child.parent == parent:
                found.append((child.started_ticks, int(entry.name)))
    return [pid for _, pid in sorted(found)]


def _command(pid: int) -> list[str]:
    """Its words; none of a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _sum(several: list[Usage]) -> Usage:
    return Usage(sum(one.cpu_s for one in several), sum(one.rss_bytes for one in several))
