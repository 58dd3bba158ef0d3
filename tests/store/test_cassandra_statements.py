"""Statements, timestamps and refusals, without a cluster."""

from collections import defaultdict

import pytest

from tidings.protocol import ids
from tidings.protocol.ids import ConversationId, MessageId, UserId
from tidings.store.cassandra import times
from tidings.store.cassandra.columns import RowColumns
from tidings.store.cassandra.config import CassandraConfig
from tidings.store.cassandra.migrations import replication
from tidings.store.cassandra.refusals import refusal
from tidings.store.cassandra.rows import ByPartition, Rows
from tidings.store.cassandra.statements import Statements
from tidings.store.cassandra.store import TOGETHER_BYTES, shared
from tidings.store.contract import OutcomeUnknown, StoreError, StoreFull, StoreUnavailable
from tidings.store.counts import StoreCounts
from tidings.store.schema import (
    HEADS,
    INBOX,
    INBOX_KEEP_S,
    LEASES,
    MESSAGES,
    RELATIONS,
    SENDS,
    USERS,
    WATERMARKS,
    HeadRow,
    WatermarkRow,
)

CONFIG = CassandraConfig(contact_points=("db1", "db2"), password="swordfish", user="tidings")


def test_the_table_of_messages_is_made_as_it_is_meant() -> None:
    text = Statements("tidings", RowColumns(MESSAGES)).create()
    assert text.startswith('CREATE TABLE IF NOT EXISTS "tidings"."messages" ("conversation_id" blob, ')
    assert 'PRIMARY KEY (("conversation_id", "bucket"), "message_id")' in text
    assert 'CLUSTERING ORDER BY ("message_id" DESC)' in text
    assert "TimeWindow" not in text


def test_an_inbox_goes_by_its_age() -> None:
    text = Statements("tidings", RowColumns(INBOX)).create()
    assert f"default_time_to_live = {INBOX_KEEP_S}" in text
    # 2.25 days a window, as timestamps of 2^22 steps a millisecond pass for microseconds.
    assert "TimeWindowCompactionStrategy" in text
    assert f"'compaction_window_size': {round(2.25 * (1 << 22) / 1000)}" in text


def test_a_range_asks_for_no_more_than_it_needs() -> None:
    statements = Statements("tidings", RowColumns(RELATIONS))
    text = statements.range(after=True, before=True, backwards=True)
    assert text.endswith(
        'WHERE "conversation_id" = ? AND "bucket" = ? AND ("target", "message_id") > (?, ?)'
        ' AND ("target", "message_id") < (?, ?) ORDER BY "target" DESC, "message_id" DESC LIMIT ?'
    )
    down = Statements("tidings", RowColumns(MESSAGES)).range(after=True, before=False, backwards=False)
    assert down.endswith('AND ("message_id") < (?) LIMIT ?')


def test_only_what_expires_has_a_ttl() -> None:
    assert "TTL" in Statements("tidings", RowColumns(SENDS)).put
    for table in (MESSAGES, USERS):
        assert "TTL" not in Statements("tidings", RowColumns(table)).put


def test_what_is_contested_is_compared_in_every_column() -> None:
    text = Statements("tidings", RowColumns(LEASES)).replace()
    assert text.endswith('IF "epoch" = ? AND "until_ms" = ? AND "request_id" = ?')
    with_null = Statements("tidings", RowColumns(LEASES)).replace(frozenset({"until_ms"}))
    assert with_null.endswith('IF "epoch" = ? AND "until_ms" = null AND "request_id" = ?')


def test_each_growing_column_is_raised_by_itself() -> None:
    columns = RowColumns(HEADS)
    text = Statements("tidings", columns).raising([columns.all[columns.at["newest"]]])
    assert text == ('UPDATE "tidings"."heads" USING TIMESTAMP ? SET "newest" = ? WHERE "conversation_id" = ?')


def test_timestamps_keep_the_order_of_causes_and_of_values() -> None:
    causes = [0, 1, 2, ids.snowflake(ids.EPOCH_MS + 1, 0, 0), ids.SNOWFLAKE_MAX - 1, ids.SNOWFLAKE_MAX]
    stamps = [times.of_cause(cause) for cause in causes]
    assert stamps == sorted(set(stamps))
    assert times.of_cause((1 << 64) - 1) == times.TIMESTAMP_MAX
    values = [0, 2, 4, ids.SNOWFLAKE_MAX, 1 << 63, (1 << 64) - 1]
    assert [times.of_value(value) for value in values] == sorted({times.of_value(value) for value in values})
    assert times.of_value((1 << 64) - 1) <= times.TIMESTAMP_MAX


def test_a_row_has_left_what_its_cause_leaves() -> None:
    cause = ids.snowflake(ids.EPOCH_MS + 1000, 5, 5)
    for after_ms, left in ((0, 60), (1, 60), (59_000, 1), (59_001, 1), (60_000, 0), (99_000, 0), (-1000, 61)):
        assert times.left_s(cause, 60, ids.EPOCH_MS + 1000 + after_ms) == left


def test_small_writes_share_a_request_and_none_is_cut() -> None:
    small = [[(f"put {n}", (b"k", b"x" * 90, n))] for n in range(12)]
    assert [len(request) for request in shared(small, 10)] == [10, 2]
    assert [sent for request in shared(small, 10) for sent in request] == [
        sent for one in small for sent in one
    ]
    assert shared(small, 1) == small
    large = [("put", (b"k", bytes(TOGETHER_BYTES)))]
    assert shared([small[0], large, small[1], small[2]], 10) == [small[0], large, small[1] + small[2]]
    assert shared([], 10) == []


def test_what_is_written_to_one_key_goes_together_and_is_counted() -> None:
    counts = StoreCounts()
    found: ByPartition = defaultdict(list)
    heads, marks = (Rows(table, "tidings", counts.tables[table.name]) for table in (HEADS, WATERMARKS))
    conversation = ConversationId(b"c" * 16)
    heads.raise_to(found, HeadRow(conversation, newest=MessageId(5)), lambda: 1)
    marks.raise_to(found, WatermarkRow(conversation, UserId(7), MessageId(8), MessageId(5), 9), lambda: 1)
    assert list(found) == [(conversation,)]
    assert [(cql.split()[1], values[0]) for cql, values in found[(conversation,)]] == [
        ('"tidings"."heads"', 2),
        ('"tidings"."watermarks"', 4),  # delivered, and when: 8 and 9 have one half
        ('"tidings"."watermarks"', 2),
    ]
    assert {name: (table.rows, table.statements) for name, table in counts.tables.items()} == {
        "heads": (1, 1),
        "watermarks": (1, 2),
    }


def test_columns_of_one_value_are_raised_in_one_statement() -> None:
    counts = StoreCounts()
    found: ByPartition = defaultdict(list)
    marks = Rows(WATERMARKS, "tidings", counts.tables["watermarks"])
    conversation = ConversationId(b"c" * 16)
    marks.raise_to(found, WatermarkRow(conversation, UserId(7), MessageId(6), MessageId(6), 100), lambda: 1)
    (first, second) = found[(conversation,)]
    assert 'SET "delivered_up_to" = ?, "read_up_to" = ? WHERE' in first[0]
    assert first[1] == (3, b"\x06", b"\x06", conversation, b"\x07")
    assert 'SET "at_ms" = ? WHERE' in second[0]
    assert second[1] == (50, b"\x64", conversation, b"\x07")


def error(name: str, said: str = "said") -> Exception:
    made: type[Exception] = type(name, (Exception,), {})
    return made(said)


@pytest.mark.parametrize(
    ("name", "said", "kind", "hint"),
    [
        ("CassErrorLibNoHostsAvailable", "No hosts", StoreUnavailable, "contact_points"),
        ("CassErrorServerUnavailable", "Cannot achieve", StoreUnavailable, "nodetool status"),
        ("CassErrorServerBadCredentials", "wrong", StoreUnavailable, "user and password"),
        ("CassErrorServerWriteTimeout", "Operation timed out", StoreUnavailable, ""),
        ("CassErrorServerInvalidQuery", "disk usage exceeds failure threshold", StoreFull, ""),
        ("CassErrorServerWriteFailure", "Critical disk utilization: rejected", StoreFull, ""),
        (
            "CassErrorServerInvalidQuery",
            "Cannot provide a timestamp more than 3 days into the future.",
            StoreUnavailable,
            "restrict_future_timestamp",
        ),
    ],
)
def test_what_fails_is_told_with_a_hint(name: str, said: str, kind: type[StoreError], hint: str) -> None:
    refused = refusal(error(name, said), CONFIG)
    assert type(refused) is kind
    assert said in str(refused)
    assert "db1, db2:9042" in str(refused)
    assert ("hint: " in str(refused)) is bool(hint)
    assert hint in str(refused)


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("CassErrorServerWriteTimeout", True),
        ("CassErrorLibRequestTimedOut", True),
        ("CassErrorServerUnavailable", True),
        ("CassErrorServerServerError", True),
        ("CassErrorLibNoHostsAvailable", False),
        ("CassErrorServerInvalidQuery", False),
    ],
)
def test_who_may_have_set_it_does_not_say_that_it_did_not(name: str, unknown: bool) -> None:
    refused = refusal(error(name), CONFIG, conditional=True)
    assert isinstance(refused, OutcomeUnknown if unknown else StoreUnavailable)


def test_a_config_does_not_show_its_password() -> None:
    assert "swordfish" not in f"{CONFIG} {CONFIG!r}"


def test_replication_is_by_datacenter_where_there_are_some() -> None:
    assert replication(CONFIG) == "{'class': 'SimpleStrategy', 'replication_factor': 3}"
    several = CassandraConfig(replication={"fra": 3, "ams": 2})
    assert replication(several) == "{'class': 'NetworkTopologyStrategy', 'fra': 3, 'ams': 2}"
