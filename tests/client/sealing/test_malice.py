"""What a server that lies can make of messages: one test a lie, each through the whole client.

See "A server that lies" in docs/concepts/encryption.md.
"""

import asyncio
import sqlite3
from functools import partial
from typing import Any

import pytest

from client.memory_world import LOOK_S, PATIENCE_S, all_agree, until
from client.sealing.lying import Victim, Victims, changing, dropping, honest, remade
from client.sealing.malice import (
    CLEAR,
    Pair,
    crafted,
    faults,
    later,
    next_of,
    of_an_edit,
    sealed_with,
    shown,
    told,
)
from client.sealing.test_clients import in_profile, link, texts, warned
from tidings.client import ExpiredEvent, Fault, Refused, WarningEvent
from tidings.client.sealing import chains
from tidings.client.sealing.inside import KEY_BYTES, unseal
from tidings.client.sealing.opener import outside_of
from tidings.protocol.errors import TOO_LARGE
from tidings.protocol.frames import (
    Deliver,
    Error,
    Reference,
    Relation,
    Scheme,
    Send,
    Status,
)
from tidings.protocol.ids import (
    ClientId,
    ConversationId,
    MessageId,
)

pytestmark = pytest.mark.slow


# --- messages that are repeated ------------------------------------------------------------------


async def test_what_is_repeated_is_shown_once(pair: Pair) -> None:
    alice, bob = pair
    first = alice.liar.delivered[0]
    alice.liar.say(first)
    alice.liar.say(remade(first, later=1))
    alice.liar.say(remade(first, conversation_id=ConversationId(b"c" * 16)))
    alice.liar.say(remade(first, sender_id=alice.user_id))
    await bob.client.send("@alice", "3")
    await texts(alice, "bob", "1", "2", "3")
    assert shown(alice) == ["2", "3"]
    await all_agree(alice)
    assert not faults(alice, "bob")


async def test_what_is_repeated_under_another_name_cannot_be_read(pair: Pair) -> None:
    alice, bob = pair
    alice.liar.say(remade(alice.liar.delivered[0], client_id=ClientId(b"x" * 16), message_id=later(alice)))
    await bob.client.send("@alice", "3")
    found = await texts(alice, "bob", "1", "2", "3")
    assert [one.fault for one in found if not one.text] == [Fault.NO_KEY]
    assert "2" not in [one.text for one in found if one.fault]
    await all_agree(alice)
    # It asks bob's device, which has no such message.
    assert not [send for send in bob.liar.sent if send.relation == Relation.KEYS]


async def test_a_message_that_is_repeated_elsewhere_in_the_order_is_told(pair: Pair) -> None:
    alice, bob = pair
    for text in ("3", "4"):
        await bob.client.send("@alice", text)
    await texts(alice, "bob", "1", "2", "3", "4")
    third, fourth = alice.liar.delivered[-2:]
    alice.liar.say(remade(third, later=9, message_id=MessageId(fourth.message.message_id + 1)))
    await told(alice, "reordered")
    assert shown(alice) == ["2", "3", "4"]


async def test_what_is_for_another_device_cannot_be_read(victims: Victims) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.login("alice") as laptop,
    ):
        await link(alice, laptop)
        await bob.client.send("@alice", "1")
        await texts(alice, "bob", "1")
        await texts(laptop, "bob", "1")
        theirs = laptop.liar.delivered[-1].envelope
        alice.liar.lie = changing(Deliver, lambda deliver: remade(deliver, envelope=theirs))
        await bob.client.send("@alice", "2")
        await alice.until(lambda _: faults(alice, "bob"))
        assert faults(alice, "bob") == [Fault.NO_KEY]
        alice.liar.lie = honest
        await texts(laptop, "bob", "1", "2")
        # Asked, bob's device sends the key once more, for this device.
        await texts(alice, "bob", "1", "2")


async def test_a_key_that_is_repeated_opens_nothing(pair: Pair) -> None:
    alice, bob = pair
    await in_profile(alice, lambda database: database.execute("DELETE FROM sessions"))
    await bob.client.send("@alice", "3")
    await texts(alice, "bob", "1", "2", "3")
    keys = next(one for one in alice.liar.delivered if one.message.relation == Relation.KEYS)
    unread = remade(alice.liar.delivered[-1], message_id=later(alice), client_id=ClientId(b"y" * 16))
    about = Reference(bob.device_id, ClientId(b"y" * 16))
    alice.liar.say(keys, remade(keys, later=1))
    alice.liar.say(remade(unread, relation=Relation.NONE, relates_to=None))
    alice.liar.say(remade(keys, later=2, client_id=ClientId(b"z" * 16), relates_to=about))
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "3", "4")
    assert shown(alice).count("3") <= 1
    assert Fault.NONE not in [one.fault for one in alice.state.messages("bob") if not one.text]


# --- messages that are dropped, moved, dated back ---------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_a_message_that_is_dropped_is_told(pair: Pair) -> None:
    alice, bob = pair
    await next_of(bob, alice, "dropped")
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "4")
    await told(alice, "missing")
    warning = next(one for one in alice.events if isinstance(one, WarningEvent))
    assert (warning.peer, warning.user_id) == ("bob", bob.user_id)
    assert warning.detail.startswith("1 of the messages")


@pytest.mark.usefixtures("impatient")
async def test_one_that_is_said_to_be_erased_is_told_as_missing(pair: Pair) -> None:
    alice, bob = pair
    alice.liar.lie = changing(Deliver, lambda one: remade(one, content=b"", content_type="", envelope=None))
    await bob.client.send("@alice", "erased")
    alice.liar.lie = honest
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "4")
    await told(alice, "missing")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("why", ["blocked", "expired", "taken back", "cancelled"])
async def test_what_is_rightly_not_there_is_not_told(pair: Pair, why: str) -> None:
    alice, bob = pair
    if why == "blocked":
        await alice.client.people.block("@bob")
        await bob.client.send("@alice", "kept back")
        await alice.client.people.unblock("@bob")
    elif why == "expired":
        alice.liar.lie = dropping(Deliver)
        await bob.client.send("@alice", "short", expires_in_s=0.05)
        await bob.until(lambda _: [one for one in bob.events if isinstance(one, ExpiredEvent)])
    elif why == "taken back":
        alice.liar.lie = dropping(Deliver)
        gone = await bob.client.send("@alice", "taken back")
        await until(lambda: len(alice.liar.delivered) == 2)
        alice.liar.lie = honest
        await bob.client.messages.delete(gone)
    else:
        bob.liar.hear = lambda frame: [] if isinstance(frame, Send) else [frame]
        sending = asyncio.ensure_future(bob.client.send("@alice", "too much"))
        await until(lambda: len(bob.liar.sent) == 2)
        bob.liar.say(Error(TOO_LARGE.code, "too much", client_id=bob.liar.sent[-1].client_id))
        with pytest.raises(Refused):
            await sending
        bob.liar.hear = honest
    alice.liar.lie = honest
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "4")
    await looked_for_gaps(alice)
    assert not warned(alice)


async def looked_for_gaps(alice: Victim) -> None:
    """Wait until there is nothing more to be told as missing."""
    untold = "SELECT 1 FROM gaps WHERE since_ms < ?"

    def watched(database: sqlite3.Connection) -> object:
        return database.execute(untold, (chains.TOLD,)).fetchall()

    async with asyncio.timeout(PATIENCE_S):
        while await in_profile(alice, watched):
            await asyncio.sleep(LOOK_S)


@pytest.mark.usefixtures("impatient")
async def test_the_newest_are_dropped_unseen_until_one_comes(pair: Pair) -> None:
    alice, bob = pair
    alice.liar.lie = dropping(Deliver)
    for text in ("3", "4"):
        sent = await bob.client.send("@alice", text)
    await until(lambda: len(alice.liar.delivered) == 3)
    assert not warned(alice)
    # bob sees that they did not come.
    await bob.until(lambda state: state.messages("alice")[-1].reference == sent.reference)
    assert bob.state.messages("alice")[-1].status == Status.SENT
    alice.liar.lie = honest
    await bob.client.send("@alice", "5")
    await told(alice, "missing")
    warning = next(one for one in alice.events if isinstance(one, WarningEvent))
    assert warning.detail.startswith("2 of the messages")


@pytest.mark.parametrize("order", ["34", "43"], ids=["in their order", "in the other"])
async def test_two_that_change_places_are_told(pair: Pair, order: str) -> None:
    alice, bob = pair
    third, fourth = await next_of(bob, alice, "3"), await next_of(bob, alice, "4")
    places = third.message.message_id, fourth.message.message_id
    swapped = {
        "3": remade(third, message_id=places[1], created_at=fourth.message.created_at),
        "4": remade(fourth, message_id=places[0], created_at=third.message.created_at),
    }
    alice.liar.say(*(swapped[name] for name in order))
    found = await texts(alice, "bob", "1", "2", "3", "4")
    assert [one.text for one in found] == ["1", "2", "4", "3"]
    await told(alice, "reordered")


async def test_one_that_comes_late_and_stands_where_it_should_is_not_told(pair: Pair) -> None:
    """Where there are several nodes that is nothing unusual."""
    alice, bob = pair
    third, fourth = await next_of(bob, alice, "3"), await next_of(bob, alice, "4")
    alice.liar.say(fourth, third)
    found = await texts(alice, "bob", "1", "2", "3", "4")
    assert [one.text for one in found] == ["1", "2", "3", "4"]
    assert not warned(alice)


async def test_three_of_which_two_change_places_late(pair: Pair) -> None:
    alice, bob = pair
    third, fourth, fifth = [await next_of(bob, alice, text) for text in "345"]
    places = third.message.message_id, fourth.message.message_id
    alice.liar.say(remade(fourth, message_id=places[0]), fifth, remade(third, message_id=places[1]))
    await texts(alice, "bob", "1", "2", "3", "4", "5")
    await told(alice, "reordered")


async def test_a_message_that_is_dated_back_is_told(pair: Pair) -> None:
    alice, bob = pair
    alice.liar.lie = changing(
        Deliver, lambda one: remade(one, created_at=one.message.created_at - chains.SKEW_MS - 10_000)
    )
    await bob.client.send("@alice", "3")
    await texts(alice, "bob", "1", "2", "3")
    await told(alice, "backdated")


async def test_a_life_may_be_cut_short_and_not_lengthened(pair: Pair) -> None:
    alice, bob = pair
    alice.liar.lie = changing(Deliver, lambda one: remade(one, expires_at=None))
    sent = await bob.client.send("@alice", "3", expires_in_s=3600)
    await texts(alice, "bob", "1", "2", "3")
    await texts(bob, "alice", "1", "2", "3")
    mine, theirs = alice.state.messages("bob")[-1], bob.state.messages("alice")[-1]
    assert mine.reference == sent.reference
    assert mine.expires_at == theirs.expires_at is not None
    alice.liar.lie = changing(Deliver, lambda one: remade(one, expires_at=one.message.created_at + 60_000))
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "3", "4")
    shortened = alice.state.messages("bob")[-1]
    assert shortened.expires_at == shortened.created_at + 60_000


# --- messages that are changed --------------------------------------------------------------------


@pytest.mark.parametrize("clear", CLEAR)
async def test_what_stands_in_the_clear_cannot_be_changed(pair: Pair, clear: str) -> None:
    alice, bob = pair
    alice.liar.lie = changing(Deliver, lambda one: remade(one, **CLEAR[clear](one, alice)))
    await bob.client.send("@alice", "changed")
    alice.liar.lie = honest
    await bob.client.send("@alice", "4")
    await alice.until(lambda _: "4" in shown(alice))
    assert "changed" not in shown(alice)
    everywhere = [one for chat in alice.checked.chats for one in alice.checked.messages(chat.peer)]
    assert [one.text for one in everywhere if not one.fault] == ["1", "2", "4"]
    assert not any(one.reactions or one.edited or one.deleted for one in everywhere)
    assert all(not one.text for one in everywhere if one.fault)
    await all_agree(alice)


async def test_who_can_read_it_cannot_put_words_into_its_authors_mouth(victims: Victims) -> None:
    """bob, who has the message's key, helps the server to show alice's laptop what alice never wrote."""
    async with (
        await victims.register("alice") as phone,
        await victims.register("bob"),
        await victims.login("alice") as laptop,
    ):
        await link(phone, laptop)
        laptop.liar.lie = dropping(Deliver)
        await phone.client.send("@bob", "no")
        await until(lambda: laptop.liar.delivered != [])
        true = laptop.liar.delivered[-1]
        name = (true.message.sender_device, true.message.client_id)
        (key,) = await in_profile(phone, partial(_key_of, name))
        outside = outside_of(true.message)
        forged = sealed_with(key[:KEY_BYTES], true.message.content, outside, b"yes")
        assert unseal(key[:KEY_BYTES], forged, outside).content == b"yes"
        laptop.liar.say(remade(true, content=forged))
        await laptop.until(lambda _: faults(laptop, "bob"))
        assert faults(laptop, "bob") == [Fault.FORGED]
        assert not any(shown(laptop))


def _key_of(name: tuple[int, bytes], database: sqlite3.Connection) -> tuple[bytes]:
    return database.execute(
        "SELECT key FROM message_keys WHERE sender_device = ? AND client_id = ?", name
    ).fetchone()


@pytest.mark.parametrize("clear", [name for name in CLEAR if name not in ("content", "name")])
async def test_what_comes_first_with_another_face_is_shown_as_it_was_written(pair: Pair, clear: str) -> None:
    """Changed and without its key at first, then as it is: nothing of the first stays."""
    alice, bob = pair
    true = await next_of(bob, alice, "3")
    alice.liar.say(remade(true, envelope=None, **CLEAR[clear](true, alice)))
    alice.liar.say(true)
    await bob.client.send("@alice", "4")
    await alice.until(lambda _: "4" in shown(alice))
    await all_agree(alice)
    found = [one for chat in alice.state.chats for one in alice.state.messages(chat.peer)]
    assert not any(one.reactions or one.edited or one.deleted for one in found)
    thirds = [one for one in found if one.text == "3"]
    assert len(thirds) <= 1
    for third in thirds:
        assert (third.peer, third.sender, third.own) == ("bob", "bob", False)
        assert (third.reply_to, third.forwarded, third.silent) == (None, False, False)
        assert third.conversation_id == true.message.conversation_id


async def test_what_is_not_sealed_is_not_shown(pair: Pair) -> None:
    alice, bob = pair
    before = list(alice.state.messages("bob"))

    def plain(deliver: Deliver, text: str, **changes: Any) -> Deliver:
        unsealed: dict[str, Any] = {"scheme": Scheme.PLAIN, "content_type": "text/plain"}
        return remade(deliver, envelope=None, **{**unsealed, "content": text.encode(), **changes})

    alice.liar.lie = changing(Deliver, lambda deliver: plain(deliver, "forged"))
    await bob.client.send("@alice", "3")
    await told(alice, "plaintext")
    alice.liar.lie = honest
    about = of_an_edit(alice.liar.delivered[0], alice)
    first = alice.liar.delivered[0]
    lies: list[dict[str, Any]] = [
        {**about},
        {**about, "relation": Relation.REACTION},
        {**about, "relation": Relation.DELETE},
        {**about, "relation": Relation.DELETE, "content_type": "", "content": b""},
        {**about, "relation": Relation.REACTION, "content_type": ""},
        {**about, "relation": Relation.REACTION, "content_type": "", "scheme": Scheme.DIRECT},
        {"content_type": ""},
        {"content_type": "", "scheme": Scheme.DIRECT},
        {"sender_device": alice.device_id},
        {"sender_device": alice.device_id, "sender_id": alice.user_id},
        {"sender_device": alice.device_id, "content_type": ""},
        {"sender_device": alice.device_id, "content_type": "", "scheme": Scheme.DIRECT},
        {"scheme": Scheme.SENDER_KEY},
        {"scheme": Scheme.MLS},
    ]
    for number, changes in enumerate(lies):
        name, place = ClientId(b"plain-%010d" % number), MessageId(later(alice) + number)
        fields: dict[str, Any] = {"client_id": name, "message_id": place, **changes}
        alice.liar.say(plain(first, f"forged {number}", **fields))
    await bob.client.send("@alice", "4")
    await alice.until(lambda _: "4" in shown(alice))
    await all_agree(alice)
    found = alice.state.messages("bob")
    assert [one for one in found if one in before] == before
    assert not [one.text for one in found if "forged" in one.text]
    assert not [text for text in shown(alice) if "forged" in text]
    assert not [event for event in alice.events if "forged" in repr(getattr(event, "content", ""))]


async def test_an_edit_is_its_authors(victims: Victims) -> None:
    """bob's edit, said to be of what alice or her other device wrote, or of another message of his."""
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        mine = await alice.client.send("@bob", "mine")
        await texts(bob, "alice", "mine")
        his = await bob.client.send("@alice", "his")
        other = await bob.client.send("@alice", "other")
        await texts(alice, "bob", "mine", "his", "other")
        lies: list[dict[str, Any]] = [
            {"relates_to": mine.reference},
            {"relates_to": other.reference},
            {"relates_to": mine.reference, "sender_id": alice.user_id},
        ]
        for changes in lies:
            alice.liar.lie = changing(Deliver, partial(remade, **changes))
            await bob.client.messages.edit(his, "edited")
        alice.liar.lie = honest
        await bob.client.send("@alice", "end")
        await texts(alice, "bob", "mine", "his", "other", "end")
        await all_agree(alice)
        # bob himself cannot either, with the server's help.
        writing = {"relation": Relation.EDIT, "relates_to": mine.reference}
        alice.liar.say(await crafted(bob, alice, mine.conversation_id, "edited", **writing))
        await bob.client.send("@alice", "end")
        await texts(alice, "bob", "mine", "his", "other", "end", "end")
        await all_agree(alice)


async def test_what_is_said_to_be_of_this_device_breaks_no_chain(pair: Pair) -> None:
    """An older copy of a profile is sent what it does not know to have said; so says the server."""
    alice, bob = pair
    alice.liar.say(
        remade(
            alice.liar.delivered[0],
            client_id=ClientId(b"m" * 16),
            sender_id=alice.user_id,
            sender_device=alice.device_id,
        )
    )
    await alice.until(lambda _: faults(alice, "bob"))
    for text in ("3", "4"):
        await alice.client.send("@bob", text)
    await texts(bob, "alice", "1", "2", "3", "4")
    await bob.client.send("@alice", "5")
    await texts(alice, "bob", "1", "2", "3", "4", "5")
    assert not warned(bob)
    assert not warned(alice)
