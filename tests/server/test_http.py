"""Accounts and health over HTTP; every refusal is a Problem."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tidings.protocol import errors
from tidings.protocol.api import Health
from tidings.protocol.limits import Limits, Rate
from tidings.server import http
from tidings.testing.world import PASSWORD, World

ALICE = {"handle": "alice", "password": PASSWORD}


async def client_of(limits: Limits) -> httpx.AsyncClient:
    # Not Litestar's own test client: it would run the node in another loop than its rules.
    world = await World.start()
    services = world.services
    health = Health("ok", "0", "memory", 3)
    app = http.application(services.accounts, world.clock, limits, lambda: health, services.log)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with await client_of(Limits()) as opened:
        yield opened


async def test_register_then_log_in_on_another_device(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/accounts", json=ALICE)
    assert first.status_code == 201, first.text
    second = await client.post("/v1/sessions", json=ALICE)
    assert second.status_code == 201
    assert first.json()["user_id"] == second.json()["user_id"]
    assert first.json()["token"] != second.json()["token"]


@pytest.mark.parametrize(
    ("path", "body", "status", "name"),
    [
        ("/v1/sessions", {"handle": "nobody", "password": PASSWORD}, 401, "wrong_credentials"),
        ("/v1/accounts", {"handle": "x", "password": PASSWORD}, 400, "bad_handle"),
        ("/v1/accounts", {"handle": "alice", "password": "short"}, 400, "bad_password"),
        ("/v1/accounts", {"handle": "alice"}, 400, "invalid"),
        ("/v1/accounts", ["alice"], 400, "invalid"),
        ("/v1/accounts", {"handle": "alice", "password": 7}, 400, "invalid"),
        ("/v1/nowhere", {}, 404, "invalid"),
    ],
)
async def test_every_refusal_is_a_problem(
    client: httpx.AsyncClient,
    path: str,
    body: object,
    status: int,
    name: str,
) -> None:
    answer = await client.post(path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["name"]) == (status, name)
    assert problem["code"] in errors.REGISTRY
    assert problem["message"]


async def test_a_body_over_the_limit_is_refused() -> None:
    async with await client_of(Limits(http_body_bytes=1000)) as client:
        answer = await client.post("/v1/accounts", json=ALICE | {"device_name": "x" * 1000})
    assert answer.status_code == 413


async def test_an_address_is_told_when_to_try_again() -> None:
    async with await client_of(Limits(login_rate=Rate(per_s=0.1, burst=2))) as client:
        answers = [await client.post("/v1/sessions", json=ALICE) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert int(answers[2].headers["retry-after"]) == pytest.approx(10, abs=1)
    assert answers[2].json()["retry_after"] > 0


async def test_health_tells_a_failing_store() -> None:
    world = await World.start()
    health = Health("store_full", "0", "memory", 3)
    app = http.application(world.services.accounts, world.clock, Limits(), lambda: health, world.services.log)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://node") as client:
        answer = await client.get("/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "store_full")


async def test_health_and_openapi_are_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/health")).json()["connections"] == 3
    paths = (await client.get("/v1/openapi/openapi.json")).json()["paths"]
    assert {"/v1/health", "/v1/accounts", "/v1/sessions"} <= paths.keys()
    assert "It is running" in (await client.get("/")).text
