"""What a blocked one was told stays as it was, also over kill -9 of a real server."""

import pytest

from integration.people import Speaker
from integration.server import MakeServer
from tidings.protocol import frames
from tidings.protocol.frames import Deliver, Receipt, Status

pytestmark = pytest.mark.slow


async def statuses(device: Speaker, conversation: frames.ConversationId) -> list[Status]:
    page = await device.ask(lambda n: frames.History(n, conversation), frames.Page)
    return [item.status for item in page.items]


async def test_a_status_survives_block_kill_and_reading_on(make_server: MakeServer) -> None:
    server = make_server()
    server.start()
    accounts = [server.register(handle) for handle in ("alice", "bob")]
    async with (
        await Speaker.online(server, accounts[0]["token"]) as alice,
        await Speaker.online(server, accounts[1]["token"]) as bob,
    ):
        opened = await alice.ask(lambda n: frames.OpenDirect(n, "bob"), frames.Conversation)
        conversation = opened.conversation_id
        places = []
        for text in (b"one", b"two"):
            alice.say(alice.message(conversation, text))
            places.append((await alice.expect(frames.Sent)).message_id)
            await bob.expect(Deliver)
        bob.acknowledge()
        bob.say(frames.Read(1, conversation, places[0]))
        await alice.expect(Receipt, lambda told: told.read_up_to == places[0])
        blocked = accounts[0]["user_id"]
        await bob.ask(lambda n: frames.Set(n, frames.SettingKind.BLOCK, blocked, b"1"), frames.Ok)
        # What bob saw is on the disk by now; what he sees from here on may get there or not.
        server.kill()
    server.start()
    async with await Speaker.online(server, accounts[1]["token"]) as bob:
        await bob.ask(lambda n: frames.Read(n, conversation, places[1]), frames.Ok)
    async with await Speaker.online(server, accounts[0]["token"]) as alice:
        assert await statuses(alice, conversation) == [Status.READ, Status.DELIVERED]
    server.kill()
    server.start()
    async with await Speaker.online(server, accounts[0]["token"]) as alice:
        told = await alice.ask(lambda n: frames.Sync(n, 0), frames.Synced)
        assert [receipt.read_up_to for receipt in told.receipts if receipt.read_up_to] == places[:1]
        assert await statuses(alice, conversation) == [Status.READ, Status.DELIVERED]
    async with await Speaker.online(server, accounts[1]["token"]) as bob:
        await bob.ask(lambda n: frames.Set(n, frames.SettingKind.BLOCK, blocked, b""), frames.Ok)
    server.kill()
    server.start()
    async with await Speaker.online(server, accounts[0]["token"]) as alice:
        assert await statuses(alice, conversation) == [Status.READ, Status.READ]
    server.stop()
