"""Bad networks between a real server and half of the devices: all is clean in the end."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bench.chaos.rig import Chatting, broken, serving, small
from tidings.bench.chaos.run import chaos
from tidings.testing.toxics import is_there, toxiproxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_there(), reason="no Toxiproxy: run scripts/toxiproxy"),
]

LATE_S = 0.3
HEARTBEAT_S = 1.0


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


async def test_latency_resets_and_half_open_connections(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, toxiproxy() as proxies:
        proxy = await proxies.before(server.port)
        options = small(server.url, for_s=60.0, stay=True, heartbeat_s=HEARTBEAT_S)
        options = options._replace(against=(server.url, f"http://127.0.0.1:{proxy.port}"))
        stop, chatting = asyncio.Event(), Chatting()

        async def harm() -> None:
            await chatting.until_begun()
            await proxy.delay(LATE_S)
            await asyncio.sleep(1.0)
            await proxy.heal()
            await proxy.reset()
            await asyncio.sleep(1.0)
            await proxy.heal()
            await asyncio.sleep(1.0)
            await proxy.silence()
            await asyncio.sleep(3 * HEARTBEAT_S)
            await proxy.heal()
            await asyncio.sleep(1.0)
            stop.set()

        async with asyncio.TaskGroup() as group:
            running = group.create_task(chaos(options, chatting, stop))
            group.create_task(harm())
        outcome = running.result()
    result: dict[str, Any] = outcome.result
    assert broken(outcome) == set(), outcome.page
    assert result["troubles"]["heartbeat not answered"] > 0
    assert result["troubles"]["closed with 1006"] > 0
    assert result["connections_broken"] >= 4, "half of eight devices, some of them twice"
    assert result["send_to_receive_s"]["max"] >= LATE_S
    assert result["without_service_s"]["max"] >= HEARTBEAT_S
