"""A child process that is a hub: `python hub_process.py DIRECTORY SOCKET`, until SIGTERM.

It says `serving` once it serves.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import uvloop

from hub.rig import silent_log
from tidings.hub.server import HubServer
from tidings.hub.wire import INCARNATION_BYTES
from tidings.store.rocks import RocksStore
from tidings.store.schema import TABLES


async def serve(data: Path, path: Path) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    store = RocksStore.open(data, min_free_bytes=0)
    server = HubServer(store, TABLES, silent_log(), incarnation=os.urandom(INCARNATION_BYTES))
    await server.listen(path)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    await stopped.wait()
    await server.stop()
    await store.close()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
