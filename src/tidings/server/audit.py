"""The audit log: who logged in, and what was changed of accounts, one JSON object a line.

It holds ids, handles and addresses; never content, passwords, tokens or codes. At most `FILES`
files of `FILE_BYTES` are kept. A disk that is full costs its events, which is said once in
the log, and nothing else. Several processes may write the same files: a line is one write at the
end of a file, and of those that find it full one moves it on.
"""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

FILE_BYTES = 10 * 1024 * 1024
FILES = 10
VALUE_CHARS = 256

Value = str | int | bool | None


class Audit:
    """Call it: `audit("login", user_id=…, address=…)`. Never raises."""

    def __init__(
        self,
        path: Path | None,
        wall_ms: Callable[[], int],
        log: FilteringBoundLogger,
        *,
        file_bytes: int = FILE_BYTES,
        files: int = FILES,
    ) -> None:
        """`path` None: nothing is written, only counted."""
        self._path = path
        self._wall_ms = wall_ms
        self._log = log
        self._file_bytes = file_bytes
        self._files = files
        self._file: int | None = None
        self._torn = False
        """the last line may lack its end"""
        self.counts: dict[str, int] = {}
        """by event, for the metrics; the names of events stand in the code, so they are few"""
        self.ok = True
        """whether the last event could be written"""

    def __call__(self, event: str, **fields: Value) -> None:
        """Note an event. Fields that are None are left out; long texts are cut."""
        self.counts[event] = self.counts.get(event, 0) + 1
        if self._path is None:
            return
        now_ms = self._wall_ms()
        known = {key: _told(key, value) for key, value in fields.items() if value is not None}
        line = msgspec.json.encode({"at_ms": now_ms, "event": event, **known}) + b"\n"
        try:
            self._write(self._path, line)
        except OSError as error:
            self._failed(self._path, error)
        else:
            self.ok = True

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None

    def _write(self, path: Path, line: bytes) -> None:
        if self._file is not None and self._is_full(self._file, len(line)):
            self._rotate(path, self._file)
        if self._file is None:
            self._open(path)
        assert self._file is not None
        data = b"\n" + line if self._torn else line
        # Torn until it is known to be whole: a full disk may take half a line.
        self._torn = True
        written = os.write(self._file, data)
        if written < len(data):
            raise OSError(None, "only a part of a line was written")
        self._torn = False

    def _open(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(path, flags, 0o600)
        try:
            os.fchmod(file, 0o600)
            size = os.fstat(file).st_size
            self._torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
        except OSError:
            os.close(file)
            raise
        self._file = file

    def _is_full(self, file: int, more: int) -> bool:
        # Others write there, too.
        return os.fstat(file).st_size + more > self._file_bytes

    def _rotate(self, path: Path, file: int) -> None:
        """Move the files on, unless another process does or has done so; the next write opens the new one."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # it is being moved: one more line in it does no harm
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat(follow_symlinks=False)):
                self._move(path)
        self.close()  # and so the lock is gone

    def _move(self, path: Path) -> None:
        for number in range(self._files - 1, 0, -1):
            older = path if number == 1 else _numbered(path, number - 1)
            with suppress(FileNotFoundError):
                os.replace(older, _numbered(path, number))

    def _failed(self, path: Path, error: OSError) -> None:
        self.close()
        if self.ok:
            self.ok = False
            reason = error.strerror or str(error)
            self._log.warning(
                "the audit log cannot be written; its events are lost", path=str(path), reason=reason
            )


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _told(key: str, value: Value) -> Value:
    if key.endswith("_id"):
        return str(value)  # many readers of JSON round integers of this size
    if not isinstance(value, str):
        return value
    # A lone surrogate is no text that JSON could hold.
    return value[:VALUE_CHARS].encode("utf-8", "replace").decode()
