"""Processes of `tidings` without the wait for its imports: forked off one that has them all.

What is forked is a process of its own, with its own streams, environment and exit code; only the
start-up is left out, which is most of what a short command takes.
"""

import contextlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import tidings.cli
from client.rig import environment
from tidings.cli.main import main

STREAMS = ("in", "out", "err")


class Forge:
    """Runs commands, one at a time, each to its end."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        # What these tests are of is found where they themselves found it.
        path = [str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment() | {"PYTHONPATH": os.pathsep.join(path)},
        )

    def run(
        self, arguments: Sequence[str], typed: str, variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` would."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn, tempfile.TemporaryDirectory(prefix="tidings-forge-") as folder:
            streams = {name: Path(folder) / name for name in STREAMS}
            streams["in"].write_text(typed)
            request = {
                "arguments": list(arguments),
                "environment": dict(variables),
                "folder": folder,
                "cwd": str(Path.cwd()),
            }
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            return subprocess.CompletedProcess(
                arguments, code, streams["out"].read_text(), streams["err"].read_text()
            )

    def close(self) -> None:
        """Fork no more."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait()


def _serve() -> None:
    for module in pkgutil.iter_modules(tidings.cli.__path__):
        import_module(f"tidings.cli.{module.name}")
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict[str, object]) -> NoReturn:
    """The forked one: it is `tidings` from here on."""
    folder = Path(str(request["folder"]))
    os.dup2(os.open(folder / "in", os.O_RDONLY), 0)
    os.dup2(os.open(folder / "out", os.O_WRONLY | os.O_CREAT), 1)
    os.dup2(os.open(folder / "err", os.O_WRONLY | os.O_CREAT), 2)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.chdir(str(request["cwd"]))
    os.environ.clear()
    os.environ.update(request["environment"])  # type: ignore[call-overload]
    code: object = 1
    try:
        main(request["arguments"])  # type: ignore[arg-type]
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    _serve()
