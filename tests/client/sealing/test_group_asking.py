"""A sender key that did not come is asked for, and answered: once, later, and only to who may have it."""

import pytest

from client.sealing.devices import NOW_MS, Post
from client.sealing.group_devices import OTHER_GROUP, Group, GroupDevice, asks, fill
from tidings.client.sealing import asking, group_asking, own, sender_keys
from tidings.client.sealing.group_asking import ASKS, JITTER_MS, WAIT_MS
from tidings.client.sealing.inside import head_of
from tidings.client.sealing.sealer import Unsealable
from tidings.protocol.frames import Reference
from tidings.protocol.ids import ClientId, MessageId, UserId


class Two(Group):
    """alice and bob. bob is given no key, unless a test says so."""

    def __init__(self) -> None:
        super().__init__()
        (self.alice,) = self.add(1, 11)
        (self.bob,) = self.add(2, 21)

    def unread(self, *texts: str) -> list[Post]:
        """What alice says and bob cannot read."""
        posts = [self.say(self.alice, text, to=[]) for text in texts]
        assert [self.texts([self.bob], post) for post in posts] == [["-"]] * len(posts)
        return posts

    def wait(self, ms: int = WAIT_MS) -> None:
        self.bob.now_ms += ms


@pytest.fixture
def group() -> Two:
    return Two()


def filled(group: Two, posts: list[Post]) -> list[str]:
    key_id = head_of(posts[0].sealed.content).key_id
    waiting = group_asking.waiting(
        group.bob.database, group.conversation_id, group.alice.me.device_id, key_id
    )
    by_name = {post.name: post for post in posts}
    return [fill(group.bob, by_name[name]) for name in waiting]


def test_a_key_is_waited_for_before_it_is_asked_for(group: Two) -> None:
    (post,) = group.unread("1")
    assert asks(group.bob) == []
    group.wait(WAIT_MS - 1)
    assert asks(group.bob) == []
    group.wait(1)
    me, now_ms = group.bob.me.device_id, group.bob.now_ms
    assert group_asking.due(group.bob.database, me, now_ms, lambda: JITTER_MS) == []
    (ask,) = group_asking.due(group.bob.database, me, now_ms, lambda: 0)
    assert ask == (group.conversation_id, post.name, post.message_id)
    group.wait(100 * WAIT_MS)
    assert asks(group.bob) == []


def test_one_answer_opens_all_that_came_since(group: Two) -> None:
    posts = group.unread("1", "2", "3")
    group.wait()
    assert asks(group.bob) == [posts[0].name]
    assert group.answer(group.alice, group.bob, posts[0])
    assert filled(group, posts) == ["1", "2", "3"]
    assert not group_asking.is_any_awaited(group.bob.database)
    assert group.texts([group.bob], group.say(group.alice, "4")) == ["4"]


def test_the_answer_opens_nothing_from_before_what_was_asked_for(group: Two) -> None:
    posts = group.unread("1", "2", "3")
    assert group.answer(group.alice, group.bob, posts[1])
    assert filled(group, posts) == ["", "2", "3"]


def test_the_handout_that_comes_late_opens_it_all(group: Two) -> None:
    posts = group.unread("1", "2")
    group.deliver(group.alice, group.frames[0].envelopes)
    assert filled(group, posts) == ["1", "2"]
    group.wait()
    assert asks(group.bob) == []


def test_where_no_answer_comes_the_next_ones_are_asked_for_and_then_none(group: Two) -> None:
    posts = group.unread(*(f"{number}" for number in range(ASKS + 3)))
    asked = []
    for _ in range(20):
        group.wait()
        asked += asks(group.bob)
    assert asked == [post.name for post in posts[:ASKS]]


def test_of_many_keys_a_few_are_asked_for_at_once(group: Two) -> None:
    count = group_asking.AT_ONCE + 3
    for number in range(count):
        sender_keys.forget(group.alice.database, group.conversation_id)
        group.unread(f"{number}")
    group.wait()
    assert len(asks(group.bob)) == group_asking.AT_ONCE
    assert len(asks(group.bob)) == 3
    assert asks(group.bob) == []


def test_what_was_said_before_a_device_was_there_is_not_asked_for(group: Two) -> None:
    before = MessageId(group.office.now())
    post = group.say(group.alice, "old", to=[])
    third = GroupDevice(group.office, 2, 22)
    group.bob.sign([group.bob, third])
    group.hear(third, post, message_id=before)
    third.now_ms += WAIT_MS
    assert asks(third) == []


def test_nobody_asks_for_what_cannot_be_opened_by_any_key(group: Two) -> None:
    post = group.say(group.alice, "x", to=[])
    message = post.message(content=b"junk")
    group_asking.await_key(group.bob.database, message, b"junk", NOW_MS)
    assert not group_asking.is_any_awaited(group.bob.database)


def test_what_is_awaited_for_too_long_is_forgotten(group: Two) -> None:
    group.unread("1")
    group_asking.prune(group.bob.database, NOW_MS + group_asking.KEEP_MS)
    assert group_asking.is_any_awaited(group.bob.database)
    group_asking.prune(group.bob.database, NOW_MS + group_asking.KEEP_MS + 1)
    assert not group_asking.is_any_awaited(group.bob.database)


# --- the author ------------------------------------------------------------------------------------


def test_who_asks_twice_is_answered_once(group: Two) -> None:
    (post,) = group.unread("1")
    assert group.answer(group.alice, group.bob, post)
    assert not group.answer(group.alice, group.bob, post)


def test_an_outsider_is_not_answered(group: Two) -> None:
    (post,) = group.unread("1")
    outsider = GroupDevice(group.office, 9, 91)
    outsider.found()
    assert not group.answer(group.alice, outsider, post)


def test_who_joined_later_is_not_answered(group: Two) -> None:
    (post,) = group.unread("1")
    (carol,) = group.add(3, 31)
    later = group.say(group.alice, "2", to=[])
    assert not group.answer(group.alice, carol, post)
    assert group.answer(group.alice, carol, later)


def test_who_was_removed_is_not_answered(group: Two) -> None:
    (carol,) = group.add(3, 31)
    (post,) = group.unread("1")
    group.remove(3)
    with pytest.raises(Unsealable, match="in no list of a member"):
        group.answer(group.alice, carol, post)


def test_a_message_of_another_group_is_no_way_in(group: Two) -> None:
    (post,) = group.unread("1")
    device = group.bob.me.device_id
    assert not group_asking.may_answer(group.alice.database, post.name, device, OTHER_GROUP)
    unknown = Reference(11, ClientId(b"?" * 16))
    assert not group_asking.may_answer(group.alice.database, unknown, device, group.conversation_id)
    assert group_asking.answer(group.alice.database, unknown, [device]) is None


def test_the_key_of_a_deleted_message_is_gone(group: Two) -> None:
    (post,) = group.unread("1")
    theirs = Reference(group.bob.me.device_id, post.writing.client_id)
    sender_keys.unspeak(group.alice.database, theirs)
    assert group_asking.answer(group.alice.database, post.name, []) is not None
    sender_keys.unspeak(group.alice.database, post.name)
    assert not group.answer(group.alice, group.bob, post)


def test_a_lost_session_heals_with_the_answer(group: Two) -> None:
    group.texts([group.bob], group.say(group.alice, "1"))
    group.texts([group.alice], group.say(group.bob, "2"))
    group.bob.database.execute("DELETE FROM sessions")
    group.bob.database.execute("DELETE FROM prekeys WHERE kind = ?", (own.Kind.ONE_TIME,))
    sender_keys.forget(group.alice.database, group.conversation_id)
    # It goes over a session that bob's device has lost.
    post = group.say(group.alice, "3")
    assert group.texts([group.bob], post) == ["-"]
    group.alice.now_ms = group.bob.now_ms = NOW_MS + WAIT_MS
    assert asks(group.bob) == [post.name]
    assert group.answer(group.alice, group.bob, post)
    assert filled(group, [post]) == ["3"]
    sender_keys.forget(group.alice.database, group.conversation_id)
    assert group.texts([group.bob], group.say(group.alice, "4")) == ["4"]
    assert group.texts([group.alice], group.say(group.bob, "5")) == ["5"]
    assert asking.KEEP_MS == group_asking.KEEP_MS
    assert UserId(1) in group.members
