"""What every backend of the store promises: see `tidings.store.contract`."""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conformance.stores import (
    ASCENDING,
    BACKENDS,
    BYTES,
    BYTES_DOWN,
    CONTESTED,
    DESCENDING,
    GROWING,
    KEPT,
    KEPT_GROWING,
    KEPT_LONGER,
    KEPT_VERSIONS,
    LONE,
    ORDERED,
    STRS,
    STRS_DOWN,
    SWEPT,
    VERSIONS,
    VERSIONS_DOWN,
    BytesRow,
    ContestedRow,
    GrowingRow,
    IntRow,
    LoneRow,
    Opener,
    StrRow,
    VersionRow,
)
from tidings.protocol import ids
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.contract import (
    Erase,
    Key,
    Put,
    PutEach,
    Raise,
    Row,
    Store,
    StoreUnavailable,
    Table,
    Write,
    rows_in,
    singly,
)

TOP = (1 << 64) - 1
UNUSED = itertools.count(1000)
HERE = ConversationId(b"c" * 16)


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    store = await opener()
    yield store
    await store.close()


in_the_order_of_calls = pytest.mark.parametrize("opener", ORDERED, indirect=True)
"""What such backends do besides; no rule may lean on it."""
dropped_by_expire = pytest.mark.parametrize("opener", SWEPT, indirect=True)


def int_row(at: int, text: str = "", *, user: int = 7, part: int = 1) -> IntRow:
    return IntRow(UserId(user), part, MessageId(at), text)


async def put(store: Store, table: Table[Any], *rows: Row, cause: int = 1) -> None:
    await store.write([Put(table, row, cause) for row in rows])


def shuffled(rows: list[Any]) -> list[Any]:
    return random.Random(5).sample(rows, len(rows))


# --- order ----------------------------------------------------------------------------------

ORDERS: list[tuple[Table[Any], tuple[Any, ...], list[Any]]] = [
    (ASCENDING, (7, 1), [int_row(at) for at in (0, 1, 255, 256, 1 << 32, (1 << 63) - 1, 1 << 63, TOP)]),
    (DESCENDING, (7, 1), [int_row(at) for at in (TOP, 1 << 63, (1 << 63) - 1, 256, 255, 1, 0)]),
    (BYTES, (HERE,), [BytesRow(HERE, at) for at in (b"\0\0\0\0", b"\0\0\0\1", b"\1\0\0\0", b"\xff" * 4)]),
    (BYTES_DOWN, (HERE,), [BytesRow(HERE, at) for at in (b"\xff" * 4, b"\1\0\0\0", b"\0\0\0\1", b"\0" * 4)]),
    (
        STRS,
        ("p",),
        [StrRow("p", *at) for at in (("", 9), ("a", 3), ("a", TOP), ("ab", 0), ("b", 1), ("é", 2))],
    ),
    (
        STRS_DOWN,
        ("p",),
        [StrRow("p", *at) for at in (("é", 2), ("b", 1), ("ab", 0), ("a", 9), ("a", 3), ("", 9))],
    ),
]
in_each_order = pytest.mark.parametrize(("table", "partition", "rows"), ORDERS, ids=lambda of: str(of)[:20])


@in_each_order
async def test_a_range_is_in_clustering_order(
    store: Store, table: Table[Any], partition: tuple[Any, ...], rows: list[Any]
) -> None:
    await put(store, table, *shuffled(rows))
    assert await store.range(table, partition, limit=99) == rows
    assert await store.range(table, partition, limit=99, backwards=True) == rows[::-1]
    assert await store.range(table, partition, limit=2) == rows[:2]
    assert await store.range(table, partition, limit=2, backwards=True) == rows[:-3:-1]
    assert await store.range(table, partition, limit=0) == []


@in_each_order
async def test_after_and_before_are_exclusive_in_both_directions(
    store: Store, table: Table[Any], partition: tuple[Any, ...], rows: list[Any]
) -> None:
    await put(store, table, *shuffled(rows))
    keys = [table.key_of(row)[len(table.partition) :] for row in rows]
    for low, after in enumerate(keys):
        assert await store.range(table, partition, after=after, limit=99) == rows[low + 1 :]
        assert await store.range(table, partition, before=after, limit=99) == rows[:low]
        for high, before in enumerate(keys):
            between = rows[low + 1 : high]
            found = await store.range(table, partition, after=after, before=before, limit=99)
            assert found == between
            found = await store.range(table, partition, after=after, before=before, limit=1, backwards=True)
            assert found == between[::-1][:1]


async def test_bounds_need_not_be_rows(store: Store) -> None:
    await put(store, ASCENDING, *map(int_row, (10, 20, 30)))
    await put(store, DESCENDING, *map(int_row, (10, 20, 30)))
    assert await store.range(ASCENDING, (7, 1), after=(15,), before=(25,), limit=9) == [int_row(20)]
    assert await store.range(DESCENDING, (7, 1), after=(25,), before=(15,), limit=9) == [int_row(20)]
    assert await store.range(DESCENDING, (7, 1), after=(25,), limit=9) == [int_row(20), int_row(10)]


async def test_partitions_do_not_touch(store: Store) -> None:
    rows = [
        int_row(at, user=user, part=part) for user in (0, 1, TOP) for part in (0, 1, TOP) for at in (0, TOP)
    ]
    for table in (ASCENDING, DESCENDING):
        await put(store, table, *shuffled(rows))
        for row in rows:
            partition = (row.partition, row.part)
            found = await store.range(table, partition, limit=99)
            assert [(of.partition, of.part) for of in found] == [partition] * 2


async def test_a_string_is_no_prefix_of_another(store: Store) -> None:
    await put(store, STRS, *[StrRow(name, "at", 1) for name in ("al", "alice", "", "alicé")])
    await put(store, LONE, LoneRow("al"), LoneRow("alice"))
    for name in ("al", "alice", "", "alicé"):
        assert await store.range(STRS, (name,), limit=9) == [StrRow(name, "at", 1)]
    assert await store.range(STRS, ("ali",), limit=9) == []
    assert await store.range(LONE, ("al",), limit=9) == [LoneRow("al")]


async def test_short_bytes_match_no_partition(store: Store) -> None:
    await put(store, BYTES, BytesRow(HERE, b"abcd"))
    assert await store.range(BYTES, (b"c",), limit=9) == []
    assert await store.range(BYTES, (b"",), limit=9) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, TOP), max_size=12), st.integers(0, TOP), st.booleans(), st.integers(0, 12))
async def test_any_range_is_what_sorting_gives(
    store: Store, ats: set[int], bound: int, backwards: bool, limit: int
) -> None:
    part = next(UNUSED)  # a partition of its own for each example
    await put(store, DESCENDING, *[int_row(at, part=part) for at in ats])
    below = sorted((at for at in ats if at < bound), reverse=not backwards)
    found = await store.range(DESCENDING, (7, part), after=(bound,), limit=limit, backwards=backwards)
    assert [row.at for row in found] == below[:limit]


# --- rows -----------------------------------------------------------------------------------


async def test_a_row_comes_back_whole_and_apart_from_the_caller(store: Store) -> None:
    row = IntRow(UserId(1), 2, MessageId(3), "text\0\U0001f642", b"\0\xff" * (32 << 10))
    await put(store, ASCENDING, row)
    row.text = "changed"
    found = await store.get(ASCENDING, (1, 2, 3))
    assert found is not None
    assert (found.text, len(found.data)) == ("text\0\U0001f642", 64 << 10)
    found.text = "changed"
    again = await store.get(ASCENDING, (1, 2, 3))
    assert again is not None
    assert again.text == "text\0\U0001f642"


async def test_an_empty_value_overwrites(store: Store) -> None:
    await put(store, ASCENDING, int_row(1, "secret"))
    await put(store, ASCENDING, int_row(1, ""), cause=2)
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "")


async def test_get_many_keeps_the_order_of_the_keys(store: Store) -> None:
    await put(store, ASCENDING, *map(int_row, range(5)))
    found = await store.get_many(ASCENDING, [(7, 1, at) for at in (3, 9, 0, 3, TOP)])
    assert found == [int_row(3), None, int_row(0), int_row(3), None]
    assert await store.get_many(ASCENDING, []) == []


async def test_what_is_not_there(store: Store) -> None:
    assert await store.get(ASCENDING, (1, 2, 3)) is None
    assert await store.range(ASCENDING, (1, 2), limit=9) == []
    assert await store.range(ASCENDING, (1, 2), limit=9, backwards=True) == []


async def test_an_empty_batch(store: Store) -> None:
    await store.write([])


# --- repeats and causes ---------------------------------------------------------------------


async def test_a_batch_written_twice_is_written_once(store: Store) -> None:
    batch: list[Write] = [
        Put(ASCENDING, int_row(1, "a"), 5),
        Put(DESCENDING, int_row(2, "b"), 5),
        Raise(GROWING, GrowingRow(HERE, UserId(1), 4)),
    ]
    await store.write(batch)
    await store.write(batch)
    assert await store.range(ASCENDING, (7, 1), limit=9) == [int_row(1, "a")]
    assert await store.range(DESCENDING, (7, 1), limit=9) == [int_row(2, "b")]
    assert await store.range(GROWING, (HERE,), limit=9) == [GrowingRow(HERE, UserId(1), 4)]


async def test_a_late_repeat_never_resurrects(store: Store) -> None:
    await put(store, ASCENDING, int_row(1, "secret"), cause=5)
    await put(store, ASCENDING, int_row(1, ""), cause=TOP)
    await put(store, ASCENDING, int_row(1, "secret"), cause=5)
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "")


@in_the_order_of_calls
async def test_at_a_tie_the_later_write_stays(store: Store) -> None:
    await put(store, ASCENDING, int_row(1, "first"), cause=5)
    await put(store, ASCENDING, int_row(1, "second"), cause=5)
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "second")


async def test_at_a_tie_each_column_is_of_one_of_the_rows(store: Store) -> None:
    texts, datas = ("first", "second"), (b"2", b"1")
    for text, data in zip(texts, datas, strict=True):
        await put(store, ASCENDING, IntRow(UserId(7), 1, MessageId(1), text, data), cause=5)
    found = await store.get(ASCENDING, (7, 1, 1))
    assert found is not None
    assert found.text in texts
    assert found.data in datas
    await put(store, ASCENDING, int_row(1, "greater"), cause=6)
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "greater")


async def test_causes_that_differ_by_one_are_no_tie(store: Store) -> None:
    cause = ids.snowflake(time.time_ns() // 1_000_000, 7, 5)
    for at, order in enumerate(itertools.permutations((0, 1, 2))):
        for step in order:
            await put(store, ASCENDING, int_row(at, "zyx"[step]), cause=cause + step)
        assert await store.get(ASCENDING, (7, 1, at)) == int_row(at, "x")


async def test_causes_hold_within_a_batch(store: Store) -> None:
    causes = [(3, "c"), (9, "i"), (4, "d"), (10, "j"), (0, "z")]
    await store.write([Put(ASCENDING, int_row(1, text), cause) for cause, text in causes])
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "j")


async def test_causes_hold_over_a_reopening(opener: Opener) -> None:
    store = await opener()
    await put(store, ASCENDING, int_row(1, "late"), cause=9)
    await store.close()
    store = await opener()
    await put(store, ASCENDING, int_row(1, "early"), cause=8)
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "late")
    await store.close()


@in_the_order_of_calls
async def test_writes_apply_in_the_order_of_the_calls(store: Store) -> None:
    await asyncio.gather(*[put(store, ASCENDING, int_row(1, str(number))) for number in range(50)])
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "49")


async def test_of_writes_at_once_that_of_the_greatest_cause_stays(store: Store) -> None:
    await asyncio.gather(
        *[put(store, ASCENDING, int_row(1, str(cause)), cause=cause) for cause in shuffled(list(range(50)))]
    )
    assert await store.get(ASCENDING, (7, 1, 1)) == int_row(1, "49")


async def test_writes_that_were_joined_are_all_there(store: Store) -> None:
    await asyncio.gather(*[put(store, ASCENDING, int_row(at), int_row(at, part=2)) for at in range(200)])
    for part in (1, 2):
        assert len(await store.range(ASCENDING, (7, part), limit=999)) == 200


async def test_what_cannot_be_encoded_fails_for_its_caller_alone(store: Store) -> None:
    bad = IntRow(UserId(7), 1, MessageId(2), object())  # type: ignore[arg-type]
    results = await asyncio.gather(
        put(store, ASCENDING, int_row(1)),
        put(store, ASCENDING, bad),
        put(store, ASCENDING, int_row(3)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), TypeError, type(None)]
    assert await store.range(ASCENDING, (7, 1), limit=9) == [int_row(1), int_row(3)]


# --- a row for each of many -----------------------------------------------------------------

EACH: list[tuple[Table[Any], Row, str, tuple[Any, ...]]] = [
    (ASCENDING, int_row(3, "text"), "partition", (0, 1, 127, 128, 255, 256, 1 << 16, 1 << 32, 1 << 63, TOP)),
    (ASCENDING, int_row(3, "text"), "part", (TOP, 7, 0)),
    (DESCENDING, int_row(3, "text", user=TOP), "part", (1, 1 << 32)),
    (BYTES, BytesRow(HERE, b"abcd", "text"), "partition", (b"a" * 16, b"b" * 16)),
    (STRS, StrRow("p", "at", 5, "text"), "partition", ("", "al", "alice", "é" * 99)),
    (LONE, LoneRow("n", "text"), "name", ("b", "a")),
]


@pytest.mark.parametrize(
    ("table", "row", "column", "values"), EACH, ids=[f"{table.name} {column}" for table, _, column, _ in EACH]
)
async def test_a_row_for_each_is_as_many_puts(
    store: Store, table: Table[Any], row: Any, column: str, values: tuple[Any, ...]
) -> None:
    each = PutEach(table, row, column, values, 5)
    puts = list(singly([each]))
    assert [getattr(one.row, column) for one in puts if isinstance(one, Put)] == list(values)
    await store.write([each])
    rows = [one.row for one in puts if isinstance(one, Put)]
    found = await store.get_many(table, [table.key_of(one) for one in rows])
    assert found == rows
    assert sorted(await all_of(store, table), key=table.key_of) == sorted(rows, key=table.key_of)


async def test_a_row_for_each_heeds_causes(store: Store) -> None:
    for user, cause in ((1, 9), (2, 4), (3, 3)):
        await put(store, ASCENDING, int_row(1, "old", user=user), cause=cause)
    batch: list[Write] = [
        Put(ASCENDING, int_row(1, "greater", user=4), 6),
        Put(ASCENDING, int_row(1, "lesser", user=5), 4),
        PutEach(ASCENDING, int_row(1, "each"), "partition", [1, 2, 3, 4, 5, 6, 7], 5),
        Put(ASCENDING, int_row(1, "behind", user=6), 6),
        Erase(ASCENDING, (7, 1), 5),
    ]
    for _ in range(2):
        await store.write(batch)
        texts = [row.text for user in range(1, 8) for row in await store.range(ASCENDING, (user, 1), limit=9)]
        assert texts == ["old", "each", "each", "greater", "each", "behind"]


@in_the_order_of_calls
async def test_a_row_for_each_heeds_causes_and_the_order_of_a_batch(store: Store) -> None:
    for user, cause in ((1, 9), (2, 5), (3, 4)):
        await put(store, ASCENDING, int_row(1, "old", user=user), cause=cause)
    batch: list[Write] = [
        Put(ASCENDING, int_row(1, "greater", user=4), 6),
        Put(ASCENDING, int_row(1, "lesser", user=5), 4),
        PutEach(ASCENDING, int_row(1, "each"), "partition", [1, 2, 3, 4, 5, 6, 7, 8], 5),
        Put(ASCENDING, int_row(1, "behind", user=6), 5),
        Erase(ASCENDING, (7, 1), 5),
        Put(ASCENDING, int_row(1, "too late", user=8), 4),
    ]
    for _ in range(2):
        await store.write(batch)
        texts = [row.text for user in range(1, 9) for row in await store.range(ASCENDING, (user, 1), limit=9)]
        assert texts == ["old", "each", "each", "greater", "each", "behind", "each"]


async def test_a_row_for_none_and_a_row_for_one(store: Store) -> None:
    await store.write([PutEach(ASCENDING, int_row(1, "none"), "partition", (), 5)])
    assert await all_of(store, ASCENDING) == []
    await store.write([PutEach(ASCENDING, int_row(1, "one"), "partition", (9,), 5)])
    assert await all_of(store, ASCENDING) == [int_row(1, "one", user=9)]


async def test_the_row_of_each_is_apart_from_the_caller(store: Store) -> None:
    row = int_row(1, "each")
    await store.write([PutEach(ASCENDING, row, "partition", (1, 2), 5)])
    assert row == int_row(1, "each")
    row.text = "changed"
    assert await store.get(ASCENDING, (2, 1, 1)) == int_row(1, "each", user=2)


@pytest.mark.parametrize(
    "write",
    [
        PutEach(ASCENDING, int_row(1), "at", (1, 2), 5),
        PutEach(ASCENDING, int_row(1), "text", ("a", "b"), 5),
        PutEach(GROWING, GrowingRow(HERE, UserId(1)), "partition", (HERE,), 5),
        PutEach(CONTESTED, ContestedRow("a", 1, b"r"), "name", ("a",), 5),
    ],
    ids=lambda write: f"{write.table.name} {write.column}",
)
async def test_a_row_for_each_is_of_a_partition_and_put(store: Store, write: PutEach) -> None:
    with pytest.raises(AssertionError):
        await store.write([write])


def test_rows_are_counted() -> None:
    batch: list[Write] = [
        PutEach(ASCENDING, int_row(1), "partition", (1, 2, 3), 5),
        Put(ASCENDING, int_row(2), 5),
        Erase(ASCENDING, (7, 1), 5),
    ]
    assert (rows_in([]), rows_in(batch)) == (0, 5)


# --- growing columns ------------------------------------------------------------------------


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, TOP), st.integers(0, 9)), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
    st.booleans(),
)
async def test_the_highest_wins_whoever_writes_last(
    store: Store, pairs: list[tuple[int, int]], order: random.Random, joined: bool
) -> None:
    user = UserId(next(UNUSED))  # a row of its own for each example
    raises: list[Write] = [Raise(GROWING, GrowingRow(HERE, user, *pair)) for pair in pairs * 2]
    order.shuffle(raises)
    if joined:
        await store.write(raises)
    else:
        await asyncio.gather(*[store.write([one]) for one in raises])
    highest = GrowingRow(HERE, user, max(high for high, _ in pairs), max(high for _, high in pairs))
    assert await store.get(GROWING, (HERE, user)) == highest


async def test_other_columns_come_from_the_last_raise(store: Store) -> None:
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(1), 5, 1, "first"))])
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(1), 3, 2, "second"))])
    assert await store.get(GROWING, (HERE, 1)) == GrowingRow(HERE, UserId(1), 5, 2, "second")


# --- compare-and-set ------------------------------------------------------------------------


def owned(owner: int, request: bytes = b"r") -> ContestedRow:
    return ContestedRow("alice", owner, request)


async def test_only_one_finds_nothing_there(store: Store) -> None:
    results = await asyncio.gather(
        *[store.compare_and_set(CONTESTED, None, owned(owner)) for owner in range(1, 6)]
    )
    assert results == [None, *[owned(1)] * 4]
    assert await store.get(CONTESTED, ("alice",)) == owned(1)


async def test_expecting_what_was_never_written_is_a_bug_of_its_caller_alone(store: Store) -> None:
    # None would say that it was written.
    results = await asyncio.gather(
        store.compare_and_set(CONTESTED, None, ContestedRow("bob", 1, b"r")),
        store.compare_and_set(CONTESTED, owned(1), owned(2)),
        store.compare_and_set(CONTESTED, None, ContestedRow("carol", 1, b"r")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), AssertionError, type(None)]
    assert await store.get(CONTESTED, ("alice",)) is None


async def test_a_chain_of_compare_and_sets(store: Store) -> None:
    assert await store.compare_and_set(CONTESTED, None, owned(1)) is None
    assert await store.compare_and_set(CONTESTED, owned(2), owned(3)) == owned(1)
    assert await store.compare_and_set(CONTESTED, owned(1), owned(2)) is None
    assert await store.compare_and_set(CONTESTED, None, owned(4)) == owned(2)
    assert await store.get(CONTESTED, ("alice",)) == owned(2)


async def test_a_compare_and_set_is_there_after_a_reopening(opener: Opener) -> None:
    store = await opener()
    await store.compare_and_set(CONTESTED, None, owned(1))
    await store.close()
    store = await opener()
    assert await store.compare_and_set(CONTESTED, None, owned(2)) == owned(1)
    await store.close()


# --- compare-and-set of several rows --------------------------------------------------------


def versions(owner: int, *numbers: int, name: str = "alice") -> list[VersionRow]:
    return [VersionRow(name, number, owner) for number in numbers]


async def set_together(
    store: Store, expected: VersionRow | None, rows: list[VersionRow], table: Table[VersionRow] = VERSIONS
) -> VersionRow | None:
    """The first row is compared."""
    return await store.compare_and_set(table, expected, rows[0], rows[1:])


@pytest.mark.parametrize("table", [VERSIONS, VERSIONS_DOWN], ids=str)
async def test_rows_that_are_set_together_are_all_there_in_order(
    store: Store, table: Table[VersionRow]
) -> None:
    rows = versions(1, *((TOP, 256, 255, 0) if table.descending else (0, 255, 256, TOP)))
    assert await set_together(store, None, shuffled(rows), table) is None
    assert await set_together(store, None, versions(2, 255, name="al"), table) is None
    assert await store.range(table, ("alice",), limit=9) == rows
    assert await store.range(table, ("alice",), limit=9, backwards=True) == rows[::-1]
    found = await store.range(table, ("alice",), after=(rows[0].version,), before=(rows[3].version,), limit=9)
    assert found == rows[1:3]
    keys = [table.key_of(row) for row in rows]
    assert await store.get_many(table, [keys[2], ("alice", 7), keys[0]]) == [rows[2], None, rows[0]]


@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_rows_that_were_set_together_are_scanned_one_by_one(store: Store, limit: int) -> None:
    for name in ("alice", "bob"):
        await set_together(store, None, versions(1, 0, 1, TOP, name=name))
    found: list[VersionRow] = []
    after = None
    while page := await store.scan(VERSIONS, after=after, limit=limit):
        assert len(page) <= limit
        found += page
        after = VERSIONS.key_of(page[-1])
    assert sorted(found, key=VERSIONS.key_of) == [
        *versions(1, 0, 1, TOP),
        *versions(1, 0, 1, TOP, name="bob"),
    ]


async def test_what_is_set_along_replaces_whatever_is_there(store: Store) -> None:
    await set_together(store, None, versions(1, 0, 1, 2))
    (before,) = versions(1, 0)
    assert await set_together(store, before, versions(2, 0, 2, 3)) is None
    assert await all_of(store, VERSIONS) == [
        VersionRow("alice", number, owner) for number, owner in enumerate((2, 1, 2, 2))
    ]


async def test_where_the_comparison_fails_nothing_is_set(store: Store) -> None:
    await set_together(store, None, versions(1, 0, 1))
    (there,) = versions(1, 0)
    (other,) = versions(9, 0)
    for expected in (None, other):
        assert await set_together(store, expected, versions(2, 0, 1, 2)) == there
    assert await all_of(store, VERSIONS) == versions(1, 0, 1)


async def test_of_two_sets_one_wins_as_a_whole(store: Store) -> None:
    sets = [versions(1, 0, 1, 2), versions(2, 0, 2, 3), versions(3, 0, 4), versions(4, 0)]
    (before,) = versions(9, 0)
    assert await set_together(store, None, [before]) is None
    results = await asyncio.gather(*[set_together(store, before, rows) for rows in sets])
    won = sets.pop(results.index(None))
    assert [result for result in results if result is not None] == [won[0]] * len(sets)
    assert await all_of(store, VERSIONS) == won


async def test_what_was_set_along_is_what_the_next_one_compares_with(store: Store) -> None:
    (along,) = versions(1, 1)
    sets = [
        (None, versions(1, 0, 1)),
        (None, versions(2, 1, 2)),
        (along, versions(3, 1, 0)),
        (along, versions(4, 1, 2)),
    ]
    results = await asyncio.gather(*[set_together(store, expected, rows) for expected, rows in sets])
    assert results == [None, along, None, *versions(3, 1)]
    assert await all_of(store, VERSIONS) == versions(3, 0, 1)


async def test_rows_that_were_set_together_are_there_after_a_reopening(opener: Opener) -> None:
    store = await opener()
    rows = [VersionRow("alice", number, 1, b"r" * 1000) for number in range(2000)]
    assert await set_together(store, None, rows) is None
    await store.close()
    store = await opener()
    assert await store.range(VERSIONS, ("alice",), limit=9999) == rows
    assert await set_together(store, None, versions(2, 1, 0)) == rows[1]
    await store.close()


@pytest.mark.parametrize(
    ("table", "also"),
    [
        (VERSIONS, versions(1, 1, name="bob")),
        (VERSIONS, versions(2, 0)),
        (VERSIONS, versions(1, 1, 1)),
        (VERSIONS, [ContestedRow("alice", 1, b"r")]),
        (CONTESTED, [ContestedRow("alice", 2, b"r")]),
        (CONTESTED, [ContestedRow("bob", 1, b"r")]),
        (ASCENDING, [int_row(2)]),
    ],
    ids=["partition", "its key", "a key twice", "type", "no clustering", "nor partition", "no contest"],
)
async def test_what_may_not_be_set_together_is_a_bug_of_its_caller_alone(
    store: Store, table: Table[Any], also: list[Row]
) -> None:
    firsts: dict[Table[Any], Row] = {VERSIONS: versions(1, 0)[0], CONTESTED: owned(1), ASCENDING: int_row(1)}
    results = await asyncio.gather(
        set_together(store, None, versions(1, 0, 1, name="carol")),
        store.compare_and_set(table, None, firsts[table], also),
        set_together(store, None, versions(1, 0, 1, name="dave")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), AssertionError, type(None)]
    for name in ("carol", "dave"):
        assert await store.range(VERSIONS, (name,), limit=9) == versions(1, 0, 1, name=name)
    assert len(await all_of(store, VERSIONS)) == 4
    assert await all_of(store, CONTESTED) == await all_of(store, ASCENDING) == []


async def test_a_row_that_cannot_be_encoded_takes_what_is_set_with_it_along(store: Store) -> None:
    bad = VersionRow("alice", 2, object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await set_together(store, None, [*versions(1, 0, 1), bad])
    assert await all_of(store, VERSIONS) == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=4, unique=True), st.booleans()),
        max_size=6,
    ),
    st.booleans(),
)
async def test_any_sets_leave_what_a_dictionary_would_hold(
    store: Store, sets: list[tuple[list[int], bool]], joined: bool
) -> None:
    name = str(next(UNUSED))
    model: dict[int, VersionRow] = {}
    work: list[Coroutine[Any, Any, VersionRow | None]] = []
    expected: list[VersionRow | None] = []
    for owner, (numbers, is_right) in enumerate(sets):
        rows = versions(owner, *numbers, name=name)
        there = model.get(numbers[0])
        # What is expected wrongly is that nothing is there.
        if there is None or is_right:
            expected.append(None)
            model.update((row.version, row) for row in rows)
        else:
            expected.append(there)
        work.append(set_together(store, there if is_right else None, rows))
    found = await asyncio.gather(*work) if joined else [await one for one in work]
    assert found == expected
    by_version = [model[number] for number in sorted(model)]
    assert await store.range(VERSIONS, (name,), limit=9) == by_version


# --- erasing --------------------------------------------------------------------------------


async def all_of(store: Store, table: Table[Any]) -> list[Any]:
    return await store.scan(table, limit=1 << 20)


@pytest.mark.parametrize("table", [ASCENDING, DESCENDING], ids=str)
async def test_a_partition_is_erased_and_its_neighbours_are_not(store: Store, table: Table[Any]) -> None:
    parts = (0, 1, 2, TOP)
    rows = [int_row(at, part=part) for part in parts for at in (0, 5, TOP)]
    await put(store, table, *rows, int_row(5, user=8))
    await store.write([Erase(table, (7, 1), 1)])
    assert await store.range(table, (7, 1), limit=9) == []
    assert await store.get(table, (7, 1, 5)) is None
    assert len(await all_of(store, table)) == 10
    await store.write([Erase(table, (7, TOP), 1)])
    await store.write([Erase(table, (7, TOP), 1)])  # a repeat
    assert len(await all_of(store, table)) == 7


@pytest.mark.parametrize("table", [ASCENDING, DESCENDING], ids=str)
async def test_one_row_is_erased(store: Store, table: Table[Any]) -> None:
    await put(store, table, *map(int_row, range(4)))
    await store.write([Erase(table, (7, 1, 2), 1), Erase(table, (7, 1, 9), 1), Erase(table, (9, 9), 1)])
    assert sorted(row.at for row in await store.range(table, (7, 1), limit=9)) == [0, 1, 3]


async def test_a_name_is_no_prefix_of_another_to_an_erasure(store: Store) -> None:
    await put(store, STRS, StrRow("al", "at", 1), StrRow("alice", "at", 1))
    await put(store, LONE, LoneRow("al"), LoneRow("alice"))
    await store.write([Erase(STRS, ("al",), 1), Erase(LONE, ("al",), 1)])
    assert await all_of(store, STRS) == [StrRow("alice", "at", 1)]
    assert await all_of(store, LONE) == [LoneRow("alice")]


async def test_an_erasure_spares_rows_of_a_greater_cause(store: Store) -> None:
    for cause in (4, 5, 6):
        await put(store, ASCENDING, int_row(cause), cause=cause)
        await put(store, BYTES, BytesRow(HERE, bytes([cause] * 4)), cause=cause)
    await store.write([Erase(ASCENDING, (7, 1), 5)])
    assert await all_of(store, ASCENDING) == [int_row(6)]
    await store.write([Erase(BYTES, (HERE, bytes([cause] * 4)), 5) for cause in (4, 5, 6)])
    assert await all_of(store, BYTES) == [BytesRow(HERE, b"\6" * 4)]


@in_the_order_of_calls
async def test_within_a_batch_an_erasure_sees_what_is_before_it_only(store: Store) -> None:
    await put(store, ASCENDING, int_row(1, "old"), int_row(2, "old"))
    await store.write(
        [
            Put(ASCENDING, int_row(3, "before"), 1),
            Erase(ASCENDING, (7, 1), 1),
            Put(ASCENDING, int_row(2, "after"), 1),
            Put(ASCENDING, int_row(4, "after"), 1),
        ]
    )
    assert await all_of(store, ASCENDING) == [int_row(2, "after"), int_row(4, "after")]
    await store.write(
        [
            Erase(ASCENDING, (7, 1, 4), 1),
            Put(ASCENDING, int_row(5), 1),
            Erase(ASCENDING, (7, 1, 5), 1),
            Erase(ASCENDING, (7, 1, 2), 0),
        ]
    )
    assert await all_of(store, ASCENDING) == [int_row(2, "after")]


async def test_an_erasure_of_what_is_behind_it_keeps_nothing_of_a_greater_cause_away(store: Store) -> None:
    await put(store, ASCENDING, *map(int_row, (1, 2, 3)), cause=4)
    batch: list[Write] = [
        Erase(ASCENDING, (7, 1), 5),
        Put(ASCENDING, int_row(1, "again"), 6),
        Erase(ASCENDING, (7, 1, 2), 6),
        Put(ASCENDING, int_row(2, "again"), 7),
        Put(ASCENDING, int_row(4, "new"), 6),
    ]
    for _ in range(2):
        await store.write(batch)
        assert await all_of(store, ASCENDING) == [int_row(1, "again"), int_row(2, "again"), int_row(4, "new")]


@in_the_order_of_calls
async def test_a_row_that_was_erased_in_a_batch_may_come_back_with_any_cause(store: Store) -> None:
    await put(store, ASCENDING, int_row(1, "old"), cause=9)
    await store.write([Erase(ASCENDING, (7, 1, 1), 9), Put(ASCENDING, int_row(1, "new"), 3)])
    assert await all_of(store, ASCENDING) == [int_row(1, "new")]


@in_the_order_of_calls
async def test_writes_and_erasures_apply_in_the_order_of_the_calls(store: Store) -> None:
    await asyncio.gather(
        put(store, ASCENDING, int_row(1)),
        store.write([Erase(ASCENDING, (7, 1), 1)]),
        put(store, ASCENDING, int_row(2)),
        store.write([Erase(ASCENDING, (7, 1, 2), 1)]),
        put(store, ASCENDING, int_row(3)),
    )
    assert await all_of(store, ASCENDING) == [int_row(3)]


async def test_writes_and_erasures_at_once_are_ordered_by_cause(store: Store) -> None:
    await asyncio.gather(
        put(store, ASCENDING, int_row(3), cause=5),
        store.write([Erase(ASCENDING, (7, 1, 2), 4)]),
        put(store, ASCENDING, int_row(1), cause=1),
        store.write([Erase(ASCENDING, (7, 1), 2)]),
        put(store, ASCENDING, int_row(2, "again"), cause=5),
        put(store, ASCENDING, int_row(4), cause=3),
    )
    assert await all_of(store, ASCENDING) == [int_row(2, "again"), int_row(3), int_row(4)]


async def test_growing_rows_are_gone_once_erased(store: Store) -> None:
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(user), 5, 1 << 62)) for user in (1, 2, 3)])
    await store.write([Erase(GROWING, (HERE, 1), 0), Erase(GROWING, (HERE, 3), 9)])
    assert await all_of(store, GROWING) == [GrowingRow(HERE, UserId(2), 5, 1 << 62)]
    await store.write([Erase(GROWING, (HERE,), 0)])
    assert await all_of(store, GROWING) == []


@in_the_order_of_calls
async def test_growing_rows_begin_anew_once_erased(store: Store) -> None:
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(user), 5)) for user in (1, 2, 3)])
    await store.write(
        [
            Erase(GROWING, (HERE, 1), 0),
            Raise(GROWING, GrowingRow(HERE, UserId(1), 2)),
            Erase(GROWING, (HERE, 3), 9),
        ]
    )
    assert await all_of(store, GROWING) == [GrowingRow(HERE, UserId(1), 2), GrowingRow(HERE, UserId(2), 5)]
    await store.write([Erase(GROWING, (HERE,), 0)])
    assert await all_of(store, GROWING) == []


@pytest.mark.parametrize("key", [("alice",)])
async def test_contested_rows_are_never_erased(store: Store, key: Key) -> None:
    await store.compare_and_set(CONTESTED, None, owned(1))
    with pytest.raises(AssertionError):
        await store.write([Erase(CONTESTED, key, TOP)])
    assert await store.get(CONTESTED, key) == owned(1)


@pytest.mark.parametrize("key", [("alice",), ("alice", 1)])
async def test_nor_are_those_that_were_set_together(store: Store, key: Key) -> None:
    await set_together(store, None, versions(1, 0, 1))
    with pytest.raises(AssertionError):
        await store.write([Erase(VERSIONS, key, TOP)])
    assert await all_of(store, VERSIONS) == versions(1, 0, 1)


@pytest.mark.parametrize("key", [(), (7,), (7, 1, 2, 3)])
async def test_half_a_key_erases_nothing(store: Store, key: Key) -> None:
    await put(store, ASCENDING, int_row(2))
    with pytest.raises(AssertionError):
        await store.write([Erase(ASCENDING, key, TOP)])
    assert await all_of(store, ASCENDING) == [int_row(2)]


async def test_what_was_erased_stays_away_after_a_reopening(opener: Opener) -> None:
    store = await opener()
    await put(store, ASCENDING, *map(int_row, range(9)))
    await store.close()
    store = await opener()
    await store.write([Erase(ASCENDING, (7, 1, 3), 1)])
    await store.write([Erase(ASCENDING, (7, 1, 4), 1)])
    await store.close()
    store = await opener()
    assert [row.at for row in await all_of(store, ASCENDING)] == [0, 1, 2, 5, 6, 7, 8]
    await store.close()


@in_the_order_of_calls
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from("pre"), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=6
        ),
        max_size=5,
    )
)
async def test_any_writes_leave_what_a_dictionary_would_hold(
    store: Store, batches: list[list[tuple[str, int, int]]]
) -> None:
    part = next(UNUSED)
    model: dict[int, int] = {}
    for batch in batches:
        writes: list[Write] = []
        for kind, at, cause in batch:
            if kind == "p":
                writes.append(Put(ASCENDING, int_row(at, str(cause), part=part), cause))
                model[at] = max(cause, model.get(at, 0))
                continue
            key = (7, part, at) if kind == "r" else (7, part)
            writes.append(Erase(ASCENDING, key, cause))
            for erased in [at] if kind == "r" else list(model):
                if model.get(erased, TOP) <= cause:
                    del model[erased]
        await store.write(writes)
    found = {row.at: int(row.text) for row in await store.range(ASCENDING, (7, part), limit=99)}
    assert found == model


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from("pre"), st.integers(0, 3), st.integers(0, 9)), max_size=20),
    st.booleans(),
)
async def test_writes_in_the_order_of_their_causes_leave_what_a_dictionary_would_hold(
    store: Store, steps: list[tuple[str, int, int]], joined: bool
) -> None:
    part = next(UNUSED)
    model: dict[int, str] = {}
    writes: list[Write] = []
    cause = 0
    for kind, at, more in steps:
        cause += 1 + more
        if kind == "p":
            writes.append(Put(ASCENDING, int_row(at, str(cause), part=part), cause))
            model[at] = str(cause)
        elif kind == "r":
            writes.append(Erase(ASCENDING, (7, part, at), cause))
            model.pop(at, None)
        else:
            writes.append(Erase(ASCENDING, (7, part), cause))
            model.clear()
    for batch in [writes] if joined else [[write] for write in writes]:
        await store.write(batch)
    found = {row.at: row.text for row in await store.range(ASCENDING, (7, part), limit=99)}
    assert found == model


# --- whole tables ---------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
async def test_a_scan_in_pages_returns_each_row_once(store: Store, limit: int) -> None:
    rows = [
        int_row(at, user=user, part=part) for user in (0, 3, TOP) for part in (0, 9) for at in (0, 1, TOP)
    ]
    for table in (ASCENDING, DESCENDING):
        await put(store, table, *shuffled(rows))
        found: list[IntRow] = []
        after = None
        while page := await store.scan(table, after=after, limit=limit):
            assert len(page) <= limit
            found += page
            after = table.key_of(page[-1])
        assert len(found) == len(rows)
        assert {table.key_of(row) for row in found} == {table.key_of(row) for row in rows}


async def test_a_scan_of_rows_that_come_and_go_returns_those_that_stay(store: Store) -> None:
    await put(store, STRS, *[StrRow(f"p{number % 5}", "at", number) for number in range(50)])
    found: list[StrRow] = []
    after = None
    while page := await store.scan(STRS, after=after, limit=3):
        found += page
        after = STRS.key_of(page[-1])
        await store.write([Erase(STRS, after, 1)])  # where it goes on need not be a row
        await put(store, STRS, StrRow("p2", "later", len(found)))
    numbers = [row.number for row in found if row.at == "at"]
    assert sorted(numbers) == list(range(50))


async def test_a_scan_of_nothing(store: Store) -> None:
    assert await store.scan(LONE, limit=9) == []
    await put(store, LONE, LoneRow("a"))
    assert await store.scan(LONE, limit=0) == []
    assert await store.scan(LONE, after=("a",), limit=9) == []


# --- expiry ---------------------------------------------------------------------------------

NOW_MS = ids.EPOCH_MS + 100_000_000


def ago(seconds: float) -> int:
    """An id of so long before now."""
    return ids.first_at(NOW_MS - int(seconds * 1000))


@dropped_by_expire
async def test_only_rows_past_their_time_are_dropped(store: Store) -> None:
    for at, seconds in enumerate((3601, 61, 60.001, 60, 59, -5)):
        await put(store, KEPT, int_row(at), cause=ago(seconds))
        await put(store, KEPT_LONGER, LoneRow(str(at)), cause=ago(seconds))
        await put(store, ASCENDING, int_row(at), cause=ago(seconds))
    assert await store.expire(NOW_MS) == 4
    assert [row.at for row in await all_of(store, KEPT)] == [3, 4, 5]
    assert [row.name for row in await all_of(store, KEPT_LONGER)] == list("12345")
    assert len(await all_of(store, ASCENDING)) == 6
    assert await store.expire(NOW_MS) == 0
    assert await store.expire(NOW_MS + 100_000) == 3
    assert await all_of(store, KEPT) == []


async def test_growing_and_contested_rows_have_no_age(store: Store) -> None:
    await store.write([Raise(KEPT_GROWING, GrowingRow(HERE, UserId(1), 5))])
    await set_together(store, None, versions(1, 0, 1), KEPT_VERSIONS)
    assert await store.expire(NOW_MS) == 0
    assert len(await all_of(store, KEPT_GROWING)) == 1
    assert await all_of(store, KEPT_VERSIONS) == versions(1, 0, 1)


@dropped_by_expire
async def test_before_the_epoch_nothing_is_old(store: Store) -> None:
    await put(store, KEPT, int_row(1), cause=0)
    assert await store.expire(ids.EPOCH_MS + 1000) == 0
    assert len(await all_of(store, KEPT)) == 1


@dropped_by_expire
async def test_a_row_that_is_written_anew_meanwhile_stays(store: Store) -> None:
    await put(store, KEPT, *map(int_row, range(50)), cause=ago(99))
    expiring = asyncio.ensure_future(store.expire(NOW_MS))
    while len(await all_of(store, KEPT)) == 50 and not expiring.done():
        await put(store, KEPT, int_row(49, "anew"), cause=ago(1))
    await expiring
    assert await all_of(store, KEPT) == [int_row(49, "anew")]
    assert await store.expire(NOW_MS) == 0


@dropped_by_expire
async def test_what_was_dropped_stays_away_after_a_reopening(opener: Opener) -> None:
    store = await opener()
    await put(store, KEPT, *map(int_row, range(3000)), cause=ago(99))
    await put(store, KEPT, int_row(1, part=2), cause=ago(9))
    assert await store.expire(NOW_MS) == 3000
    await store.close()
    store = await opener()
    assert await all_of(store, KEPT) == [int_row(1, part=2)]
    await store.close()


# --- closing --------------------------------------------------------------------------------


async def test_the_time_is_that_of_whoever_keeps_the_rows(store: Store) -> None:
    before_ms = time.time_ns() // 1_000_000
    await store.write([Put(LONE, LoneRow("one"), 1)])
    assert before_ms <= await store.time_ms() <= time.time_ns() // 1_000_000 + 1


async def test_everything_is_there_after_a_reopening(opener: Opener) -> None:
    store = await opener()
    await put(store, ASCENDING, *map(int_row, range(100)))
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(1), 5))])
    await store.close()
    store = await opener()
    assert await store.range(ASCENDING, (7, 1), limit=999) == [int_row(at) for at in range(100)]
    await store.write([Raise(GROWING, GrowingRow(HERE, UserId(1), 4))])
    assert await store.get(GROWING, (HERE, 1)) == GrowingRow(HERE, UserId(1), 5)
    await store.close()


async def test_close_finishes_what_was_begun(opener: Opener) -> None:
    store = await opener()
    writes = [asyncio.ensure_future(put(store, ASCENDING, int_row(at))) for at in range(20)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    store = await opener()
    assert len(await store.range(ASCENDING, (7, 1), limit=99)) == 20
    await store.close()


async def test_a_closed_store_is_unavailable(opener: Opener) -> None:
    store = await opener()
    await store.close()
    await store.close()
    calls: list[Callable[[], Any]] = [
        lambda: store.write([Put(ASCENDING, int_row(1), 1)]),
        lambda: store.get(ASCENDING, (7, 1, 1)),
        lambda: store.get_many(ASCENDING, [(7, 1, 1)]),
        lambda: store.range(ASCENDING, (7, 1), limit=1),
        lambda: store.compare_and_set(CONTESTED, None, owned(1)),
        lambda: store.scan(ASCENDING, limit=1),
        store.time_ms,
        lambda: store.expire(NOW_MS),
        lambda: store.checkpoint(Path("copy")),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            await call()
