"""Replies, edits, deletes and reactions: what each does, and to whom it is refused."""

import pytest

from tidings.protocol import errors, frames, ids
from tidings.protocol.errors import ErrorKind
from tidings.protocol.frames import Deliver, Error, History, Page, Reference, Relation, Send, Sent
from tidings.protocol.ids import ConversationId, MessageId
from tidings.protocol.limits import Limits
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import INBOX, MESSAGES, RELATIONS
from tidings.testing.clock import FakeClock
from tidings.testing.world import Device, World


class Talk:
    """Alice and bob, and their conversation."""

    def __init__(self, world: World, alice: Device, bob: Device, conversation: ConversationId) -> None:
        self.world = world
        self.alice = alice
        self.bob = bob
        self.conversation = conversation

    async def say(self, who: Device, text: str) -> tuple[Reference, MessageId]:
        """Send a message; how to refer to it, and where it stands."""
        frame = who.send(self.conversation, text)
        sent = await who.expect(Sent)
        return Reference(who.session.device_id, frame.client_id), sent.message_id

    def about(
        self, who: Device, target: tuple[Reference, MessageId], relation: Relation, text: str = ""
    ) -> Send:
        """Send something about a message, without waiting."""
        return who.send(self.conversation, text, relation=relation, relates_to=target[0], target=target[1])

    async def page(self, who: Device, **query: object) -> Page:
        return await who.ask(lambda n: History(n, self.conversation, **query), Page)  # type: ignore[arg-type]


async def talk(
    limits: Limits | None = None, tables: Tables | None = None, clock: FakeClock | None = None
) -> Talk:
    world = await World.start(MemoryStore(tables or Tables()), limits=limits, clock=clock)
    alice = await world.online(await world.register("alice"))
    bob = await world.online(await world.register("bob"))
    return Talk(world, alice, bob, await alice.open("bob"))


async def refusal(who: Device, frame: Send) -> Error:
    return await who.expect(Error, lambda error: error.client_id == frame.client_id)


async def test_an_edit_reaches_the_other_and_stands_beside_its_target() -> None:
    here = await talk()
    target = await here.say(here.alice, "helo")
    here.about(here.alice, target, Relation.EDIT, "hello")
    await here.alice.expect(Sent)
    await here.bob.expect(Deliver)
    edit = (await here.bob.expect(Deliver)).message
    assert (edit.relation, edit.relates_to, edit.target) == (Relation.EDIT, *target)
    page = await here.page(here.bob)
    assert [item.message.content for item in page.items] == [b"helo"]
    assert [message.content for message in page.relations] == [b"hello"]


async def test_a_page_onwards_has_the_changes_in_their_place() -> None:
    here = await talk()
    target = await here.say(here.alice, "one")
    here.about(here.bob, target, Relation.REACTION, "👍")
    await here.bob.expect(Sent)
    await here.say(here.alice, "two")
    page = await here.page(here.alice, after=MessageId(0))
    assert [item.message.relation for item in page.items] == [0, Relation.REACTION, 0]


async def test_a_reply_is_an_item_like_any_other() -> None:
    here = await talk()
    target = await here.say(here.alice, "tea?")
    here.about(here.bob, target, Relation.REPLY, "yes")
    await here.bob.expect(Sent)
    page = await here.page(here.alice)
    assert [(item.message.relation, item.message.target) for item in page.items] == [
        (Relation.NONE, 0),
        (Relation.REPLY, target[1]),
    ]
    assert page.relations == []


async def test_a_delete_erases_the_message_and_its_edits_wherever_they_stand() -> None:
    tables = Tables()
    here = await talk(tables=tables)
    target = await here.say(here.alice, "a secret")
    here.about(here.alice, target, Relation.EDIT, "a secret, edited")
    here.about(here.alice, target, Relation.DELETE)
    for _ in range(2):
        await here.alice.expect(Sent)
    page = await here.page(here.bob)
    assert [item.message.content for item in page.items] == [b""]
    assert [message.relation for message in page.relations] == [Relation.DELETE]
    store = MemoryStore(tables)
    rows = [
        *await store.scan(MESSAGES, limit=100),
        *await store.scan(INBOX, limit=100),
        *await store.scan(RELATIONS, limit=100),
    ]
    assert rows
    assert not any(b"secret" in repr(row).encode() for row in rows)


async def test_who_was_away_gets_the_delete_and_not_what_was_deleted() -> None:
    here = await talk()
    account = here.bob.account
    here.bob.drop()
    target = await here.say(here.alice, "regret")
    here.about(here.alice, target, Relation.DELETE)
    await here.alice.expect(Sent)
    bob = here.world.connect(account)
    bob.hello()
    message = (await bob.expect(Deliver)).message
    assert message.relation == Relation.DELETE
    assert await bob.settle() is not None
    assert not [frame for frame in bob.seen if isinstance(frame, Deliver)]


@pytest.mark.parametrize(
    ("relation", "kind"),
    [(Relation.EDIT, errors.NOT_YOURS), (Relation.DELETE, errors.NOT_YOURS)],
)
async def test_only_the_author_changes_a_message(relation: Relation, kind: ErrorKind) -> None:
    here = await talk()
    target = await here.say(here.alice, "mine")
    text = "yours" if relation == Relation.EDIT else ""
    error = await refusal(here.bob, here.about(here.bob, target, relation, text))
    assert error.code == kind.code
    assert [item.message.content for item in (await here.page(here.bob)).items] == [b"mine"]
    assert (await here.page(here.bob)).relations == []


async def test_a_forged_reference_is_seen() -> None:
    here = await talk()
    reference, place = await here.say(here.alice, "mine")
    other, elsewhere = await here.say(here.alice, "another")
    for target in (
        (other, place),  # the name of one, the place of another
        (Reference(here.bob.session.device_id, reference.client_id), place),
        (reference, MessageId(place + 1)),
        (reference, MessageId(1)),
        (reference, MessageId(ids.SNOWFLAKE_MAX)),
    ):
        frame = here.about(here.alice, target, Relation.EDIT, "forged")
        assert (await refusal(here.alice, frame)).code == errors.NO_SUCH_MESSAGE.code
    assert elsewhere > place


async def test_a_message_of_another_conversation_cannot_be_reached() -> None:
    here = await talk()
    carol = await here.world.online(await here.world.register("carol"))
    target = await here.say(here.alice, "to bob")
    elsewhere = await carol.open("bob")
    frame = carol.send(elsewhere, "👀", relation=Relation.REACTION, relates_to=target[0], target=target[1])
    assert (await refusal(carol, frame)).code == errors.NO_SUCH_MESSAGE.code


@pytest.mark.parametrize(
    "options",
    [
        {"relation": Relation.EDIT},
        {"relation": Relation.EDIT, "target": MessageId(5)},
        {"relates_to": Reference(ids.DeviceId(1), ids.client_id(bytes(8), 1))},
        {"target": MessageId(5)},
        {"relation": Relation.FORWARD, "target": MessageId(5)},
    ],
)
async def test_a_relation_names_its_target_and_nothing_else_does(options: dict[str, object]) -> None:
    here = await talk()
    frame = here.alice.send(here.conversation, "text", **options)
    assert (await refusal(here.alice, frame)).code == errors.INVALID.code


async def test_the_time_for_changes_ends() -> None:
    clock = FakeClock()
    here = await talk(clock=clock)
    target = await here.say(here.alice, "old")
    clock.advance(86_401)
    frame = here.about(here.alice, target, Relation.EDIT, "new")
    assert (await refusal(here.alice, frame)).code == errors.TOO_LATE.code
    here.about(here.alice, target, Relation.REACTION, "👍")
    await here.alice.expect(Sent)
    clock.advance(86_401)
    frame = here.about(here.alice, target, Relation.DELETE)
    assert (await refusal(here.alice, frame)).code == errors.TOO_LATE.code


async def test_what_is_gone_takes_no_more() -> None:
    here = await talk()
    target = await here.say(here.alice, "gone")
    here.about(here.alice, target, Relation.DELETE)
    await here.alice.expect(Sent)
    for relation, text in ((Relation.EDIT, "back"), (Relation.REACTION, "👍")):
        frame = here.about(here.alice, target, relation, text)
        assert (await refusal(here.alice, frame)).code == errors.NO_SUCH_MESSAGE.code


async def test_a_change_cannot_be_changed() -> None:
    here = await talk()
    target = await here.say(here.alice, "hello")
    frame = here.about(here.alice, target, Relation.EDIT, "hullo")
    sent = await here.alice.expect(Sent)
    edit = (Reference(here.alice.session.device_id, frame.client_id), sent.message_id)
    error = await refusal(here.alice, here.about(here.alice, edit, Relation.EDIT, "hallo"))
    assert error.code == errors.INVALID.code


async def test_a_message_takes_so_many_changes_and_a_delete_all_the_same() -> None:
    here = await talk(limits=Limits(receipt_delay_s=0.0, relations_per_message=3))
    target = await here.say(here.alice, "hello")
    for number in range(3):
        here.about(here.alice, target, Relation.EDIT, f"hello {number}")
        await here.alice.expect(Sent)
    error = await refusal(here.alice, here.about(here.alice, target, Relation.EDIT, "once more"))
    assert error.code == errors.TOO_LARGE.code
    here.about(here.alice, target, Relation.DELETE)
    await here.alice.expect(Sent)
    assert [message.relation for message in (await here.page(here.bob)).relations] == [Relation.DELETE]


async def test_a_page_is_cut_where_its_relations_are_too_many() -> None:
    here = await talk(limits=Limits(receipt_delay_s=0.0, page_relations=4))
    for number in range(6):
        target = await here.say(here.alice, f"message {number}")
        here.about(here.alice, target, Relation.REACTION, "👍")
        here.about(here.bob, target, Relation.REACTION, "🎉")
        await here.alice.expect(Sent)
        await here.bob.expect(Sent)
    seen: list[bytes] = []
    reactions = 0
    before = None
    while True:
        page = await here.page(here.bob, before=before)
        assert len(page.relations) <= 4
        seen = [item.message.content for item in page.items] + seen
        reactions += len(page.relations)
        if not page.more:
            break
        before = page.items[0].message.message_id
    assert seen == [f"message {number}".encode() for number in range(6)]
    assert reactions == 12


async def test_a_repeated_edit_is_accepted_once() -> None:
    here = await talk()
    target = await here.say(here.alice, "hello")
    frame = here.about(here.alice, target, Relation.EDIT, "hullo")
    first = await here.alice.expect(Sent)
    await here.alice.settle()
    frame.attempt = 2
    here.alice.say(frame)
    again = await here.alice.expect(Sent)
    assert again.message_id == first.message_id
    assert len((await here.page(here.bob)).relations) == 1


async def test_content_needs_a_type_and_a_delete_has_none() -> None:
    here = await talk()
    target = await here.say(here.alice, "hello")
    frame = here.about(here.alice, target, Relation.DELETE, "content")
    assert (await refusal(here.alice, frame)).code == errors.INVALID.code
    bare = frames.Send(ids.client_id(b"12345678", 1), 1, here.conversation, 1, 0, 0, "", b"x")
    here.alice.say(bare)
    assert (await refusal(here.alice, bare)).code == errors.INVALID.code
