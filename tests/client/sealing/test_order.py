"""What a device hears of in another order than it happened."""

import asyncio
import sqlite3

import pytest

from client.memory_world import until
from client.sealing.malice import Pair
from client.sealing.test_clients import in_profile, texts
from tidings.protocol.frames import Ack, Deliver, History, Relation, Sent, ServerFrame

pytestmark = pytest.mark.slow


async def test_a_message_that_is_asked_for_before_its_answer_comes_is_answered(pair: Pair) -> None:
    alice, bob = pair
    held: list[ServerFrame] = []

    def without_sent(frame: ServerFrame) -> list[ServerFrame]:
        if isinstance(frame, Sent) and not held:
            held.append(frame)
            return []
        return [frame]

    def asked() -> bool:
        """Whether alice has stored that bob asks."""
        asks = [one for one in alice.liar.delivered if one.message.relation == Relation.ASK]
        acked = max((one.up_to for one in alice.liar.said if isinstance(one, Ack)), default=0)
        return bool(asks) and acked == len(alice.liar.delivered)

    await in_profile(bob, lambda database: database.execute("DELETE FROM sessions"))
    alice.liar.lie = without_sent
    sending = asyncio.ensure_future(alice.client.send("@bob", "3"))
    await until(asked)
    alice.liar.say(*held)
    await sending
    found = await texts(bob, "alice", "1", "2", "3")
    assert not any(one.fault for one in found)


async def test_what_comes_before_a_device_knows_its_own_list_is_read(pair: Pair) -> None:
    alice, bob = pair

    def forget(database: sqlite3.Connection) -> None:
        database.execute("DELETE FROM device_lists WHERE user_id = ?", (bob.user_id,))
        database.execute("DELETE FROM known_devices WHERE user_id = ?", (bob.user_id,))

    # As if it was published just now: alice has heard of it, and bob's device waits for the answer.
    await in_profile(bob, forget)
    await alice.client.send("@bob", "3")
    found = await texts(bob, "alice", "1", "2", "3")
    assert not any(one.fault for one in found)


async def test_the_history_waits_for_the_key_of_what_is_on_its_way(pair: Pair) -> None:
    alice, bob = pair
    held: list[ServerFrame] = []

    def without_message(frame: ServerFrame) -> list[ServerFrame]:
        if isinstance(frame, Deliver):
            held.append(frame)
            return []
        return [frame]

    alice.liar.lie = without_message
    await bob.client.send("@alice", "3")
    await until(lambda: held)
    reading = asyncio.ensure_future(alice.client.history("@bob"))
    await until(lambda: any(isinstance(one, History) for one in alice.liar.said))
    alice.liar.say(*held)
    assert [one.text for one in await reading] == ["1", "2", "3"]
