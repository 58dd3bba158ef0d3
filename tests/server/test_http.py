"""Coming in over HTTP; every refusal is a Problem."""

from collections.abc import AsyncIterator

import httpx
import pytest

from server.http_rig import ALICE, BOB, Node, name_of, node_of
from tidings.protocol import errors
from tidings.protocol.api import Health
from tidings.protocol.limits import Limits, Rate
from tidings.testing.world import PASSWORD

SALT = "AAECAwQFBgcICQoLDA0ODw=="


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with node_of() as opened:
        yield opened


async def test_register_then_log_in_on_another_device(node: Node) -> None:
    first = await node.register()
    second = await node.ask("POST", "/v1/sessions", ALICE)
    assert second.status_code == 201
    assert first["user_id"] == second.json()["user_id"]
    assert first["token"] != second.json()["token"]


async def test_how_a_secret_is_made_is_told_of_every_handle(node: Node) -> None:
    await node.register(ALICE | {"kdf": {"salt": SALT}})
    answers = [await node.ask("POST", "/v1/kdf", {"handle": handle}) for handle in ("alice", "nobody")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["kdf"]["salt"] == SALT
    assert [set(answer.json()["kdf"]) for answer in answers] == [
        {"salt", "memory_kib", "passes", "lanes"}
    ] * 2
    assert [len(answer.content) for answer in answers] == [len(answers[0].content)] * 2
    assert answers[0].headers.keys() == answers[1].headers.keys()


@pytest.mark.parametrize(
    ("path", "body", "status", "name"),
    [
        ("/v1/sessions", {"handle": "nobody", "secret": PASSWORD}, 401, "wrong_credentials"),
        ("/v1/accounts", {"handle": "x", "secret": PASSWORD}, 400, "bad_handle"),
        ("/v1/accounts", {"handle": "alice", "secret": "short"}, 400, "bad_password"),
        ("/v1/accounts", {"handle": "alice"}, 400, "invalid"),
        ("/v1/accounts", ["alice"], 400, "invalid"),
        ("/v1/accounts", {"handle": "alice", "secret": 7}, 400, "invalid"),
        ("/v1/accounts", ALICE | {"kdf": {"salt": 7}}, 400, "invalid"),
        ("/v1/accounts", ALICE | {"kdf": {"salt": SALT, "passes": 1e99}}, 400, "invalid"),
        ("/v1/accounts", ALICE | {"kdf": {"salt": SALT, "memory_kib": 1 << 70}}, 400, "invalid"),
        ("/v1/accounts", ALICE | {"device_name": "a" + "\u0301" * 10_000}, 413, "too_large"),
        ("/v1/accounts", ALICE | {"device_name": "a\u0000b"}, 400, "invalid"),
        ("/v1/kdf", {"handle": "' OR 1=1"}, 400, "bad_handle"),
        ("/v1/kdf", {"handle": None}, 400, "invalid"),
        ("/v1/nowhere", {}, 404, "invalid"),
        ("/v1/../etc/passwd", {}, 404, "invalid"),
        ("/v1/health", {}, 405, "invalid"),
    ],
)
async def test_every_refusal_is_a_problem(
    node: Node, path: str, body: object, status: int, name: str
) -> None:
    answer = await node.ask("POST", path, body)
    problem = answer.json()
    assert (answer.status_code, problem["name"]) == (status, name)
    assert problem["code"] in errors.REGISTRY
    assert problem["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"handle":"alice","secret":"\xff"}',
        b'{"handle":"alice","secret":"' + rb"\ud800" * 8 + b'"}',
        b"[" * 10_000,
        b'{"handle":' * 5000,
    ],
)
async def test_what_is_no_json_is_refused(node: Node, body: bytes) -> None:
    for path in ("/v1/accounts", "/v1/sessions", "/v1/kdf"):
        answer = await node.client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, name_of(answer) in {"invalid", "bad_password"}) == (400, True)


async def test_a_body_over_the_limit_is_refused(node: Node) -> None:
    account = await node.register()
    for method, path in (("POST", "/v1/accounts"), ("POST", "/v1/sessions"), ("PUT", "/v1/profile")):
        body = ALICE | {"device_name": "x" * 1_000_000}
        answer = await node.ask(method, path, body, token=account["token"])
        assert (answer.status_code, name_of(answer)) == (413, "too_large")


async def test_an_address_is_told_when_to_try_again() -> None:
    async with node_of(Limits(login_rate=Rate(per_s=0.1, burst=2))) as node:
        answers = [await node.ask("POST", "/v1/sessions", ALICE) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert int(answers[2].headers["retry-after"]) == pytest.approx(10, abs=1)
    assert answers[2].json()["retry_after"] > 0


@pytest.mark.parametrize("path", ["/v1/accounts", "/v1/kdf"])
async def test_the_other_public_routes_are_counted_too(path: str) -> None:
    rate = Rate(per_s=0.1, burst=2)
    async with node_of(Limits(login_rate=rate, register_rate=rate)) as node:
        answers = [await node.ask("POST", path, ALICE | {"handle": f"user{n}"}) for n in range(3)]
    assert answers[2].status_code == 429


async def guess(node: Node, address: str, handle: str, secret: str = "not the secret") -> int:
    """Log in from an address: the status."""
    app = node.client._transport.app  # type: ignore[attr-defined]
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        answer = await client.post("/v1/sessions", json={"handle": handle, "secret": secret})
    return answer.status_code


async def test_many_addresses_do_not_make_more_guesses_at_one_handle() -> None:
    async with node_of(Limits(login_rate=Rate(per_s=0.1, burst=5))) as node:
        await node.register()
        statuses = [
            await guess(node, f"192.0.2.{number}", ("alice", "@ALICE")[number % 2]) for number in range(30)
        ]
        other = await guess(node, "192.0.2.1", "bob")
    assert statuses == [401] * 20 + [429] * 10
    assert other == 401


async def test_one_address_cannot_keep_a_user_out() -> None:
    async with node_of(Limits(login_rate=Rate(per_s=0.1, burst=5))) as node:
        await node.register()
        for _ in range(50):
            await guess(node, "192.0.2.1", "alice")
        assert await guess(node, "192.0.2.2", "alice", PASSWORD) == 201


async def test_pages_of_other_origins_may_ask_if_the_config_says_so() -> None:
    async with node_of(origins=("https://chat.example",)) as node:
        for origin, allowed in (
            ("https://chat.example", "https://chat.example"),
            ("https://evil.example", None),
        ):
            answer = await node.ask("GET", "/v1/server", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed
            asked = await node.ask(
                "OPTIONS",
                "/v1/account",
                headers={
                    "Origin": origin,
                    "Access-Control-Request-Method": "GET",
                    "Access-Control-Request-Headers": "authorization",
                },
            )
            assert asked.headers.get("access-control-allow-origin") == allowed
    async with node_of() as node:
        answer = await node.ask("GET", "/v1/server", headers={"Origin": "https://chat.example"})
        assert "access-control-allow-origin" not in answer.headers


async def test_who_may_register_is_told() -> None:
    async with node_of(registration="invite") as node:
        answer = await node.ask("GET", "/v1/server")
        assert answer.json() == {"version": "0", "registration": "invite", "phone": False}
        answer = await node.ask("POST", "/v1/accounts", ALICE)
        assert (answer.status_code, name_of(answer)) == (403, "bad_invite")
        invite = await node.world.services.invites.make()
        await node.register(BOB | {"invite": invite})


async def test_health_tells_a_failing_store() -> None:
    async with node_of(health=Health("store_full", "0", "memory", 3)) as node:
        answer = await node.ask("GET", "/v1/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "store_full")


async def test_health_and_openapi_are_served(node: Node) -> None:
    assert (await node.ask("GET", "/v1/health")).json()["connections"] == 3
    assert "It is running" in (await node.ask("GET", "/")).text


async def test_openapi_describes_every_route(node: Node) -> None:
    described = (await node.ask("GET", "/v1/openapi/openapi.json")).json()
    routes = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert routes == {
        ("get", "/v1/server"),
        ("get", "/v1/groups/{conversation_id}/picture"),
        ("put", "/v1/groups/{conversation_id}/picture"),
        ("delete", "/v1/groups/{conversation_id}/picture"),
        ("get", "/v1/health"),
        ("post", "/v1/kdf"),
        ("post", "/v1/accounts"),
        ("post", "/v1/sessions"),
        ("get", "/v1/account"),
        ("put", "/v1/account/handle"),
        ("put", "/v1/account/secret"),
        ("post", "/v1/account/factor"),
        ("post", "/v1/account/factor/confirm"),
        ("post", "/v1/account/factor/remove"),
        ("post", "/v1/account/phone"),
        ("post", "/v1/account/phone/confirm"),
        ("delete", "/v1/account/phone"),
        ("post", "/v1/account/delete"),
        ("get", "/v1/account/export"),
        ("get", "/v1/devices"),
        ("put", "/v1/devices/{device_id}"),
        ("delete", "/v1/devices/{device_id}"),
        ("get", "/v1/keys"),
        ("put", "/v1/keys"),
        ("post", "/v1/keys/one-time"),
        ("put", "/v1/keys/devices"),
        ("get", "/v1/devices/{device_id}/keys"),
        ("put", "/v1/devices/{device_id}/link"),
        ("put", "/v1/profile"),
        ("put", "/v1/profile/picture"),
        ("delete", "/v1/profile/picture"),
        ("get", "/v1/users/{user_id}/picture"),
    }
    public = {"/v1/server", "/v1/health", "/v1/kdf", "/v1/accounts", "/v1/sessions"}
    for path, methods in described["paths"].items():
        for method in methods.values():
            assert method["description"], path
            assert (method.get("security") == [{"token": []}]) is (path not in public), path
            parameters = {parameter["name"] for parameter in method.get("parameters", [])}
            assert parameters <= {"device_id", "user_id", "conversation_id"}, path
