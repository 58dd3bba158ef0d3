"""Real Redis processes: started for a test on free ports in folders of their own, and ended with it.

The program is the `redis-server` on the PATH, or what TIDINGS_REDIS names.
"""

import atexit
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import hiredis
import pytest

from redis.clocks import ShownClock, lasting_folder

START_S = 20.0
SLOTS = 16_384


def program() -> str:
    """Redis' program. Skips the test where there is none."""
    found = shutil.which(os.environ.get("TIDINGS_REDIS", "redis-server"))
    if found is None:
        pytest.skip("there is no redis-server on the PATH, and TIDINGS_REDIS names none")
    return found


def free_port() -> int:
    """A port that nobody listens on, nor on the one that a Cluster's bus would have with it."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except (OSError, OverflowError):
                continue
            return port


def waits(holds: Callable[[], Any]) -> None:
    """Wait until something holds between servers. No event loop goes on meanwhile."""
    deadline_s = time.monotonic() + START_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


class Refused(Exception):
    """Redis answers a command of a test with an error."""


class Control:
    """An operator's connection to a server: one command at a time, and no event loop."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=START_S)
        self._reader = hiredis.Reader()

    def __call__(self, *command: str | bytes | int) -> Any:
        """Have a command carried out; its reply. Raises Refused."""
        self._socket.sendall(hiredis.pack_command(command))
        return self.next()

    def next(self) -> Any:
        """The next reply, or publication. Raises Refused."""
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("Redis closed the connection")
            self._reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise Refused(str(reply))
        return reply

    def close(self) -> None:
        self._socket.close()


class Server:
    """One Redis, or one Sentinel."""

    def __init__(
        self, folder: Path, *options: str, clock: dict[str, str] | None = None, tls: bool = False
    ) -> None:
        """`options` as on the command line; `clock` is the environment of a `ShownClock`.

        `tls`: it speaks nothing else, so that a test cannot `run` anything on it.
        """
        self.port = free_port()
        self._port_option = "--tls-port" if tls else "--port"
        self.folder = folder / f"redis{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._options = options
        self._environment = {**os.environ, **(clock or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, Any]:
        """As in the configuration of a node."""
        return {"addresses": (self.address,)}

    def start(self) -> None:
        """Returns when it answers."""
        command = [program(), *self._arguments()]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdout=log, stderr=log
        )
        log.close()
        waits(self._answers)

    def _arguments(self) -> Sequence[str]:
        port = ("--port", "0") if self._port_option != "--port" else ()
        return (*port, self._port_option, str(self.port), "--bind", "127.0.0.1", "--save", "", *self._options)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def control(self) -> Control:
        return Control(self.port)

    def run(self, *command: str | bytes | int, password: str = "") -> Any:
        """Have one command carried out, over a connection of its own."""
        control = self.control()
        try:
            if password:
                control("AUTH", password)
            return control(*command)
        finally:
            control.close()

    def interrupt(self) -> None:
        """Break all connections."""
        control = self.control()
        for kind in ("normal", "pubsub"):
            control("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        control.close()

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        """Have it do nothing, with all its connections there."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, however it is."""
        if self._process is not None:
            self.kill()


class Sentinel(Server):
    """One that watches the master called `chat`."""

    def __init__(
        self, folder: Path, master: Server, quorum: int, master_password: str, password: str
    ) -> None:
        super().__init__(folder)
        self._password = password
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor chat 127.0.0.1 {master.port} {quorum}",
            f"sentinel auth-pass chat {master_password}",
            "sentinel down-after-milliseconds chat 500",
            "sentinel failover-timeout chat 3000",
            f"requirepass {password}",
        ]
        (self.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def _arguments(self) -> Sequence[str]:
        return ("sentinel.conf", "--sentinel")

    def knows_all(self, sentinels: int, replicas: int) -> bool:
        """Whether it has found so many other Sentinels, and replicas."""
        fields = self.run("SENTINEL", "MASTER", "chat", password=self._password)
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        found = int(values[b"num-other-sentinels"]), int(values[b"num-slaves"])
        return found == (sentinels, replicas)

    def master_port(self) -> int:
        """Where it says that the master is."""
        return int(self.run("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "chat", password=self._password)[1])


class Cluster:
    """Three masters that share the slots, the first ones with a replica each."""

    def __init__(
        self, folder: Path, replicas: int = 0, timeout_ms: int = 1000, clock: ShownClock | None = None
    ) -> None:
        options = (
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            str(timeout_ms),
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
        )
        environment = clock.environment if clock is not None else None
        servers = [Server(folder, *options, clock=environment) for _ in range(3 + replicas)]
        self.masters = servers[:3]
        self.replicas = servers[3:]
        """of the first masters, in their order"""

    @property
    def servers(self) -> list[Server]:
        return [*self.masters, *self.replicas]

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(server.address for server in self.masters)

    def start(self, tick: Callable[[], None] = lambda: None) -> None:
        """Returns when all know each other; `tick` is called while that is waited for."""
        for server in self.servers:
            server.start()
        for number, server in enumerate(self.masters):
            server.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1
            server.run("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in self.servers[1:]:
            self.masters[0].run("CLUSTER", "MEET", "127.0.0.1", server.port)
        for master, replica in zip(self.masters, self.replicas, strict=False):
            waits(lambda master=master, replica=replica: self._follows(replica, master))
        waits(lambda: (tick(), all(map(self._is_ready, self.servers)))[1])

    def interrupt(self) -> None:
        """Break all connections."""
        for server in self.servers:
            server.interrupt()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()

    def _follows(self, replica: Server, master: Server) -> bool:
        try:
            replica.run("CLUSTER", "REPLICATE", master.run("CLUSTER", "MYID"))
        except Refused:
            return False  # they have not met yet
        return True

    def _is_ready(self, server: Server) -> bool:
        state = server.run("CLUSTER", "INFO")
        known = server.run("CLUSTER", "SLOTS")
        role = server.run("ROLE")
        linked = role[0] == b"master" or role[3] == b"connected"
        replicas = sum(len(owned) - 3 for owned in known)
        return b"cluster_state:ok" in state and len(known) == 3 and replicas == len(self.replicas) and linked


class ToldCluster(NamedTuple):
    """A Cluster that goes by a clock that is told its time."""

    cluster: Cluster
    clock: ShownClock

    @classmethod
    @cache
    def lasting(cls) -> "ToldCluster":
        """One for all tests, since it takes some seconds to begin; it is ended with the last."""
        folder = lasting_folder()
        clock = ShownClock(folder, 0)
        # No node may seem dead when the clock is set forward.
        cluster = Cluster(folder, timeout_ms=100_000_000, clock=clock)
        atexit.register(cluster.stop)
        times = itertools.count(1_700_000_000_000, 20)
        clock.show(next(times))
        cluster.start(tick=lambda: clock.show(next(times)))
        return cls(cluster, clock)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()
