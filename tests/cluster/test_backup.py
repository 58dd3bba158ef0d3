"""A backup of Cassandra, restored into an empty one as docs/operating/cluster.md tells operators to."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.rig import PASSWORD, watching
from cluster.cassandras import SCRIPT, START_S, Ring, free_ports
from cluster.nodes import Node, make_tables
from redis.servers import Server as Redis
from tidings.client import Client

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

KEYSPACE = "tidings"
SNAPSHOT = "monday"
OPTIONS = {"HEAP": "400M", "PATIENCE": "10s"}


class BackedUp(Ring):
    """One Cassandra that nodetool can speak to."""

    def __init__(self, folder: Path) -> None:
        (self._jmx,) = free_ports(1)
        super().__init__(folder, JMX_PORT=str(self._jmx), **OPTIONS)

    def tool(self, name: str, *arguments: str) -> None:
        """`nodetool` or `sstableloader`."""
        done = subprocess.run(
            [SCRIPT, name, str(self.folder), "1", *arguments],
            env=self._env,
            timeout=START_S,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def snapshots(self) -> Iterator[tuple[str, Path]]:
        """Each table's name, and where its files of the snapshot are."""
        for files in self.folder.glob(f"1/**/{KEYSPACE}/*/snapshots/{SNAPSHOT}"):
            yield files.parents[1].name.rpartition("-")[0], files


async def test_people_find_their_history_on_a_restored_cassandra(tmp_path: Path, redis_server: Redis) -> None:
    profiles = {name: tmp_path / name for name in ("ann", "ben")}
    before, after = BackedUp(tmp_path / "before"), BackedUp(tmp_path / "after")
    try:
        await asyncio.to_thread(before.start)
        config = before.config(KEYSPACE)
        await make_tables(config)
        node = Node(tmp_path / "node", config, redis_server)
        node.start()
        for name, profile in profiles.items():
            await Client.register(node.url, handle=name, password=PASSWORD, profile=profile)
        async with watching(profiles["ann"]) as ann, watching(profiles["ben"]) as ben:
            await ann.client.send("ben", "kept, and delivered")
            await ben.until(lambda one: one.texts == ["kept, and delivered"])
            group = await ann.client.groups.create("Two", ["ben"])
            await ann.client.send(group.peer, "kept in a group")
            await ben.until(lambda one: "kept in a group" in one.texts)
        async with Client.open(profiles["ann"]) as alone:
            await alone.send("ben", "kept, and not delivered yet")
        node.end()
        await asyncio.to_thread(before.tool, "nodetool", "snapshot", "-t", SNAPSHOT, KEYSPACE)
        backup = tmp_path / "backup" / KEYSPACE
        for table, files in before.snapshots():
            shutil.copytree(files, backup / table)
        await asyncio.to_thread(before.stop)

        await asyncio.to_thread(after.start)
        await make_tables(after.config(KEYSPACE))
        for table in sorted(backup.iterdir()):
            if any(table.glob("*-Data.db")):
                await asyncio.to_thread(after.tool, "sstableloader", str(table))
        restored = Node(tmp_path / "restored", after.config(KEYSPACE), redis_server)
        restored.port, restored.url = node.port, node.url  # where their devices know it
        restored.start()
        async with watching(profiles["ann"]) as ann, watching(profiles["ben"]) as ben:
            await ben.until(lambda one: "kept, and not delivered yet" in one.texts)
            await ben.client.send("ann", "and it goes on")
            await ann.until(lambda one: "and it goes on" in one.texts)
            texts = [one.text for one in await ann.client.history("ben", limit=10)]
            assert sorted(texts) == ["and it goes on", "kept, and delivered", "kept, and not delivered yet"]
            assert "kept in a group" in [one.text for one in await ben.client.history(group.peer, limit=10)]
        restored.end()
    finally:
        for ring in (before, after):
            ring.stop()
