"""ejabberd with PostgreSQL: archive (XEP-0313), offline messages, stream management, all in the database."""

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tidings.bench.peers import postgres
from tidings.bench.peers.contract import Missing, RivalClient, Used
from tidings.bench.peers.daemons import Daemon, make_own, program, used
from tidings.bench.peers.xmpp import DOMAIN, PASSWORD, XmppClient
from tidings.bench.process import free_port

USER = "ejabberd"
DATABASE = "ejabberd"
SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")
DRAIN_S = 120.0
LOGIN_ATTEMPTS = 3
PING_S = 25
"""as often as the other servers hear from or ask their clients"""
POOL = 10
BACKLOG = 1024
"""of connections that wait to be accepted: its default of 5 turns a crowd into time-outs of TCP"""


def library() -> Path:
    """Where Debian keeps its code. Raises Missing."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"))
    if not found:
        raise Missing("ejabberd is not installed: run scripts/peers")
    return found[0].parent


def config(port: int, database_port: int) -> dict[str, Any]:
    """Its configuration: the modules of its example that a chat uses, with the archive always on."""
    return {
        "loglevel": "warning",
        "hosts": [DOMAIN],
        "listen": [
            {
                "port": port,
                "ip": "127.0.0.1",
                "module": "ejabberd_http",
                "backlog": BACKLOG,
                "request_handlers": {"/ws": "ejabberd_http_ws"},
            }
        ],
        "websocket_ping_interval": f"{PING_S} seconds",
        "auth_method": "sql",
        "auth_password_format": "plain",
        "disable_sasl_mechanisms": ["digest-md5", "X-OAUTH2"],
        "default_db": "sql",
        "sql_type": "pgsql",
        "sql_server": "127.0.0.1",
        "sql_port": database_port,
        "sql_database": DATABASE,
        "sql_username": postgres.USER,
        "sql_password": "not asked for",
        "sql_pool_size": POOL,
        "shaper_rules": {"max_user_sessions": 10, "max_user_offline_messages": "infinity"},
        "modules": {
            "mod_blocking": {},
            "mod_caps": {},
            "mod_carboncopy": {},
            "mod_client_state": {},
            "mod_disco": {},
            "mod_last": {},
            "mod_mam": {"assume_mam_usage": True, "default": "always"},
            "mod_offline": {"access_max_user_messages": "max_user_offline_messages"},
            "mod_ping": {},
            "mod_privacy": {},
            "mod_private": {},
            "mod_push": {},
            "mod_roster": {"versioning": True},
            "mod_stream_mgmt": {"resend_on_timeout": "if_offline"},
            "mod_vcard": {"search": False},
        },
    }


class Ejabberd:
    """A rival."""

    name = "ejabberd"
    promises = (
        "PostgreSQL commits with an fsync (archive of both sides, offline messages), but the acknowledgement "
        "asked for with each message (XEP-0198) says that the server has it, not that it is on disk; one "
        "receipt (delivered, XEP-0184) made by the client, no read receipt; nothing is kept of how far a "
        "device has read; its schedulers' busy waiting is off here, since it would count as work"
    )

    def __init__(self) -> None:
        self._postgres: postgres.Postgres | None = None
        self._daemon: Daemon | None = None
        self._url = ""

    def version(self) -> str:
        program("erl")
        match = re.search(r"ejabberd-(\d+\.\d+)", library().name)
        return f"{match.group(1) if match else library().name}, PostgreSQL {postgres.version()}"

    async def start(self, folder: Path, users: int) -> None:
        try:
            self._postgres = postgres.Postgres(folder)
            await self._postgres.start()
            await self._make_users(self._postgres, users)
            await self._start(folder / "ejabberd", self._postgres.port)
        except BaseException:
            await self.stop()
            raise

    async def _make_users(self, database: postgres.Postgres, users: int) -> None:
        await database.query("-c", f"CREATE DATABASE {DATABASE}")
        await database.query("-f", str(SCHEMA), database=DATABASE)
        made = f"SELECT 'u' || n, '{PASSWORD}' FROM generate_series(0, {users - 1}) AS n"  # noqa: S608 - ours
        await database.query("-c", f"INSERT INTO users (username, password) {made}", database=DATABASE)

    async def _start(self, folder: Path, database_port: int) -> None:
        make_own(folder, USER)
        port, distribution_port = free_port(), free_port()
        written = folder / "ejabberd.yml"
        written.write_text(json.dumps(config(port, database_port)))  # JSON is YAML
        # As its own start script does it, but in the foreground, and without the port mapper epmd, a
        # daemon that would outlive everything.
        command = [program("erl"), "-noinput", "-sname", f"tidings-bench@{DOMAIN}"]
        command += ["-start_epmd", "false", "-erl_epmd_port", str(distribution_port)]
        command += ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-mnesia", "dir", f'"{folder}"']
        command += ["+K", "true", "+P", "250000", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
        environment = {
            "ERL_LIBS": str(library().parent),
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_MAX_PORTS": "32000",
            "EJABBERD_CONFIG_PATH": str(written),
            "EJABBERD_LOG_PATH": str(folder / "ejabberd-own.log"),
            "HOME": str(folder),
        }
        self._daemon = Daemon(
            "ejabberd",
            [*command, "-s", "ejabberd"],
            folder,
            port=port,
            user=USER,
            environment=environment,
        )
        self._url = f"ws://127.0.0.1:{port}/ws"
        await self._daemon.start()

    async def stop(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for daemon in (self._postgres, self._daemon):  # the last one first
                if daemon is not None:
                    stack.push_async_callback(daemon.stop)

    def used(self) -> Used:
        assert self._daemon is not None
        assert self._postgres is not None
        return used([self._daemon.pid, self._postgres.pid])

    async def connect(self, user: int) -> RivalClient:
        client = await self._login(user)
        client.come_online()
        return client

    async def _login(self, user: int) -> XmppClient:
        """A first frame was once not answered, of some ten thousand: try again, as a client would."""
        for attempt in range(LOGIN_ATTEMPTS):
            client = XmppClient(user)
            try:
                await client.login(self._url)
                return client
            except TimeoutError:
                client.drop()
                if attempt == LOGIN_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    async def drain(self, user: int, expected: int, on_message: Callable[[str], None]) -> RivalClient:
        client = await self._login(user)
        client.gives_receipts = False
        finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        missing = expected

        def heard(name: str) -> None:
            nonlocal missing
            on_message(name)
            missing -= 1
            if missing == 0:
                finished.set_result(None)

        client.on_message = heard
        client.come_online()
        # Fewer than expected is for the caller to judge.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(finished, DRAIN_S)
        return client
