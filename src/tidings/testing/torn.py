"""A batch that is torn at a place that a test chooses."""

from random import Random
from typing import Any

from tidings.store.contract import Batch, Key, Table
from tidings.store.memory import Fault, PlannedFaults


class Torn(PlannedFaults):
    """The next batch that has rows of a table is torn: all of it is written but these."""

    def __init__(self, table: Table[Any]) -> None:
        super().__init__(Random(1))  # noqa: S311 - it decides nothing here
        self._table = table
        self.is_due = False
        """set it when the batch is next"""

    def of_write(self, batch: Batch) -> Fault | None:
        if self.is_due and any(write.table is self._table for write in batch):
            self.is_due = False
            return Fault.TORN
        return super().of_write(batch)

    def survives(self, partition: tuple[str, Key]) -> bool:
        return partition[0] != self._table.name
