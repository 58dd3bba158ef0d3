"""Commands run as a user runs them: each in a process of its own."""

import json
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from client.rig import PASSWORD, PATIENCE_S, TIDINGS, environment


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
    return Result(
        subprocess.run(
            [TIDINGS, *map(str, arguments)],
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S * 2,
            env=environment() | variables,
            check=False,
        )
    )


def register(url: str, handle: str, profile: Path) -> None:
    """An account, by command."""
    done = tidings(
        "register", "--server", url, "--handle", handle, "--profile", profile, TIDINGS_PASSWORD=PASSWORD
    )
    assert done.code == 0, done.err


class Running:
    """A command that goes on; its lines are waited for as they come."""

    def __init__(self, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [TIDINGS, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
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

    def end_input(self) -> int:
        """Ctrl-D; returns the exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
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
