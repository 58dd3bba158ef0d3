"""One's own account over HTTP: proved by a token, and by the secret where it matters."""

import json
from collections.abc import AsyncIterator

import pyotp
import pytest

from server.http_rig import ALICE, BOB, Node, name_of, node_of
from tidings.protocol.api import LoggedIn
from tidings.protocol.close import CloseCode
from tidings.protocol.limits import Limits, Rate
from tidings.testing.world import PASSWORD

OWN = [
    ("GET", "/v1/account"),
    ("PUT", "/v1/account/handle"),
    ("PUT", "/v1/account/secret"),
    ("POST", "/v1/account/factor"),
    ("POST", "/v1/account/factor/confirm"),
    ("POST", "/v1/account/factor/remove"),
    ("POST", "/v1/account/phone"),
    ("POST", "/v1/account/phone/confirm"),
    ("DELETE", "/v1/account/phone"),
    ("POST", "/v1/account/delete"),
    ("GET", "/v1/account/export"),
    ("GET", "/v1/devices"),
    ("PUT", "/v1/devices/1"),
    ("DELETE", "/v1/devices/1"),
    ("GET", "/v1/keys"),
    ("PUT", "/v1/keys"),
    ("POST", "/v1/keys/one-time"),
    ("PUT", "/v1/keys/devices"),
    ("GET", "/v1/devices/1/keys"),
    ("PUT", "/v1/devices/1/link"),
    ("PUT", "/v1/profile"),
    ("PUT", "/v1/profile/picture"),
    ("DELETE", "/v1/profile/picture"),
    ("GET", "/v1/users/1/picture"),
]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with node_of() as opened:
        yield opened


@pytest.mark.parametrize(("method", "path"), OWN)
async def test_without_a_token_there_is_nothing(node: Node, method: str, path: str) -> None:
    body = {
        "handle": "x",
        "secret": PASSWORD,
        "new_secret": PASSWORD,
        "code": "1",
        "phone": "+1",
        "name": "x",
    }
    for token in ("", "x", "A" * 200):
        answer = await node.ask(method, path, None if method in ("GET", "DELETE") else body, token=token)
        assert (answer.status_code, name_of(answer)) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_tokens_are_not_guessed_at_will() -> None:
    async with node_of(Limits(login_rate=Rate(per_s=0.1, burst=5))) as node:
        account = await node.register()
        statuses = [(await node.ask("GET", "/v1/devices", token="x")).status_code for _ in range(7)]
        assert statuses == [401] * 5 + [429] * 2
        right = await node.ask("GET", "/v1/devices", token=account["token"])
        assert right.status_code == 200, "nor is who has one shut out"


async def test_the_account(node: Node) -> None:
    account = await node.register()
    answer = await node.ask("GET", "/v1/account", token=account["token"])
    assert answer.json() == {
        "user_id": account["user_id"],
        "handle": "alice",
        "created_at": node.world.clock.wall_ms(),
        "phone": "",
        "second_factor": False,
        "name": "",
        "about": "",
        "picture": "0",
    }


async def test_changes_are_counted_for_the_user_and_reads_apart() -> None:
    async with node_of(Limits(account_rate=Rate(per_s=0.1, burst=2), receipt_delay_s=0)) as node:
        first = await node.register()
        second = (await node.ask("POST", "/v1/sessions", ALICE)).json()
        other = await node.register(BOB)
        statuses = [
            (await node.ask("PUT", "/v1/profile", {"name": "x"}, token=token)).status_code
            for token in (first["token"], second["token"], first["token"], second["token"], other["token"])
        ]
        assert statuses == [200, 200, 429, 429, 200]
        assert (await node.ask("GET", "/v1/account", token=first["token"])).status_code == 200


async def test_another_handle(node: Node) -> None:
    account = await node.register()
    await node.register(BOB)
    taken = await node.ask("PUT", "/v1/account/handle", {"handle": "bob"}, token=account["token"])
    assert (taken.status_code, name_of(taken)) == (409, "handle_taken")
    done = await node.ask("PUT", "/v1/account/handle", {"handle": "alicia"}, token=account["token"])
    assert (done.status_code, done.json()["handle"]) == (200, "alicia")


async def test_a_password_is_changed_and_the_other_devices_are_out(node: Node) -> None:
    account = await node.register()
    other = LoggedIn(**(await node.ask("POST", "/v1/sessions", ALICE)).json())
    online = await node.world.online(other)
    body = {"secret": "not the secret", "new_secret": "another secret"}
    wrong = await node.ask("PUT", "/v1/account/secret", body, token=account["token"])
    assert (wrong.status_code, name_of(wrong)) == (401, "wrong_credentials")
    body["secret"] = PASSWORD
    done = await node.ask("PUT", "/v1/account/secret", body, token=account["token"])
    assert done.status_code == 200, done.text
    assert await online.closing() is CloseCode.NOT_ALLOWED
    assert (await node.ask("GET", "/v1/devices", token=other.token)).status_code == 401
    assert (await node.ask("POST", "/v1/sessions", ALICE)).status_code == 401
    devices = (await node.ask("GET", "/v1/devices", token=account["token"])).json()
    assert [device["device_id"] for device in devices] == [account["device_id"]]


async def test_devices(node: Node) -> None:
    first = await node.register(ALICE | {"device_name": "phone"})
    second = (await node.ask("POST", "/v1/sessions", ALICE)).json()
    path = f"/v1/devices/{second['device_id']}"
    named = await node.ask("PUT", path, {"name": "tablet"}, token=first["token"])
    assert (named.status_code, named.json()["name"], named.json()["current"]) == (200, "tablet", False)
    devices = (await node.ask("GET", "/v1/devices", token=second["token"])).json()
    assert [(device["name"], device["current"]) for device in devices] == [("phone", False), ("tablet", True)]
    assert (await node.ask("DELETE", path, token=first["token"])).status_code == 200
    gone = await node.ask("DELETE", path, token=first["token"])
    assert (gone.status_code, name_of(gone)) == (404, "no_such_device")
    assert (await node.ask("GET", "/v1/devices", token=second["token"])).status_code == 401
    own = await node.ask("DELETE", f"/v1/devices/{first['device_id']}", token=first["token"])
    assert own.status_code == 200
    assert (await node.ask("GET", "/v1/devices", token=first["token"])).status_code == 401


@pytest.mark.parametrize(
    "name", ["0", "-1", "x", "1e3", "9" * 400, "%00", "..%2f..", "١", "9223372036854775808"]
)
async def test_a_device_that_cannot_be(node: Node, name: str) -> None:
    account = await node.register()
    for method in ("PUT", "DELETE"):
        body = {"name": "x"} if method == "PUT" else None
        answer = await node.ask(method, f"/v1/devices/{name}", body, token=account["token"])
        assert answer.status_code == 404


async def test_a_second_factor(node: Node) -> None:
    account = await node.register()
    token = account["token"]
    begun = await node.ask("POST", "/v1/account/factor", {"secret": PASSWORD}, token=token)
    assert begun.status_code == 200, begun.text
    totp = pyotp.TOTP(begun.json()["secret"])

    def code() -> str:
        return totp.at(node.world.clock.wall_ms() // 1000)

    confirmed = await node.ask("POST", "/v1/account/factor/confirm", {"code": code()}, token=token)
    codes = confirmed.json()["codes"]
    needed = await node.ask("POST", "/v1/sessions", ALICE)
    assert (needed.status_code, name_of(needed)) == (401, "code_needed")
    wrong = await node.ask("POST", "/v1/sessions", ALICE | {"code": code()})
    assert (wrong.status_code, name_of(wrong)) == (401, "bad_code"), "it was used already"
    node.world.clock.advance(60)
    assert (await node.ask("POST", "/v1/sessions", ALICE | {"code": code()})).status_code == 201
    removed = await node.ask(
        "POST", "/v1/account/factor/remove", {"secret": PASSWORD, "code": codes[0]}, token=token
    )
    assert removed.status_code == 200
    assert (await node.ask("POST", "/v1/sessions", ALICE)).status_code == 201


async def test_phones_are_not_available_without_a_hook(node: Node) -> None:
    token = (await node.register())["token"]
    answer = await node.ask("POST", "/v1/account/phone", {"phone": "+4930901820"}, token=token)
    assert (answer.status_code, name_of(answer)) == (501, "not_available")
    answer = await node.ask("POST", "/v1/account/phone/confirm", {"code": "123456"}, token=token)
    assert (answer.status_code, name_of(answer)) == (401, "bad_code")
    assert (await node.ask("DELETE", "/v1/account/phone", token=token)).status_code == 200


async def test_an_account_ends(node: Node) -> None:
    account = await node.register()
    online = await node.world.online(LoggedIn(**account))
    answer = await node.ask("POST", "/v1/account/delete", {"secret": "wrong secret"}, token=account["token"])
    assert (answer.status_code, name_of(answer)) == (401, "wrong_credentials")
    answer = await node.ask("POST", "/v1/account/delete", {"secret": PASSWORD}, token=account["token"])
    assert (answer.status_code, answer.json()) == (200, {"done": True})
    assert await online.closing() is CloseCode.NOT_ALLOWED
    assert (await node.ask("GET", "/v1/account", token=account["token"])).status_code == 401
    assert (await node.ask("POST", "/v1/sessions", ALICE)).status_code == 401


async def test_an_export_is_one_document(node: Node) -> None:
    account = await node.register()
    answer = await node.ask("GET", "/v1/account/export", token=account["token"])
    assert answer.headers["content-type"].startswith("application/json")
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(answer.content)["account"]["handle"] == "alice"


async def test_what_was_done_is_in_the_audit_log_without_secrets(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, dict[str, object]]] = []
    audit = type(node.world.services.audit)
    monkeypatch.setattr(audit, "__call__", lambda _, event, **fields: noted.append((event, fields)))
    account = await node.register()
    await node.ask("POST", "/v1/sessions", ALICE | {"secret": "a wrong secret"})
    second = (await node.ask("POST", "/v1/sessions", ALICE)).json()
    await node.ask("DELETE", f"/v1/devices/{second['device_id']}", token=account["token"])
    await node.ask("PUT", "/v1/account/handle", {"handle": "alicia"}, token=account["token"])
    body = {"secret": PASSWORD, "new_secret": "another secret"}
    await node.ask("PUT", "/v1/account/secret", body, token=account["token"])
    await node.ask("POST", "/v1/account/delete", {"secret": "another secret"}, token=account["token"])
    assert [event for event, _ in noted] == [
        "registered",
        "login_failed",
        "login",
        "device_revoked",
        "handle_changed",
        "secret_changed",
        "device_revoked",
        "account_deleted",
    ]
    assert noted[1][1] == {"handle": "alice", "reason": "wrong_credentials", "address": "127.0.0.1"}
    text = repr(noted)
    for secret in (PASSWORD, "another secret", "a wrong secret", account["token"], second["token"]):
        assert secret not in text
