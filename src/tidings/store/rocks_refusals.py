"""What RocksDB says, as what a Store may raise, with a sentence on what to do about it."""

import re
from pathlib import Path

from rocksdict import DbClosedError

from tidings.store.contract import StoreDamaged, StoreFull, StoreInUse, StoreUnavailable

RESTORE = (
    "hint: stop, copy the directory aside as it is, and restore a backup. "
    "Do not delete files in it: nothing of it can be written anew."
)

LOGS = "*.log"

_FILE = re.compile(r"[\w./-]*?([\w-]+\.(?:sst|log|ldb)|MANIFEST-\d+|CURRENT)")
_FULL = ("No space left on device", "Disk quota exceeded", "Out of space")
_DAMAGE = ("Corruption", "Not found", "Invalid argument")
_MISSING = "No such file or directory"


def refusal(error: Exception, path: Path, *, unnamed: str = "") -> Exception:
    """The StoreError for what a call of rocksdict or of the file system raised.

    Any other exception is a bug of ours and comes back as it is. `unnamed` is the file that is
    damaged where RocksDB names none.
    """
    said = str(error)
    if isinstance(error, DbClosedError):
        return StoreUnavailable("the store is closed")
    # rocksdict raises nothing more precise than Exception; what it means stands in the text.
    if type(error) is not Exception and not isinstance(error, OSError):
        return error
    if any(phrase in said for phrase in _FULL):
        return StoreFull(f"no space left on the disk of {path} ({said})")
    if "lock file" in said or "lock hold by current process" in said:
        return in_use(path)
    if said.startswith(_DAMAGE) or _MISSING in said:
        return damaged(path, said, unnamed=unnamed)
    return StoreUnavailable(f"the store at {path} failed: {said}")


def damaged(path: Path, what: str, *, unnamed: str = "") -> StoreDamaged:
    """A StoreDamaged that names the file, if `what` does."""
    found = _FILE.search(what)
    where = path / (found.group(1) if found else unnamed)
    return StoreDamaged(f"{where} is damaged: {what}\n{RESTORE}")


def in_use(path: Path) -> StoreInUse:
    """Another process (or another store of this one) has the files open."""
    return StoreInUse(
        f"{path} is in use by another process\nhint: stop it, or give this one another directory"
    )
