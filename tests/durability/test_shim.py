"""The shim itself, on SQLite: it keeps what was synced, and drops what was not."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from durability.shim import Shim, compile_shim

pytestmark = pytest.mark.slow

WRITER = """
import os, signal, sqlite3, sys
path, synchronous = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("create table rows (id integer primary key, filler blob)")
db.execute("pragma wal_checkpoint(truncate)")
db.execute(f"pragma synchronous={synchronous}")
for number in range(50):
    db.execute("insert into rows values (?, zeroblob(5000))", (number,))
os.kill(os.getpid(), signal.SIGKILL)
"""

PLAIN = """
import os, sys
os.chdir(sys.argv[1])
with open("part", "wb", buffering=0) as file:
    file.write(b"synced"); os.fsync(file.fileno()); file.write(b"not")
with open("never", "wb") as file:
    file.write(b"never")
with open("old", "wb", buffering=0) as file:
    file.write(b"0123456789"); os.fsync(file.fileno())
inode = os.stat("old").st_ino
os.unlink("old")
for name in map(str, range(50)):
    with open(name, "wb") as file:
        file.write(b"unsynced")
with open("renamed.tmp", "wb", buffering=0) as file:
    file.write(b"kept"); os.fdatasync(file.fileno())
os.rename("renamed.tmp", "renamed")
with open("shrunk", "wb", buffering=0) as file:
    file.write(b"0123456789"); os.fsync(file.fileno()); file.truncate(3); file.write(b"x")
open(sys.argv[2], "w").close()
for attempt in (lambda: os.write(fd, b"x"), lambda: os.pwrite(fd, b"x", 0), lambda: os.ftruncate(fd, 99),
                lambda: os.posix_fallocate(fd, 0, 99), lambda: os.writev(fd, [b"x"])):
    fd = os.open("full", os.O_CREAT | os.O_WRONLY)
    try:
        attempt()
    except OSError as error:
        assert error.errno == 28, error
    else:
        raise AssertionError("there was room")
"""


@pytest.fixture
def shim(tmp_path: Path) -> Shim:
    library = compile_shim(tmp_path)
    if library is None:
        pytest.skip("no C compiler")
    return Shim(library, tmp_path / "data", tmp_path)


def run(shim: Shim, program: str, *arguments: str) -> int:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=False, env=shim.environment).returncode


def test_files_are_cut_to_what_was_synced_of_them(shim: Shim) -> None:
    assert run(shim, PLAIN, str(shim.directory), str(shim.full)) == 0
    shim.cut()
    left = {path.name: path.read_bytes() for path in shim.directory.iterdir()}
    assert {name: left[name] for name in ("part", "never", "renamed", "full")} == {
        "part": b"synced",
        "never": b"",
        "renamed": b"kept",
        "full": b"",
    }
    assert len(left["shrunk"]) == 3
    assert [left[str(name)] for name in range(50)] == [b""] * 50


@pytest.mark.parametrize(("synchronous", "rows"), [("full", 50), ("off", 0)])
def test_sqlite_keeps_what_it_synced(shim: Shim, synchronous: str, rows: int) -> None:
    run(shim, WRITER, str(shim.directory / "rows.db"), synchronous)
    shim.cut()
    with sqlite3.connect(shim.directory / "rows.db") as database:
        (count,) = database.execute("select count(*) from rows").fetchone()
    database.close()
    assert count == rows
