"""`bench client`: what the SDK costs its program, encrypted, on a real profile and a real server.

@alice writes to @bob, who has two devices. They are away first, and she writes one message after the
other, then several at once; then one of them comes and gets all that waited; then she writes while it is
there, and its receipts come back to her.
"""

import asyncio
from pathlib import Path
from typing import NamedTuple

from tidings.bench.musts import verdict
from tidings.bench.process import ServerProcess
from tidings.bench.program import Close, Compare, Cost, Listen, Program, Receive, Write
from tidings.bench.progress import Progress
from tidings.bench.seed import PASSWORD
from tidings.client import Client

SEND_CPU_US = 1000.0
"""that a message to two devices may cost, from the call of `send` until the server has it"""
DRAINED = 10_000
DRAIN_CPU_US = 500.0
"""that a waiting message may cost, until all are stored and acknowledged: 5 s for `DRAINED` of them"""
WARM = 20
"""messages before those that count"""


class ClientOptions(NamedTuple):
    """What `bench client` does."""

    messages: int = DRAINED
    """that wait for a device"""
    at_once: int = 8
    """calls of `send` in flight, of the others"""
    while_there: int = 1000
    """messages that are sent while the device is there"""
    chars: int = 200


class Three(NamedTuple):
    """The programs."""

    alice: Program
    phone: Program
    """of bob"""
    laptop: Program
    """of bob; it stays away"""


async def client(folder: Path, options: ClientOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    server = ServerProcess(folder / "data")
    await server.start()
    programs: list[Program] = []
    try:
        progress.say("making three profiles")
        for profile in await _profiles(server.url, folder):
            programs.append(await Program.start(profile))
        three = Three(*programs)
        await _get_to_know(three)
        return await _measured(three, options, progress)
    finally:
        await asyncio.gather(*(program.close() for program in programs))
        await server.stop()


async def _measured(three: Three, options: ClientOptions, progress: Progress) -> dict[str, object]:
    alice, phone, _ = three
    half = options.messages // 2
    many = options.messages - half
    progress.say(f"{half} messages, one by one")
    single = await alice.do(_writing(half, 0, 1, options))
    progress.say(f"{many} messages, {options.at_once} at once")
    several = await alice.do(_writing(many, half, options.at_once, options))
    progress.say(f"a device comes to {options.messages} waiting messages")
    drained = await phone.do(Receive("alice", options.messages - 1))
    wrong = await phone.do(Compare("alice", 0, options.messages))
    told = await phone.do(Listen(options.messages))
    progress.say(f"{options.while_there} messages, one by one, while it is there")
    there, live = await asyncio.gather(
        alice.do(_writing(options.while_there, options.messages, 1, options)),
        phone.do(Receive("alice", options.messages + options.while_there - 1)),
    )
    for program in (alice, phone):
        await program.do(Close())
    result: dict[str, object] = {
        "bench": "client",
        "messages": options.messages,
        "content_bytes": options.chars,
        "devices": 2,
        "send_cpu_us_per_message": _each_us(single, half),
        "send_cpu_us_per_message_at_once": _each_us(several, many),
        "drain_cpu_s": round(drained.cpu_s, 3),
        "drain_cpu_us_per_message": _each_us(drained, options.messages),
        "events_cpu_us_per_message": _each_us(told, options.messages),
        "send_cpu_us_per_message_while_there": _each_us(there, options.while_there),
        "receive_cpu_us_per_message_while_there": _each_us(live, options.while_there),
        "send_messages_per_s": round(half / single.wall_s),
        "send_messages_per_s_at_once": round(many / several.wall_s),
        "drain_messages_per_s": round(options.messages / drained.wall_s),
        "wrong": wrong.wrong,
    }
    musts = {
        "send_cpu_us_per_message": SEND_CPU_US,
        "send_cpu_us_per_message_at_once": SEND_CPU_US,
        "drain_cpu_us_per_message": DRAIN_CPU_US,
    }
    return result | verdict(result, musts)


async def _profiles(url: str, folder: Path) -> list[Path]:
    """Of @alice, and of the two devices of @bob, the second let in by the first."""
    alice, phone, laptop = (folder / name for name in ("alice", "phone", "laptop"))
    await Client.register(url, handle="alice", password=PASSWORD, profile=alice)
    await Client.register(url, handle="bob", password=PASSWORD, profile=phone)
    await Client.login(url, handle="bob", password=PASSWORD, profile=laptop)
    async with Client.open(laptop, receive=False) as new, Client.open(phone, receive=False) as known:
        await known.devices.approve(await new.devices.link_code())
        await new.devices.linked()
    return [alice, phone, laptop]


async def _get_to_know(three: Three) -> None:
    """Each has written: sessions are answered, as they are in any conversation that goes on."""
    alice, phone, laptop = three
    await alice.do(Write("bob", 0, WARM, 1, 10))
    for number, device in enumerate((phone, laptop), WARM):
        await device.do(Receive("alice", number - 1))
        await device.do(Write("alice", number, 1, 1, 10))
        await device.do(Close())
        await alice.do(Receive("bob", number))


def _writing(messages: int, first: int, at_once: int, options: ClientOptions) -> Write:
    return Write("bob", first, messages, at_once, options.chars)


def _each_us(cost: Cost, messages: int) -> float:
    return round(cost.cpu_s / messages * 1e6, 1)
