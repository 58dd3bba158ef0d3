"""What a server that lies can make of groups: one test a lie, each through the whole client.

See "A server that lies" in docs/concepts/encryption.md; `test_group_malice.py` has more, on devices alone.
"""

import asyncio

import msgspec
import pytest

from client.memory_world import until
from client.sealing.lying import Lie, Victim, changing, honest, remade
from client.sealing.malice import Choir, past, told
from client.sealing.test_clients import in_profile, warned
from client.sealing.test_group_clients import said, texts
from tidings.client import ClientError, Fault
from tidings.client.connection import Connection
from tidings.client.filling import Filling
from tidings.protocol.frames import (
    Conversation,
    Deliver,
    DeviceLists,
    DevicesChanged,
    Member,
    Reference,
    Relation,
    Scheme,
    Send,
    Sent,
    ServerFrame,
    Tallies,
)
from tidings.protocol.ids import ClientId, ConversationId, MessageId

pytestmark = pytest.mark.slow


def id_of(peer: str) -> ConversationId:
    return ConversationId(bytes.fromhex(peer[1:]))


def is_of(frame: ServerFrame, relation: Relation) -> bool:
    return isinstance(frame, Deliver) and frame.message.relation == relation


def without(relation: Relation) -> Lie:
    return lambda frame: [] if is_of(frame, relation) else [frame]


def messages_of(screen: Victim) -> list[Deliver]:
    return [one for one in screen.liar.delivered if one.message.scheme and not one.message.relation]


def next_id(alice: Victim) -> MessageId:
    return MessageId(max(one.message.message_id for one in alice.liar.delivered) + 1)


async def renewed(choir: Choir) -> None:
    """bob has another sender key with the next message."""
    await in_profile(choir.bob, lambda database: database.execute("UPDATE sender_keys SET made_ms = 0"))


def faults(screen: Victim, peer: str) -> list[Fault]:
    return [one.fault for one in said(screen, peer) if one.fault]


# --- members and roles ---------------------------------------------------------------------------


async def test_a_member_who_is_added_unsaid_is_told_before_the_key_goes_out(choir: Choir) -> None:
    alice, bob, carol, peer = choir
    was_told: list[bool] = []

    def adding(answer: Conversation) -> Conversation:
        if answer.group is None:
            return answer
        group = msgspec.structs.replace(answer.group, count=answer.group.count + 1)
        members = [*answer.members, Member(carol.user_id, "carol")]
        return msgspec.structs.replace(answer, members=members, group=group)

    def hear(frame: object) -> list[object]:
        """The node knows of no such member: it is told nothing of her."""
        if isinstance(frame, Send) and carol.device_id in frame.envelopes:
            was_told.append("member_unsaid" in warned(alice))
            alice.liar.say(Sent(frame.client_id, next_id(alice)))
            return []
        return [frame]

    alice.liar.lie = changing(Conversation, adding)
    alice.liar.hear = hear  # type: ignore[assignment]
    await alice.client.groups.refresh(peer)
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    await told(alice, "member_unsaid")
    assert len(was_told) == 1


async def test_a_member_who_is_hidden_is_told_and_reads_nothing(choir: Choir) -> None:
    alice, bob, _, peer = choir

    def hiding(answer: Conversation) -> Conversation:
        if answer.group is None:
            return answer
        group = msgspec.structs.replace(answer.group, count=1)
        members = [one for one in answer.members if one.user_id != bob.user_id]
        return msgspec.structs.replace(answer, members=members, group=group)

    alice.liar.lie = changing(Conversation, hiding)
    await alice.client.groups.refresh(peer)
    await alice.client.send(peer, "not for bob")
    await told(alice, "member_unsaid")
    await bob.until(lambda _: Fault.NO_KEY in faults(bob, peer))
    assert "not for bob" not in [one.text for one in said(bob, peer)]


async def test_a_device_that_is_invented_for_a_member_is_given_nothing(choir: Choir) -> None:
    alice, bob, carol, peer = choir

    def swapped(frame: ServerFrame) -> list[ServerFrame]:
        """carol's list, as if it were bob's."""
        if not isinstance(frame, DeviceLists | DevicesChanged):
            return [frame]
        forged = [
            msgspec.structs.replace(one, user_id=bob.user_id) if one.user_id == carol.user_id else one
            for one in frame.lists
        ]
        return [msgspec.structs.replace(frame, lists=forged)]

    alice.liar.lie = swapped
    with pytest.raises(ClientError, match="no keys"):
        await alice.client.safety.number("@carol")
    await in_profile(alice, lambda database: database.execute("UPDATE sender_keys SET made_ms = 0"))
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    assert carol.device_id not in alice.liar.reached


async def test_who_is_no_member_says_nothing(choir: Choir) -> None:
    """The server has carol's device seal for a group of hers, and tells it as of this one."""
    alice, bob, carol, peer = choir
    hers = (await carol.client.groups.create("Hers", ["@alice"])).peer
    await carol.client.send(hers, "in hers")
    await texts(alice, hers, "in hers")
    count = len(said(alice, peer))
    stolen = messages_of(alice)[-1]
    keys = next(one for one in reversed(alice.liar.delivered) if is_of(one, Relation.SENDER_KEY))
    alice.liar.say(remade(keys, later=5, conversation_id=id_of(peer), client_id=ClientId(b"k" * 16)))
    alice.liar.say(
        remade(
            stolen,
            later=6,
            conversation_id=id_of(peer),
            client_id=ClientId(b"m" * 16),
            message_id=next_id(alice),
        )
    )
    await alice.until(lambda _: len(said(alice, peer)) == count + 1)
    assert faults(alice, peer) == [Fault.FORGED]
    await bob.client.send(peer, "3")
    await alice.until(lambda _: "3" in [one.text for one in said(alice, peer)])


# --- sender keys ------------------------------------------------------------------------------------


async def test_sender_keys_that_are_dropped_are_asked_for(choir: Choir) -> None:
    alice, bob, _, peer = choir
    await renewed(choir)
    alice.liar.lie = without(Relation.SENDER_KEY)
    await bob.client.send(peer, "3")
    await bob.client.send(peer, "4")
    await texts(alice, peer, "1", "2", "3", "4")
    asks = [send for send in alice.liar.sent if send.relation == Relation.ASK]
    assert 1 <= len({send.client_id for send in asks}) <= 3


async def test_where_the_answers_are_dropped_too_it_ends(choir: Choir) -> None:
    alice, bob, _, peer = choir
    await renewed(choir)
    alice.liar.lie = lambda frame: (
        [] if is_of(frame, Relation.SENDER_KEY) or is_of(frame, Relation.KEYS) else [frame]
    )
    for number in range(5):
        await bob.client.send(peer, f"lost {number}")
    await alice.until(lambda _: faults(alice, peer) == [Fault.NO_KEY] * 5)
    await until(lambda: len({one.client_id for one in alice.liar.sent if one.relation == Relation.ASK}) == 3)
    alice.liar.lie = honest
    await renewed(choir)
    await bob.client.send(peer, "at last")
    await alice.until(lambda _: "at last" in [one.text for one in said(alice, peer)])
    assert len({one.client_id for one in alice.liar.sent if one.relation == Relation.ASK}) == 3


async def test_sender_keys_that_are_repeated_or_of_others_open_nothing(choir: Choir) -> None:
    alice, bob, carol, peer = choir
    keys = next(one for one in reversed(alice.liar.delivered) if is_of(one, Relation.SENDER_KEY))
    hers = (await carol.client.groups.create("Hers", ["@alice"])).peer
    alice.liar.say(keys, remade(keys, later=1, client_id=ClientId(b"a" * 16)))
    alice.liar.say(
        remade(
            keys,
            later=2,
            client_id=ClientId(b"b" * 16),
            sender_id=carol.user_id,
            sender_device=carol.device_id,
        )
    )
    alice.liar.say(remade(keys, later=3, client_id=ClientId(b"c" * 16), conversation_id=id_of(hers)))
    await bob.client.send(peer, "3")
    await texts(alice, peer, "1", "2", "3")
    await carol.client.send(hers, "4")
    await texts(alice, hers, "4")

    def heard(database: object) -> object:
        return database.execute(  # type: ignore[attr-defined]
            "SELECT count(*) FROM heard_keys WHERE conversation_id = ? AND device_id = ?",
            (id_of(peer), bob.device_id),
        ).fetchone()

    assert await in_profile(alice, heard) == (1,)


# --- messages ---------------------------------------------------------------------------------------


async def test_a_message_of_one_group_is_none_of_another(choir: Choir) -> None:
    alice, bob, _, peer = choir
    other = (await bob.client.groups.create("Other", ["@alice"])).peer
    await bob.client.send(other, "of the other")
    await texts(alice, other, "of the other")
    stolen = messages_of(alice)[-1]
    alice.liar.say(
        remade(
            stolen,
            later=7,
            conversation_id=id_of(peer),
            client_id=ClientId(b"m" * 16),
            message_id=next_id(alice),
        )
    )
    await alice.until(lambda _: len(said(alice, peer)) == 3)
    assert "of the other" not in [one.text for one in said(alice, peer)]
    assert faults(alice, peer) == [Fault.NO_KEY]


async def test_what_was_read_is_shown_once_wherever_it_is_repeated(choir: Choir) -> None:
    alice, bob, _, peer = choir
    last = messages_of(alice)[-1]
    alice.liar.say(last, remade(last, later=1))
    alice.liar.say(remade(last, later=2, client_id=ClientId(b"n" * 16), message_id=next_id(alice)))
    await bob.client.send(peer, "3")
    await alice.until(lambda _: "3" in [one.text for one in said(alice, peer)])
    assert [one.text for one in said(alice, peer) if not one.fault] == ["1", "2", "3"]
    assert faults(alice, peer) == [Fault.FORGED]


@pytest.mark.usefixtures("impatient")
async def test_a_message_that_is_dropped_is_told(choir: Choir) -> None:
    alice, bob, _, peer = choir
    alice.liar.lie = lambda frame: [] if isinstance(frame, Deliver) else [frame]
    await bob.client.send(peer, "dropped")
    count = len(alice.liar.delivered)
    alice.liar.lie = honest
    await bob.client.send(peer, "4")
    await texts(alice, peer, "1", "2", "4")
    assert len(alice.liar.delivered) >= count
    await told(alice, "missing")


async def test_an_encrypted_group_stays_so_whatever_the_server_says(choir: Choir) -> None:
    alice, bob, _, peer = choir

    def plain(answer: Conversation) -> Conversation:
        if answer.group is None:
            return answer
        return msgspec.structs.replace(answer, group=msgspec.structs.replace(answer.group, scheme=0))

    alice.liar.lie = changing(Conversation, plain)
    group = await alice.client.groups.refresh(peer)
    assert group.sealed
    assert group.name == "Choir"
    await alice.client.send(peer, "sealed")
    await texts(bob, peer, "1", "2", "sealed")
    sent = next(one for one in reversed(alice.liar.sent) if one.relation == Relation.NONE)
    assert sent.scheme == Scheme.SENDER_KEY
    assert b"sealed" not in sent.content
    last = messages_of(alice)[-1]
    alice.liar.say(
        remade(
            last,
            later=4,
            scheme=Scheme.PLAIN,
            content=b"nobody sealed this",
            content_type="text/plain",
            client_id=ClientId(b"p" * 16),
            message_id=next_id(alice),
        )
    )
    await alice.until(lambda _: faults(alice, peer) == [Fault.PLAINTEXT])
    assert "nobody sealed this" not in [one.text for one in said(alice, peer)]


async def test_a_delete_that_nobody_sealed_is_none(choir: Choir) -> None:
    alice, bob, _, peer = choir
    last = messages_of(alice)[-1]
    alice.liar.say(
        remade(
            last,
            later=4,
            scheme=Scheme.PLAIN,
            content=b"",
            content_type="",
            relation=Relation.DELETE,
            relates_to=Reference(last.message.sender_device, last.message.client_id),
            client_id=ClientId(b"d" * 16),
            message_id=next_id(alice),
        )
    )
    await bob.client.send(peer, "3")
    await texts(alice, peer, "1", "2", "3")
    assert "plaintext" in warned(alice)


# --- what it is called ---------------------------------------------------------------------------------


async def test_an_older_name_is_not_gone_by(choir: Choir) -> None:
    alice, _, _, peer = choir
    before = next(
        one.group.info for one in alice.liar.wire if isinstance(one, Conversation) and one.group is not None
    )
    await alice.client.groups.rename(peer, "The choir")

    def older(answer: Conversation) -> Conversation:
        if answer.group is None:
            return answer
        return msgspec.structs.replace(answer, group=msgspec.structs.replace(answer.group, info=before))

    alice.liar.lie = changing(Conversation, older)
    assert (await alice.client.groups.refresh(peer)).name == "The choir"
    await told(alice, "info_old")


@pytest.mark.parametrize("forged", [b"", b"the server's", b"\1" * 80], ids=["nothing", "clear", "junk"])
async def test_a_name_that_no_member_sealed_is_not_gone_by(choir: Choir, forged: bytes) -> None:
    alice, _, _, peer = choir

    def swapped(answer: Conversation) -> Conversation:
        if answer.group is None:
            return answer
        return msgspec.structs.replace(answer, group=msgspec.structs.replace(answer.group, info=forged))

    alice.liar.lie = changing(Conversation, swapped)
    assert (await alice.client.groups.refresh(peer)).name == "Choir"
    if forged != b"\1" * 80:  # that may be of a key that comes
        await told(alice, "info_forged")


# --- the past ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_renewed", [False, True], ids=["the key is there", "the key is not there"])
async def test_what_the_inbox_cannot_bring_is_read_from_the_history(
    choir: Choir, monkeypatch: pytest.MonkeyPatch, is_renewed: bool
) -> None:
    alice, bob, _, peer = choir
    fill = Filling.fill

    async def late(self: Filling, connection: Connection) -> None:
        await asyncio.sleep(0.1)  # by then it was looked for keys that are missing
        await fill(self, connection)

    monkeypatch.setattr(Filling, "fill", late)
    if is_renewed:
        await renewed(choir)
    alice.liar.lie = lambda frame: [] if isinstance(frame, Deliver) else [frame]
    count = len(messages_of(alice))
    await bob.client.send(peer, "3")
    await until(lambda: len(messages_of(alice)) > count)
    alice.liar.lie = honest
    past(alice, [messages_of(alice)[-1].message], [])
    told_past = alice.liar.lie
    # Nothing else comes that would have it looked for keys.
    alice.liar.lie = lambda frame: [] if isinstance(frame, Tallies) else told_past(frame)
    await texts(alice, peer, "1", "2", "3")
    assert (Relation.ASK in [one.relation for one in alice.liar.sent]) == is_renewed
