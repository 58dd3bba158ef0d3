"""Real nodes on a real Cassandra and a real Redis, and HAProxy in front of them, as operators have it."""

import contextlib
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from integration.server import PATIENCE_S, Server, free_port, until
from redis.servers import Server as Redis
from redis.watched import Watched
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.store import CassandraStore

HAPROXY_CFG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
SBIN = "/usr/sbin"
"""where Debian keeps HAProxy, and only root looks"""


async def make_tables(config: CassandraConfig) -> None:
    """As the first node does, but with more patience than a test has for the start of a node."""
    await (await CassandraStore.open(msgspec.structs.replace(config, request_s=60.0))).close()


class Node(Server):
    """One of several nodes."""

    def __init__(
        self, folder: Path, cassandra: CassandraConfig, redis: Redis | Watched, **options: Any
    ) -> None:
        folder.mkdir()
        reached = {name: value for name, value in msgspec.structs.asdict(cassandra).items() if value}
        shared = {"cassandra": reached, "redis": redis.settings}
        super().__init__(folder, config={**shared, "proxies": ["127.0.0.1"], **options})

    def status(self) -> str:
        """What /v1/health says."""
        return str(self.health()["status"])

    def metrics(self) -> str:
        """What Prometheus would read."""
        url = re.search(r'"url":\s*"([^"]+)"', (self.data / "admin.json").read_text())
        assert url is not None
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            return client.get(url[1] + "/metrics").raise_for_status().text


class Balancer:
    """HAProxy by `deploy/haproxy.cfg`, with addresses of this test."""

    def __init__(self, folder: Path, nodes: list[Node]) -> None:
        """Skips the test where there is none."""
        program = shutil.which("haproxy") or shutil.which("haproxy", path=SBIN)
        if program is None:
            pytest.skip("there is no haproxy")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        text = re.sub(r"^    server .*\n", "", HAPROXY_CFG.read_text(), flags=re.MULTILINE)
        text = re.sub(r"^    bind .*", f"    bind 127.0.0.1:{self.port}", text, flags=re.MULTILINE)
        text = re.sub(r"^    maxconn 40000", "    maxconn 2000", text, flags=re.MULTILINE)
        for number, node in enumerate(nodes, 1):
            text += f"    server node{number} 127.0.0.1:{node.port}\n"
        self._config = folder / "haproxy.cfg"
        self._config.write_text(text)
        self._command = [program, "-db", "-f", str(self._config)]
        self._log = folder / "haproxy.log"

    @contextlib.contextmanager
    def running(self) -> Iterator["Balancer"]:
        """From the start, once it passes on what it is asked, to the end."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or self._answers(), "HAProxy to answer")
            assert process.poll() is None, self._log.read_text()
            yield self
        finally:
            process.kill()
            process.wait(PATIENCE_S)

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            opener.open(f"{self.url}/v1/health", timeout=5).close()
        except OSError:
            return False
        return True
