"""How RocksDB is set up: for few rows lost to nobody and little memory, not for records.

Memory is bounded whatever is stored: 32 MiB of rows not yet in a file, 32 MiB of blocks (their
indexes and filters among them), 256 open files.
"""

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
)

MiB = 1 << 20

CACHE_BYTES = 32 * MiB
UNFLUSHED_BYTES = 32 * MiB
WAL_BYTES = 64 * MiB
"""of log files; reading them is what a start after a crash takes"""
OPEN_FILES = 256


def database_options(*, create: bool) -> Options:
    """The options of the database as a whole, and of its default column family."""
    options = Options(raw_mode=True)
    options.create_if_missing(create)
    # A column family that is missing is damage, unless the caller knows that its table is new.
    options.create_missing_column_families(create)
    # The default would take damage in the middle of the log for its end, and drop what follows.
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_paranoid_checks(True)
    options.set_db_write_buffer_size(UNFLUSHED_BYTES)
    options.set_max_total_wal_size(WAL_BYTES)
    options.set_max_open_files(OPEN_FILES)
    options.set_max_background_jobs(2)
    # Else the kernel may hold a whole file back and write it while a commit waits.
    options.set_bytes_per_sync(1 * MiB)
    options.set_avoid_unnecessary_blocking_io(True)
    options.set_skip_stats_update_on_db_open(True)
    options.set_keep_log_file_num(3)
    options.set_max_log_file_size(1 * MiB)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    return options


def table_options(cache: Cache) -> Options:
    """The options of a table's column family. All share one cache."""
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    # Writes look for rows that are mostly not there, so both filters are for misses.
    blocks.set_bloom_filter(10, False)
    # A file's index of short keys must fit into a share of the cache, or each look reads it anew.
    blocks.set_index_block_restart_interval(16)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    options.set_memtable_whole_key_filtering(True)
    options.set_memtable_prefix_bloom_ratio(0.01)  # 1.2 to 0.3 µs for a miss
    options.set_write_buffer_size(8 * MiB)
    options.set_max_write_buffer_number(3)
    options.set_arena_block_size(256 * 1024)
    options.set_target_file_size_base(16 * MiB)
    options.set_max_bytes_for_level_base(64 * MiB)
    # Each joining of files writes rows once more. A look passes by a file's filter, a range merges more.
    options.set_level_zero_file_num_compaction_trigger(8)
    options.set_level_compaction_dynamic_level_bytes(True)
    options.set_compression_type(DBCompressionType.lz4())
    # Most rows are sealed, and shrink by nothing: what zstd costs each time they are rewritten is for little.
    options.set_bottommost_compression_type(DBCompressionType.lz4())
    return options


def new_cache() -> Cache:
    """The cache that the column families of one database share."""
    return Cache(CACHE_BYTES)
