"""Marks of a data folder whose store is being, or was, handed over to a cluster.

While it is handed over, a lock on the file PROMOTING keeps servers from starting on the folder. The
lock goes with the process that has it, so whatever becomes of that, a server may start again. Once all is
handed over the file PROMOTED says so: what people do from then on is in the cluster alone, so that whoever
started on the folder again would take them back to the moment of the hand-over.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidings.store.contract import StoreDamaged, StoreInUse
from tidings.store.rocks_checkpoint import sync_directory

PROMOTING = "PROMOTING"
PROMOTED = "PROMOTED"


class Promoted(msgspec.Struct):
    """What the file PROMOTED says, in JSON."""

    at: str
    """ISO 8601"""
    to: str
    """the cluster and its keyspace, for people"""
    holder: str
    """the promotion, as the keyspace knows it"""


def require_own(data: Path) -> None:
    """Raise StoreInUse if what is in a data folder is being, or was, handed over. Raises StoreDamaged."""
    found = promoted(data)
    if found is not None:
        raise StoreInUse(
            f"what {data} holds was handed over to {found.to} at {found.at}\n"
            "hint: start on that: tidings serve --config …; --take-back starts here all the same, without"
            " anything that was said there since"
        )
    with contextlib.suppress(FileNotFoundError), (data / PROMOTING).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise StoreInUse(
                f"what {data} holds is being handed over to a cluster\n"
                "hint: let `tidings promote` end, or end it; then a server may start here again"
            ) from None


def promoted(data: Path) -> Promoted | None:
    """What the mark of a folder says that was handed over. Raises StoreDamaged if it cannot be read."""
    try:
        return msgspec.json.decode((data / PROMOTED).read_bytes(), type=Promoted)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise StoreDamaged(
            f"{data / PROMOTED} cannot be read: {error}\n"
            "hint: what the folder holds was handed over to a cluster: start on that"
        ) from None


def mark_promoted(data: Path, mark: Promoted) -> None:
    """Say that a folder was handed over. Durable when it returns. Raises OSError."""
    draft = data / f"{PROMOTED}.tmp"
    with draft.open("wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(mark)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(data / PROMOTED)
    sync_directory(data)


def take_back(data: Path) -> bool:
    """Let servers start on a folder again that was handed over; whether it was. Raises OSError."""
    try:
        (data / PROMOTED).unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    sync_directory(data)
    return True


@contextlib.contextmanager
def handing_over(data: Path) -> Iterator[None]:
    """Keep servers from starting on a folder. Raises StoreInUse if somebody else does, OSError."""
    with (data / PROMOTING).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreInUse(f"what {data} holds is being handed over already") from None
        try:
            yield
        finally:
            (data / PROMOTING).unlink(missing_ok=True)
