"""The admin port of a service: what is passed on, what concerns all, what is said when nobody serves."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.test_metrics import DOCS
from tidings.server.audit import Audit
from tidings.server.workers.front import Front, application
from tidings.server.workers.sums import Sums
from workers.rig import Rig, child, started, until

pytestmark = pytest.mark.slow

TOKEN = "f" * 64
WORKERS_DOCS = DOCS.with_name("workers.md")


class Desk:
    """An operator at the admin port."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        sums = Sums()
        rig.service.died = lambda one: sums.gone(one, one.last)
        self.audit = Audit(None, lambda: 0, rig.log)
        front = Front(rig.service, sums, self.audit, lambda: 0.0, rig.log)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(application(front, TOKEN), client=("127.0.0.1", 1)),
            base_url="http://127.0.0.1:8081",
            headers={"Authorization": f"Bearer {TOKEN}"},
        )

    async def ask(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        answer = await self.client.request(method, f"/v1/admin/{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def metrics(self) -> dict[str, float]:
        text = (await self.client.get("/metrics")).text
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


@contextlib.asynccontextmanager
async def desk(data: Path, workers: int = 2) -> AsyncIterator[Desk]:
    async with started(data, workers) as rig:
        one = Desk(rig)
        async with one.client:
            yield one


async def test_what_any_worker_can_do_is_passed_on_as_it_came(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        told = await one.ask("PUT", "users/%40b%C3%BCb/quota?after=1&limit=2", {"devices_max": 3})
        assert (told["name"], told["method"]) == ("worker1", "PUT")
        assert told["path"] == "/v1/admin/users/%40b%C3%BCb/quota"
        assert (told["query"], told["body"]) == ("after=1&limit=2", '{"devices_max":3}')
        refused = await one.client.get("/v1/admin/users", headers={"Authorization": "Bearer no"})
        assert refused.status_code == 401
        too_much = await one.client.post("/v1/admin/invites", content=b" " * 20_000)
        assert too_much.status_code == 413


async def test_a_backup_is_the_hubs(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert (await one.ask("POST", "backup", {"path": "/there"}))["name"] == "hub"
        assert one.audit.counts == {"admin_backup": 1}
        assert (await one.metrics())['tidings_audit_events_total{event="admin_backup"}'] == 1


async def test_status_is_of_all_and_tells_each_process(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        for _ in range(5):
            await one.rig.served()
        status = await one.ask("GET", "status")
        assert (status["store"], status["connections"], status["connections_max"]) == ("ok", 5, 20)
        assert [each["name"] for each in status["processes"]] == ["hub", "worker1", "worker2"]
        assert [each["pid"] for each in status["processes"]] == [
            child(slot).pid for slot in one.rig.service.slots
        ]
        assert status["draining"] is False


async def test_metrics_are_one_set_and_no_counter_falls(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        for _ in range(12):
            await one.rig.served()
        before = await one.metrics()
        assert before["tidings_messages_accepted_total"] == 12
        assert before['tidings_process_ok{process="worker1"}'] == 1
        assert before['tidings_process_memory_bytes{process="supervisor"}'] > 1 << 20
        slot = one.rig.service.workers[0]
        first = child(slot)
        first.kill()
        await first.ended()
        assert (await one.metrics())["tidings_messages_accepted_total"] == 12
        await until(lambda: child(slot).is_ready)
        after = await one.metrics()
        assert after["tidings_messages_accepted_total"] == 12
        assert after['tidings_process_restarts_total{process="worker1"}'] == 1
        one.rig.service.restart_workers()
        await until(lambda: one.rig.said("all workers were replaced"))
        assert (await one.metrics())["tidings_messages_accepted_total"] == 12
        told = WORKERS_DOCS.read_text()
        names = {name.partition("{")[0] for name in after if "tidings_process" in name}
        assert [name for name in names if name not in told] == []


async def test_a_limit_that_is_changed_is_changed_in_all_and_in_those_to_come(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        told = await one.ask("PUT", "limits/watched", {"value": 7})
        assert (told["name"], told["tuned"]) == ("worker1", {})
        workers = one.rig.service.workers
        other = await child(workers[1]).ask("GET", "/")
        assert b'"tuned": {"watched": 7}' in other.body
        child(workers[0]).kill()
        await until(lambda: child(workers[0]).is_ready and workers[0].restarts)
        assert (await one.ask("GET", "anything"))["watched"] == 7


async def test_who_dies_over_a_request_does_not_do_it_twice(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        refused = await one.ask("POST", "die", status=503)
        assert refused["message"] == "worker1 ended before it answered: look whether it was done"
        assert not child(one.rig.service.workers[1]).has_ended


async def test_a_question_is_asked_of_the_next_one(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        asked = asyncio.create_task(one.ask("GET", "die", status=503))
        assert (await asked)["message"] == "no process serves just now: try again"
        assert not [slot for slot in one.rig.service.workers if child(slot).is_ready]
        status = await one.ask("GET", "status")
        assert (status["store"], status["processes"][1]["serving_s"]) == ("store_failed", 0.0)


async def test_draining_and_restarting(tmp_path: Path) -> None:
    async with desk(tmp_path, workers=1) as one:
        await one.ask("POST", "restart-workers", status=202)
        refused = await one.ask("POST", "restart-workers", status=503)
        assert "already" in refused["message"]
        await until(lambda: one.rig.said("all workers were replaced"))
        await one.ask("POST", "drain", status=202)
        assert one.rig.service.over.done()
        assert one.audit.counts == {"admin_restart_workers": 1, "admin_drain": 1}
