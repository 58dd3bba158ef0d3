"""What a store that is reached over the network was asked for: each request, and each row, is paid for there.

Plain integers, counted on the way; whoever wants to know reads them.
"""

from collections import defaultdict


class TableCounts:
    """Of one table, since the start."""

    __slots__ = ("reads", "rows", "statements")

    def __init__(self) -> None:
        self.rows = 0
        """that were written, an erasure counting as one"""
        self.statements = 0
        """that wrote them: a row that grows may take several"""
        self.reads = 0
        """queries of it"""


class StoreCounts:
    """Of one store, since its start."""

    __slots__ = ("failures", "requests", "seconds", "tables", "waiting", "write_requests")

    def __init__(self) -> None:
        self.requests = 0
        """that were answered, or failed"""
        self.failures = 0
        self.seconds = 0.0
        """that these took, from the moment at which each was wanted"""
        self.waiting = 0
        """that wait for their turn, since too many are on their way"""
        self.write_requests = 0
        """that brought rows; counted when they are wanted"""
        self.tables: defaultdict[str, TableCounts] = defaultdict(TableCounts)
