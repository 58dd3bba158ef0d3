"""`bench offline`: many messages wait for people who then come, all at once."""

import asyncio
import time
from pathlib import Path
from typing import NamedTuple

from tidings.bench.load import Device
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.seed import seed
from tidings.protocol.frames import Deliver, Sent
from tidings.protocol.ids import ConversationId

WINDOW = 64
TIMEOUT_S = 120.0


class OfflineOptions(NamedTuple):
    """What `bench offline` does."""

    users: int = 20
    messages: int = 1000
    """to each of them"""
    content_bytes: int = 200


async def offline(folder: Path, options: OfflineOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    accounts, conversations = await seed(
        folder / "data", 2 * options.users, [(2 * n, 2 * n + 1) for n in range(options.users)]
    )
    server = ServerProcess(folder / "data")
    await server.start()
    try:
        total = options.users * options.messages
        progress.say(f"{total} messages to {options.users} people who are away")
        before = server.usage()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(
                *(
                    _send_all(server.port, accounts[2 * n].token, conversations[n], options)
                    for n in range(options.users)
                )
            )
        sending = server.usage().cpu_s - before.cpu_s
        progress.say("they come")
        before, begun = server.usage(), time.perf_counter()
        async with asyncio.timeout(TIMEOUT_S):
            misplaced = await asyncio.gather(
                *(
                    _drain(server.port, accounts[2 * n + 1].token, options.messages)
                    for n in range(options.users)
                )
            )
        wall_s = time.perf_counter() - begun
        cpu_s = server.usage().cpu_s - before.cpu_s
        return {
            "bench": "offline",
            "users": options.users,
            "messages": total,
            "server_cpu_us_per_message": round(cpu_s / total * 1e6, 1),
            "messages_per_s": round(total / wall_s),
            "out_of_order": sum(misplaced),
            "send_cpu_us_per_message": round(sending / total * 1e6, 1),
        }
    finally:
        await server.stop()


async def _send_all(port: int, token: str, conversation: ConversationId, options: OfflineOptions) -> None:
    device = Device(token)
    finished: asyncio.Future[None] = device.loop.create_future()
    left = options.messages
    answered = 0
    padding = bytes(max(0, options.content_bytes - 8))

    def send_one() -> None:
        nonlocal left
        left -= 1
        content = (options.messages - left - 1).to_bytes(8, "big") + padding
        device.say(device.message(conversation, content))

    def sent(_: Sent) -> None:
        nonlocal answered
        answered += 1
        if left > 0:
            send_one()
        if answered == options.messages:
            finished.set_result(None)

    device.on_sent = sent
    await device.connect(port)
    await device.drained
    for _ in range(min(WINDOW, options.messages)):
        send_one()
    await finished
    device.disconnect()


async def _drain(port: int, token: str, messages: int) -> int:
    """Fetch everything; returns how many came out of their order."""
    device = Device(token)
    expected = 0
    misplaced = 0

    def deliver(received: Deliver) -> None:
        nonlocal expected, misplaced
        if int.from_bytes(received.message.content[:8], "big") != expected:
            misplaced += 1
        expected += 1

    device.on_deliver = deliver
    await device.connect(port)
    await device.drained
    assert expected == messages, (expected, messages)
    # The last acknowledgement is a part of the work.
    await device.loop.create_task(asyncio.sleep(0.1))
    device.disconnect()
    return misplaced
