"""Backups at the operator's word."""

from pathlib import Path

from tidings.protocol.errors import INVALID, ProtocolError
from tidings.store.contract import Store


async def back_up(store: Store, path: str) -> None:
    """Copy the store into a folder of this machine. Raises ProtocolError (invalid), StoreError."""
    target = Path(path)
    if not target.is_absolute() or "\0" in path:
        raise ProtocolError(INVALID, "the path of a backup is absolute")
    try:
        await store.checkpoint(target)
    except OSError as error:
        raise ProtocolError(INVALID, f"cannot back up to {target}: {error.strerror or error}") from None
