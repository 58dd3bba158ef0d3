"""A child process that writes through RocksStore and prints each id once it is acknowledged.

    python writer.py DIRECTORY SEED [unsafe]

It writes until it is killed. A line `full` says that a write was refused for want of room.
"""

import asyncio
import itertools
import random
import sys
from pathlib import Path

from tidings.protocol.ids import ConversationId, EntryId, MessageId, UserId
from tidings.store.contract import Put, Raise, StoreFull
from tidings.store.rocks import RocksStore
from tidings.store.schema import HEADS, INBOX, HeadRow, InboxRow

USER = UserId(7)
BUCKET = 1
CONVERSATION = ConversationId(b"c" * 16)


def entry(number: int, size: int) -> InboxRow:
    """The row of a number."""
    return InboxRow(
        user_id=USER,
        bucket=BUCKET,
        entry_id=EntryId(number),
        kind=1,
        conversation_id=CONVERSATION,
        message_id=MessageId(number),
        sender_id=USER,
        sender_device=0,  # type: ignore[arg-type]
        payload=bytes(size),
    )


def say(*lines: object) -> None:
    """Tell the parent, at once."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


async def write_for_ever(store: RocksStore, seed: int) -> None:
    rng = random.Random(seed)
    ids = itertools.count(1)

    async def write_some() -> None:
        while True:
            numbers = list(itertools.islice(ids, rng.randint(1, 4)))
            batch = [Put(INBOX, entry(number, rng.randint(0, 2000)), number) for number in numbers]
            try:
                await store.write([*batch, Raise(HEADS, HeadRow(CONVERSATION, MessageId(numbers[-1])))])
            except StoreFull:
                say("full")
                await asyncio.sleep(0.02)
            else:
                say(*numbers)

    await asyncio.gather(*[write_some() for _ in range(4)])


if __name__ == "__main__":
    opened = RocksStore.open(Path(sys.argv[1]), sync="unsafe" not in sys.argv, min_free_bytes=0)
    asyncio.run(write_for_ever(opened, int(sys.argv[2])))
