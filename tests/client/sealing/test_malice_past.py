"""What a server that lies can make of the past, of who is who, and of settings. See `test_malice.py`."""

import msgspec
import pytest

from client.memory_world import all_agree, until
from client.sealing.lying import Victim, Victims, changing, honest, remade
from client.sealing.malice import CLEAR, Pair, crafted, faults, past, shown, told, wrapped_key
from client.sealing.test_clients import link, texts, warned
from tidings.client import ClientError
from tidings.protocol.errors import NO_SUCH_CONVERSATION
from tidings.protocol.frames import (
    CHANGES,
    Changed,
    ClientFrame,
    Conversation,
    ConversationList,
    ConversationSummary,
    Drained,
    Error,
    HistoryItem,
    InboxExpired,
    Member,
    Message,
    OpenDirect,
    Page,
    Reference,
    Relation,
    Scheme,
    Send,
    Sent,
    ServerFrame,
    Setting,
    SettingKind,
    Status,
)
from tidings.protocol.ids import (
    ClientId,
    EntryId,
    MessageId,
)

pytestmark = pytest.mark.slow

SAYING = (SettingKind.DRAFT, SettingKind.CONTACT)


# --- the past, as the server tells it ----------------------------------------------------------------


def plain_ones(alice: Victim) -> tuple[list[Message], list[Message]]:
    """A message, an edit, a reaction and a delete that nobody sealed."""
    first = alice.liar.delivered[0].message
    about = Reference(first.sender_device, first.client_id)

    def plain(number: int, relation: Relation, **changes: object) -> Message:
        return msgspec.structs.replace(
            first,
            message_id=MessageId(first.message_id + 1 + number),
            client_id=ClientId(b"past-%011d" % number),
            scheme=Scheme.PLAIN,
            content_type="text/plain",
            content=b"forged",
            relation=relation,
            relates_to=about if relation else None,
            **changes,
        )

    said = [plain(1, Relation.NONE), plain(2, Relation.NONE, sender_id=alice.user_id)]
    changes = [plain(3, Relation.EDIT), plain(4, Relation.REACTION), plain(5, Relation.DELETE)]
    bare = [
        msgspec.structs.replace(
            one, scheme=Scheme.DIRECT, content_type="", client_id=ClientId(b"bare-%011d" % number)
        )
        for number, one in enumerate([*said, *changes])
    ]
    return [*said, *bare[:2]], [*changes, *bare[2:]]


async def test_what_is_not_sealed_is_not_shown_as_the_past(pair: Pair) -> None:
    alice, bob = pair
    before = list(alice.state.messages("bob"))
    past(alice, *plain_ones(alice))
    await told(alice, "plaintext")
    alice.liar.lie = honest
    await bob.client.send("@alice", "3")
    await alice.until(lambda _: "3" in shown(alice))
    await all_agree(alice)
    assert [one for one in alice.state.messages("bob") if not one.fault][:2] == before
    assert not [one for one in alice.state.messages("bob") if "forged" in one.text]
    assert not [event for event in alice.events if "forged" in repr(getattr(event, "content", ""))]


async def test_what_is_not_sealed_is_not_shown_in_a_page(pair: Pair) -> None:
    alice, _ = pair
    said, changes = plain_ones(alice)

    def lie(page: Page) -> Page:
        items = [*page.items, *(HistoryItem(one, int(Status.SENT)) for one in said)]
        return Page(page.request_id, items, more=False, relations=[*page.relations, *changes])

    honest_page = await alice.client.history("@bob")
    alice.liar.lie = changing(Page, lie)
    page = await alice.client.history("@bob")
    assert [one for one in page if not (one.fault or one.expired)] == honest_page
    assert not [one for one in page if "forged" in one.text or one.reactions]


@pytest.mark.parametrize("clear", [name for name in CLEAR if name not in ("content", "name")])
async def test_what_stands_in_the_clear_of_a_page_cannot_be_changed(pair: Pair, clear: str) -> None:
    alice, bob = pair
    await bob.client.send("@alice", "3")
    await texts(alice, "bob", "1", "2", "3")
    third = alice.liar.delivered[-1]
    changed = remade(third, **CLEAR[clear](third, alice)).message

    def lie(page: Page) -> Page:
        *items, last = page.items
        assert last.message.message_id == third.message.message_id
        if changed.relation in CHANGES:
            return Page(page.request_id, items, page.more, relations=[changed])
        return Page(page.request_id, [*items, HistoryItem(changed, last.status)], page.more)

    true = {one.text: one for one in await alice.client.history("@bob")}
    alice.liar.lie = changing(Page, lie)
    page = await alice.client.history("@bob")
    assert all(one == true[one.text] for one in page if one.text)
    assert not any(one.reactions or one.edited or one.deleted for one in page)


@pytest.mark.parametrize("way", ["delivered", "asked for", "of the past"])
async def test_nobody_else_speaks_in_a_conversation(victims: Victims, way: str) -> None:
    """mallory has an account, or is the server itself; it seals rightly, for a conversation of others."""
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("mallory") as mallory,
    ):
        await mallory.client.send("@alice", "I am mallory")
        await bob.client.send("@alice", "I am bob")
        (_,) = await texts(alice, "mallory", "I am mallory")
        (his,) = await texts(alice, "bob", "I am bob")
        where = his.conversation_id
        forged = await crafted(mallory, alice, where, "I am bob, too")
        about = {"relation": Relation.REACTION, "relates_to": his.reference}
        reaction = await crafted(mallory, alice, where, "forged", **about)
        if way == "delivered":
            alice.liar.say(forged, reaction)
        elif way == "asked for":
            alice.liar.say(remade(forged, envelope=None))
            keys = await wrapped_key(mallory, alice, forged)
            alice.liar.say(keys)
        else:
            past(alice, [forged.message], [reaction.message])
            await alice.until(lambda _: faults(alice, "bob"))
            alice.liar.say(await wrapped_key(mallory, alice, forged))
        alice.liar.lie = honest
        await bob.client.send("@alice", "end")
        await texts(alice, "bob", "I am bob", "end")
        await all_agree(alice)
        assert not any(one.reactions for one in alice.state.messages("bob"))
        await told(alice, "forged")


# --- who is who --------------------------------------------------------------------------------------


def called_bob(conversation: Conversation) -> Conversation:
    """mallory, says the server, is bob."""
    members = [Member(one.user_id, one.handle.replace("mallory", "bob")) for one in conversation.members]
    return msgspec.structs.replace(conversation, members=members)


async def test_a_conversation_has_the_members_that_it_has(victims: Victims) -> None:
    """The server says that mallory is in bob's conversation, under his name."""
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("mallory") as mallory,
    ):
        await alice.client.send("@bob", "1")
        where = alice.liar.sent[-1].conversation_id
        members = [Member(alice.user_id, "alice"), Member(mallory.user_id, "bob")]

        def lie(frame: ServerFrame) -> list[ServerFrame]:
            if isinstance(frame, Conversation):
                return [Conversation(frame.request_id, where, 1, 2, members)]
            if isinstance(frame, ConversationList):
                one = ConversationSummary(where, 1, 2, members, _newest(alice), MessageId(0), 0)
                return [ConversationList(frame.request_id, [one])]
            return [frame]

        alice.liar.lie = lie
        now = _newest(alice)
        alice.liar.say(InboxExpired(EntryId(now - 1), EntryId(now)), Drained(0, EntryId(now)))
        await until(lambda: [one for one in alice.liar.wire if isinstance(one, ConversationList)][1:])
        await alice.client.safety.number("@bob")
        await alice.client.send("@bob", "2")
        await texts(bob, "alice", "1", "2")
        assert alice.liar.reached == {bob.device_id}


def _newest(alice: Victim) -> MessageId:
    return max(frame.message_id for frame in alice.liar.wire if isinstance(frame, Sent))


async def test_somebody_elses_conversation_does_not_take_a_name_that_is_known(victims: Victims) -> None:
    """mallory writes, and the server says that mallory is called bob."""
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("mallory") as mallory,
    ):
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")

        alice.liar.lie = changing(Conversation, called_bob)
        await mallory.client.send("@alice", "I am bob")
        await alice.until(lambda _: "I am bob" in shown(alice))
        await told(alice, "name_taken")
        assert [one.text for one in alice.state.messages("bob")] == ["1"]
        assert [one.text for one in alice.state.messages(f"user {mallory.user_id}")] == ["I am bob"]
        await alice.client.send("@bob", "2")
        await texts(bob, "alice", "1", "2")
        await alice.client.send(f"user {mallory.user_id}", "I know")
        await texts(mallory, "alice", "I am bob", "I know")


async def test_a_conversation_that_is_said_to_be_gone_is_not_another_ones(victims: Victims) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("mallory") as mallory,
    ):
        await alice.client.send("@bob", "1")
        await mallory.client.send("@alice", "hello")
        await texts(alice, "mallory", "hello")
        refused: list[Send] = []

        def hear(frame: ClientFrame) -> list[ClientFrame]:
            if isinstance(frame, Send) and not refused:
                refused.append(frame)
                error = Error(NO_SUCH_CONVERSATION.code, "gone", client_id=frame.client_id)
                alice.liar.say(error)
                return []
            if isinstance(frame, OpenDirect):
                return [OpenDirect(frame.request_id, "mallory")]
            return [frame]

        alice.liar.hear, alice.liar.lie = hear, changing(Conversation, called_bob)
        await alice.client.send("@bob", "2")
        await alice.client.send("@bob", "3")
        await texts(bob, "alice", "1", "2", "3")
        assert refused
        assert mallory.device_id not in alice.liar.reached


async def test_who_is_somebody_else_from_the_first_shows_in_the_safety_number(victims: Victims) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("mallory") as mallory,
    ):
        alice.liar.hear = lambda frame: (
            [OpenDirect(frame.request_id, "mallory")] if isinstance(frame, OpenDirect) else [frame]
        )
        alice.liar.lie = changing(Conversation, called_bob)
        await alice.client.send("@bob", "for whoever it is")
        await texts(mallory, "alice", "for whoever it is")
        assert alice.liar.reached == {mallory.device_id}
        mine, theirs = await alice.client.safety.number("@bob"), await bob.client.safety.number("@alice")
        assert mine.digits != theirs.digits
        with pytest.raises(ClientError, match="is not the one"):
            await alice.client.safety.verify("@bob", theirs.code)


# --- settings -----------------------------------------------------------------------------


async def test_sealed_settings_are_bound_to_their_keys_and_to_ones_own_devices(victims: Victims) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("carol") as carol,
        await victims.login("alice") as laptop,
    ):
        await link(alice, laptop)
        for peer, screen in (("@bob", bob), ("@carol", carol)):
            await alice.client.send(peer, "1")
            await texts(screen, "alice", "1")
            await alice.client.people.add(peer, nickname=f"nick of {peer}")
            await alice.client.chats.draft(peer, f"draft for {peer}")
        await laptop.until(lambda state: len([key for key in state.settings if key[0] in SAYING]) == 4)
        set_ones = [one for frame in laptop.liar.wire if isinstance(frame, Changed) for one in frame.settings]
        drafts = [one for one in set_ones if one.kind == SettingKind.DRAFT]
        names = [one for one in set_ones if one.kind == SettingKind.CONTACT]
        assert b"nick" not in b"".join(one.value for one in set_ones)

        def later(one: Setting, value: bytes) -> Setting:
            return Setting(one.kind, one.key, value, EntryId(max(each.at for each in set_ones) + 1))

        laptop.liar.say(
            Changed([later(drafts[0], drafts[1].value), later(names[0], names[1].value)]),
            Changed([later(drafts[1], b"what the server wrote"), later(names[1], b"the server's name")]),
        )
        await laptop.until(lambda state: not [key for key in state.settings if key[0] == SettingKind.DRAFT])
        await bob.client.send("@alice", "end")
        await texts(laptop, "bob", "1", "end")
        values = [value for key, value in laptop.state.settings.items() if key[0] in SAYING]
        assert values == [b"-"]
        assert not [event for event in laptop.events if b"server" in getattr(event, "value", b"")]


async def test_an_older_draft_can_be_given_back(victims: Victims) -> None:
    """Contained: it is one that was written once, in this chat. It is not told."""
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.login("alice") as laptop,
    ):
        await link(alice, laptop)
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        await alice.client.chats.draft("@bob", "older")
        await alice.client.chats.draft("@bob", "newer")
        await laptop.until(lambda state: state.chats and state.chats[0].draft == "newer")
        changed = [frame for frame in laptop.liar.wire if isinstance(frame, Changed)]
        drafts = [one for frame in changed for one in frame.settings if one.kind == SettingKind.DRAFT]
        laptop.liar.say(Changed([msgspec.structs.replace(drafts[0], at=EntryId(drafts[-1].at + 1))]))
        await laptop.until(lambda state: state.chats[0].draft == "older")
        assert not warned(laptop)
