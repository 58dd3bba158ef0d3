"""What is sealed in a group is read by its members' devices, from when they came in until they leave."""

import msgspec
import pytest

from client.sealing.devices import NOW_MS
from client.sealing.group_devices import (
    GROUP,
    Group,
    GroupDevice,
    copy_of,
    fill,
    kinds,
)
from tidings.client.sealing import chains, handouts, own, sender_keys, sessions
from tidings.client.sealing.group_sealer import AGAIN_MS, Handing, make_ready, seal_in_group, seal_share
from tidings.client.sealing.sealer import Sealed, Unsealable
from tidings.client.values import Fault
from tidings.protocol.codec import MSGPACK
from tidings.protocol.frames import Relation
from tidings.protocol.ids import ClientId, DeviceId, UserId


class Three(Group):
    """alice (a phone and a laptop), bob and carol."""

    def __init__(self) -> None:
        super().__init__()
        self.alice, self.alice2 = self.add(1, 11, 12)
        (self.bob,) = self.add(2, 21)
        (self.carol,) = self.add(3, 31)

    @property
    def others(self) -> list[GroupDevice]:
        return [self.alice2, self.bob, self.carol]


@pytest.fixture
def group() -> Three:
    return Three()


def envelopes(group: Group) -> list[set[int]]:
    """To whom each handout went."""
    return [set(frame.envelopes) for frame in group.frames]


def test_all_devices_of_all_members_read_it_and_the_server_sees_nothing_of_it(group: Three) -> None:
    post = group.say(group.alice, "a secret")
    assert group.texts(group.others, post) == ["a secret"] * 3
    assert envelopes(group) == [{12, 21, 31}]
    assert post.sealed.envelopes == {}
    wire = msgspec.msgpack.encode(post.message()) + b"".join(MSGPACK.encode(one) for one in group.frames)
    assert b"secret" not in wire
    assert b"text/plain" not in wire


def test_a_sender_key_is_handed_out_once(group: Three) -> None:
    posts = [group.say(group.alice, f"{number}") for number in range(5)]
    assert [group.texts(group.others, post) for post in posts] == [[f"{n}"] * 3 for n in range(5)]
    assert len(group.frames) == 1
    (frame,) = group.frames
    assert (frame.relation, frame.relates_to, frame.target) == (Relation.SENDER_KEY, None, 0)
    assert (frame.content, frame.version) == (b"", group.version)


def test_a_long_conversation_in_any_order(group: Three) -> None:
    everybody = [group.alice, *group.others]
    for turn in range(12):
        sender = everybody[turn % 4]
        posts = [group.say(sender, f"{turn}.{n}") for n in range(3)]
        for device in everybody:
            if device is not sender:
                found = [group.texts([device], post)[0] for post in (posts[1], posts[0], posts[2])]
                assert found == [f"{turn}.1", f"{turn}.0", f"{turn}.2"]
    for device in everybody:
        device.now_ms += chains.LATE_MS + 1
        chains.report(device.database, device.now_ms)
        assert "missing" not in kinds(device)


# --- who comes and who goes ---------------------------------------------------------------------


def test_a_member_who_joins_late_reads_from_then_on(group: Three) -> None:
    before = group.say(group.alice, "before")
    (dave,) = group.add(4, 41)
    after = group.say(group.alice, "after")
    assert envelopes(group)[1:] == [{41}]
    assert group.texts([dave], before) == ["-"]
    assert group.texts([dave, *group.others], after) == ["after"] * 4
    assert group.texts(group.others, before) == ["before"] * 3
    assert not group.answer(group.alice, dave, before)


def test_a_removed_member_reads_nothing_after(group: Three) -> None:
    before = group.say(group.alice, "before")
    group.remove(3)
    after = group.say(group.alice, "after")
    assert envelopes(group)[1:] == [{12, 21}]
    assert group.texts([group.bob, group.alice2], after) == ["after"] * 2
    assert group.texts([group.carol], before) == ["before"]
    assert group.texts([group.carol], after) == ["-"]
    assert not group.answer(group.alice, group.carol, after)


def test_who_was_removed_and_came_back_reads_nothing_of_the_time_between(group: Three) -> None:
    group.say(group.alice, "before")
    group.remove(3)
    group.members.append(UserId(3))
    group.version += 1
    # alice's device missed both changes: who is in is the same as before.
    again = group.say(group.alice, "again")
    assert len(envelopes(group)) == 2
    assert group.texts([group.carol], again) == ["again"]
    assert sender_keys.current(group.alice.database, GROUP) is not None


def test_a_removed_device_of_a_member_reads_nothing_after(group: Three) -> None:
    group.say(group.bob, "before")
    group.alice.sign([group.alice])
    for device in (group.bob, group.carol):
        device.learn(UserId(1))
    after = group.say(group.bob, "after")
    assert envelopes(group)[1:] == [{11, 31}]
    assert group.texts([group.alice, group.carol], after) == ["after"] * 2
    assert group.texts([group.alice2], after) == ["-"]


def test_a_device_that_is_added_reads_from_then_on(group: Three) -> None:
    before = group.say(group.bob, "before")
    third = GroupDevice(group.office, 1, 13)
    group.devices.append(third)
    group.alice.sign([group.alice, group.alice2, third])
    group.bob.learn(UserId(1))
    after = group.say(group.bob, "after")
    assert envelopes(group)[1:] == [{13}]
    assert group.texts([third], before) == ["-"]
    assert group.texts([third], after) == ["after"]


def test_a_device_that_the_server_misses_is_given_the_key_from_that_message_on(group: Three) -> None:
    before = group.say(group.bob, "before")
    third = GroupDevice(group.office, 1, 13)
    group.devices.append(third)
    group.alice.sign([group.alice, group.alice2, third])
    post = group.say(group.bob, "sent in ignorance")
    assert group.texts([third], post) == ["-"]
    # Sent.missing names it.
    said = sender_keys.spoken(group.bob.database, post.writing.client_id)
    assert said is not None
    group.bob.learn(UserId(1))
    group.bob.supply_group(
        lacking := seal_share(  # type: ignore[arg-type]
            group.bob.database, group.bob.me, group.roster, said, [DeviceId(13)], NOW_MS
        )
    )
    assert not isinstance(lacking, Sealed)
    made = seal_share(group.bob.database, group.bob.me, group.roster, said, [DeviceId(13)], NOW_MS)
    assert isinstance(made, Sealed)
    group.deliver(group.bob, {DeviceId(one): key for one, key in made.envelopes.items()})
    assert fill(third, post) == "sent in ignorance"
    assert fill(third, before) == ""
    count = len(group.frames)
    assert group.texts([third], group.say(group.bob, "later")) == ["later"]
    assert len(group.frames) == count


def test_a_device_that_the_server_misses_and_has_no_bundle_of_may_ask(group: Three) -> None:
    third = GroupDevice(group.office, 1, 13)
    group.devices.append(third)
    group.say(group.bob, "before")
    group.alice.sign([group.alice, group.alice2, third])
    post = group.say(group.bob, "sent in ignorance")
    said = sender_keys.spoken(group.bob.database, post.writing.client_id)
    assert said is not None
    group.bob.learn(UserId(1))
    missing = [DeviceId(13)]
    made = seal_share(group.bob.database, group.bob.me, group.roster, said, missing, NOW_MS, without=missing)
    assert isinstance(made, Sealed)
    assert not made.envelopes
    assert group.texts([third], post) == ["-"]
    assert group.answer(group.bob, third, post)
    assert fill(third, post) == "sent in ignorance"


def test_what_the_server_calls_missing_is_no_authority(group: Three) -> None:
    post = group.say(group.bob, "hello")
    said = sender_keys.spoken(group.bob.database, post.writing.client_id)
    assert said is not None
    GroupDevice(group.office, 1, 19)  # in no list that alice signed
    outsider = GroupDevice(group.office, 9, 91)
    outsider.found()
    group.bob.learn(UserId(9))
    for device in (19, 91):
        with pytest.raises(Unsealable, match="in no list of a member"):
            seal_share(group.bob.database, group.bob.me, group.roster, said, [DeviceId(device)], NOW_MS)


def test_a_member_without_keys_is_left_out_and_looked_for_again_an_hour_later(group: Three) -> None:
    erin = GroupDevice(group.office, 5, 51)
    group.devices.append(erin)
    group.members.append(UserId(5))
    group.version += 1
    group.say(group.alice, "1")
    assert envelopes(group) == [{12, 21, 31}]
    erin.found()
    group.say(group.alice, "2")
    assert len(group.frames) == 1
    group.alice.now_ms += AGAIN_MS + 1
    post = group.say(group.alice, "3")
    assert envelopes(group)[1:] == [{51}]
    assert group.texts([erin], post) == ["3"]


def test_a_device_without_a_bundle_is_left_out_and_may_ask(group: Three) -> None:
    group.alice.bundleless.add(group.bob.me.device_id)
    post = group.say(group.alice, "1")
    assert envelopes(group) == [{12, 31}]
    group.say(group.alice, "2")
    assert len(group.frames) == 1
    group.alice.bundleless.clear()
    assert group.texts([group.bob], post) == ["-"]
    assert group.answer(group.alice, group.bob, post)
    assert fill(group.bob, post) == "1"
    group.alice.now_ms += AGAIN_MS + 1
    group.say(group.alice, "3")
    assert len(group.frames) == 1


def test_a_device_that_has_no_bundle_for_long_is_looked_for_each_hour(group: Three) -> None:
    group.alice.bundleless.add(group.bob.me.device_id)
    for _ in range(3):
        group.say(group.alice, "hello")
        group.alice.now_ms += AGAIN_MS + 1
    group.alice.bundleless.clear()
    post = group.say(group.alice, "at last")
    assert envelopes(group)[1:] == [{21}]
    assert group.texts([group.bob], post) == ["at last"]


def test_a_device_that_is_not_linked_says_so(group: Three) -> None:
    third = GroupDevice(group.office, 1, 13)
    with pytest.raises(Unsealable, match="not linked"):
        group.say(third, "hello")


def test_who_is_not_in_says_nothing(group: Three) -> None:
    group.remove(3)
    with pytest.raises(Unsealable, match="not in this group"):
        group.say(group.carol, "hello")


def test_a_changed_identity_stops_what_is_sent_where_the_user_wants_to_be_asked(group: Three) -> None:
    group.say(group.alice, "before")
    group.alice.database.execute("UPDATE device_lists SET blocked = 1 WHERE user_id = 3")
    with pytest.raises(Unsealable, match="a member's identity has changed"):
        group.say(group.alice, "after")


# --- renewal -----------------------------------------------------------------------------------


def key_of(device: GroupDevice) -> bytes:
    mine = sender_keys.current(device.database, GROUP)
    assert mine is not None
    return mine.key_id


def test_a_sender_key_is_renewed_after_a_week(group: Three) -> None:
    group.say(group.alice, "1")
    first = key_of(group.alice)
    group.alice.now_ms = NOW_MS + sender_keys.RENEW_MS - 1
    group.say(group.alice, "2")
    assert key_of(group.alice) == first
    group.alice.now_ms += 1
    post = group.say(group.alice, "3")
    assert key_of(group.alice) != first
    assert group.texts(group.others, post) == ["3"] * 3


def test_in_a_small_group_it_is_renewed_after_a_hundred_messages(group: Three) -> None:
    keys = []
    for number in range(sender_keys.RENEW_MESSAGES + 1):
        post = group.say(group.alice, f"{number}")
        keys.append(key_of(group.alice))
    assert [keys.count(key) for key in dict.fromkeys(keys)] == [sender_keys.RENEW_MESSAGES, 1]
    assert group.texts(group.others, post) == ["100"] * 3


def test_in_a_larger_one_it_is_not(group: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_keys, "SMALL", 3)
    keys = set()
    for number in range(sender_keys.RENEW_MESSAGES + 2):
        group.say(group.alice, f"{number}")
        keys.add(key_of(group.alice))
    assert len(keys) == 1


def test_an_older_copy_uses_no_sender_key_again(group: Three) -> None:
    group.texts(group.others, group.say(group.alice, "1"))
    restored = copy_of(group.alice)
    group.texts(group.others, group.say(group.alice, "2"))
    before = key_of(restored)
    assert own.is_copy(restored.database, own.next_generation(restored.database), 5)
    sessions.forget_outbound(restored.database)
    chains.begin_anew(restored.database)
    sender_keys.begin_anew(restored.database)
    post = group.say(restored, "3", client_id=ClientId(b"n" * 16))
    assert key_of(restored) != before
    assert group.texts(group.others, post) == ["3"] * 3
    assert [kinds(device) for device in group.others] == [[], [], []]


def test_old_sender_keys_are_forgotten(group: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_keys, "KEPT", 3)
    for number in range(6):
        group.say(group.alice, f"{number}")
        group.alice.now_ms += sender_keys.RENEW_MS
    for table in ("spoken", "given_keys"):
        (count,) = group.alice.database.execute(f"SELECT count(DISTINCT key_id) FROM {table}").fetchone()
        assert count <= 4
    sender_keys.prune(group.alice.database, group.alice.now_ms + sender_keys.KEEP_MS)
    assert group.alice.database.execute("SELECT count(*) FROM spoken").fetchone() == (0,)
    (count,) = group.alice.database.execute("SELECT count(DISTINCT key_id) FROM given_keys").fetchone()
    assert count == 1  # of the one in use


# --- handouts ----------------------------------------------------------------------------------


def test_envelopes_are_cut_into_frames_by_their_number_and_by_their_size() -> None:
    small = [(DeviceId(number), b"e" * 20) for number in range(600)]
    assert [len(chunk) for chunk in handouts.chunks(small)] == [256, 256, 88]
    large = [(DeviceId(number), b"e" * 2150) for number in range(100)]
    found = list(handouts.chunks(large))
    assert [device for chunk in found for device in chunk] == list(range(100))
    assert all(sum(map(len, chunk.values())) <= handouts.FRAME_BYTES for chunk in found)
    assert len(found) == 3
    assert list(handouts.chunks([])) == []


def test_a_large_group_is_handed_out_in_frames_that_servers_take() -> None:
    group = Group()
    (alice,) = group.add(1, 11)
    readers = [device for user in range(2, 62) for device in group.add(user, user * 10, user * 10 + 1)]
    post = group.say(alice, "to many")
    assert sorted(device for frame in group.frames for device in frame.envelopes) == sorted(
        device.me.device_id for device in readers
    )
    assert len(group.frames) > 1
    assert all(len(MSGPACK.encode(frame)) <= 96 * 1024 for frame in group.frames)
    assert all(len(key) <= 2560 for frame in group.frames for key in frame.envelopes.values())
    assert group.texts(readers[::7], post) == ["to many"] * len(readers[::7])


def test_a_crash_between_two_handouts_skips_nobody_and_repeats_the_same_bytes(
    group: Three, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handouts, "ENVELOPES", 1)
    alice = group.alice
    writing = alice.writing(UserId(0), "hello", conversation_id=GROUP)
    made: object = None
    while not isinstance(made, Handing):
        made = seal_in_group(alice.database, alice.me, group.roster, writing, alice.posting, NOW_MS)
        if not isinstance(made, Handing):
            alice.supply_group(made)  # type: ignore[arg-type]
    first, second, third = handouts.take(alice.database, GROUP, alice.posting.writer, ())
    group.deliver(alice, first.envelopes)
    handouts.done(alice.database, first.client_id)
    group.deliver(alice, second.envelopes)  # and killed before the answer came
    restarted = copy_of(alice)
    assert handouts.are_waiting(restarted.database, GROUP)
    again = seal_in_group(restarted.database, alice.me, group.roster, writing, alice.posting, NOW_MS)
    assert isinstance(again, Handing)
    repeated = handouts.take(restarted.database, GROUP, b"another process!", ())
    assert [one.envelopes for one in repeated] == [second.envelopes, third.envelopes]
    assert [one.attempt for one in repeated] == [2, 2]
    for one in repeated:
        group.deliver(restarted, one.envelopes)
        handouts.done(restarted.database, one.client_id)
    sealed = seal_in_group(restarted.database, alice.me, group.roster, writing, alice.posting, NOW_MS)
    assert isinstance(sealed, Sealed)
    post = group.say(restarted, "goes on")
    assert group.texts(group.others, post) == ["goes on"] * 3
    assert group.frames == []


def test_attempts_of_a_handout_say_whether_it_may_have_been_sent(group: Three) -> None:
    alice = group.alice
    made: object = None
    while not isinstance(made, Handing):
        made = make_ready(alice.database, alice.me, group.roster, alice.posting, NOW_MS)
        if not isinstance(made, Handing):
            alice.supply_group(made)  # type: ignore[arg-type]
    writer = alice.posting.writer
    (first,) = handouts.take(alice.database, GROUP, writer, ())
    assert first.attempt == 1
    attempts = [handouts.take(alice.database, GROUP, writer, {first.client_id})[0].attempt for _ in "ab"]
    assert attempts == [2, 3]
    assert handouts.take(alice.database, GROUP, writer, ())[0].attempt == 4


def test_a_handout_that_is_refused_is_made_anew(group: Three) -> None:
    alice = group.alice
    made: object = None
    while not isinstance(made, Handing):
        made = make_ready(alice.database, alice.me, group.roster, alice.posting, NOW_MS)
        if not isinstance(made, Handing):
            alice.supply_group(made)  # type: ignore[arg-type]
    (refused,) = handouts.take(alice.database, GROUP, alice.posting.writer, ())
    handouts.refused(alice.database, refused)
    assert not handouts.are_waiting(alice.database, GROUP)
    post = group.say(alice, "hello")
    assert group.frames[0].client_id != refused.client_id
    assert group.texts(group.others, post) == ["hello"] * 3


def test_a_key_in_a_handout_that_was_refused_is_used_no_more_if_one_of_its_devices_is_gone(
    group: Three,
) -> None:
    """The server may have kept it, and help who was removed."""
    alice = group.alice
    made: object = None
    while not isinstance(made, Handing):
        made = make_ready(alice.database, alice.me, group.roster, alice.posting, NOW_MS)
        if not isinstance(made, Handing):
            alice.supply_group(made)  # type: ignore[arg-type]
    (refused,) = handouts.take(alice.database, GROUP, alice.posting.writer, ())
    handouts.refused(alice.database, refused)
    group.carol.sign([GroupDevice(group.office, 3, 32)])
    alice.learn(UserId(3))
    post = group.say(alice, "after")
    group.deliver(alice, refused.envelopes)
    assert group.texts([group.carol, group.bob], post) == ["-", "after"]


def test_a_member_who_is_removed_while_handouts_wait_gets_none_that_opens_anything(group: Three) -> None:
    alice = group.alice
    made: object = None
    while not isinstance(made, Handing):
        made = make_ready(alice.database, alice.me, group.roster, alice.posting, NOW_MS)
        if not isinstance(made, Handing):
            alice.supply_group(made)  # type: ignore[arg-type]
    (on_its_way,) = handouts.take(alice.database, GROUP, alice.posting.writer, ())
    group.remove(3)
    post = group.say(alice, "after")
    group.deliver(alice, on_its_way.envelopes)
    assert group.texts([group.carol, group.bob], post) == ["-", "after"]


def test_a_message_that_is_sealed_again_keeps_its_place(group: Three) -> None:
    first = group.say(group.alice, "1")
    group.remove(3)
    again = group.say(group.alice, "1", client_id=first.writing.client_id)
    later = group.say(group.alice, "2")
    for device in (group.bob, group.alice2):
        assert group.texts([device], again) == ["1"]
        assert group.texts([device], later) == ["2"]
        device.now_ms += chains.LATE_MS + 1
        chains.report(device.database, device.now_ms)
        assert kinds(device) == []
    assert group.hear(group.carol, again).fault == Fault.NO_KEY
