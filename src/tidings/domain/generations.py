"""Generations: whether a device's profile is an older copy of what connected before.

A profile counts its connections. One that was restored from a backup tells a count that was told before,
and hears of it in `Welcome`: what it knows of ratchets was used since.

spec §6.16
"""

from tidings.domain.commit import GroupCommit
from tidings.protocol.ids import DeviceId
from tidings.store.contract import Store
from tidings.store.schema import GENERATIONS, GenerationRow


class Generations:
    """Remembers the greatest one of each device."""

    def __init__(self, store: Store, commit: GroupCommit) -> None:
        self._store = store
        self._commit = commit

    async def newest(self, device: DeviceId) -> int:
        """The greatest that a device has told; 0 for none. Raises StoreError."""
        row = await self._store.get(GENERATIONS, (device,))
        return 0 if row is None else row.generation

    def note(self, device: DeviceId, generation: int) -> None:
        """A device tells one. Kept soon: a server that is killed at once may have forgotten it."""
        self._commit.raise_soon(GENERATIONS, GenerationRow(device, generation))
