"""Benchmarks of groups and channels, small."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from typer.testing import CliRunner

from tidings.bench.acks import AcksOptions, acks
from tidings.bench.channel import ChannelOptions, channel
from tidings.bench.group import GroupOptions, Way, group
from tidings.bench.load import Device
from tidings.bench.progress import Progress
from tidings.bench.rooms import made
from tidings.bench.seed import rules
from tidings.cli.bench import app
from tidings.domain.announcements import share_of
from tidings.protocol.frames import (
    ChangeGroup,
    Conversation,
    ConversationKind,
    CreateGroup,
    Frame,
    GroupAction,
    Ok,
)
from tidings.protocol.ids import ConversationId, UserId
from tidings.store.schema import ROSTERS, SUBSCRIBERS

PROGRESS = Progress("test")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "window", "reads", "workers"), [("write", 4, True, 2), ("read", 1, False, 1)]
)
async def test_all_members_get_all_and_the_writer_is_told(
    tmp_path: Path, way: str, window: int, reads: bool, workers: int
) -> None:
    options = GroupOptions(
        6, window, Way(way), reads=reads, copies=50, rounds=2, workers=workers, settle_s=0.0
    )
    result: dict[str, Any] = await group(tmp_path, options, PROGRESS)
    assert (result["messages"], result["fanout"], result["pulled"]) == (10, way, way == "read")
    assert len(result["server_cpu_us_per_copy_by_round"]) == 2
    assert result["tallies"] >= 3  # one a round at least, and one before
    assert result["complete_p50_ms"] > 0
    assert "musts" not in result  # they are those of a group of 100


@pytest.mark.slow
async def test_acknowledgements_are_compared_between_sizes(tmp_path: Path) -> None:
    options = AcksOptions(members=20, few=5, waves=5, pause_s=0.0, rounds=1)
    result: dict[str, Any] = await acks(tmp_path, options, PROGRESS)
    assert (result["members"], result["groups"]) == ([5, 20], [4, 1])
    assert min(result["server_cpu_us_per_ack"]) >= 0
    assert set(result["musts"]) == {"ratio"}


@pytest.mark.slow
async def test_channels_of_several_sizes_are_measured_in_turn(tmp_path: Path) -> None:
    options = ChannelOptions(members=(6, 80), connected=6, messages=3, rounds=1)
    result: dict[str, Any] = await channel(tmp_path, options, PROGRESS)
    assert result["members"] == [6, 80]
    assert [len(one) for one in result["server_cpu_us_per_message_by_round"]] == [1, 1]
    assert result["pulled"] == [1, 1]
    assert set(result["musts"]) == {"ratio"}
    # Those who are but rows stand where the rules would have put them.
    async with rules(tmp_path / "data-80") as (_, store):
        head, *_ = await store.scan(ROSTERS, limit=1)
        assert head.head is not None
        assert head.head.count == 80
        rows = await store.scan(SUBSCRIBERS, limit=100)
        assert len(rows) == 80
        assert all(row.share == share_of(row.user_id) for row in rows)


class Asked:
    """In the place of a device that asks."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    async def ask(self, make: Callable[[int], Frame]) -> Frame:
        frame = make(7)
        self.frames.append(frame)
        if isinstance(frame, CreateGroup):
            return Conversation(7, ConversationId(bytes(16)), ConversationKind.GROUP, 1, [])
        return Ok(7)


async def test_a_large_group_is_made_in_several_changes() -> None:
    users = [UserId(number) for number in range(1, 601)]
    asked = Asked()
    await made(cast(Device, asked), users)
    create, *changes = asked.frames
    assert isinstance(create, CreateGroup)
    added = list(create.users)
    for change in changes:
        assert isinstance(change, ChangeGroup)
        assert change.action == GroupAction.ADD
        added += change.users
    assert (len(create.users), len(changes), added) == (256, 2, users)


def test_a_channel_has_those_who_are_there() -> None:
    result = CliRunner().invoke(app, ["channel", "--connected", "100", "--members", "50"])
    assert result.exit_code != 0
    assert "at least the members that are connected" in str(result.exception)
