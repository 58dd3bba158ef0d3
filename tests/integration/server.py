"""A real server in a process of its own, and what can be seen of it from outside.

It keeps its port, its data and its log over restarts. What must hold of every server, however it
was treated, is checked here: SIGTERM ends it with 0, and its log complains of nothing.
"""

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tidings.bench.process import Usage, usage

TIDINGS = str(Path(sys.executable).parent / "tidings")
PATIENCE_S = 30.0
STOP_S = 5.0
"""within this a server ends after SIGTERM"""
POLL_S = 0.01
MiB = 1 << 20
GROWTH_BYTES = 64 * MiB
"""how much larger than at its start no input may make it"""


class Server:
    """`tidings serve`; make one, `start` it, and `stop` it in the end."""

    def __init__(
        self,
        folder: Path,
        *,
        config: Mapping[str, object] | None = None,
        limits: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        files: int | None = None,
    ) -> None:
        """`files` is how many descriptors it may open."""
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = {"strangers": "deliver", **(config or {})}
        self.limits = dict(limits or {})
        self.environment = environment
        self.files = files
        self.options: tuple[str, ...] = ()
        """further words of its command"""
        self.baseline = Usage(0.0, 0)
        """what it had used once it answered"""
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    # --- its life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers."""
        written = write_config(self.folder / "tidings.toml", self.config, self.limits)
        command = [TIDINGS, "serve", "--listen", f"127.0.0.1:{self.port}", "--admin", "127.0.0.1:0"]
        command += ["--data", str(self.data), *self.options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(written)],
                stdout=log,
                stderr=log,
                env=self.environment,
                preexec_fn=None if self.files is None else self._limit_files,  # noqa: PLW1509 - no threads here
            )
        # Its socket listens before it serves: wait for an answer.
        until(lambda: self._process_ended() or self._answers(), "the server to answer")
        assert not self._process_ended(), self.log
        self.baseline = self.usage

    def stop(self) -> float:
        """SIGTERM; returns the seconds that it took to end, with 0 and without a complaint."""
        began = time.monotonic()
        self.end()
        self.check_log()
        return time.monotonic() - began

    def end(self) -> None:
        """SIGTERM; it ends with 0, whatever it had to complain of."""
        self._end(signal.SIGTERM, exit_code=0)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL, exit_code=-signal.SIGKILL)

    def discard(self) -> None:
        """End it, if a test left it running, without another word."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)

    def reap(self) -> None:
        """Wait for the end of a server that a test killed by its `pid`."""
        assert self._process is not None
        self._process.wait(PATIENCE_S)

    # --- what can be seen -------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_there(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and not self._process_ended()

    @property
    def usage(self) -> Usage:
        """CPU and memory that it has used."""
        return usage(self.pid)

    @property
    def log(self) -> str:
        """All that it ever wrote to its standard streams."""
        return self._log.read_text()

    @property
    def connections(self) -> int:
        """How many WebSockets it has."""
        found: int = self.health()["connections"]
        return found

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        _, body = self.http("/v1/health")
        return body

    def http(self, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """GET, or POST of a body; returns status and answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.load(refused)

    def register(self, handle: str) -> dict[str, Any]:
        """Make an account; returns its `user_id`, `device_id`, `handle` and `token`."""
        status, answer = self.http("/v1/accounts", {"handle": handle, "secret": "a long secret"})
        assert status == 201, answer
        return answer

    def check_log(self) -> None:
        """It had no reason to complain."""
        complaints = [line for line in self.log.splitlines() if is_complaint(line)]
        assert not complaints, self.log

    def check_memory(self) -> None:
        """It is hardly larger than it was when it started."""
        grown = self.usage.rss_bytes - self.baseline.rss_bytes
        assert grown <= GROWTH_BYTES, f"grew by {grown / MiB:.0f} MiB"

    # --- inside -----------------------------------------------------------------------------

    def _limit_files(self) -> None:
        assert self.files is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.files, self.files))

    def _process_ended(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            self.health()
        except OSError:
            return False
        return True

    def _end(self, how: signal.Signals, exit_code: int) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        assert self._process.wait(PATIENCE_S) == exit_code, self.log


def is_complaint(line: str) -> bool:
    """Whether a line of a server's log tells of a bug."""
    return any(
        word in line for word in ("Traceback", "[error", "[critical", "Exception", "Task was destroyed")
    )


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(path: Path, config: Mapping[str, object], limits: Mapping[str, object]) -> Path:
    """A config file."""
    lines = [f"{key} = {_toml(value)}" for key, value in config.items()]
    lines += ["[limits]", *(f"{key} = {_toml(value)}" for key, value in limits.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait until something outside has happened, in code that is not asynchronous."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(POLL_S)


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[Server]:
    """A server that must end well in the end; `options` are those of `Server`."""
    server = Server(folder, **options)
    server.start()
    yield server
    try:
        server.stop()
    finally:
        server.discard()


MakeServer = Callable[..., Server]
"""What the fixture `make_server` is: it takes what `Server` takes."""
