"""The admin port: where it listens, its token, and the file that tells the command line of both.

Whoever can read `admin.json` in the data folder may administer the server; nobody else can, and
nobody from another machine. The file is there exactly while the server runs, or after it was killed.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from tidings.protocol.limits import Limits
from tidings.server.config import ConfigError, address
from tidings.server.gateway import Quiet, listen

FILE = "admin.json"
TOKEN_BYTES = 32
STOP_S = 1
"""how long a stop waits for a request that is being answered"""
BACKLOG = 64
HINT = 'hint: choose another with `admin = "127.0.0.1:PORT"` or --admin; empty turns it off'


class AdminPort:
    """Bound when made; `start` serves, `stop` ends it and takes the file away."""

    def __init__(self, sock: socket.socket, folder: Path) -> None:
        self._sock = sock
        self._path = folder / FILE
        self.token = secrets.token_hex(TOKEN_BYTES)
        host, port = sock.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, where: str, folder: Path, limits: Limits) -> "AdminPort | None":
        """Bind what the config's `admin` says; None where it is empty. Raises ConfigError."""
        if not where:
            return None
        host, port = address(where)
        if host != "localhost" and not _is_loopback(host):
            raise ConfigError(
                f"config: `admin` is {where!r}, and only the loopback interface is allowed\n"
                'hint: use "127.0.0.1:PORT" and reach it from elsewhere through ssh -L'
            )
        try:
            sock = listen("127.0.0.1" if host == "localhost" else host, port, limits)
        except OSError as error:
            raise ConfigError(f"config: `admin`: {error.strerror}\n{HINT}") from None
        return cls(sock, folder)

    def start(self, app: Callable[..., Any]) -> None:
        """Serve, and write the file. Raises OSError if it cannot be written."""
        config = uvicorn.Config(
            app,
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = Quiet(config)
        self._write()
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._sock]))

    async def stop(self) -> None:
        """Answer what is being asked, serve no more, and take the file away."""
        self._remove()
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            await self._serving
        self._sock.close()

    def _write(self) -> None:
        """At once or not at all, and never readable by others, not even for a moment."""
        partial = self._path.with_name(f".{FILE}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w") as stream:
            json.dump({"url": self.url, "token": self.token}, stream)
        os.replace(partial, self._path)

    def _remove(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if json.loads(self._path.read_text())["token"] == self.token:
                self._path.unlink()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
