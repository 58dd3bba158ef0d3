"""What a server that lies, or a member who helps it, makes of a group: one test a lie, on devices alone."""

import pytest
import tidings_core as core

from client.sealing.devices import NOW_MS
from client.sealing.group_devices import (
    OTHER_GROUP,
    Group,
    GroupDevice,
    copy_of,
    fill,
    kinds,
    take,
)
from tidings.client.sealing import chains, heard_keys, lists, rosters, sender_keys
from tidings.client.sealing.group_sealer import seal_in_group
from tidings.client.sealing.inside import Head, Inside, Shared, head_of, seal_under
from tidings.client.sealing.opener import outside_of
from tidings.client.sealing.sealer import Lacking
from tidings.client.values import Fault
from tidings.protocol.frames import Message, Reference, Relation, Scheme
from tidings.protocol.ids import TIME_SHIFT, ClientId, ConversationId, MessageId, UserId


class Three(Group):
    """alice, bob and carol, who have talked."""

    def __init__(self) -> None:
        super().__init__()
        (self.alice,) = self.add(1, 11)
        (self.bob,) = self.add(2, 21)
        (self.carol,) = self.add(3, 31)
        for sender in (self.alice, self.bob, self.carol):
            self.texts([one for one in self.devices if one is not sender], self.say(sender, "hello"))


@pytest.fixture
def group() -> Three:
    return Three()


def envelope_for(group: Three, device: GroupDevice, frame: int = -1) -> bytes:
    return group.frames[frame].envelopes[device.me.device_id]


# --- messages ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"content": b"\1" * 200},
        {"client_id": ClientId(b"x" * 16)},
        {"relation": Relation.EDIT, "relates_to": Reference(21, b"y" * 16)},
        {"relation": Relation.DELETE, "relates_to": Reference(21, b"y" * 16), "content_type": ""},
        {"silent": True},
        {"sender_id": UserId(3), "sender_device": 31},
        {"sender_device": 31},
        {"sender_id": UserId(3)},
        {"conversation_id": OTHER_GROUP},
        {"scheme": Scheme.DIRECT},
        {"scheme": Scheme.PLAIN},
    ],
    ids=", ".join,
)
def test_what_the_server_changes_is_not_shown(group: Three, change: dict[str, object]) -> None:
    opened = group.hear(group.bob, group.say(group.alice, "hello"), **change)
    assert opened.fault != Fault.NONE
    assert opened.message.content == b""


def test_every_bit_of_the_content_counts(group: Three) -> None:
    post = group.say(group.alice, "hello")
    content = post.sealed.content
    for at in range(0, len(content), 7):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        bob = copy_of(group.bob)
        assert group.hear(bob, post, content=changed).fault in (Fault.FORGED, Fault.NO_KEY)
    for length in (0, 1, 20, 21, 22, len(content) - 1):
        bob = copy_of(group.bob)
        opened = group.hear(bob, post, content=content[:length])
        assert opened.fault == Fault.FORGED
    assert group.texts([group.bob], post) == ["hello"]


def test_a_message_of_one_group_is_none_of_another(group: Three) -> None:
    post = group.say(group.alice, "of the first")
    other = Group(OTHER_GROUP)
    other.office, other.devices, other.members = group.office, group.devices, group.members
    other.texts([group.bob], other.say(group.alice, "of the second"))
    opened = other.hear(group.bob, post, conversation_id=OTHER_GROUP)
    assert opened.fault == Fault.NO_KEY  # that group has no such key
    assert group.texts([group.bob], post) == ["of the first"]


def test_an_unsealed_message_is_not_shown(group: Three) -> None:
    post = group.say(group.alice, "x")
    opened = group.hear(group.bob, post, scheme=Scheme.PLAIN, content=b"forged", content_type="text/plain")
    assert opened.fault == Fault.PLAINTEXT
    assert "plaintext" in kinds(group.bob)


def test_two_messages_at_one_place_of_a_sender_key_are_not_both_shown(group: Three) -> None:
    """A copy of a profile that nobody noticed, or one who lies to some."""
    other_life = copy_of(group.alice)
    first = group.say(group.alice, "1")
    second = group.say(other_life, "another 1", client_id=ClientId(b"n" * 16))
    assert head_of(first.sealed.content) == head_of(second.sealed.content)
    assert group.texts([group.bob], first) == ["1"]
    opened = group.hear(group.bob, second)
    assert (opened.fault, opened.message.content) == (Fault.FORGED, b"")
    assert "repeated" in kinds(group.bob)
    # carol hears them the other way round.
    assert group.texts([group.carol], second) == ["another 1"]
    assert group.hear(group.carol, first).fault == Fault.FORGED


def test_what_was_read_is_read_again_where_it_stands(group: Three) -> None:
    post = group.say(group.alice, "hello")
    opened = group.hear(group.bob, post)
    assert group.hear(group.bob, post).fault == Fault.FORGED  # not in the profile: another one was read
    message = opened.message
    group.bob.database.execute(
        "INSERT INTO messages (sender_device, client_id, message_id, conversation_id, sender_id,"
        " content_type, content, created_at, own) VALUES (?, ?, ?, ?, ?, '', x'', 0, 0)",
        (
            message.sender_device,
            message.client_id,
            message.message_id,
            message.conversation_id,
            message.sender_id,
        ),
    )
    assert group.texts([group.bob], post) == ["hello"]


def test_a_member_cannot_write_in_the_name_of_another(group: Three) -> None:
    """carol has alice's sender key, and the server helps her."""
    post = group.say(group.alice, "hello")
    mine = sender_keys.current(group.carol.database, group.conversation_id)
    assert mine is not None
    message = post.message(scheme=Scheme.SENDER_KEY, client_id=ClientId(b"c" * 16))
    inside = Inside(
        epoch=0, counter=9, previous=bytes(32), sent_at=NOW_MS, content_type="text/plain", content=b"forged"
    )
    key_id = head_of(post.sealed.content).key_id
    content = seal_under(mine.key, key_id, inside, outside_of(message, Scheme.SENDER_KEY))
    opened = group.hear(group.bob, post, content=content, client_id=ClientId(b"c" * 16))
    assert opened.fault == Fault.FORGED
    # As her own sender key it was never alice's: her ratchet brought it.
    content = seal_under(mine.key, mine.key_id, inside, outside_of(message, Scheme.SENDER_KEY))
    opened = group.hear(group.bob, post, content=content, client_id=ClientId(b"c" * 16))
    assert opened.fault == Fault.NO_KEY


def test_a_member_who_passes_on_a_key_as_her_own_says_nothing_with_it(group: Three) -> None:
    post = group.say(group.alice, "alice's words")
    (share,) = [
        row[0]
        for row in group.alice.database.execute(
            "SELECT share FROM spoken WHERE client_id = ?", (post.writing.client_id,)
        )
    ]
    key_id = head_of(post.sealed.content).key_id
    shared = Shared(group.conversation_id, key_id, share)
    heard_keys.keep(group.bob.database, group.carol.me.device_id, shared, 1, NOW_MS)
    opened = group.hear(group.bob, post, sender_id=UserId(3), sender_device=31)
    assert opened.fault == Fault.FORGED


def test_somebody_who_is_no_member_says_nothing(group: Three) -> None:
    (outsider,) = group.add(9, 91)
    post = group.say(outsider, "let me in")  # it gives its sender key to all
    group.members.remove(UserId(9))
    assert group.hear(group.bob, post).fault == Fault.FORGED
    assert kinds(group.bob) == ["forged"]


def test_what_a_removed_device_sends_is_not_taken_from_then_on(group: Three) -> None:
    on_its_way = group.say(group.carol, "on its way")
    second = GroupDevice(group.office, 3, 32)
    group.carol.sign([group.carol, second])
    second.sign([second])
    group.bob.learn(UserId(3))
    assert group.hear(group.bob, group.say(group.carol, "too late", to=[group.bob])).fault in (
        Fault.UNKNOWN_DEVICE,
    )
    assert group.texts([group.bob], on_its_way) == ["on its way"]


# --- dropping, moving, dating back ----------------------------------------------------------------


def overdue(device: GroupDevice) -> list[str]:
    device.now_ms += chains.LATE_MS + 1
    chains.report(device.database, device.now_ms)
    return kinds(device)


def test_a_dropped_message_is_missed(group: Three) -> None:
    group.say(group.alice, "dropped")
    group.texts([group.bob], group.say(group.alice, "3"))
    assert overdue(group.bob) == ["missing"]


def test_a_changed_order_is_seen(group: Three) -> None:
    one, two = group.say(group.alice, "1"), group.say(group.alice, "2")
    group.hear(group.bob, one, message_id=MessageId(5000))
    group.hear(group.bob, two, message_id=MessageId(4000))
    assert kinds(group.bob) == ["reordered"]


def test_a_backdated_message_is_seen(group: Three) -> None:
    post = group.say(group.alice, "1")
    group.hear(group.bob, post, created_at=NOW_MS - chains.SKEW_MS - 1)
    assert kinds(group.bob) == ["backdated"]


def test_another_message_to_some_is_seen_with_the_next(group: Three) -> None:
    """A sender who tells bob one thing, and carol another, is caught with what it says next."""
    liar = copy_of(group.alice)
    group.texts([group.bob], group.say(group.alice, "yes", client_id=ClientId(b"s" * 16)))
    sender_keys.begin_anew(liar.database)
    group.texts([group.carol], group.say(liar, "no", client_id=ClientId(b"s" * 16)))
    group.texts([group.bob, group.carol], group.say(group.alice, "and so on"))
    assert kinds(group.bob) == []
    assert kinds(group.carol) == ["repeated"]


def test_time_may_be_cut_short_by_the_server_and_never_lengthened(group: Three) -> None:
    post = group.say(group.alice, "for a while", expires_at=NOW_MS + 5000)
    assert group.hear(group.bob, post, expires_at=None).message.expires_at == NOW_MS + 5000
    assert group.hear(group.carol, post, expires_at=NOW_MS + 1).message.expires_at == NOW_MS + 1


# --- sender keys --------------------------------------------------------------------------------


def renewed(group: Three, to: list[GroupDevice]) -> None:
    """alice has another sender key, which reaches some."""
    sender_keys.forget(group.alice.database, group.conversation_id)
    group.say(group.alice, "renewed", to=to)


def test_a_sender_key_of_another_device_is_refused(group: Three) -> None:
    renewed(group, [])
    as_of_carol: dict[str, object] = {"sender_id": UserId(3), "sender_device": 31}
    message = group.key_message(group.alice, **as_of_carol)
    assert not take(group.bob, message, envelope_for(group, group.bob))
    # The ratchet that brought it is alice's: it did not step.
    assert take(group.bob, group.key_message(group.alice), envelope_for(group, group.bob))


def test_a_sender_key_of_another_group_is_refused(group: Three) -> None:
    renewed(group, [])
    message = group.key_message(group.alice, conversation_id=OTHER_GROUP)
    assert not take(group.bob, message, envelope_for(group, group.bob))
    assert kinds(group.bob) == ["forged"]
    found = group.bob.database.execute(
        "SELECT count(*) FROM heard_keys WHERE conversation_id = ?", (OTHER_GROUP,)
    )
    assert found.fetchone() == (0,)


def test_a_sender_key_that_is_repeated_changes_nothing(group: Three) -> None:
    renewed(group, [group.bob])
    assert not take(group.bob, group.key_message(group.alice), envelope_for(group, group.bob))
    assert not take(group.bob, group.key_message(group.alice), None)
    assert not take(group.bob, group.key_message(group.alice), envelope_for(group, group.carol))
    assert group.texts([group.bob], group.say(group.alice, "goes on")) == ["goes on"]


def test_a_key_about_a_message_of_another_device_is_refused(group: Three) -> None:
    renewed(group, [])
    about = Reference(31, ClientId(b"x" * 16))
    message = group.key_message(group.alice, relates_to=about, relation=Relation.KEYS)
    assert not take(group.bob, message, envelope_for(group, group.bob))


def test_a_key_that_reads_more_takes_the_place_of_one_that_reads_less(group: Three) -> None:
    key = core.SenderKey.generate()
    early = key.share()
    key.encrypt(b"1")
    late = key.share()
    where = (group.conversation_id, group.alice.me.device_id)
    for share, since in ((late, 1), (early, 0), (late, 0)):
        shared = Shared(group.conversation_id, b"k" * 16, share)
        heard_keys.keep(group.bob.database, where[1], shared, 1, NOW_MS)
        heard = heard_keys.find(group.bob.database, *where, b"k" * 16)
        assert heard is not None
        assert heard.since == since
    shared = Shared(group.conversation_id, b"q" * 16, early[:-1] + b"\0")
    with pytest.raises(ValueError, match="no sender key"):
        heard_keys.keep(group.bob.database, where[1], shared, 1, NOW_MS)


def test_a_key_is_kept_for_as_long_as_something_may_come_for_it(group: Three) -> None:
    database = group.bob.database
    for later_ms, count in ((heard_keys.KEEP_MS, 2), (heard_keys.KEEP_MS + 1, 0)):
        heard_keys.prune(database, NOW_MS + later_ms)
        assert database.execute("SELECT count(*) FROM heard_keys").fetchone() == (count,)


def test_a_device_that_gives_many_keys_fills_no_disk(group: Three) -> None:
    for number in range(heard_keys.KEPT + 5):
        shared = Shared(group.conversation_id, b"%016d" % number, core.SenderKey.generate().share())
        heard_keys.keep(group.bob.database, group.alice.me.device_id, shared, 10**6 + number, NOW_MS)
    found = group.bob.database.execute("SELECT count(*), max(place) FROM heard_keys WHERE device_id = 11")
    assert found.fetchone() == (heard_keys.KEPT, 10**6 + heard_keys.KEPT + 4)


# --- members and devices --------------------------------------------------------------------------


def test_a_device_that_the_server_invents_is_given_nothing(group: Three) -> None:
    mallory = GroupDevice(group.office, 2, 29)
    honest = group.office.lists[UserId(2)]
    del group.office.lists[UserId(2)]
    mallory.found()
    forged = group.office.lists[UserId(2)]
    group.office.lists[UserId(2)] = honest
    group.alice.learn(UserId(2))
    assert not lists.store(group.alice.database, forged, group.office.now())
    group.say(group.alice, "hello")
    assert all(29 not in frame.envelopes for frame in group.frames)
    assert kinds(group.alice) == ["list_old"]


def test_a_member_whom_nobody_added_is_told_before_the_key_goes_out(group: Three) -> None:
    group.add(9, 91)
    group.say(group.alice, "to a stranger")
    (warning,) = group.alice.warned()
    assert (warning.kind, warning.user_id, warning.conversation_id) == (
        "member_unsaid",
        UserId(9),
        group.conversation_id,
    )
    group.say(group.alice, "again")
    assert len(group.alice.warned()) == 1


def test_a_member_who_was_said_to_be_added_is_not_told_twice(group: Three) -> None:
    group.add(9, 91)
    rosters.tell(group.alice.database, group.conversation_id, [UserId(9)])
    group.say(group.alice, "to a friend")
    assert group.alice.warned() == []


def test_a_member_whom_the_server_hides_cannot_read_and_is_told_of(group: Three) -> None:
    group.members.remove(UserId(3))
    post = group.say(group.alice, "for bob")
    group.members.append(UserId(3))
    assert group.texts([group.bob, group.carol], post) == ["for bob", "-"]
    (warning,) = group.alice.warned()
    assert (warning.kind, warning.user_id) == ("member_unsaid", UserId(3))


def test_it_is_waited_for_being_told_before_it_is_warned_of(group: Three) -> None:
    group.add(9, 91)
    alice = group.alice
    writing = alice.writing(UserId(0), "hello", conversation_id=group.conversation_id)
    made: object = None
    while not isinstance(made, rosters.Untold):
        made = seal_in_group(
            alice.database, alice.me, group.roster, writing, alice.posting, NOW_MS, is_patient=True
        )
        if isinstance(made, Lacking):
            alice.supply_group(made)
    assert made == ([UserId(9)], [])
    assert alice.warned() == []
    assert not any(91 in frame.envelopes for frame in group.frames)
    rosters.tell(alice.database, group.conversation_id, [UserId(9)])
    group.say(alice, "hello")
    assert alice.warned() == []


def test_where_somebody_went_is_remembered(group: Three) -> None:
    database, where = group.alice.database, group.conversation_id
    moment = rosters.UNHEARD_MS << TIME_SHIFT
    rosters.untell(database, where, [UserId(3)], 500)
    assert rosters.was_there(database, where, UserId(3), MessageId(499 + moment))
    assert not rosters.was_there(database, where, UserId(3), MessageId(500 + moment))
    assert not rosters.was_there(database, where, UserId(9), MessageId(1)), "of whom nothing was told"
    rosters.tell(database, where, [UserId(3)])
    assert rosters.was_there(database, where, UserId(3), MessageId(501)), "they are back, as was told"
    for user in range(100, 100 + rosters.GONE_KEPT + 9):
        rosters.tell(database, where, [UserId(user)])
        rosters.untell(database, where, [UserId(user)], 1000 + user)
    (count,) = database.execute("SELECT count(*) FROM told_members WHERE gone_at IS NOT NULL").fetchone()
    assert count == rosters.GONE_KEPT
    rosters.forget(database, where, 1, never_told=False)
    assert rosters.untold(database, group.roster) == ([], [])


# --- what is remembered of keys ----------------------------------------------------------------------


@pytest.mark.parametrize("order", [range(100), range(99, -1, -1), [*range(0, 100, 2), *range(1, 100, 2)]])
def test_indexes_are_remembered_as_ranges(order: list[int]) -> None:
    ranges: heard_keys.Ranges = []
    seen: set[int] = set()
    for index in order:
        ranges = heard_keys.with_index(ranges, index)
        seen.add(index)
        assert {one for first, last in ranges for one in range(first, last + 1)} == seen
    assert ranges == [(0, 99)]


def test_of_too_many_ranges_what_lies_between_the_lowest_counts_as_read() -> None:
    ranges: heard_keys.Ranges = []
    for index in range(0, 4 * heard_keys.RANGES, 2):
        ranges = heard_keys.with_index(ranges, index)
    assert len(ranges) == heard_keys.RANGES
    assert ranges[-1] == (4 * heard_keys.RANGES - 2,) * 2
    assert ranges[0][0] == 0


def test_the_head_of_a_content_is_read_as_it_was_written() -> None:
    head = Head(b"k" * 16, 7)
    assert head_of(head.bytes() + b"x") == head
    for wrong in (b"", head.bytes(), b"\2" + head.bytes()[1:] + b"x"):
        with pytest.raises(ValueError, match="not encrypted by a sender key"):
            head_of(wrong)


def test_fill_needs_the_key(group: Three) -> None:
    renewed(group, [])
    post = group.say(group.alice, "hello")
    assert group.texts([group.bob], post) == ["-"]
    assert fill(group.bob, post) == ""
    group.deliver(group.alice, group.frames[-1].envelopes, [group.bob])
    assert fill(group.bob, post) == "hello"
    assert isinstance(post.message(), Message)
    assert ConversationId(post.message().conversation_id) == group.conversation_id
