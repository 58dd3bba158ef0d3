"""A real service of two workers, and what can be done to its processes."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

from integration.people import Speaker
from integration.server import PATIENCE_S, Server, until
from workers.rig import is_alive

WORKERS = 2


class Service(Server):
    """`tidings serve --workers 2`."""

    def __init__(self, folder: Path, **config: object) -> None:
        super().__init__(folder, config={"workers": WORKERS, **config})

    def start(self) -> None:
        """Start it and wait until all its processes serve."""
        super().start()
        until(self._is_complete, "all processes to serve")

    def terminate(self) -> None:
        """SIGTERM, and it ends with 0, whatever it has complained of."""
        self._end(signal.SIGTERM, exit_code=0)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """What the admin port answers."""
        admin = msgspec.json.decode((self.data / "admin.json").read_bytes())
        with httpx.Client(trust_env=False, timeout=PATIENCE_S) as client:
            headers = {"Authorization": f"Bearer {admin['token']}"}
            return client.request(method, admin["url"] + path, json=body, headers=headers)

    def status(self) -> dict[str, Any]:
        """What `tidings admin status` shows."""
        answer = self.ask("GET", "/v1/admin/status")
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def processes(self) -> dict[str, dict[str, Any]]:
        """Hub and workers, by name."""
        return {one["name"]: one for one in self.status()["processes"]}

    def pid_of(self, name: str) -> int:
        """Of a process."""
        pid: int = self.processes()[name]["pid"]
        return pid

    def metrics(self) -> dict[str, float]:
        """By name and labels."""
        lines = [line.rpartition(" ") for line in self.ask("GET", "/metrics").text.splitlines()]
        return {name: float(value) for name, _, value in lines if not name.startswith("#")}

    def kill_process(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one of them."""
        os.kill(self.pid_of(name), how)

    def until_followed(self, name: str, before: dict[str, dict[str, Any]]) -> None:
        """Wait until another one serves in its place; `before` is what `processes` told."""

        def followed() -> bool:
            one = self.processes()[name]
            return bool(one["restarts"] > before[name]["restarts"] and one["serving_s"] > 0)

        until(followed, f"another {name}")

    def _is_complete(self) -> bool:
        try:
            return all(one["serving_s"] > 0 for one in self.processes().values())
        except (FileNotFoundError, httpx.HTTPError):
            return False  # `admin.json` is written when all serve, and may be of an earlier run

    async def online_at(self, name: str, token: str) -> Speaker:
        """A device that is welcome at a worker: whose it is the kernel decides, so it is tried again."""
        while True:
            before = self.processes()[name]["connections"]
            speaker = await Speaker.online(self, token)
            if self.processes()[name]["connections"] > before:
                return speaker
            await speaker.__aexit__(None, None, None)


@contextlib.contextmanager
def serving(folder: Path, **config: object) -> Iterator[Service]:
    """A service that must end well in the end, and leave no process."""
    service = Service(folder, **config)
    service.start()
    try:
        yield service
        pids = [one["pid"] for one in service.processes().values()]
        service.stop()
        assert not [pid for pid in pids if is_alive(pid)]
    finally:
        service.discard()
