"""Copies of a store's files: which they are, and in which order they must reach the disk.

A directory without the file CURRENT is no store and is refused as one, so it is copied last, when
all that it stands for is durable: a crash at any moment leaves a whole copy or none.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

Progress = Callable[[int, int], None]
"""Told, now and then, how many bytes of how many have been copied. What it raises ends the copy."""

CHECKPOINT = "CHECKPOINT"
"""The directory, within the store's own, of hard links to its files at one moment."""

_CURRENT = "CURRENT"
_FILES = re.compile(r"\d+\.(sst|log|blob)|MANIFEST-\d+|OPTIONS-\d+|IDENTITY|rocksdict-config\.json|CURRENT")
_PIECE = 1 << 20


def take_place(target: Path, *, apart_from: Path) -> None:
    """Make sure of an empty directory. Raises OSError."""
    if target.resolve().is_relative_to(apart_from.resolve()):
        raise OSError(errno.EINVAL, "it lies within the store's own folder")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What stands at the root of every fresh disk is no content.
    if any(entry.name != "lost+found" for entry in target.iterdir()):
        raise OSError(errno.ENOTEMPTY, "the folder is not empty")


def copy_store(source: Path, target: Path, progress: Progress) -> None:
    """Copy a store's files that nobody writes to, each of them truly. Durable when it returns.

    Raises OSError, and what `progress` raises; then the files copied so far are gone.
    """
    files = files_of(source)
    total = sum(file.stat().st_size for file in files)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    try:
        for file in files:
            if file.name == _CURRENT:
                sync_directory(target)
            _copy(file, target / file.name, advance)
        sync_directory(target)
        sync_directory(target.parent)
    except BaseException:
        for file in reversed(files):
            (target / file.name).unlink(missing_ok=True)
        raise


def files_of(path: Path) -> Sequence[Path]:
    """The files that make up a store, CURRENT as the last."""
    found = [entry for entry in path.iterdir() if _FILES.fullmatch(entry.name) and entry.is_file()]
    return sorted(found, key=lambda file: (file.name == _CURRENT, file.name))


def remove_checkpoint(path: Path) -> None:
    """Remove a store's CHECKPOINT, whole or begun."""
    for name in (CHECKPOINT, f"{CHECKPOINT}.tmp"):
        shutil.rmtree(path / name, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Make durable which files a directory has."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path, advance: Callable[[int], None]) -> None:
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with source.open("rb") as reader, os.fdopen(descriptor, "wb") as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)
            advance(len(piece))
        writer.flush()
        os.fsync(writer.fileno())
