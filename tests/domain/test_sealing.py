"""Sealed messages: for whom they must be, when they are to be sealed again, and who lacks the key."""

import pytest

from keyed import Person, Sealed, keys_at, person, sealed
from tidings.protocol import errors, frames
from tidings.protocol.errors import ErrorKind
from tidings.protocol.frames import (
    AnswerRequest,
    Deliver,
    DevicesChanged,
    Error,
    GroupAction,
    History,
    Ok,
    Page,
    Reference,
    Relation,
    Scheme,
    Send,
    Sent,
)
from tidings.protocol.ids import ClientId, DeviceId, EntryId, MessageId
from tidings.protocol.limits import Limits
from tidings.store.contract import Erase, Row, Table
from tidings.store.memory import MemoryStore, Tables
from tidings.store.schema import HEADS, INBOX, MESSAGES, SENDS, MessageRow
from tidings.testing.torn import Torn
from tidings.testing.world import Device, World


async def refusal(device: Device, frame: Send) -> ErrorKind:
    error = await device.expect(Error, lambda error: error.client_id == frame.client_id)
    return errors.REGISTRY[error.code]


def bobs(here: Sealed) -> DeviceId:
    return here.bob.devices[0].device_id


async def accepted(here: Sealed, **options: object) -> Sent:
    """A sealed message of alice to bob's phone."""
    here.send(here.phone, await here.look(), bobs(here), **options)
    return await here.phone.expect(Sent)


# --- envelopes --------------------------------------------------------------------------------


async def test_each_device_gets_the_envelope_that_is_for_it() -> None:
    here = await sealed()
    tablet = await here.bob.login()
    second = await here.alice.login()
    devices = [await here.world.online(keyed.account) for keyed in (tablet, second)]
    here.send(here.phone, await here.look(), bobs(here), tablet.device_id, second.device_id)
    assert (await here.phone.expect(Sent)).missing == []
    for device in (here.other, *devices):
        deliver = await device.expect(Deliver)
        assert deliver.envelope == b"key for %d" % device.session.device_id
        assert (deliver.message.scheme, deliver.message.content) == (Scheme.DIRECT, b"sealed")
    page = await here.other.ask(lambda n: History(n, here.chat), Page)
    assert [item.message.content for item in page.items] == [b"sealed"]


async def test_a_device_that_was_away_gets_its_envelope_from_the_inbox() -> None:
    here = await sealed()
    here.other.drop()
    await accepted(here)
    back = await here.world.online(here.bob.account)
    assert (await back.expect(Deliver)).envelope == b"key for %d" % bobs(here)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"envelopes": {}}, errors.INVALID),
        ({"envelopes": {DeviceId(77): b"key"}}, errors.INVALID),
        ({"scheme": Scheme.SENDER_KEY}, errors.INVALID),
        ({"scheme": Scheme.MLS}, errors.INVALID),
        ({"scheme": Scheme.PLAIN}, errors.INVALID),
    ],
    ids=["none", "a foreign device", "sender keys", "mls", "plain with envelopes"],
)
async def test_what_is_not_for_the_two_is_refused(options: dict[str, object], kind: ErrorKind) -> None:
    here = await sealed()
    frame = here.send(here.phone, await here.look(), bobs(here), **options)
    assert await refusal(here.phone, frame) is kind
    here.send(here.phone, await here.look(), bobs(here))
    await here.phone.expect(Sent)
    assert len(await here.store.scan(MESSAGES, limit=9)) == 1


async def test_bounds_of_envelopes_hold() -> None:
    here = await sealed(limits=Limits(receipt_delay_s=0, envelopes=1, envelope_bytes=30))
    seen = await here.look()
    frame = here.send(here.phone, seen, bobs(here), here.alice.devices[0].device_id)
    assert await refusal(here.phone, frame) is errors.TOO_LARGE
    frame = here.send(here.phone, seen, envelopes={bobs(here): bytes(31)})
    assert await refusal(here.phone, frame) is errors.TOO_LARGE


async def test_a_third_persons_device_is_foreign_and_the_own_one_needs_nothing() -> None:
    here = await sealed()
    carol = await person(here.world, "carol", 3)
    seen = await here.look()
    frame = here.send(here.phone, seen, bobs(here), carol.devices[0].device_id)
    assert await refusal(here.phone, frame) is errors.INVALID
    here.send(here.phone, seen, bobs(here), here.alice.devices[0].device_id)
    await here.phone.expect(Sent)


async def test_where_nobody_but_the_sender_is_listed_nothing_needs_to_be_sealed_for() -> None:
    here = await sealed()
    dave = await here.world.online(await here.world.register("dave"))
    here.chat = await here.phone.open("dave")
    here.send(here.phone, await here.look())
    assert (await here.phone.expect(Sent)).missing == []
    assert (await dave.expect(Deliver)).envelope is None


async def test_the_only_device_being_gone_is_as_good_as_none() -> None:
    here = await sealed()
    await here.world.login("bob")
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, bobs(here))
    here.send(here.phone, await here.look())
    await here.phone.expect(Sent)


# --- removed and added ------------------------------------------------------------------------


async def test_behind_a_removal_it_is_sealed_again_and_accepted_once() -> None:
    here = await sealed()
    tablet = await here.bob.login()
    seen = await here.look()
    here.bob.devices.remove(tablet)
    await here.bob.sign()
    frame = here.send(here.phone, seen, bobs(here), tablet.device_id)
    changed = await here.phone.expect(DevicesChanged)
    assert changed.client_id == frame.client_id
    assert {told.user_id for told in changed.lists} == {here.alice.user_id, here.bob.user_id}
    assert await here.store.scan(MESSAGES, limit=9) == []
    again = {"client_id": frame.client_id, "attempt": 2}
    here.send(here.phone, changed.keys_at, bobs(here), text="again", **again)
    sent = await here.phone.expect(Sent)
    assert (await here.other.expect(Deliver)).message.content == b"again"
    here.send(here.phone, changed.keys_at, bobs(here), text="again", **again | {"attempt": 3})
    assert (await here.phone.expect(Sent)).message_id == sent.message_id
    assert len(await here.store.scan(MESSAGES, limit=9)) == 1


async def test_a_removal_of_ones_own_device_counts_too() -> None:
    here = await sealed()
    tablet = await here.alice.login()
    seen = await here.look()
    await here.world.services.account_rules.devices.revoke(here.alice.user_id, tablet.device_id)
    here.send(here.phone, seen, bobs(here))
    (told,) = [
        told for told in (await here.phone.expect(DevicesChanged)).lists if told.user_id == here.alice.user_id
    ]
    assert told.gone == [tablet.device_id]


async def test_plain_messages_do_not_care() -> None:
    here = await sealed()
    tablet = await here.bob.login()
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
    here.phone.send(here.chat, "plain")
    await here.phone.expect(Sent)


async def test_devices_that_were_added_since_are_named_until_they_have_the_key() -> None:
    here = await sealed()
    seen = await here.look()
    tablet = await here.bob.login()
    second = await here.alice.login()
    unlisted = await here.bob.publish(await here.world.login("bob"))
    frame = here.send(here.phone, seen, bobs(here))
    missing = (await here.phone.expect(Sent)).missing
    assert missing == sorted([tablet.device_id, second.device_id])
    assert unlisted.device_id not in missing
    # The same answer to the same message, and none for who has it.
    await here.phone.settle()
    here.send(here.phone, seen, bobs(here), client_id=frame.client_id, attempt=2)
    assert (await here.phone.expect(Sent)).missing == missing
    here.send(here.phone, seen, bobs(here), tablet.device_id, second.device_id)
    assert (await here.phone.expect(Sent)).missing == []
    here.world.clock.advance(11)
    here.send(here.phone, await here.look(), bobs(here))
    assert (await here.phone.expect(Sent)).missing == [], "who looks afterwards has chosen"


async def test_who_joined_after_a_message_is_not_named_when_it_comes_again() -> None:
    """It is not for them: with its key they would read it, wherever they got it from."""
    here = await sealed()
    carol = await person(here.world, "carol", 3)
    made = await here.phone.ask(
        lambda n: frames.CreateGroup(
            n, ClientId(b"n" * 16), scheme=Scheme.SENDER_KEY, info=b"Family", users=[here.bob.user_id]
        ),
        frames.Conversation,
    )
    group = made.conversation_id
    here.world.clock.advance(11)  # lists are of then at most
    sealed_so = {"scheme": Scheme.SENDER_KEY, "keys_at": await here.look(), "version": 1}
    frame = here.phone.send(group, "before", **sealed_so)
    assert (await here.phone.expect(Sent)).missing == []
    await here.phone.ask(lambda n: frames.ChangeGroup(n, group, GroupAction.ADD, users=[carol.user_id]), Ok)
    here.phone.send(group, "before", **sealed_so, client_id=frame.client_id, attempt=2)
    assert (await here.phone.expect(Sent)).missing == []
    here.phone.send(group, "after", **sealed_so)
    assert (await here.phone.expect(Sent)).missing == [carol.devices[0].device_id]


async def test_a_device_that_is_gone_is_not_missing() -> None:
    here = await sealed()
    seen = await here.look()
    tablet = await here.bob.login()
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
    here.send(here.phone, seen, bobs(here))
    changed = await here.phone.expect(DevicesChanged)
    here.send(here.phone, changed.keys_at, bobs(here))
    assert (await here.phone.expect(Sent)).missing == []


async def test_an_edit_is_judged_as_any_message() -> None:
    here = await sealed()
    frame = here.send(here.phone, await here.look(), bobs(here))
    sent = await here.phone.expect(Sent)
    seen = await here.look()
    tablet = await here.bob.login()
    about = {
        "relation": Relation.EDIT,
        "relates_to": Reference(here.phone.session.device_id, frame.client_id),
        "target": sent.message_id,
    }
    assert await refusal(here.phone, here.send(here.phone, seen, **about)) is errors.INVALID
    here.send(here.phone, seen, bobs(here), **about)
    assert (await here.phone.expect(Sent)).missing == [tablet.device_id]
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
    here.send(here.phone, seen, bobs(here), **about)
    await here.phone.expect(DevicesChanged)
    # That it is deleted needs no key.
    here.phone.send(here.chat, "", **{**about, "relation": Relation.DELETE, "content_type": ""})
    await here.phone.expect(Sent)


# --- the scheme -------------------------------------------------------------------------------


async def test_a_conversations_scheme_never_falls() -> None:
    here = await sealed()
    here.phone.send(here.chat, "plain")
    await here.phone.expect(Sent)
    await accepted(here)
    for device in (here.phone, here.other):
        assert await refusal(device, device.send(here.chat, "plain")) is errors.SCHEME_FELL
    # Also for a node that was started anew.
    await here.world.services.commit.barrier()
    world = await World.start(MemoryStore(here.tables), clock=here.world.clock)
    phone = await world.online(here.alice.account)
    assert await refusal(phone, phone.send(here.chat, "plain")) is errors.SCHEME_FELL


async def test_the_mark_of_the_scheme_is_durable_with_the_first_sealed_message() -> None:
    faults = Torn(HEADS)
    tables = Tables()
    world = await World.start(MemoryStore(tables, faults=faults))
    alice, bob = await person(world, "alice", 1), await person(world, "bob", 2)
    phone = await world.online(alice.account)
    here = Sealed(world, tables, alice, bob, (phone, await world.online(bob.account)))
    here.chat = await phone.open("bob")
    faults.is_due = True
    frame = here.send(phone, await here.look(), bobs(here))
    assert await refusal(phone, frame) is errors.STORE_FAILED
    await accepted(here)
    head = await here.store.get(HEADS, (here.chat,))
    assert head is not None
    assert head.scheme == Scheme.DIRECT


# --- requests, blocks, erasing ------------------------------------------------------------------


async def rows_of(here: Sealed) -> list[MessageRow]:
    await here.world.services.commit.barrier()
    return await here.store.scan(MESSAGES, limit=99)


async def test_who_is_let_in_later_gets_the_keys_too_and_the_log_keeps_none() -> None:
    here = await sealed(strangers="request")
    await accepted(here)
    assert [row.envelopes for row in await rows_of(here)] == [{bobs(here): b"key for %d" % bobs(here)}]
    await here.other.ask(lambda n: AnswerRequest(n, here.chat, True), Ok)
    assert (await here.other.expect(Deliver)).envelope == b"key for %d" % bobs(here)
    assert [row.envelopes for row in await rows_of(here)] == [{}]
    await accepted(here)
    assert [row.envelopes for row in await rows_of(here)] == [{}, {}]


@pytest.mark.parametrize("table", [INBOX, MESSAGES], ids=lambda table: table.name)
async def test_what_is_let_in_by_half_keeps_its_keys(table: Table[Row]) -> None:
    tables, faults = Tables(), Torn(table)
    world = await World.start(MemoryStore(tables, faults=faults), strangers="request")
    alice, bob = await person(world, "alice", 1), await person(world, "bob", 2)
    phones = await world.online(alice.account), await world.online(bob.account)
    here = Sealed(world, tables, alice, bob, phones)
    here.chat = await here.phone.open("bob")
    await accepted(here)
    faults.is_due = True
    here.other.say(AnswerRequest(1, here.chat, True))
    assert (await here.other.expect(Error)).code == errors.STORE_FAILED.code
    world = await World.start(MemoryStore(tables), clock=world.clock, strangers="request")
    other = await world.online(bob.account)
    await other.ask(lambda n: AnswerRequest(n, here.chat, True), Ok)
    assert (await other.expect(Deliver)).envelope == b"key for %d" % bobs(here)


async def test_what_is_refused_is_announced_to_nobody() -> None:
    here = await sealed(strangers="request")
    tablet = await here.bob.login()
    seen = await here.look()
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
    here.send(here.phone, seen, bobs(here))
    await here.phone.expect(DevicesChanged)
    assert await refusal(here.phone, here.send(here.phone, await here.look())) is errors.INVALID
    told = await here.other.ask(lambda n: frames.Sync(n, 0), frames.Synced)
    assert [setting for setting in told.settings if setting.kind == frames.SettingKind.REQUEST] == []


async def test_what_waits_loses_its_keys_when_it_is_deleted() -> None:
    here = await sealed(strangers="request")
    frame = here.send(here.phone, await here.look(), bobs(here))
    sent = await here.phone.expect(Sent)
    about = Reference(here.phone.session.device_id, frame.client_id)
    gone = {"relation": Relation.DELETE, "relates_to": about, "target": sent.message_id, "content_type": ""}
    here.phone.send(here.chat, "", **gone)
    await here.phone.expect(Sent)
    assert all(not row.envelopes for row in await rows_of(here))


@pytest.mark.parametrize("how", ["deleted", "expired"])
async def test_with_a_message_go_its_envelopes(how: str) -> None:
    here = await sealed()
    tablet = await here.alice.login()
    ends = here.world.clock.wall_ms() + 60_000 if how == "expired" else None
    frame = here.send(here.phone, await here.look(), bobs(here), tablet.device_id, expires_at=ends)
    sent = await here.phone.expect(Sent)
    assert len([row for row in await here.store.scan(INBOX, limit=99) if row.envelopes]) == 2
    if how == "deleted":
        about = Reference(here.phone.session.device_id, frame.client_id)
        gone = {"relation": Relation.DELETE, "relates_to": about, "target": sent.message_id}
        here.phone.send(here.chat, "", content_type="", **gone)
        await here.phone.expect(Sent)
    else:
        here.world.clock.advance(61)
        assert await here.world.services.eraser.sweep(here.world.services.ids.now_ms()) == 1
    assert [row for row in await here.store.scan(INBOX, limit=99) if row.envelopes] == []


async def test_a_twin_keeps_its_envelopes() -> None:
    here = await sealed()
    seen = await here.look()
    frame = here.send(here.phone, seen, bobs(here))
    first = await here.phone.expect(Sent)
    await here.phone.settle()
    for row in await here.store.scan(SENDS, limit=9):
        await here.store.write([Erase(SENDS, SENDS.key_of(row), row.message_id + 1)])
    here.send(here.phone, seen, bobs(here), client_id=frame.client_id, attempt=2)
    assert (await here.phone.expect(Sent)).message_id > first.message_id
    assert [(await here.other.expect(Deliver)).envelope for _ in range(2)] == [b"key for %d" % bobs(here)] * 2


async def test_what_the_fast_path_takes_needs_no_read() -> None:
    here = await sealed()
    await accepted(here)
    services, user = here.world.services, here.phone.session.known_user
    conversation = services.conversations.cached(here.chat)
    assert conversation is not None
    frame = here.send(here.phone, EntryId(services.ids.last), bobs(here))
    assert services.messages.is_ready(user, DeviceId(5), conversation, frame)
    await here.bob.login()
    assert not services.messages.is_ready(user, DeviceId(5), conversation, frame), "bob's list has changed"


async def test_two_users_without_lists_still_talk() -> None:
    world = await World.start()
    carol = await world.online(await world.register("carol"))
    dave = await world.online(await world.register("dave"))
    chat = await carol.open("dave")
    seen = await keys_at(carol, dave.session.known_user.user_id)
    carol.send(chat, "x", scheme=Scheme.DIRECT, keys_at=seen)
    sent = await carol.expect(Sent)
    assert sent.missing == []
    assert isinstance(sent.message_id, int)
    assert (await dave.expect(Deliver)).message.message_id == MessageId(sent.message_id)


async def test_a_person_may_have_as_many_devices_as_a_list_holds() -> None:
    world = await World.start(limits=Limits(receipt_delay_s=0, devices_per_user=3))
    erin = Person(world, await world.register("erin"), 4)
    await erin.add()
    await erin.login()
    await erin.login()
    phone = await world.online(erin.account)
    answer = await phone.ask(lambda n: frames.Devices(n, [erin.user_id]), frames.DeviceLists)
    assert len(answer.lists) == 1
