"""What a `Raise` makes of a row, for every backend that must merge by itself."""

import msgspec

from tidings.store.contract import R, Table


def grown(table: Table[R], old: R | None, row: R) -> R:
    """`row`, with each growing column at least what it was in `old`."""
    assert table.grows, table
    if old is None:
        return row
    higher = {
        column: getattr(old, column) for column in table.grows if getattr(old, column) > getattr(row, column)
    }
    return msgspec.structs.replace(row, **higher) if higher else row
