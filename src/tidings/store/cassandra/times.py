"""Causes, values and ages as Cassandra's timestamps and TTLs.

Cassandra keeps of two writes to a column the one with the greater timestamp. It need not be a time:
here it is the cause itself, a snowflake (2^22 steps a millisecond, since 2024), not microseconds. Those
have a thousand steps a millisecond for four million causes; causes that differ by one, as when a row is
voided, would be a tie, and a tie is decided column by column, by the greater bytes.

A growing column's timestamp is its value, halved: so the greater value stays, whoever writes it and
when. Halved since timestamps have 63 bits; of two values with one half the greater has the greater
bytes, which decide.
"""

from tidings.protocol import ids

TIMESTAMP_MAX = (1 << 63) - 1
STEPS_PER_US = (1 << ids.TIME_SHIFT) / 1000
"""how much faster these timestamps run than microseconds"""


def of_cause(cause: int) -> int:
    """The timestamp of what is put or erased with a cause."""
    return min(cause, TIMESTAMP_MAX)


def of_value(value: int) -> int:
    """The timestamp of a growing column that holds a value."""
    return value >> 1


def left_s(cause: int, keep_s: int, now_ms: int) -> int:
    """How many seconds a row has left that lives for `keep_s` from its cause on; 0: none."""
    ends_ms = ids.unix_ms(cause) + keep_s * 1000
    return max(0, -((now_ms - ends_ms) // 1000))
