"""Keys over HTTP: a device publishes, is linked, and is signed into its user's list."""

import base64
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest

from server.http_rig import ALICE, BOB, Node, name_of, node_of
from tidings.protocol.api import LoggedIn
from tidings.protocol.limits import Limits
from tidings.testing.keyring import KeyedDevice, Keyring
from tidings.testing.world import PASSWORD


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with node_of() as opened:
        yield opened


def body(value: object) -> Any:
    """As JSON."""
    return msgspec.to_builtins(value)


async def device_of(node: Node, random: Random) -> tuple[KeyedDevice, Keyring]:
    account = LoggedIn(**await node.register())
    return KeyedDevice(account, random), Keyring(account.ids()[0], random)


async def test_the_way_of_a_first_and_a_second_device(node: Node) -> None:
    random = Random(1)
    first, ring = await device_of(node, random)
    token = first.account.token
    published = await node.ask("PUT", "/v1/keys", body(first.keys()), token=token)
    assert published.status_code == 200, published.text
    assert published.json() == {
        "published": True,
        "left": 0,
        "prekey_id": 1,
        "kem_id": 1,
        "newest_one_time_id": 0,
        "link_reply": "",
    }
    brought = await node.ask("POST", "/v1/keys/one-time", body(first.one_time(1, 50)), token=token)
    assert (brought.status_code, brought.json()) == (200, {"left": 50})
    signed = await node.ask("PUT", "/v1/keys/devices", body(ring.sign(first)), token=token)
    assert (signed.status_code, signed.json()) == (200, {"done": True})

    second = KeyedDevice(LoggedIn(**(await node.ask("POST", "/v1/sessions", ALICE)).json()), random)
    own = second.account.token
    await node.ask("PUT", "/v1/keys", body(second.keys(link=b"code")), token=own)
    path = f"/v1/devices/{second.account.device_id}"
    found = await node.ask("GET", f"{path}/keys", token=token)
    assert found.status_code == 200, found.text
    assert base64.b64decode(found.json()["link"]) == b"code"
    assert base64.b64decode(found.json()["signing"]) == second.signer.public
    reply = base64.b64encode(b"welcome").decode()
    answered = await node.ask("PUT", f"{path}/link", {"reply": reply}, token=token)
    assert answered.status_code == 200, answered.text
    next_list = body(ring.sign(first, second))
    assert (await node.ask("PUT", "/v1/keys/devices", next_list, token=token)).status_code == 200
    state = (await node.ask("GET", "/v1/keys", token=own)).json()
    assert (state["published"], state["link_reply"]) == (True, reply)

    ring.version -= 1
    again = await node.ask("PUT", "/v1/keys/devices", body(ring.sign(first)), token=token)
    assert (again.status_code, name_of(again)) == (409, "list_changed")
    other = KeyedDevice(first.account, random)
    fixed = await node.ask("PUT", "/v1/keys", body(other.keys()), token=token)
    assert (fixed.status_code, name_of(fixed)) == (409, "keys_fixed")
    last = await node.ask("PUT", "/v1/keys/devices", body(ring.sign(first, version=3)), token=token)
    assert last.status_code == 200, last.text
    assert (await node.ask("GET", "/v1/keys", token=own)).status_code == 401


async def test_another_identity_over_http(node: Node) -> None:
    random = Random(2)
    first, ring = await device_of(node, random)
    token = first.account.token
    await node.ask("PUT", "/v1/keys", body(first.keys()), token=token)
    await node.ask("PUT", "/v1/keys/devices", body(ring.sign(first)), token=token)
    fresh = Keyring(ring.user_id, random)
    fresh.version = 1
    wanted = body(fresh.sign(first))
    wrong = await node.ask("PUT", "/v1/keys/devices", wanted | {"secret": "not the secret"}, token=token)
    assert (wrong.status_code, name_of(wrong)) == (401, "wrong_credentials")
    right = await node.ask("PUT", "/v1/keys/devices", wanted | {"secret": PASSWORD}, token=token)
    assert right.status_code == 200, right.text


@pytest.mark.parametrize(
    ("method", "path", "sent"),
    [
        ("PUT", "/v1/keys", {}),
        ("PUT", "/v1/keys", {"signing": "no base64!"}),
        ("POST", "/v1/keys/one-time", {"keys": [{"id": 0, "key": "", "kem": "", "kem_signature": ""}]}),
        ("POST", "/v1/keys/one-time", {"keys": [{"id": 2**53, "key": "", "kem": "", "kem_signature": ""}]}),
        ("PUT", "/v1/keys/devices", {"body": "kMA=", "signature": ""}),
        ("PUT", "/v1/keys/devices", {"body": 7}),
    ],
)
async def test_what_is_no_proper_body_is_invalid(node: Node, method: str, path: str, sent: object) -> None:
    account = await node.register()
    answer = await node.ask(method, path, sent, token=account["token"])
    assert (answer.status_code, name_of(answer)) == (400, "invalid"), answer.text


async def test_bounds_of_bodies() -> None:
    async with node_of(Limits(receipt_delay_s=0, one_time_body_bytes=1000)) as node:
        first, _ = await device_of(node, Random(3))
        token = first.account.token
        await node.ask("PUT", "/v1/keys", body(first.keys()), token=token)
        large = await node.ask("POST", "/v1/keys/one-time", body(first.one_time(1, 1)), token=token)
        assert (large.status_code, name_of(large)) == (413, "too_large")


async def test_other_users_devices_do_not_exist(node: Node) -> None:
    first, _ = await device_of(node, Random(4))
    await node.ask("PUT", "/v1/keys", body(first.keys()), token=first.account.token)
    bob = await node.register(BOB)
    for method, path, sent in (
        ("GET", f"/v1/devices/{first.account.device_id}/keys", None),
        ("PUT", f"/v1/devices/{first.account.device_id}/link", {"reply": ""}),
        ("GET", "/v1/devices/x/keys", None),
    ):
        answer = await node.ask(method, path, sent, token=bob["token"])
        assert (answer.status_code, name_of(answer)) == (404, "no_such_device")


async def test_fifty_pairs_of_full_length_fit_into_one_request(node: Node) -> None:
    first, _ = await device_of(node, Random(5))
    token = first.account.token
    await node.ask("PUT", "/v1/keys", body(first.keys()), token=token)
    brought = await node.ask("POST", "/v1/keys/one-time", body(first.one_time(2**53 - 60, 50)), token=token)
    assert brought.json() == {"left": 50}
    over = await node.ask("POST", "/v1/keys/one-time", body(first.one_time(1, 51)), token=token)
    assert (over.status_code, name_of(over)) == (413, "too_large")
