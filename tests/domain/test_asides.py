"""ASK and KEYS: to whom they go, and that they are nowhere but in inboxes."""

import pytest

from keyed import Sealed, sealed
from tidings.protocol import errors, frames
from tidings.protocol.errors import ErrorKind
from tidings.protocol.frames import (
    AnswerRequest,
    Deliver,
    Error,
    GroupAction,
    History,
    Ok,
    Page,
    Receipt,
    Reference,
    Relation,
    Scheme,
    Send,
    Sent,
    Set,
    SettingKind,
)
from tidings.protocol.ids import ClientId, DeviceId, MessageId
from tidings.protocol.limits import Limits
from tidings.store.schema import INBOX, MESSAGES, RELATIONS, WATERMARKS
from tidings.testing.world import Device

Target = tuple[Reference, MessageId]


async def written(here: Sealed, device: Device, *names: DeviceId, **options: object) -> Target:
    """A sealed message; how to refer to it."""
    frame = here.send(device, await here.look(device), *names, **options)
    sent = await device.expect(Sent)
    return Reference(device.session.device_id, frame.client_id), sent.message_id


def ask(here: Sealed, device: Device, target: Target, text: str = "", **options: object) -> Send:
    about: dict[str, object] = {
        "relation": Relation.ASK,
        "relates_to": target[0],
        "target": target[1],
        "content_type": "",
        "scheme": Scheme.DIRECT,
    }
    return device.send(here.chat, text, **{**about, **options})


def keys(here: Sealed, device: Device, target: Target, *names: DeviceId, **options: object) -> Send:
    envelopes = {name: b"again for %d" % name for name in names}
    return ask(here, device, target, **{"relation": Relation.KEYS, "envelopes": envelopes, **options})


async def refusal(device: Device, frame: Send) -> ErrorKind:
    error = await device.expect(Error, lambda error: error.client_id == frame.client_id)
    return errors.REGISTRY[error.code]


def delivers(left: list[frames.ServerFrame]) -> list[Deliver]:
    return [frame for frame in left if isinstance(frame, Deliver)]


async def test_who_cannot_read_a_message_asks_its_author_and_is_answered() -> None:
    here = await sealed()
    laptop = await here.alice.login()
    tablet = await here.bob.login()
    second = await here.world.online(laptop.account)
    reader = await here.world.online(tablet.account)
    target = await written(
        here, here.phone, here.bob.devices[0].device_id, laptop.device_id, tablet.device_id
    )
    for device in (here.other, reader, second):
        await device.expect(Deliver)
    asked = ask(here, reader, target, "id")
    sent = await reader.expect(Sent)
    for device in (here.phone, second):
        deliver = await device.expect(Deliver)
        assert (deliver.message.relation, deliver.message.content) == (Relation.ASK, b"id")
        assert (deliver.message.message_id, deliver.message.relates_to) == (sent.message_id, target[0])
        assert deliver.message.client_id == asked.client_id
    assert delivers(await here.other.settle()) == []
    keys(here, here.phone, target, tablet.device_id)
    await here.phone.expect(Sent)
    answer = await reader.expect(Deliver)
    assert (answer.message.relation, answer.envelope) == (Relation.KEYS, b"again for %d" % tablet.device_id)
    assert delivers(await second.settle()) == [], "it is no device of hers that lacks it"


async def test_an_author_who_has_left_the_group_is_asked_for_nothing() -> None:
    here = await sealed()
    made = await here.phone.ask(
        lambda n: frames.CreateGroup(
            n, ClientId(b"n" * 16), scheme=Scheme.SENDER_KEY, info=b"Family", users=[here.bob.user_id]
        ),
        frames.Conversation,
    )
    group = made.conversation_id
    sealed_so = {"scheme": Scheme.SENDER_KEY, "keys_at": await here.look(), "version": 1}
    frame = here.other.send(group, "said", **sealed_so)
    sent = await here.other.expect(Sent)
    about = Reference(here.other.session.device_id, frame.client_id)

    async def asked() -> list[Deliver]:
        here.phone.send(
            group,
            "",
            version=2,
            relation=Relation.ASK,
            relates_to=about,
            target=sent.message_id,
            content_type="",
        )
        await here.phone.expect(Sent)
        left = delivers(await here.other.settle())
        return [one for one in left if one.message.relation == Relation.ASK]

    assert len(await asked()) == 1
    await here.other.ask(lambda n: frames.ChangeGroup(n, group, GroupAction.LEAVE), Ok)
    assert await asked() == []


async def test_keys_go_to_ones_own_other_devices_too() -> None:
    here = await sealed()
    target = await written(here, here.phone, here.bob.devices[0].device_id)
    await here.other.expect(Deliver)
    laptop = await here.alice.login()
    second = await here.world.online(laptop.account)
    keys(here, here.phone, target, laptop.device_id)
    await here.phone.expect(Sent)
    assert (await second.expect(Deliver)).envelope == b"again for %d" % laptop.device_id
    assert delivers(await here.other.settle()) == []


async def test_they_are_nowhere_but_in_inboxes() -> None:
    here = await sealed()
    target = await written(here, here.phone, here.bob.devices[0].device_id)
    await here.other.expect(Deliver)
    here.other.ack()
    await here.phone.expect(Receipt)
    before = [len(await here.store.scan(table, limit=99)) for table in (MESSAGES, RELATIONS)]
    marks = await here.store.scan(WATERMARKS, limit=9)
    ask(here, here.other, target)
    await here.other.expect(Sent)
    assert (await here.phone.expect(Deliver)).message.silent
    here.phone.ack()
    keys(here, here.phone, target, here.bob.devices[0].device_id)
    await here.phone.expect(Sent)
    await here.other.expect(Deliver)
    here.other.ack()
    await here.world.services.commit.barrier()
    assert [len(await here.store.scan(table, limit=99)) for table in (MESSAGES, RELATIONS)] == before
    assert await here.store.scan(WATERMARKS, limit=9) == marks
    for device in (here.phone, here.other):
        left = await device.settle()
        assert not [frame for frame in left if isinstance(frame, Receipt)]
        page = await device.ask(lambda n: History(n, here.chat), Page)
        assert [item.message.message_id for item in page.items] == [target[1]]
        assert page.relations == []
        (summary,) = (await device.ask(frames.Conversations, frames.ConversationList)).items
        assert summary.newest == target[1]
        assert summary.unread <= 1
    conversation = here.world.services.conversations.cached(here.chat)
    assert conversation is not None
    assert conversation.newest == target[1]


async def test_who_was_away_gets_them_from_the_inbox_and_they_are_acknowledged() -> None:
    here = await sealed()
    target = await written(here, here.phone, here.bob.devices[0].device_id)
    here.phone.drop()
    ask(here, here.other, target)
    await here.other.expect(Sent)
    back = await here.world.online(here.alice.account)
    assert (await back.expect(Deliver)).message.relation == Relation.ASK
    back.ack()
    await back.settle()
    back.drop()
    await here.world.services.commit.barrier()
    again = await here.world.online(here.alice.account)
    assert delivers(await again.settle()) == []


async def test_they_are_accepted_once() -> None:
    here = await sealed()
    target = await written(here, here.phone, here.bob.devices[0].device_id)
    first = ask(here, here.other, target)
    at_once = {"client_id": first.client_id, "attempt": 2}
    ask(here, here.other, target, **at_once)
    answers = [(await here.other.expect(Sent)).message_id for _ in range(2)]
    await here.other.settle()
    ask(here, here.other, target, **at_once | {"attempt": 3})
    answers.append((await here.other.expect(Sent)).message_id)
    assert len(set(answers)) == 1
    assert len(delivers(await here.phone.settle())) == 1


@pytest.mark.parametrize("how", ["deleted", "expired", "erased"])
async def test_of_what_is_gone_nobody_asks_or_tells(how: str) -> None:
    here = await sealed()
    ends = here.world.clock.wall_ms() + 60_000 if how != "deleted" else None
    phone = here.bob.devices[0].device_id
    target = await written(here, here.phone, phone, expires_at=ends)
    if how == "deleted":
        gone = {"relation": Relation.DELETE, "relates_to": target[0], "target": target[1]}
        here.phone.send(here.chat, "", content_type="", **gone)
        await here.phone.expect(Sent)
    else:
        here.world.clock.advance(61)
    if how == "erased":
        await here.world.services.eraser.sweep(here.world.services.ids.now_ms())
    assert await refusal(here.other, ask(here, here.other, target)) is errors.NO_SUCH_MESSAGE
    assert await refusal(here.phone, keys(here, here.phone, target, phone)) is errors.NO_SUCH_MESSAGE


async def test_what_vanishes_takes_them_along() -> None:
    here = await sealed()
    ends = here.world.clock.wall_ms() + 60_000
    target = await written(here, here.phone, here.bob.devices[0].device_id, expires_at=ends)
    here.phone.drop()
    ask(here, here.other, target)
    await here.other.expect(Sent)
    here.world.clock.advance(61)
    back = await here.world.online(here.alice.account)
    assert delivers(await back.settle()) == []


async def test_bad_ones_are_refused() -> None:
    here = await sealed()
    phone, bobs = here.alice.devices[0].device_id, here.bob.devices[0].device_id
    target = await written(here, here.phone, bobs)
    nowhere = (target[0], MessageId(target[1] + 1))
    other_name = (Reference(DeviceId(3), target[0].client_id), target[1])
    wrong = [
        (here.other, ask(here, here.other, target, "x" * 65), errors.TOO_LARGE),
        (here.other, ask(here, here.other, nowhere), errors.NO_SUCH_MESSAGE),
        (here.other, ask(here, here.other, other_name), errors.NO_SUCH_MESSAGE),
        (here.other, ask(here, here.other, target, envelopes={phone: b"x"}), errors.INVALID),
        (here.other, ask(here, here.other, target, relates_to=None), errors.INVALID),
        (here.other, keys(here, here.other, target, phone), errors.NOT_YOURS),
        (here.phone, keys(here, here.phone, target), errors.INVALID),
        (here.phone, keys(here, here.phone, target, DeviceId(5)), errors.INVALID),
        (here.phone, keys(here, here.phone, target, bobs, content=bytes(65)), errors.TOO_LARGE),
    ]
    for device, frame, kind in wrong:
        assert await refusal(device, frame) is kind
    assert len(await here.store.scan(INBOX, limit=9)) == 1


async def test_edits_may_be_asked_for_as_well() -> None:
    here = await sealed()
    bobs = here.bob.devices[0].device_id
    target = await written(here, here.phone, bobs)
    edit = await written(
        here, here.phone, bobs, relation=Relation.EDIT, relates_to=target[0], target=target[1]
    )
    ask(here, here.other, edit)
    await here.other.expect(Sent)
    assert (await here.phone.expect(Deliver)).message.target == edit[1]


async def test_keys_for_a_device_that_is_gone_reach_nobody() -> None:
    here = await sealed()
    tablet = await here.bob.login()
    target = await written(here, here.phone, here.bob.devices[0].device_id, tablet.device_id)
    await here.other.expect(Deliver)
    await here.world.services.account_rules.devices.revoke(here.bob.user_id, tablet.device_id)
    keys(here, here.phone, target, tablet.device_id)
    await here.phone.expect(Sent)
    assert delivers(await here.other.settle()) == []
    assert [row for row in await here.store.scan(INBOX, limit=9) if row.kind == 2] == []


async def test_who_is_blocked_reaches_nobody_this_way_either() -> None:
    here = await sealed()
    target = await written(here, here.phone, here.bob.devices[0].device_id)
    await here.other.expect(Deliver)
    await here.phone.ask(lambda n: Set(n, SettingKind.BLOCK, str(here.bob.user_id), b"1"), Ok)
    ask(here, here.other, target)
    await here.other.expect(Sent)
    assert delivers(await here.phone.settle()) == []


async def test_who_has_not_let_the_other_in_hears_and_says_nothing() -> None:
    here = await sealed(strangers="request")
    bobs = here.bob.devices[0].device_id
    target = await written(here, here.phone, bobs)
    assert await refusal(here.other, ask(here, here.other, target)) is errors.NO_SUCH_MESSAGE
    keys(here, here.phone, target, bobs)
    await here.phone.expect(Sent)
    assert delivers(await here.other.settle()) == []
    await here.other.ask(lambda n: AnswerRequest(n, here.chat, True), Ok)
    assert [deliver.message.relation for deliver in delivers(await here.other.settle())] == [0]
    ask(here, here.other, target)
    await here.other.expect(Sent)


async def test_they_count_towards_a_quota() -> None:
    here = await sealed(limits=Limits(receipt_delay_s=0))
    target = await written(here, here.phone, here.bob.devices[0].device_id)
    await here.world.services.accounts.quota(here.bob.user_id, 1, 0)
    ask(here, here.other, target)
    await here.other.expect(Sent)
    assert await refusal(here.other, ask(here, here.other, target)) is errors.QUOTA
