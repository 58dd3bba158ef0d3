"""Real Cassandras for tests: made by scripts/cassandra, killed and frozen by their process ids."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

from tidings.store.cassandra.config import CassandraConfig

SCRIPT = Path(__file__).parents[2] / "scripts" / "cassandra"
START_S = 300
"""of a ring on a busy machine, and for what has to be fetched first"""
PATIENCE = "10s"
"""of a node with a request: other processes have the machine, too"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Ring:
    """Nodes on 127.0.0.1, 127.0.0.2, …, with one port."""

    def __init__(self, folder: Path, nodes: int = 1, **env: str) -> None:
        self.folder = folder
        self.nodes = nodes
        self.port, storage = free_ports(2)
        self._env = {**os.environ, "PORT": str(self.port), "STORAGE_PORT": str(storage), **env}

    def start(self) -> None:
        """Start what is down; returns once all take requests."""
        self._run("start", str(self.folder), str(self.nodes))

    def kill(self, node: int) -> None:
        """As the loss of power does, but for what the kernel has."""
        self._run("kill", str(self.folder), str(node))

    def stop(self) -> None:
        """End all of them, frozen ones, too."""
        for node in range(1, self.nodes + 1):
            self.thaw(node)
        self._run("kill", str(self.folder))

    def freeze(self, node: int) -> None:
        """It keeps its connections and says nothing."""
        self._signal(node, signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """It goes on."""
        self._signal(node, signal.SIGCONT)

    def config(self, keyspace: str, **options: Any) -> CassandraConfig:
        """How to reach it."""
        settings: dict[str, Any] = {"copies": min(self.nodes, 3), **options}
        points = tuple(f"127.0.0.{node}" for node in range(1, self.nodes + 1))
        return CassandraConfig(contact_points=points, port=self.port, keyspace=keyspace, **settings)

    def _signal(self, node: int, which: signal.Signals) -> None:
        pid = self.folder / str(node) / "pid"
        if pid.exists():
            os.kill(int(pid.read_text()), which)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [SCRIPT, *arguments],
            env=self._env,
            timeout=START_S,
            text=True,
            stderr=subprocess.PIPE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
