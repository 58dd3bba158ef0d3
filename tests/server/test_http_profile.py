"""Profiles and pictures over HTTP."""

from collections.abc import AsyncIterator

import pytest

from server.http_rig import BOB, Node, name_of, node_of
from tidings.protocol.limits import Limits, Rate

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 " + bytes(100)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with node_of() as opened:
        yield opened


async def test_a_profile(node: Node) -> None:
    token = (await node.register())["token"]
    body = {"name": "Alice", "about": "Hello\nthere"}
    assert (await node.ask("PUT", "/v1/profile", body, token=token)).status_code == 200
    account = (await node.ask("GET", "/v1/account", token=token)).json()
    assert (account["name"], account["about"]) == ("Alice", "Hello\nthere")


@pytest.mark.parametrize(
    "name", ["a\x00b", "\x1b[2J", "\u202eecila", "a" + "\u0301" * 100, "x" * 65, "a" + "\u0301" * 10_000, 7]
)
async def test_a_name_that_cannot_be(node: Node, name: object) -> None:
    token = (await node.register())["token"]
    answer = await node.ask("PUT", "/v1/profile", {"name": name}, token=token)
    assert name_of(answer) in {"invalid", "too_large"}
    assert (await node.ask("GET", "/v1/account", token=token)).json()["name"] == ""


@pytest.mark.parametrize(("data", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (WEBP, "image/webp")])
async def test_a_picture_is_shown_as_what_it_is(node: Node, data: bytes, kind: str) -> None:
    alice, bob = await node.register(), await node.register(BOB)
    path = f"/v1/users/{alice['user_id']}/picture"
    for viewer in (alice, bob):
        answer = await node.ask("GET", path, token=viewer["token"])
        assert answer.status_code == 404
    # What the sender says of it counts for nothing.
    done = await node.ask(
        "PUT",
        "/v1/profile/picture",
        token=alice["token"],
        content=data,
        headers={"Content-Type": "text/html"},
    )
    assert done.status_code == 200, done.text
    shown = await node.ask("GET", path, token=bob["token"])
    assert (shown.status_code, shown.content) == (200, data)
    assert shown.headers["content-type"] == kind
    assert shown.headers["x-content-type-options"] == "nosniff"
    account = (await node.ask("GET", "/v1/account", token=alice["token"])).json()
    assert shown.headers["etag"] == f'"{account["picture"]}"'
    again = await node.ask("GET", path, token=bob["token"], headers={"If-None-Match": shown.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await node.ask("DELETE", "/v1/profile/picture", token=alice["token"])).status_code == 200
    assert (await node.ask("GET", path, token=bob["token"])).status_code == 404


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 400),
        (b"<script>alert(1)</script>", 400),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400),
        (b"GIF89a" + bytes(100), 400),
        (b"RIFF", 400),
        (PNG + bytes(Limits().picture_bytes), 413),
        (PNG + bytes(1_000_000), 413),
    ],
)
async def test_what_is_no_picture_is_refused(node: Node, data: bytes, status: int) -> None:
    token = (await node.register())["token"]
    answer = await node.ask("PUT", "/v1/profile/picture", token=token, content=data)
    assert (answer.status_code, name_of(answer)) == (status, "invalid" if status == 400 else "too_large")


@pytest.mark.parametrize("user", ["0", "1", "x", "9" * 300, "%2e%2e", "1%00"])
async def test_a_picture_of_nobody(node: Node, user: str) -> None:
    token = (await node.register())["token"]
    answer = await node.ask("GET", f"/v1/users/{user}/picture", token=token)
    assert answer.status_code == 404


async def test_pictures_are_no_way_to_try_ids_out() -> None:
    limits = Limits(receipt_delay_s=0.0, lookup_rate=Rate(per_s=0.1, burst=3))
    async with node_of(limits) as node:
        token = (await node.register())["token"]
        told = [await node.ask("GET", f"/v1/users/{user}/picture", token=token) for user in range(1, 7)]
        assert [answer.status_code for answer in told] == [404] * 4 + [429] * 2
        own = (await node.ask("GET", "/v1/account", token=token)).json()["user_id"]
        nobodys = {answer.json()["message"] for answer in told[:4]}
        node.world.clock.advance(60)
        assert nobodys == {(await node.ask("GET", f"/v1/users/{own}/picture", token=token)).json()["message"]}
