"""Commands run as a user runs them: each in a process of its own."""

import asyncio
import atexit
import functools
import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pytest

from cli.forge import Forge
from client.rig import PASSWORD, PATIENCE_S, TIDINGS, environment
from tidings.client import Client, http
from tidings.client.login_secret import MEMORY_KIB_MIN, PASSES_MIN, new_kdf
from tidings.protocol.api import Kdf


class Result:
    """What a command printed, and how it ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]


def tidings(*arguments: str | Path, typed: str = "", **variables: str) -> Result:
    """Run a command to its end."""
    return Result(_forge().run([*map(str, arguments)], typed, environment() | variables))


@functools.cache
def _forge() -> Forge:
    forge = Forge()
    atexit.register(forge.close)
    return forge


def register(url: str, handle: str, profile: Path) -> None:
    """An account and its profile; its secret costs as little as a client takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http, "new_kdf", _cheap_kdf)
        asyncio.run(Client.register(url, handle=handle, password=PASSWORD, profile=profile))


def _cheap_kdf(entropy: Callable[[int], bytes]) -> Kdf:
    return msgspec.structs.replace(new_kdf(entropy), memory_kib=MEMORY_KIB_MIN, passes=PASSES_MIN)


class Running:
    """A command that goes on; its lines are waited for as they come.

    With `complaints` what it prints to stderr is among them.
    """

    def __init__(self, *arguments: str | Path, complaints: bool = False) -> None:
        self._process = subprocess.Popen(
            [TIDINGS, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if complaints else subprocess.DEVNULL,
            text=True,
            bufsize=1,
            env=environment(),
        )
        self.lines: list[str] = []
        self._came = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def type(self, line: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def until(self, text: str, count: int = 1) -> str:
        """The line that has this text, once there are so many of them."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        with self._came:
            assert self._came.wait_for(lambda: len(found()) >= count, PATIENCE_S), self.lines
            return found()[-1]

    def until_object(self, **fields: object) -> dict[str, Any]:
        """The first object of `--json` that has these fields, once there is one."""

        def found() -> dict[str, Any] | None:
            objects = (json.loads(line) for line in self.lines)
            return next((one for one in objects if fields.items() <= one.items()), None)

        with self._came:
            assert self._came.wait_for(lambda: found() is not None, PATIENCE_S), (fields, self.lines)
            there = found()
        assert there is not None
        return there

    def end_input(self) -> int:
        """Ctrl-D; returns the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(PATIENCE_S)

    def interrupt(self) -> int:
        """Ctrl-C; returns the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None and not stream.closed:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._came:
                self.lines.append(line.rstrip("\n"))
                self._came.notify_all()


class User:
    """Somebody with a profile, who gives commands."""

    def __init__(self, handle: str, profile: Path) -> None:
        self.handle = handle
        self.at = f"@{handle}"
        self.profile = profile

    @classmethod
    def new(cls, url: str, handle: str, profile: Path) -> "User":
        """Somebody who has just registered."""
        register(url, handle, profile)
        return cls(handle, profile)

    def run(self, *arguments: str | Path, typed: str = "") -> Result:
        """Run a command to its end, however that is."""
        return tidings(*arguments, "--profile", self.profile, typed=typed)

    def says(self, *arguments: str | Path) -> str:
        """What a command that must succeed prints."""
        done = self.run(*arguments)
        assert done.code == 0, done.err
        return done.out

    def objects(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """The same with `--json`."""
        return [json.loads(line) for line in self.says(*arguments, "--json").splitlines()]

    def object(self, *arguments: str | Path) -> dict[str, Any]:
        """The only one of them."""
        (found,) = self.objects(*arguments)
        return found

    def fails(self, *arguments: str | Path) -> str:
        """The complaint of a command that must fail: an error and a hint."""
        done = self.run(*arguments)
        assert (done.code, done.out) == (1, ""), done.out
        assert done.err.startswith("error: ")
        assert "\nhint: " in done.err, done.err
        return done.err

    def start(self, *arguments: str | Path, complaints: bool = False) -> Running:
        """A command that goes on."""
        return Running(*arguments, "--profile", self.profile, complaints=complaints)

    def logs_in(self, url: str, profile: Path) -> "User":
        """The same user on a further device, which is not linked yet."""
        arguments = ("login", "--server", url, "--handle", self.handle, "--profile", profile)
        done = tidings(*arguments, TIDINGS_PASSWORD=PASSWORD)
        assert done.code == 0, done.err
        return User(self.handle, profile)

    def links(self, other: "User") -> None:
        """Let a further device in."""
        with other.start("link", "--json") as waiting:
            code = json.loads(waiting.until('"code"'))["code"]
            self.says("link", code)
            waiting.until_object(linked=True)
