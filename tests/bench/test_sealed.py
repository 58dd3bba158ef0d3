"""Benchmarks of what is encrypted, small."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tidings.bench.client import ClientOptions, client
from tidings.bench.direct import WARM, DirectOptions, direct
from tidings.bench.musts import verdict
from tidings.bench.progress import Progress

PROGRESS = Progress("test")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_sealed_for_three_devices_opens_at_each(tmp_path: Path, workers: int) -> None:
    options = DirectOptions(pairs=2, messages=30, rates=(200,), paced_s=0.2, workers=workers, encrypted=True)
    result: dict[str, Any] = await direct(tmp_path, options, PROGRESS)
    assert (result["encrypted"], result["opened"], result["wrong"]) == (True, 3 * (WARM + 30), 0)
    assert result["server_cpu_us_per_message"] >= 0  # so few may cost less than a tick of the clock
    assert result.get("musts") == ({"server_cpu_us_per_message": 100.0} if workers == 1 else None)
    assert result["paced"][0]["p99_ms"] > 0


@pytest.mark.slow
async def test_the_sdk_sends_and_fetches_what_waits(tmp_path: Path) -> None:
    result: dict[str, Any] = await client(tmp_path, ClientOptions(messages=40, while_there=5), PROGRESS)
    assert result["wrong"] == 0
    for name in ("send", "drain", "events"):
        assert result[f"{name}_cpu_us_per_message"] > 0
    assert set(result["musts"]) >= {"send_cpu_us_per_message", "drain_cpu_us_per_message"}


def test_what_exceeds_its_must_is_named() -> None:
    result = {"cpu_us": 120.0, "memory": 3}
    assert verdict(result, {"cpu_us": 100.0, "memory": 3})["missed"] == ["cpu_us"]
    assert verdict(result, {"cpu_us": 120.0})["missed"] == []
