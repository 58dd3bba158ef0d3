"""Groups: made, changed, joined and left; who may do what, and who is told of what."""

import asyncio
import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from tidings.domain.group_changes import planned
from tidings.domain.rosters import Roster, Rosters, revised
from tidings.protocol import errors, frames
from tidings.protocol.api import LoggedIn, Proof
from tidings.protocol.errors import ErrorKind
from tidings.protocol.frames import (
    CHANGE_TYPE,
    ChangeGroup,
    CreateGroup,
    Deliver,
    Error,
    Group,
    GroupAction,
    GroupChange,
    GroupPreview,
    GroupRole,
    GroupRules,
    History,
    Join,
    Joined,
    LookInside,
    MemberPage,
    Members,
    Ok,
    Page,
    Reference,
    Relation,
    Sent,
    Set,
    SettingKind,
    Tallies,
    Tally,
)
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, UserId
from tidings.protocol.limits import Limits, Rate
from tidings.store.contract import Batch, Put, StoreFull, StoreUnavailable
from tidings.store.memory import MemoryStore
from tidings.store.schema import MEMBERSHIPS, MESSAGES, ROSTERS, SUBSCRIBERS, InboxRow, share_of
from tidings.testing.clock import FakeClock
from tidings.testing.world import PASSWORD, Device, World

CODE = b"an invite code"
HASH = hashlib.sha256(CODE).digest()
FAST = Limits(receipt_delay_s=0.0, tally_delay_s=0.0, tally_delay_most_s=0.0)


async def people(count: int, *, limits: Limits = FAST, **options: object) -> tuple[World, list[Device]]:
    """So many, all online; the first is Alice."""
    world = await World.start(limits=limits, **options)  # type: ignore[arg-type]
    names = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"]
    names += [f"guest{number}" for number in range(count)]
    return world, [await world.online(await world.register(name)) for name in names[:count]]


def user(device: Device) -> UserId:
    return UserId(int(device.account.user_id))


def device_id(device: Device) -> DeviceId:
    return DeviceId(int(device.account.device_id))


async def group_of(maker: Device, others: Iterable[Device], **options: object) -> ConversationId:
    """A group that everybody has heard of."""
    made = await create(maker, others, **options)
    for one in (maker, *others):
        assert (await change_seen(one)).action == GroupAction.CREATE
    return made.conversation_id


async def create(maker: Device, others: Iterable[Device], **options: object) -> frames.Conversation:
    users = [user(other) for other in others]
    values: dict[str, object] = {"nonce": ClientId(b"n" * 16), "info": b"Family", "users": users, **options}
    return await maker.ask(lambda n: CreateGroup(n, **values), frames.Conversation)  # type: ignore[arg-type]


async def change_seen(device: Device) -> GroupChange:
    """The next change that a device is told of."""
    told = await device.expect(Deliver, lambda one: one.message.content_type == CHANGE_TYPE)
    assert told.message.sender_device == 0
    return msgspec.msgpack.decode(told.message.content, type=GroupChange)


async def change(device: Device, group: ConversationId, action: GroupAction, **fields: object) -> None:
    await device.ask(lambda n: ChangeGroup(n, group, action, **fields), Ok)  # type: ignore[arg-type]


async def refused(
    device: Device, kind: ErrorKind, group: ConversationId, action: GroupAction, **fields: object
) -> None:
    error = await device.ask(lambda n: ChangeGroup(n, group, action, **fields), Error)  # type: ignore[arg-type]
    assert error.code == kind.code, error


async def described(device: Device, group: ConversationId) -> tuple[frames.Conversation, Group]:
    found = await device.ask(lambda n: frames.Describe(n, group), frames.Conversation)
    assert found.group is not None
    return found, found.group


async def roles(device: Device, group: ConversationId) -> dict[str, int]:
    found, _ = await described(device, group)
    return {member.handle: member.role for member in found.members}


async def say(device: Device, group: ConversationId, text: str, **options: object) -> Sent:
    device.send(group, text, **options)
    return await device.expect(Sent)


async def has(device: Device, text: str) -> Deliver:
    return await device.expect(Deliver, lambda one: one.message.content == text.encode())


# --- making and talking ---------------------------------------------------------------------


async def test_a_group_is_made_and_all_hear_what_is_said() -> None:
    _, (alice, bob, carol) = await people(3)
    made = await create(alice, [bob, carol])
    assert made.group is not None
    assert (made.kind, made.version, made.group.count, made.group.info) == (2, 1, 3, b"Family")
    assert await roles(bob, made.conversation_id) == {"alice": 2, "bob": 0, "carol": 0}
    for device in (alice, bob, carol):
        told = await change_seen(device)
        assert (told.version, told.users) == (1, [user(bob), user(carol)])
    await say(bob, made.conversation_id, "hello")
    for device in (alice, carol):
        assert (await has(device, "hello")).message.version == 1


async def test_a_group_that_is_asked_for_again_is_the_same_one() -> None:
    _, (alice, bob) = await people(2)
    first = await create(alice, [bob])
    again = await create(alice, [bob])
    assert again.conversation_id == first.conversation_id
    other = await create(alice, [bob], nonce=ClientId(b"m" * 16))
    assert other.conversation_id != first.conversation_id
    by_bob = await create(bob, [alice])
    assert by_bob.conversation_id != first.conversation_id


async def test_a_group_is_listed_with_what_is_new_in_it() -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    await say(alice, group, "one")
    await say(alice, group, "two")
    listed = await bob.ask(frames.Conversations, frames.ConversationList)
    (item,) = listed.items
    assert item.group is not None
    assert (item.conversation_id, item.unread, item.members, item.group.info) == (group, 2, [], b"Family")


async def test_an_outsider_finds_no_group() -> None:
    _, (alice, bob, eve) = await people(3)
    group = await group_of(alice, [bob])
    eve.send(group, "let me in")
    assert (await eve.expect(Error)).code == errors.NO_SUCH_CONVERSATION.code
    for make in (
        lambda n: frames.Describe(n, group),
        lambda n: History(n, group),
        lambda n: Members(n, group),
        lambda n: Tally(n, group, []),
        lambda n: frames.Read(n, group, 5),
        lambda n: ChangeGroup(n, group, GroupAction.ADD, [user(eve)]),
        lambda n: ChangeGroup(n, group, GroupAction.LEAVE),
    ):
        assert (await eve.ask(make, Error)).code == errors.NO_SUCH_CONVERSATION.code
    left = [*await alice.settle(), *await bob.settle()]
    assert not [frame for frame in left if isinstance(frame, Deliver)]


async def test_each_of_many_members_finds_a_message_in_their_inbox() -> None:
    world, everybody = await people(8)
    alice, *others = everybody
    group = await group_of(alice, others)
    for other in others:
        other.ack()
        await other.settle()
        other.drop()
    await say(alice, group, "while you were away")
    for other in others:
        again = await world.online(other.account)
        assert await again.texts(1) == ["while you were away"]


async def test_a_change_comes_to_who_is_there_whatever_is_said_meanwhile() -> None:
    _, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob, carol])
    for number in range(20):
        alice.say(ChangeGroup(number, group, GroupAction.INFO, info=b"%d" % number))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        bob.send(group, f"{number}", version=1)
        told = await change_seen(carol)
        assert (told.version, told.info) == (number + 2, b"%d" % number)
        await has(carol, f"{number}")
        carol.ack()


# --- rights ---------------------------------------------------------------------------------


async def test_members_come_and_go_and_get_what_was_said_while_they_were_in() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await say(alice, group, "before")
    await change(alice, group, GroupAction.ADD, users=[user(carol)])
    assert (await change_seen(carol)).users == [user(carol)]
    await say(bob, group, "while")
    assert (await has(carol, "while")).message.version == 2
    page = await carol.ask(lambda n: History(n, group), Page)
    assert [item.message.content for item in page.items if item.message.sender_device] == [b"while"]
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    assert (await change_seen(carol)).action == GroupAction.REMOVE
    await say(alice, group, "after", version=3)
    await has(bob, "after")
    told = [frame for frame in await carol.settle() if isinstance(frame, Deliver)]
    assert b"after" not in [frame.message.content for frame in told]
    again = await world.online(carol.account, have=0)
    texts = [frame.message.content for frame in await again.settle() if isinstance(frame, Deliver)]
    assert b"while" in texts
    assert b"before" not in texts
    assert b"after" not in texts
    assert (await again.ask(lambda n: History(n, group), Error)).code == errors.NO_SUCH_CONVERSATION.code


async def test_a_send_behind_a_removal_is_refused_and_one_behind_an_addition_is_not() -> None:
    _, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob, carol])
    await change(alice, group, GroupAction.ADD, users=[user(dave)])
    await say(bob, group, "soft", version=1)
    await has(dave, "soft")
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    bob.send(group, "hard", version=2)
    assert (await bob.expect(Error)).code == errors.GROUP_CHANGED.code
    await say(bob, group, "hard", version=3)
    await has(dave, "hard")


async def test_who_comes_back_reads_on_from_there() -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    await change(alice, group, GroupAction.REMOVE, users=[user(bob)])
    await say(alice, group, "alone", version=2)
    await change(alice, group, GroupAction.ADD, users=[user(bob)])
    await say(alice, group, "again", version=3)
    await has(bob, "again")
    page = await bob.ask(lambda n: History(n, group), Page)
    assert [item.message.content for item in page.items if item.message.sender_device] == [b"again"]


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        (GroupAction.REMOVE, {"users": ["carol"]}),
        (GroupAction.ROLE, {"users": ["carol"], "role": 1}),
        (GroupAction.ROLE, {"users": ["bob"], "role": 2}),
        (GroupAction.INFO, {"info": b"Mine"}),
        (GroupAction.RULES, {"rules": GroupRules(add=0)}),
        (GroupAction.ADD, {"users": ["dave"]}),
        (GroupAction.LINK, {"link": HASH, "until": 10**15}),
        (GroupAction.UNLINK, {"link": HASH}),
        (GroupAction.DENY, {"users": ["dave"]}),
    ],
)
async def test_a_member_may_not_what_is_the_admins(action: GroupAction, fields: dict[str, object]) -> None:
    _, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob, carol])
    named = {"bob": user(bob), "carol": user(carol), "dave": user(dave)}
    if "users" in fields:
        fields = {**fields, "users": [named[name] for name in fields["users"]]}  # type: ignore[attr-defined]
    before = await described(alice, group)
    await refused(bob, errors.GROUP_RIGHTS, group, action, **fields)
    after = await described(alice, group)
    assert (after[0].version, after[0].members, after[1]) == (before[0].version, before[0].members, before[1])


async def test_admins_do_all_but_what_is_the_owners() -> None:
    _, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob, carol])
    await change(alice, group, GroupAction.ROLE, users=[user(bob), user(carol)], role=1)
    assert await roles(bob, group) == {"alice": 2, "bob": 1, "carol": 1}
    await change(bob, group, GroupAction.ADD, users=[user(dave)])
    await change(bob, group, GroupAction.REMOVE, users=[user(dave)])
    await refused(bob, errors.GROUP_RIGHTS, group, GroupAction.REMOVE, users=[user(carol)])
    await refused(bob, errors.GROUP_RIGHTS, group, GroupAction.REMOVE, users=[user(alice)])
    await refused(bob, errors.GROUP_RIGHTS, group, GroupAction.ROLE, users=[user(carol)], role=0)
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    await change(alice, group, GroupAction.ROLE, users=[user(bob)], role=0)
    assert await roles(alice, group) == {"alice": 2, "bob": 0}


async def test_an_owner_hands_the_group_over_and_goes() -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    await refused(alice, errors.GROUP_RIGHTS, group, GroupAction.LEAVE)
    await change(alice, group, GroupAction.ROLE, users=[user(bob)], role=2)
    assert await roles(bob, group) == {"alice": 1, "bob": 2}
    await change(alice, group, GroupAction.LEAVE)
    assert await roles(bob, group) == {"bob": 2}
    await change(bob, group, GroupAction.LEAVE)
    assert (await bob.ask(lambda n: frames.Describe(n, group), Error)).code == 9


async def test_a_change_that_is_there_already_changes_nothing() -> None:
    _, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await change(alice, group, GroupAction.ADD, users=[user(bob)])
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    await change(alice, group, GroupAction.INFO, info=b"Family")
    await change(alice, group, GroupAction.RULES, rules=GroupRules())
    await change(alice, group, GroupAction.UNLINK, link=HASH)
    await change(alice, group, GroupAction.ROLE, users=[user(bob)], role=0)
    found, _ = await described(alice, group)
    assert found.version == 1


async def test_where_only_admins_write_others_react_and_vote() -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    await change(alice, group, GroupAction.RULES, rules=GroupRules(write=GroupRole.ADMIN))
    frame = alice.send(group, "news")
    sent = await alice.expect(Sent)
    bob.send(group, "and I say")
    assert (await bob.expect(Error)).code == errors.GROUP_RIGHTS.code
    about = Reference(device_id(alice), frame.client_id)
    for relation in (Relation.REACTION, Relation.VOTE):
        await say(bob, group, "yes", relation=relation, relates_to=about, target=sent.message_id)
    page = await alice.ask(lambda n: History(n, group), Page)
    assert [one.relation for one in page.relations] == [Relation.REACTION, Relation.VOTE]


async def test_admins_delete_what_others_wrote_and_members_do_not() -> None:
    _, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob, carol])
    frame = bob.send(group, "spam")
    sent = await bob.expect(Sent)
    about = Reference(device_id(bob), frame.client_id)
    gone: dict[str, object] = {
        "relation": Relation.DELETE,
        "relates_to": about,
        "target": sent.message_id,
        "content_type": "",
    }
    carol.send(group, "", **gone)
    assert (await carol.expect(Error)).code == errors.NOT_YOURS.code
    await say(alice, group, "", **gone)
    page = await carol.ask(lambda n: History(n, group), Page)
    assert b"spam" not in [item.message.content for item in page.items]


# --- invite links ---------------------------------------------------------------------------


async def linked(maker: Device, group: ConversationId, world: World, *, s: int = 60) -> None:
    until = world.clock.wall_ms() + s * 1000
    await change(maker, group, GroupAction.LINK, link=HASH, until=until)


async def test_somebody_joins_by_a_link() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await linked(alice, group, world)
    seen = await carol.ask(lambda n: LookInside(n, CODE), GroupPreview)
    assert (seen.conversation_id, seen.count, seen.info) == (group, 2, b"Family")
    world.clock.advance(2)
    joined = await carol.ask(lambda n: Join(n, CODE), Joined)
    assert (joined.conversation_id, joined.waiting) == (group, False)
    assert await roles(carol, group) == {"alice": 2, "bob": 0, "carol": 0}
    told = await change_seen(bob)
    assert (told.action, told.users) == (GroupAction.JOIN, [user(carol)])
    await say(carol, group, "I am in", version=3)
    await has(bob, "I am in")
    again = await carol.ask(lambda n: Join(n, CODE), Joined)
    assert not again.waiting


async def test_who_is_removed_before_the_answer_was_let_in_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other nodes are waited for with the answer: somebody may act on the change meanwhile."""
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await linked(alice, group, world)
    world.clock.advance(2)
    peers, waiting, go_on = world.services.groups._peers, asyncio.Event(), asyncio.Event()

    async def know() -> None:
        if not waiting.is_set():
            waiting.set()
            await go_on.wait()

    monkeypatch.setattr(peers, "know", know)
    answer = asyncio.ensure_future(carol.ask(lambda n: Join(n, CODE), Joined))
    await waiting.wait()
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    go_on.set()
    assert not (await answer).waiting
    assert await roles(alice, group) == {"alice": 2, "bob": 0}


@pytest.mark.parametrize("kind", [frames.ConversationKind.GROUP, frames.ConversationKind.CHANNEL])
async def test_who_joins_again_is_in_if_telling_of_it_failed_at_first(
    monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    world, (alice, bob, carol) = await people(3)
    group = (await create(alice, [bob], kind=kind)).conversation_id
    await linked(alice, group, world)
    world.clock.advance(2)
    with monkeypatch.context() as patch:

        async def fail(*_: object) -> None:
            raise StoreFull("no room")

        patch.setattr(world.services.groups._announcements, "tell", fail)
        error = await carol.ask(lambda n: Join(n, CODE), Error)
        assert error.code == errors.STORE_FULL.code
    assert not (await carol.ask(lambda n: Join(n, CODE), Joined)).waiting
    assert (await described(carol, group))[1].count == 3
    assert (await change_seen(carol)).action == GroupAction.JOIN


class Torn(MemoryStore):
    """Of the next batches that tell of a change it keeps what is in the members' lists, and fails."""

    tears = 0

    async def write(self, batch: Batch) -> None:
        lists = [one for one in batch if one.table is MEMBERSHIPS]
        if self.tears and lists:
            self.tears -= 1
            await super().write(lists)
            raise StoreUnavailable("planned")
        await super().write(batch)


async def test_the_last_of_a_channel_is_no_subscriber_any_more_though_telling_of_it_was_torn() -> None:
    store = Torn()
    world, (alice,) = await people(1, store=store)
    channel = (await create(alice, [], kind=frames.ConversationKind.CHANNEL)).conversation_id
    await change_seen(alice)
    store.tears = 1
    depart = world.services.account_rules.departures.depart
    with pytest.raises(errors.ProtocolError):
        await depart(user(alice), Proof(PASSWORD))
    # Whoever goes on with it finds no channel in the list.
    await depart(user(alice), Proof(PASSWORD))
    subscribers = await store.range(SUBSCRIBERS, (channel, share_of(user(alice))), limit=10)
    assert [one.left_version is not None for one in subscribers] == [True]


@pytest.mark.parametrize("kind", [frames.ConversationKind.GROUP, frames.ConversationKind.CHANNEL])
async def test_the_last_one_is_told_that_they_have_left_though_the_node_died_before_that(kind: int) -> None:
    store = Torn()
    world, (alice,) = await people(1, store=store)
    group = (await create(alice, [], kind=kind)).conversation_id
    await change_seen(alice)
    store.tears = 1
    await alice.ask(lambda n: ChangeGroup(n, group, GroupAction.LEAVE), Error)
    world.clock.advance(60.0)
    error = await alice.ask(lambda n: frames.Describe(n, group), Error)
    assert error.code == errors.NO_SUCH_CONVERSATION.code
    # (A channel's log tells its maker once more that it was made.)
    while (await change_seen(alice)).action != GroupAction.LEAVE:
        pass


class Holding(MemoryStore):
    """Holds whoever begins to read a log, if it is told to."""

    let: asyncio.Event | None = None
    begun: asyncio.Event

    async def range(self, table: Any, partition: Any, **options: Any) -> Any:
        if self.let is not None and table is MESSAGES:
            self.begun.set()
            await self.let.wait()
        return await super().range(table, partition, **options)


@pytest.mark.parametrize("kind", [frames.ConversationKind.GROUP, frames.ConversationKind.CHANNEL])
async def test_who_is_removed_while_they_read_the_history_is_told_nothing_of_what_follows(kind: int) -> None:
    store = Holding()
    _, (alice, bob) = await people(2, store=store)
    group = (await create(alice, [bob], kind=kind)).conversation_id
    await change_seen(bob)
    store.let, store.begun = asyncio.Event(), asyncio.Event()
    bob.say(History(7, group))
    await store.begun.wait()
    await change(alice, group, GroupAction.REMOVE, users=[user(bob)])
    alice.send(group, "without bob", version=2)
    await alice.expect(Sent)
    store.let.set()
    error = await bob.expect(Error, lambda one: one.request_id == 7)
    assert error.code == errors.NO_SUCH_CONVERSATION.code


class Looking(MemoryStore):
    """Before anything gets into an inbox it looks in which groups that user is listed."""

    found: dict[UserId, list[int | None]]

    async def write(self, batch: Batch) -> None:
        for one in batch:
            if isinstance(one, Put) and isinstance(one.row, InboxRow):
                rows = await self.range(MEMBERSHIPS, (one.row.user_id,), limit=10)
                self.found.setdefault(one.row.user_id, []).extend(row.left_version for row in rows)
        await super().write(batch)


@pytest.mark.parametrize("kind", [frames.ConversationKind.GROUP, frames.ConversationKind.CHANNEL])
async def test_who_is_told_of_a_group_is_listed_by_then(kind: int) -> None:
    """A session that tells its device of it looks whether there is a log to be read for it, and once only."""
    store = Looking()
    _, (alice, bob) = await people(2, store=store)
    store.found = {}
    await create(alice, [bob], kind=kind)
    assert (await change_seen(bob)).action == GroupAction.CREATE
    assert store.found[user(bob)] == [None]


@pytest.mark.parametrize("kind", [frames.ConversationKind.GROUP, frames.ConversationKind.CHANNEL])
async def test_who_went_is_listed_until_they_are_told(kind: int) -> None:
    """By their list the change is told once more, should the node die before it told them."""
    fails = False

    class Failing(MemoryStore):
        async def write(self, batch: Batch) -> None:
            if fails and any(isinstance(one, Put) and isinstance(one.row, InboxRow) for one in batch):
                raise StoreUnavailable("planned")
            await super().write(batch)

    store = Failing()
    _, (alice, bob) = await people(2, store=store)
    group = (await create(alice, [bob], kind=kind)).conversation_id
    fails = True
    await alice.ask(lambda n: ChangeGroup(n, group, GroupAction.REMOVE, users=[user(bob)]), Error)
    row = await store.get(MEMBERSHIPS, (user(bob), group))
    assert row is not None
    assert row.left_version is None


async def test_what_tells_of_a_change_is_named_once_the_lists_are_durable() -> None:
    """That may take long: an older name would stand below what readers have passed."""
    older: dict[UserId, int] = {}

    class Naming(MemoryStore):
        async def write(self, batch: Batch) -> None:
            for one in batch:
                if isinstance(one, Put) and one.table is MEMBERSHIPS:
                    older[one.row.user_id] = world.services.ids.next()
                elif isinstance(one, Put) and isinstance(one.row, InboxRow) and one.row.user_id in older:
                    assert one.row.entry_id > older.pop(one.row.user_id)
            await super().write(batch)

    store = Naming()
    world, (alice, bob) = await people(2, store=store)
    await create(alice, [bob])
    assert (await change_seen(bob)).action == GroupAction.CREATE
    assert not older


async def test_an_expired_a_revoked_and_a_made_up_link_lead_nowhere() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await linked(alice, group, world, s=60)
    for make in (
        lambda n: Join(n, b"made up"),
        lambda n: LookInside(n, HASH),
        lambda n: Join(n, b"x" * 5000),
    ):
        assert (await carol.ask(make, Error)).code == errors.BAD_LINK.code
    world.clock.advance(61)
    assert (await carol.ask(lambda n: Join(n, CODE), Error)).code == errors.BAD_LINK.code
    await change(alice, group, GroupAction.UNLINK, link=HASH)
    await linked(alice, group, world)
    await change(alice, group, GroupAction.UNLINK, link=HASH)
    assert (await carol.ask(lambda n: Join(n, CODE), Error)).code == errors.BAD_LINK.code
    assert await roles(alice, group) == {"alice": 2, "bob": 0}


async def test_who_must_be_let_in_waits_and_only_those_who_may_let_in_know() -> None:
    world, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob], rules=GroupRules(approval=True))
    await linked(alice, group, world)
    for one in (carol, dave):
        assert (await one.ask(lambda n: Join(n, CODE), Joined)).waiting
    assert (await described(alice, group))[1].waiting == [user(carol), user(dave)]
    assert (await described(bob, group))[1].waiting == []
    assert (await described(bob, group))[1].links == []
    assert (await carol.ask(lambda n: frames.Describe(n, group), Error)).code == 9
    told = [(await change_seen(alice)).action for _ in range(3)]
    assert told == [GroupAction.LINK, GroupAction.ASK, GroupAction.ASK]
    await change(alice, group, GroupAction.ADD, users=[user(carol)])
    await change(alice, group, GroupAction.DENY, users=[user(dave)])
    assert await roles(carol, group) == {"alice": 2, "bob": 0, "carol": 0}
    assert (await described(alice, group))[1].waiting == []
    seen = [frame for frame in await bob.settle() if isinstance(frame, Deliver)]
    changes = [msgspec.msgpack.decode(one.message.content, type=GroupChange) for one in seen]
    assert [one.action for one in changes] == [GroupAction.ADD]
    page = await bob.ask(lambda n: History(n, group), Page)
    assert len([item for item in page.items if item.message.content_type == CHANGE_TYPE]) == 2


async def test_a_code_is_not_turned_to_another_group_by_who_has_seen_its_hash() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await linked(alice, group, world)
    mine = await create(bob, [], nonce=ClientId(b"b" * 16))
    until = world.clock.wall_ms() + 60_000
    await refused(bob, errors.INVALID, mine.conversation_id, GroupAction.LINK, link=HASH, until=until)
    seen = await carol.ask(lambda n: LookInside(n, CODE), GroupPreview)
    assert seen.conversation_id == group


async def test_a_group_has_so_many_links_and_none_for_ever() -> None:
    world, (alice, bob) = await people(2, limits=msgspec.structs.replace(FAST, group_links=2))
    group = await group_of(alice, [bob])
    until = world.clock.wall_ms() + 1000
    for number in range(2):
        await change(alice, group, GroupAction.LINK, link=bytes([number]) * 32, until=until)
    await refused(alice, errors.TOO_LARGE, group, GroupAction.LINK, link=HASH, until=until)
    world.clock.advance(2)
    await change(alice, group, GroupAction.LINK, link=HASH, until=world.clock.wall_ms() + 1000)
    await refused(alice, errors.INVALID, group, GroupAction.LINK, link=b"short", until=until)
    for moment in (world.clock.wall_ms(), world.clock.wall_ms() + 91 * 86_400_000):
        await refused(alice, errors.INVALID, group, GroupAction.LINK, link=b"l" * 32, until=moment)


# --- bad input ------------------------------------------------------------------------------


async def test_a_group_takes_so_many_members_and_not_one_more() -> None:
    limits = msgspec.structs.replace(FAST, group_members=3)
    world, (alice, bob, carol, dave, erin) = await people(5, limits=limits)
    group = await group_of(alice, [bob])
    await refused(alice, errors.GROUP_FULL, group, GroupAction.ADD, users=[user(carol), user(dave)])
    await change(alice, group, GroupAction.ADD, users=[user(carol)])
    await refused(alice, errors.GROUP_FULL, group, GroupAction.ADD, users=[user(dave)])
    await linked(alice, group, world)
    world.clock.advance(2)
    assert (await dave.ask(lambda n: Join(n, CODE), Error)).code == errors.GROUP_FULL.code
    error = await erin.ask(
        lambda n: CreateGroup(n, ClientId(b"e" * 16), users=[user(one) for one in (alice, bob, carol)]), Error
    )
    assert error.code == errors.GROUP_FULL.code
    assert await roles(alice, group) == {"alice": 2, "bob": 0, "carol": 0}


async def test_a_name_that_is_too_long_changes_nothing() -> None:
    _, (alice, bob) = await people(2)
    error = await alice.ask(lambda n: CreateGroup(n, ClientId(b"x" * 16), info=b"x" * 5000), Error)
    assert error.code == errors.TOO_LARGE.code
    group = await group_of(alice, [bob])
    await refused(alice, errors.TOO_LARGE, group, GroupAction.INFO, info=b"x" * 5000)
    assert (await described(bob, group))[1].info == b"Family"


async def test_only_people_who_are_there_and_let_one_are_added() -> None:
    _, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [])
    await refused(alice, errors.NO_SUCH_USER, group, GroupAction.ADD, users=[UserId(1234)])
    await refused(alice, errors.NO_SUCH_USER, group, GroupAction.ADD, users=[UserId(0)])
    await bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "groups", b"contacts"), Ok)
    await refused(alice, errors.NOT_ADDABLE, group, GroupAction.ADD, users=[user(carol), user(bob)])
    assert await roles(alice, group) == {"alice": 2}
    await bob.ask(lambda n: Set(n, SettingKind.CONTACT, str(user(alice)), b"A"), Ok)
    await change(alice, group, GroupAction.ADD, users=[user(bob)])
    await carol.ask(lambda n: Set(n, SettingKind.BLOCK, str(user(alice)), b"1"), Ok)
    await refused(alice, errors.NOT_ADDABLE, group, GroupAction.ADD, users=[user(carol)])


async def test_changes_of_one_group_come_at_a_bounded_rate() -> None:
    limits = msgspec.structs.replace(FAST, group_rate=Rate(per_s=0.5, burst=3))
    world, (alice, bob) = await people(2, limits=limits)
    group = await group_of(alice, [bob])
    for number in range(3):
        await change(alice, group, GroupAction.INFO, info=b"%d" % number)
    error = await alice.ask(lambda n: ChangeGroup(n, group, GroupAction.INFO, info=b"9"), Error)
    assert (error.code, error.retry_after) == (errors.RATE_LIMITED.code, 2.0)
    assert (await described(bob, group))[1].info == b"2"
    world.clock.advance(2)
    await change(alice, group, GroupAction.INFO, info=b"9")


@pytest.mark.parametrize("scheme", [1, 2])
async def test_what_a_plain_group_is_not_sealed_by_is_refused(scheme: int) -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    alice.send(group, "sealed", scheme=scheme)
    assert (await alice.expect(Error)).code == errors.INVALID.code


async def test_an_encrypted_group_takes_nothing_plain() -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob], scheme=2)
    alice.send(group, "plain")
    assert (await alice.expect(Error)).code == errors.SCHEME_FELL.code
    await say(alice, group, "sealed", scheme=2)
    assert (await has(bob, "sealed")).message.scheme == 2


# --- receipts -------------------------------------------------------------------------------


async def tallied(device: Device, expected: tuple[int, int, int]) -> None:
    """Wait until a sender has been told so."""
    await device.expect(
        Tallies,
        lambda told: any((one.delivered, one.read, one.of) == expected for one in told.items),
    )


async def test_a_sender_is_told_how_many_have_it_and_have_read_it() -> None:
    _, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob, carol, dave])
    sent = await say(alice, group, "hello")
    for device in (bob, carol):
        await has(device, "hello")
        device.ack()
    await tallied(alice, (2, 0, 3))
    await bob.ask(lambda n: frames.Read(n, group, sent.message_id), Ok)
    await tallied(alice, (2, 1, 3))
    await dave.ask(lambda n: frames.Read(n, group, sent.message_id), Ok)
    await tallied(alice, (3, 2, 3))
    assert not [frame for frame in await bob.settle() if isinstance(frame, (Tallies, frames.Receipt))]
    asked = await alice.ask(lambda n: Tally(n, group, [sent.message_id]), Tallies)
    assert [(one.delivered, one.read, one.of) for one in asked.items] == [(3, 2, 3)]
    page = await alice.ask(lambda n: History(n, group), Page)
    item = page.items[-1]
    assert (item.delivered, item.read, item.of, item.status) == (3, 2, 3, frames.Status.DELIVERED)
    info = await alice.ask(lambda n: frames.Info(n, group, sent.message_id), frames.MessageInfo)
    assert {one.user_id for one in info.members if one.read_at_ms} == {user(bob), user(dave)}


async def test_who_acknowledges_after_a_tally_is_told_of_before_anything_was_written() -> None:
    limits = msgspec.structs.replace(FAST, receipt_delay_s=3600.0)
    _, (alice, bob, carol) = await people(3, limits=limits)
    group = await group_of(alice, [bob, carol])
    await say(alice, group, "hello")
    for count, device in enumerate((bob, carol), start=1):
        await has(device, "hello")
        device.ack()
        if count > 1:
            await device.settle()  # all that waits is written
        await tallied(alice, (count, 0, 2))


async def test_what_was_delivered_and_then_read_before_it_is_written_is_both() -> None:
    clock = FakeClock()
    limits = msgspec.structs.replace(FAST, receipt_delay_s=3600.0)
    world, (alice, bob) = await people(2, limits=limits, clock=clock)
    group = await group_of(alice, [bob])
    sent = [await say(alice, group, text) for text in ("one", "two")]
    await has(bob, "one")
    bob.ack()
    delivered_ms = clock.wall_ms()
    clock.advance(10)
    bob.say(frames.Read(1, group, sent[0].message_id))
    info = await alice.ask(lambda n: frames.Info(n, group, sent[0].message_id), frames.MessageInfo)
    assert info.members == [frames.MemberInfo(user(bob), delivered_ms, clock.wall_ms())]
    conversation = await world.services.conversations.find(group)
    assert conversation is not None
    stored = {mark.user_id: mark for mark in await world.services.conversations.marks(group)}
    assert stored[user(bob)] == conversation.watermarks[user(bob)]
    assert stored[user(bob)].read_up_to == sent[0].message_id


async def test_counts_are_of_those_who_were_in_when_it_was_said() -> None:
    _, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob, carol])
    sent = await say(alice, group, "hello")
    await change(alice, group, GroupAction.ADD, users=[user(dave)])
    for device in (bob, carol, dave):
        await device.ask(lambda n: frames.Read(n, group, sent.message_id), Ok)
    await tallied(alice, (2, 2, 2))
    await change(alice, group, GroupAction.REMOVE, users=[user(bob)])
    asked = await alice.ask(lambda n: Tally(n, group, [sent.message_id]), Tallies)
    assert [(one.delivered, one.read, one.of) for one in asked.items] == [(2, 2, 2)]
    second = await say(alice, group, "again", version=3)
    await change(alice, group, GroupAction.REMOVE, users=[user(carol)])
    asked = await alice.ask(lambda n: Tally(n, group, [second.message_id]), Tallies)
    assert [(one.delivered, one.read, one.of) for one in asked.items] == [(0, 0, 1)]


async def test_who_shows_no_receipts_counts_as_delivered() -> None:
    _, (alice, bob, carol) = await people(3)
    await bob.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)
    group = await group_of(alice, [bob, carol])
    sent = await say(alice, group, "hello")
    for device in (bob, carol):
        await device.ask(lambda n: frames.Read(n, group, sent.message_id), Ok)
    await tallied(alice, (2, 1, 2))
    await carol.ask(lambda n: Set(n, SettingKind.PRIVACY, "receipts", b"nobody"), Ok)
    asked = await alice.ask(lambda n: Tally(n, group, [sent.message_id]), Tallies)
    assert [(one.delivered, one.read, one.of) for one in asked.items] == [(2, 0, 2)]
    await change(bob, group, GroupAction.LEAVE)
    asked = await alice.ask(lambda n: Tally(n, group, [sent.message_id]), Tallies)
    assert [(one.delivered, one.read, one.of) for one in asked.items] == [(2, 0, 2)]


async def test_a_members_own_devices_hear_of_what_was_read() -> None:
    world, (alice, bob) = await people(2)
    second = await world.online(await world.login("bob"))
    group = await group_of(alice, [bob])
    sent = await say(alice, group, "hello")
    await bob.ask(lambda n: frames.Read(n, group, sent.message_id), Ok)
    told = await second.expect(frames.Receipt)
    assert (told.user_id, told.read_up_to) == (user(bob), sent.message_id)


# --- pins, pages, the end of accounts -------------------------------------------------------


async def test_an_owner_whose_account_ends_hands_the_group_over_and_all_are_told() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob, carol])
    await change(alice, group, GroupAction.ROLE, users=[user(carol)], role=1)
    await change_seen(bob)
    await world.services.account_rules.departures.depart(user(alice), Proof(PASSWORD))
    told = [await change_seen(bob) for _ in range(2)]
    assert [(one.version, one.action, one.users, one.role) for one in told] == [
        (3, GroupAction.ROLE, [user(carol)], GroupRole.OWNER),
        (4, GroupAction.LEAVE, [user(alice)], 0),
    ]
    assert await roles(bob, group) == {"bob": 0, "carol": 2}


async def test_a_channel_whose_owners_account_ends_goes_to_a_listener() -> None:
    world, (alice, bob, carol) = await people(3)
    made = await create(alice, [bob, carol], kind=frames.ConversationKind.CHANNEL)
    await change(alice, made.conversation_id, GroupAction.INFO, info=b"News")
    await world.services.account_rules.departures.depart(user(alice), Proof(PASSWORD))
    _, seen = await described(bob, made.conversation_id)
    assert seen.role == GroupRole.OWNER


@pytest.mark.parametrize("waits", [False, True])
async def test_who_is_added_while_their_account_ends_is_taken_out_again(
    monkeypatch: pytest.MonkeyPatch, *, waits: bool
) -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    if waits:
        await change(alice, group, GroupAction.RULES, rules=GroupRules(approval=True))
        await linked(alice, group, world)
        assert (await carol.ask(lambda n: Join(n, CODE), Joined)).waiting
    store = world.services.inboxes._store
    compare = store.compare_and_set
    gone = False

    async def late(table: Any, *rows: Any) -> Any:
        nonlocal gone
        if table is ROSTERS and not gone:  # it was judged before, and is written after
            gone = True
            await world.services.account_rules.departures.depart(user(carol), Proof(PASSWORD))
        return await compare(table, *rows)

    monkeypatch.setattr(store, "compare_and_set", late)
    await change(alice, group, GroupAction.ADD, users=[user(carol)])
    assert gone
    assert await roles(bob, group) == {"alice": 2, "bob": 0}


def ended_as_it_is_set(monkeypatch: pytest.MonkeyPatch, world: World, gone: list[Device]) -> list[int]:
    """The next change is judged before these accounts end, and written after; all that are written."""
    store = world.services.inboxes._store
    compare = store.compare_and_set
    written: list[int] = []

    async def late(table: Any, *rows: Any) -> Any:
        if table is ROSTERS:
            written.append(len(written))
            if len(written) == 1:
                for one in gone:
                    await world.services.account_rules.departures.depart(user(one), Proof(PASSWORD))
        return await compare(table, *rows)

    monkeypatch.setattr(store, "compare_and_set", late)
    return written


async def test_of_each_who_is_taken_out_again_all_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob])
    ended_as_it_is_set(monkeypatch, world, [carol, dave])
    await change(alice, group, GroupAction.ADD, users=[user(carol), user(dave)])
    told = [await change_seen(bob) for _ in range(3)]
    assert [(one.version, one.action, one.users) for one in told] == [
        (2, GroupAction.ADD, [user(carol), user(dave)]),
        (3, GroupAction.LEAVE, [user(carol)]),
        (4, GroupAction.LEAVE, [user(dave)]),
    ]
    assert await roles(bob, group) == {"alice": 2, "bob": 0}


async def test_a_change_that_is_not_told_yet_is_told_before_somebody_is_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    ended_as_it_is_set(monkeypatch, world, [carol])
    rosters, tell = Rosters(world.services.inboxes._store), world.services.groups._announcements.tell

    async def elsewhere(conversation: Any, roster: Roster) -> list[UserId]:
        gone = await tell(conversation, roster)
        if (
            roster.head.version == 2
        ):  # another node changes the group meanwhile, and dies before it tells of that
            frame = ChangeGroup(1, group, GroupAction.INFO, info=b"News")
            plan = planned(roster, user(alice), frame, roster.head.changed_at, FAST)
            assert plan is not None
            after = revised(roster, plan.head, (), roster.head.cause + 1, b"another node")
            assert await rosters.set(roster.row, after.row, ())
        return gone

    monkeypatch.setattr(world.services.groups._announcements, "tell", elsewhere)
    await change(alice, group, GroupAction.ADD, users=[user(carol)])
    told = [await change_seen(bob) for _ in range(3)]
    assert [(one.version, one.action) for one in told] == [
        (2, GroupAction.ADD),
        (3, GroupAction.INFO),
        (4, GroupAction.LEAVE),
    ]


async def test_who_comes_after_a_node_that_died_takes_the_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world, (alice, bob, carol, dave) = await people(4)
    group = await group_of(alice, [bob])
    written = ended_as_it_is_set(monkeypatch, world, [carol, dave])
    store = world.services.inboxes._store
    compare = store.compare_and_set

    async def dies(table: Any, *rows: Any) -> Any:
        if len(written) == 2:
            written.append(2)
            raise StoreUnavailable("planned")
        return await compare(table, *rows)

    monkeypatch.setattr(store, "compare_and_set", dies)
    users = [user(carol), user(dave)]
    await alice.ask(lambda n: ChangeGroup(n, group, GroupAction.ADD, users), Error)
    assert len(await roles(bob, group)) == 3
    await change(alice, group, GroupAction.INFO, info=b"News")
    assert await roles(bob, group) == {"alice": 2, "bob": 0}
    told = {
        one.version: one.action for one in [await change_seen(bob) for _ in range(5)]
    }  # one of them again
    actions = [GroupAction.ADD, GroupAction.LEAVE, GroupAction.LEAVE, GroupAction.INFO]
    assert list(told.values()) == actions


@pytest.mark.parametrize("kind", [frames.ConversationKind.GROUP, frames.ConversationKind.CHANNEL])
async def test_whose_account_ends_while_they_make_a_group_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch, kind: frames.ConversationKind
) -> None:
    world, (alice, bob, carol) = await people(3)
    ended_as_it_is_set(monkeypatch, world, [alice])
    frame = CreateGroup(1, ClientId(b"n" * 16), kind, users=[user(bob), user(carol)])
    made = await world.services.groups.create(user(alice), frame)
    found, seen = await described(bob, made.conversation_id)
    assert (seen.role, seen.count) == (GroupRole.OWNER, 2)
    members = await bob.ask(lambda n: Members(n, made.conversation_id, UserId(0), 10), MemberPage)
    assert [one.handle for one in members.members] == ["bob", "carol"]
    assert found.version == 3


async def begin_to_end(world: World, *accounts: LoggedIn) -> None:
    """They want to end their accounts; the node dies in the middle of it, and they never come back."""
    departures = world.services.account_rules.departures
    departing = departures.departing

    async def dies(_: UserId) -> None:
        raise StoreUnavailable("planned")

    departures.departing = dies
    for account in accounts:
        with pytest.raises(StoreUnavailable):
            await departures.depart(account.ids()[0], Proof(PASSWORD))
    departures.departing = departing


async def test_two_whose_accounts_end_do_not_hand_a_group_to_each_other() -> None:
    world, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    depart = world.services.account_rules.departures.depart
    async with asyncio.timeout(5.0):
        await asyncio.gather(*(depart(user(one), Proof(PASSWORD)) for one in (alice, bob)))
    conversation = await world.services.conversations.find(group)
    assert conversation is not None
    assert conversation.members == ()
    assert conversation.version <= 4


async def test_a_group_goes_to_somebody_whose_account_does_not_end() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob, carol])
    await change(alice, group, GroupAction.ROLE, users=[user(bob)], role=GroupRole.ADMIN)
    await begin_to_end(world, bob.account)
    await world.services.account_rules.departures.depart(user(alice), Proof(PASSWORD))
    assert await roles(carol, group) == {"bob": 1, "carol": 2}
    await world.services.account_rules.departures.depart(user(bob), Proof(PASSWORD))
    assert await roles(carol, group) == {"carol": 2}


async def test_where_nobody_stays_those_who_began_to_go_are_taken_out_first() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob, carol])
    await begin_to_end(world, bob.account, carol.account)
    await world.services.account_rules.departures.depart(user(alice), Proof(PASSWORD))
    conversation = await world.services.conversations.find(group)
    assert conversation is not None
    assert (conversation.members, conversation.version) == ((), 4)


async def test_a_channel_goes_to_the_one_listener_whose_account_does_not_end() -> None:
    world, everybody = await people(20)
    alice, *listeners = everybody
    made = await create(alice, listeners, kind=frames.ConversationKind.CHANNEL)
    stays = max(listeners, key=user)
    await begin_to_end(world, *(one.account for one in listeners if one is not stays))
    await world.services.account_rules.departures.depart(user(alice), Proof(PASSWORD))
    _, seen = await described(stays, made.conversation_id)
    assert seen.role == GroupRole.OWNER


async def test_who_waits_and_is_gone_is_not_let_in() -> None:
    world, (alice, carol) = await people(2)
    group = await group_of(alice, [])
    await change(alice, group, GroupAction.RULES, rules=GroupRules(approval=True))
    await linked(alice, group, world)
    assert (await carol.ask(lambda n: Join(n, CODE), Joined)).waiting
    await world.services.account_rules.departures.depart(user(carol), Proof(PASSWORD))
    await refused(alice, errors.NO_SUCH_USER, group, GroupAction.ADD, users=[user(carol)])


async def test_nobody_is_added_whose_account_has_ended_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they let others do is gone by then; the account's row goes last."""
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob])
    await carol.ask(lambda n: Set(n, SettingKind.PRIVACY, "groups", b"nobody"), Ok)
    departures = world.services.account_rules.departures

    async def fail(*_: object) -> None:
        raise StoreUnavailable("out of order")

    monkeypatch.setattr(departures._phones, "forget", fail)
    with pytest.raises(StoreUnavailable):
        await departures.depart(user(carol), Proof(PASSWORD))
    await refused(alice, errors.NO_SUCH_USER, group, GroupAction.ADD, users=[user(carol)])
    assert (await described(bob, group))[0].version == 1


async def test_messages_are_pinned_and_taken_off() -> None:
    _, (alice, bob) = await people(2)
    group = await group_of(alice, [bob])
    frame = bob.send(group, "the address")
    sent = await bob.expect(Sent)
    pin: dict[str, object] = {
        "target": sent.message_id,
        "relates_to": Reference(device_id(bob), frame.client_id),
    }
    await refused(bob, errors.GROUP_RIGHTS, group, GroupAction.PIN, **pin)
    wrong = {**pin, "target": sent.message_id + 1}
    await refused(alice, errors.NO_SUCH_MESSAGE, group, GroupAction.PIN, **wrong)
    await change(alice, group, GroupAction.PIN, **pin)
    assert [one.message_id for one in (await described(bob, group))[1].pins] == [sent.message_id]
    await change(alice, group, GroupAction.UNPIN, **pin)
    assert (await described(bob, group))[1].pins == []


async def test_members_come_in_pages() -> None:
    _, everybody = await people(7)
    alice, *others = everybody
    group = await group_of(alice, others)
    found: list[UserId] = []
    more = True
    while more:
        after = found[-1] if found else UserId(0)
        page = await alice.ask(lambda n, after=after: Members(n, group, after, 3), MemberPage)
        found += [member.user_id for member in page.members]
        more = page.more
        assert len(page.members) <= 3
    assert found == sorted(user(one) for one in everybody)


async def test_an_account_that_ends_leaves_its_groups_to_an_heir() -> None:
    world, (alice, bob, carol) = await people(3)
    group = await group_of(alice, [bob, carol])
    await change(alice, group, GroupAction.ROLE, users=[user(carol)], role=1)
    await world.services.groups.depart(user(alice))
    assert await roles(bob, group) == {"bob": 0, "carol": 2}


# --- channels -------------------------------------------------------------------------------


async def test_a_channel_has_any_number_of_members_and_only_its_staff_writes() -> None:
    world, (alice, bob, carol) = await people(3)
    made = await create(alice, [bob], kind=3)
    channel = made.conversation_id
    bob.send(channel, "me too")
    assert (await bob.expect(Error)).code == errors.GROUP_RIGHTS.code
    carol.send(channel, "me too")
    assert (await carol.expect(Error)).code in {errors.GROUP_RIGHTS.code, errors.NO_SUCH_CONVERSATION.code}
    assert (await carol.ask(lambda n: frames.Describe(n, channel), Error)).code == 9
    await linked(alice, channel, world)
    world.clock.advance(2)
    await carol.ask(lambda n: Join(n, CODE), Joined)
    found, of_channel = await described(carol, channel)
    assert (of_channel.count, of_channel.role) == (3, 0)
    assert [member.handle for member in found.members] == ["alice"]
    page = await alice.ask(lambda n: Members(n, channel), MemberPage)
    assert {member.handle for member in page.members} == {"alice", "bob", "carol"}
    await change(alice, channel, GroupAction.ROLE, users=[user(bob)], role=1)
    await say(bob, channel, "news", version=4)
    await change(carol, channel, GroupAction.LEAVE)
    assert (await carol.ask(lambda n: frames.Describe(n, channel), Error)).code == 9
