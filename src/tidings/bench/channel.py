"""`bench channel`: an admin posts to a channel of which some members are there, and however many are not.

Who is not there must cost nothing: the same measured of channels of several sizes, each with a server of its
own, in turn.
"""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from tidings.bench.figures import milliseconds, percentile
from tidings.bench.musts import verdict
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.rooms import Room, configured, connected
from tidings.bench.seed import register, rules
from tidings.domain.rosters import Rosters
from tidings.protocol.api import LoggedIn
from tidings.protocol.frames import ChangeGroup, ConversationKind, CreateGroup, GroupAction
from tidings.protocol.ids import CLIENT_ID_BYTES, ClientId, ConversationId, UserId
from tidings.server.services import Services
from tidings.store.contract import Put, Store, Write
from tidings.store.schema import MEMBERSHIPS, SUBSCRIBERS, MembershipRow, SubscriberRow, share_of

STALL_S = 60.0
SETTLE_S = 0.3
"""after the last copy, so that all that follows from its acknowledgement is counted"""
WARM = 5
ROWS_AT_ONCE = 2000
RATIO = 1.25
"""what a message in the largest channel may cost, in terms of one in the smallest"""


class ChannelOptions(NamedTuple):
    """What `bench channel` does."""

    members: tuple[int, ...] = (1000, 100_000)
    """of one channel after the other"""
    connected: int = 1000
    """of each, the one who posts included"""
    window: int = 1
    """messages in flight"""
    messages: int = 50
    """of a round"""
    rounds: int = 5
    content_bytes: int = 200


class Channel(NamedTuple):
    """One, and its server."""

    server: ServerProcess
    room: Room


async def channel(folder: Path, options: ChannelOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints."""
    spent_s: list[list[float]] = [[] for _ in options.members]
    complete_s: list[list[float]] = [[] for _ in options.members]
    async with contextlib.AsyncExitStack() as stack:
        channels = []
        for members in options.members:
            progress.say(f"a channel of {members} members")
            one = await _channel(folder, members, options)
            stack.push_async_callback(one.server.stop)
            await _round(one, options._replace(messages=WARM))
            one.room.copies = one.room.pulled = 0
            channels.append(one)
        for number in range(1, options.rounds + 1):
            progress.say(f"{number} of {options.rounds}: {options.messages} messages to each")
            for place, one in enumerate(channels):
                spent_s[place].append(await _round(one, options))
                complete_s[place] += one.room.complete_s
    return _result(options, channels, spent_s, complete_s)


def _result(
    options: ChannelOptions,
    channels: Sequence[Channel],
    spent_s: Sequence[Sequence[float]],
    complete_s: Sequence[Sequence[float]],
) -> dict[str, object]:
    each_us = [[round(spent / options.messages * 1e6) for spent in one] for one in spent_s]
    medians = [median(one) for one in each_us]
    others = options.connected - 1
    result: dict[str, object] = {
        "bench": "channel",
        "connected": options.connected,
        "window": options.window,
        "content_bytes": options.content_bytes,
        "messages": options.messages,
        "members": list(options.members),
        "server_cpu_us_per_message": medians,
        "server_cpu_us_per_copy": [round(one / others, 1) for one in medians],
        "server_cpu_us_per_message_by_round": each_us,
        "complete_p50_ms": [milliseconds(percentile(one, 0.5)) for one in complete_s],
        "pulled": [round(one.room.pulled / one.room.copies, 3) for one in channels],
    }
    if len(medians) > 1:
        result["ratio"] = round(medians[-1] / max(medians[0], 1.0), 2)
        result |= verdict(result, {"ratio": RATIO})
    return result


async def _round(one: Channel, options: ChannelOptions) -> float:
    """The CPU of the server, in seconds."""
    before = one.server.usage()
    async with asyncio.timeout(STALL_S + options.messages):
        await one.room.run(options.messages, options.window, options.content_bytes)
    await asyncio.sleep(SETTLE_S)
    return one.server.usage().cpu_s - before.cpu_s


# --- a channel and who is in it -----------------------------------------------------------------


async def _channel(folder: Path, members: int, options: ChannelOptions) -> Channel:
    data = folder / f"data-{members}"
    accounts, conversation = await _filled(data, options.connected, members)
    server = ServerProcess(data, config=configured(folder))
    await server.start()
    devices = await connected(server.port, [account.token for account in accounts])
    return Channel(server, Room(conversation, devices[0], devices[1:]))


async def _filled(data: Path, people: int, members: int) -> tuple[list[LoggedIn], ConversationId]:
    """A channel of so many people and further members who are but rows. The first of them owns it."""
    async with rules(data) as (services, store):
        accounts = await register(services, people)
        users = [UserId(int(account.user_id)) for account in accounts]
        some = services.limits.group_users
        nonce = ClientId(os.urandom(CLIENT_ID_BYTES))
        making = CreateGroup(1, nonce, ConversationKind.CHANNEL, users=users[1:some])
        conversation = (await services.groups.create(users[0], making)).conversation_id
        for start in range(some, people, some):
            adding = ChangeGroup(1, conversation, GroupAction.ADD, users[start : start + some])
            await services.groups.change(users[0], adding)
        await _fill(services, store, conversation, members - people)
    return accounts, conversation


async def _fill(services: Services, store: Store, conversation: ConversationId, count: int) -> None:
    """Add members that are no users, as `domain/announcements` adds members."""
    rosters = Rosters(store)
    roster = await rosters.read(conversation)
    assert roster is not None
    row, head = roster.row, roster.head
    for start in range(0, count, ROWS_AT_ONCE):
        rows: list[Write] = []
        for _ in range(min(ROWS_AT_ONCE, count - start)):
            user = UserId(services.ids.next())
            subscriber = SubscriberRow(conversation, share_of(user), user, head.version)
            membership = MembershipRow(user, conversation, head.kind, head.version, pulled_from=head.cause)
            rows += [Put(SUBSCRIBERS, subscriber, head.cause), Put(MEMBERSHIPS, membership, head.cause)]
        await services.commit.write(rows)
    counted = msgspec.structs.replace(head, count=head.count + count)
    renewed = msgspec.structs.replace(row, request_id=os.urandom(16), head=counted)
    assert await rosters.set(row, renewed, ())
