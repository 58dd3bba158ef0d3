"""Pictures of groups over HTTP."""

from collections.abc import AsyncIterator

import pytest

from server.http_rig import BOB, Node, name_of, node_of
from tidings.protocol.frames import ChangeGroup, CreateGroup, GroupAction
from tidings.protocol.ids import ClientId, ConversationId, UserId

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
EVE = BOB | {"handle": "eve"}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with node_of() as opened:
        yield opened


async def group(
    node: Node, maker: dict[str, str], *others: dict[str, str], scheme: int = 0
) -> ConversationId:
    users = [UserId(int(other["user_id"])) for other in others]
    frame = CreateGroup(1, ClientId(b"n" * 16), scheme=scheme, users=users)
    groups = node.world.services.groups
    return (await groups.create(UserId(int(maker["user_id"])), frame)).conversation_id


async def test_a_groups_picture_is_for_its_members(node: Node) -> None:
    alice, bob, eve = await node.register(), await node.register(BOB), await node.register(EVE)
    path = f"/v1/groups/{(await group(node, alice, bob)).hex()}/picture"
    assert (await node.ask("GET", path, token=bob["token"])).status_code == 404
    refused = await node.ask("PUT", path, token=bob["token"], content=PNG)
    assert name_of(refused) == "group_rights"
    assert name_of(await node.ask("PUT", path, token=alice["token"], content=b"text")) == "invalid"
    assert (await node.ask("PUT", path, token=alice["token"], content=PNG)).status_code == 200
    shown = await node.ask("GET", path, token=bob["token"])
    assert (shown.status_code, shown.content, shown.headers["content-type"]) == (200, PNG, "image/png")
    same = await node.ask("GET", path, token=bob["token"], headers={"If-None-Match": shown.headers["etag"]})
    assert same.status_code == 304
    for method in ("GET", "PUT", "DELETE"):
        outside = await node.ask(method, path, token=eve["token"], content=PNG)
        assert name_of(outside) == "no_such_conversation"
    assert (await node.ask("DELETE", path, token=alice["token"])).status_code == 200
    assert (await node.ask("GET", path, token=bob["token"])).status_code == 404


async def test_the_picture_of_an_encrypted_group_is_any_bytes(node: Node) -> None:
    alice, bob = await node.register(), await node.register(BOB)
    path = f"/v1/groups/{(await group(node, alice, bob, scheme=2)).hex()}/picture"
    assert (await node.ask("PUT", path, token=alice["token"], content=b"sealed")).status_code == 200
    shown = await node.ask("GET", path, token=bob["token"])
    assert (shown.content, shown.headers["content-type"]) == (b"sealed", "application/octet-stream")


@pytest.mark.parametrize("name", ["x", "00", "zz" * 16, "00" * 17])
async def test_what_is_no_group_has_no_picture(node: Node, name: str) -> None:
    token = (await node.register())["token"]
    answer = await node.ask("GET", f"/v1/groups/{name}/picture", token=token)
    assert name_of(answer) == "no_such_conversation"


async def test_a_picture_that_was_changed_is_told(node: Node) -> None:
    alice, bob = await node.register(), await node.register(BOB)
    conversation = await group(node, alice, bob)
    path = f"/v1/groups/{conversation.hex()}/picture"
    await node.ask("PUT", path, token=alice["token"], content=PNG)
    found = await node.world.services.conversations.find(conversation)
    assert found is not None
    assert found.group is not None
    assert found.group.head.change is not None
    assert found.group.head.change.action == GroupAction.PICTURE
    assert found.group.head.picture == found.group.head.change.picture != 0
    left = ChangeGroup(1, conversation, GroupAction.LEAVE)
    await node.world.services.groups.change(UserId(int(bob["user_id"])), left)
    assert (await node.ask("GET", path, token=bob["token"])).status_code == 404
