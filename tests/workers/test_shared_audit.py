"""One audit log that several processes write: its files move on once, and no line is lost."""

import json
from pathlib import Path

import structlog

from tidings.server.audit import Audit

FILES = 20
FILE_BYTES = 300


def test_files_move_on_once_whoever_finds_them_full(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = structlog.wrap_logger(structlog.ReturnLogger())
    processes = [Audit(path, lambda: 0, log, file_bytes=FILE_BYTES, files=FILES) for _ in range(3)]
    for number in range(90):
        processes[number % 3]("event", number=number)
    assert all(one.ok for one in processes)
    for one in processes:
        one.close()
    files = [path, *(path.with_name(f"audit.log.{number}") for number in range(1, FILES))]
    kept = [json.loads(line)["number"] for file in files if file.exists() for line in _lines(file)]
    assert sorted(kept) == list(range(90))
    assert sum(file.exists() for file in files) < FILES, "moved on too often"
    # Who has a file open that another one moved on writes one more line at most.
    assert max(file.stat().st_size for file in files if file.exists()) <= FILE_BYTES + 3 * 50


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
