"""The power cut and the full disk, for a child process: see `synced.c`.

Run the child with `Shim.environment`, kill it, call `Shim.cut`, and open what is left. All
processes that ever wrote to the directory must have run under the shim.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("synced.c")
_NOTE = struct.Struct("=QQQQ")
_SET, _AT_MOST = 1, 2


def compile_shim(into: Path) -> Path | None:
    """The library, or None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = into / "synced.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


class Shim:
    """One directory under watch."""

    def __init__(self, library: Path, directory: Path, records: Path) -> None:
        """`records` is a directory outside of `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.record = records / f"{directory.name}.synced"
        self.full = records / f"{directory.name}.full"
        """while this file exists, writes under the directory fail with ENOSPC"""
        self._library = library

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a child process."""
        return {
            **os.environ,
            "LD_PRELOAD": str(self._library),
            "SYNCED_DIRECTORY": str(self.directory),
            "SYNCED_RECORD": str(self.record),
            "SYNCED_FULL": str(self.full),
        }

    def cut(self) -> None:
        """Cut each file to what was synced of it. Call it when no child runs any more."""
        cut(self.directory, self.record)


def cut(directory: Path, record: Path) -> None:
    """Cut each file under `directory` to its synced length; what was never synced is empty."""
    synced = _synced_lengths(record)
    for path in directory.rglob("*"):
        if not path.is_file():
            continue
        if path.name.endswith("-shm"):  # SQLite's shared memory does not outlive its processes
            path.unlink()
            continue
        found = path.stat()
        length = synced.get((found.st_dev, found.st_ino), 0)
        if length < found.st_size:
            os.truncate(path, length)


def _synced_lengths(record: Path) -> dict[tuple[int, int], int]:
    synced: dict[tuple[int, int], int] = {}
    notes = record.read_bytes() if record.exists() else b""
    # A process that was killed while it wrote may have left a part of a note at the end.
    for kind, device, inode, length in _NOTE.iter_unpack(notes[: len(notes) - len(notes) % _NOTE.size]):
        file = device, inode
        synced[file] = length if kind == _SET else min(length, synced.get(file, 0))
    return synced
