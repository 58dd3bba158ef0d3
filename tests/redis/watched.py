"""A Redis with a replica that Sentinels watch: when it dies the other one is made master."""

from pathlib import Path
from typing import Any

from redis.servers import Sentinel, Server, waits

PASSWORD, SENTINEL_PASSWORD = "secret", "watch"
SENTINELS, QUORUM = 3, 2


class Watched:
    """What the Sentinels watch, and they; the servers have one password, the Sentinels another."""

    def __init__(self, folder: Path) -> None:
        secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0")
        self.master = Server(folder, *secret)
        self.replica = Server(folder, *secret, "--replicaof", "127.0.0.1", str(self.master.port))
        self.sentinels = [
            Sentinel(folder, self.master, QUORUM, PASSWORD, SENTINEL_PASSWORD) for _ in range(SENTINELS)
        ]

    @property
    def settings(self) -> dict[str, Any]:
        """As in the configuration of a node."""
        return {
            "mode": "sentinel",
            "service": "chat",
            "addresses": tuple(sentinel.address for sentinel in self.sentinels),
            "password": PASSWORD,
            "sentinel_password": SENTINEL_PASSWORD,
        }

    def start(self) -> None:
        """Returns when all know each other."""
        for server in (self.master, self.replica, *self.sentinels):
            server.start()
        waits(self._is_whole)

    def stop(self) -> None:
        for server in (self.master, self.replica, *self.sentinels):
            server.stop()

    def fail_over(self) -> None:
        """The master dies; returns when the other one is master."""
        self.master.kill()
        self.master, self.replica = self.replica, self.master
        waits(lambda: role_of(self.master) == b"master")

    def mend(self) -> None:
        """The one that died comes back, as a replica; returns when all know each other."""
        self.replica.start()
        waits(self._is_whole)

    def _is_whole(self) -> bool:
        try:
            told = self.replica.run("INFO", "replication", password=PASSWORD)
        except ConnectionError:
            return False
        return b"master_link_status:up" in told and all(
            sentinel.knows_all(SENTINELS - 1, 1) and sentinel.master_port() == self.master.port
            for sentinel in self.sentinels
        )


def role_of(server: Server) -> bytes:
    """`master` or `slave`; nothing while Sentinels change that, which breaks connections."""
    try:
        role: bytes = server.run("ROLE", password=PASSWORD)[0]
    except ConnectionError:
        return b""
    return role
