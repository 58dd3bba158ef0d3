"""Which process of a server has which connection, as the kernel shows it (proc(5): net/tcp, PID/fd).

The kernel spreads connections over the workers' sockets by a hash of the addresses, so two people
are on two of N workers with a chance of (N - 1) / N.
"""

import contextlib
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ESTABLISHED = "01"
LISTEN = "0A"


class Address(NamedTuple):
    """One end of a connection."""

    host: str
    port: int


def owners(port: int, pids: Iterable[int]) -> dict[Address, int]:
    """The process that has the connection, by its client's address, of those to a port of ours."""
    by_inode = {inode: pid for pid in pids for inode in _sockets(pid)}
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        if state == ESTABLISHED and inode in by_inode and _address(local).port == port:
            found[_address(remote)] = by_inode[inode]
    return found


def _address(text: str) -> Address:
    """Of `0100007F:1F90`: an IPv4 address in the machine's order of bytes, and a port."""
    host, _, port = text.partition(":")
    return Address(socket.inet_ntoa(int(host, 16).to_bytes(4, sys.byteorder)), int(port, 16))


def _sockets(pid: int) -> list[str]:
    """The inodes of a process's sockets."""
    inodes = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kind, _, inode = os.readlink(entry).partition(":")
            if kind == "socket":
                inodes.append(inode.strip("[]"))
    return inodes


def listener(port: int) -> int | None:
    """The process that listens on a port of this machine; None if there is none that we may look into."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTEN and int(local.rpartition(":")[2], 16) == port:
                inodes.add(inode)
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if inodes & set(_sockets(int(entry.name))):
                    return int(entry.name)
    return None
