"""What is sealed on one device is read on those that it is for, and on no other."""

import msgspec
import pytest
import tidings_core as core

from client.sealing.devices import NOW_MS, Device, Office, Post
from tidings.client.sealing import asking, chains, lists, own, sessions
from tidings.client.sealing.opener import Opened, open_with
from tidings.client.sealing.sealer import Sealed, Unsealable, seal_message
from tidings.client.sealing.sessions import Unopened
from tidings.client.values import Fault
from tidings.protocol.frames import Reference, Relation, Scheme
from tidings.protocol.ids import MessageId, UserId

ALICE, BOB = UserId(1), UserId(2)


class Four:
    """alice and bob, a phone and a laptop each."""

    def __init__(self) -> None:
        self.office = Office()
        self.alice, self.alice2 = self._user(1, 11, 12)
        self.bob, self.bob2 = self._user(2, 21, 22)

    @property
    def all(self) -> list[Device]:
        return [self.alice, self.alice2, self.bob, self.bob2]

    def _user(self, user_id: int, *devices: int) -> list[Device]:
        made = [Device(self.office, user_id, device) for device in devices]
        made[0].found()
        made[0].sign(made)
        return made


@pytest.fixture
def four() -> Four:
    return Four()


def text(opened: Opened) -> str:
    assert opened.fault == Fault.NONE
    return opened.message.content.decode()


def kinds(device: Device) -> list[str]:
    return [warning.kind for warning in device.warned()]


def test_all_devices_of_both_read_it_and_the_server_sees_nothing_of_it(four: Four) -> None:
    post = four.alice.send(BOB, "a secret")
    assert [text(device.open(post)) for device in four.all[1:]] == ["a secret"] * 3
    assert set(post.sealed.envelopes) == {12, 21, 22}
    wire = msgspec.msgpack.encode(post.message()) + b"".join(post.sealed.envelopes.values())
    assert b"secret" not in wire
    assert b"text/plain" not in wire


def test_a_long_conversation_in_any_order(four: Four) -> None:
    for turn in range(30):
        sender, peer = (four.alice, BOB) if turn % 2 else (four.bob2, ALICE)
        posts = [sender.send(peer, f"{turn}.{n}") for n in range(3)]
        for device in four.all:
            if device is not sender:
                assert [text(device.open(post)) for post in (posts[1], posts[0], posts[2])] == [
                    f"{turn}.1",
                    f"{turn}.0",
                    f"{turn}.2",
                ]
        # Over several nodes they may come in any order: that alone is nothing to warn of.
    for device in four.all:
        assert "missing" not in kinds(device)
        device.now_ms += chains.LATE_MS + 1
        chains.report(device.database, device.now_ms)
        assert "missing" not in kinds(device)


def test_both_write_first_at_the_same_time(four: Four) -> None:
    one, other = four.alice.send(BOB, "from alice"), four.bob.send(ALICE, "from bob")
    assert text(four.bob.open(one)) == "from alice"
    assert text(four.alice.open(other)) == "from bob"
    for turn in range(4):
        assert text(four.bob.open(four.alice.send(BOB, f"a{turn}"))) == f"a{turn}"
        assert text(four.alice.open(four.bob.send(ALICE, f"b{turn}"))) == f"b{turn}"


@pytest.mark.parametrize(
    "change",
    [
        {"content": b"\1" * 200},
        {"sender_device": 12},
        {"client_id": b"x" * 16},
        {"conversation_id": b"c" * 16},
        {"relation": Relation.EDIT, "relates_to": Reference(11, b"y" * 16)},
        {"silent": True},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_server_changes_is_seen(four: Four, change: dict[str, object]) -> None:
    post = four.alice.send(BOB, "hello")
    opened = four.bob.open(post, **change)
    assert opened.fault in (Fault.FORGED, Fault.NO_KEY)
    assert opened.message.content == b""


def test_a_plain_message_in_a_sealed_conversation_is_a_fault(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "sealed"))
    post = four.alice.send(BOB, "forged")
    opened = four.bob.open(post, scheme=Scheme.PLAIN, content=b"forged", content_type="text/plain")
    assert opened.fault == Fault.PLAINTEXT
    assert opened.message.content == b""
    delete = four.bob.open(
        post,
        scheme=Scheme.PLAIN,
        content=b"",
        content_type="",
        relation=Relation.DELETE,
        relates_to=post.name,
    )
    assert delete.fault == Fault.PLAINTEXT
    assert kinds(four.bob) == ["plaintext", "plaintext"]


def test_a_delete_that_nobody_sealed_is_none(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "hello"))
    post = four.alice.send(BOB, "x")
    opened = four.bob.open(
        post,
        content=b"",
        content_type="",
        relation=Relation.DELETE,
        relates_to=post.name,
        client_id=b"d" * 16,
    )
    assert opened.fault != Fault.NONE


def test_time_may_be_cut_short_by_the_server_and_never_lengthened(four: Four) -> None:
    post = four.alice.send(BOB, "for a while", expires_at=NOW_MS + 5000)
    assert four.bob.open(post, expires_at=None).message.expires_at == NOW_MS + 5000
    assert four.bob2.open(post, expires_at=NOW_MS + 1).message.expires_at == NOW_MS + 1


# --- devices that come and go ---------------------------------------------------------------


def test_a_removed_device_reads_nothing_after(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "before"))
    four.bob.sign([four.bob])
    four.alice.learn(BOB)
    post = four.alice.send(BOB, "after")
    assert set(post.sealed.envelopes) == {12, 21}
    assert four.bob2.open(post).fault == Fault.NO_KEY
    assert text(four.bob.open(post)) == "after"


def test_what_a_removed_device_sends_is_not_taken_from_then_on(four: Four) -> None:
    four.alice.learn(BOB)
    before = four.bob2.send(ALICE, "on its way")
    four.bob.sign([four.bob])
    four.alice.learn(BOB)
    assert four.alice.open(four.bob2.send(ALICE, "too late")).fault == Fault.UNKNOWN_DEVICE
    assert text(four.alice.open(before)) == "on its way"
    assert kinds(four.alice) == ["device_unknown"]


def test_a_device_that_the_server_invents_gets_nothing_and_says_nothing(four: Four) -> None:
    mallory = Device(four.office, 2, 29)
    mallory.found()  # a list of its own, signed by an identity of its own
    forged = four.office.lists[BOB]
    four.bob.sign([four.bob, four.bob2])
    four.alice.learn(BOB)
    four.office.lists[BOB] = msgspec.structs.replace(
        four.office.lists[BOB], body=forged.body, user_id=BOB
    )  # its body under bob's signature
    assert not four.alice.learn(BOB)
    assert kinds(four.alice) == ["list_forged"]
    assert set(four.alice.send(BOB, "hello").sealed.envelopes) == {12, 21, 22}
    post = four.alice.send(BOB, "x")
    assert four.alice.open(Post(mallory, post.writing, post.sealed, post.message_id, NOW_MS)).fault == (
        Fault.UNKNOWN_DEVICE
    )


def test_an_old_list_is_refused(four: Four) -> None:
    old = four.office.lists[BOB]
    four.bob.sign([four.bob])
    four.alice.learn(BOB)
    four.office.lists[BOB] = old
    assert not four.alice.learn(BOB)
    assert kinds(four.alice) == ["list_old"]
    assert set(four.alice.send(BOB, "hello").sealed.envelopes) == {12, 21}


def test_a_device_keeps_its_keys(four: Four) -> None:
    four.alice.learn(BOB)
    four.bob2.database.execute("DELETE FROM own_keys")
    own.create(four.bob2.database)  # other ones, under the same device_id
    four.bob.sign([four.bob, four.bob2])
    assert not four.alice.learn(BOB)
    assert kinds(four.alice) == ["list_forged"]


def test_another_identity_is_told_and_may_stop_what_is_sent(four: Four) -> None:
    four.alice.send(BOB, "before")
    four.bob.sign([four.bob], identity=core.SigningKey.generate())
    lists.store(four.alice.database, four.office.lists[BOB], four.office.now(), strict=True)
    assert kinds(four.alice) == ["identity_changed"]
    with pytest.raises(Unsealable):
        four.alice.send(BOB, "no")
    lists.trust(four.alice.database, BOB, verified=False)
    assert text(four.bob.open(four.alice.send(BOB, "yes"))) == "yes"


def test_an_identity_that_the_one_before_did_not_sign_is_told_apart(four: Four) -> None:
    four.alice.learn(BOB)
    lists.trust(four.alice.database, BOB, verified=True)
    mallory = Device(four.office, 2, 29)
    four.office.lists.pop(BOB)
    mallory.found()
    mallory.sign([mallory])
    mallory.sign([mallory])
    four.alice.learn(BOB)
    assert kinds(four.alice) == ["identity_replaced"]
    verdict = lists.verdict(four.alice.database, BOB)
    assert verdict is not None
    assert not verdict.verified


def test_nobody_but_ones_own_identity_gives_one_another(four: Four) -> None:
    mallory = Device(four.office, 1, 19)
    four.office.lists.pop(ALICE)
    mallory.found()
    for _ in range(3):
        mallory.sign([mallory])
    assert not four.alice.learn(ALICE)
    assert kinds(four.alice) == ["list_forged"]
    assert set(four.alice.send(BOB, "hello").sealed.envelopes) == {12, 21, 22}


def test_a_key_that_nobody_may_ask_for_any_more_is_forgotten(four: Four) -> None:
    post = four.alice.send(BOB, "hello")
    answer = asking.answer(four.alice.database, post.name, [four.bob.me.device_id])
    assert answer is not None
    assert abs(answer.sealed_ms - NOW_MS) < 10
    asking.prune(four.alice.database, answer.sealed_ms + asking.KEEP_MS)
    assert asking.answer(four.alice.database, post.name, [four.bob.me.device_id]) is not None
    asking.prune(four.alice.database, answer.sealed_ms + asking.KEEP_MS + 1)
    assert asking.answer(four.alice.database, post.name, [four.bob.me.device_id]) is None


def test_a_device_that_was_away_for_long_opens_what_waited(four: Four) -> None:
    post = four.alice.send(BOB, "in the meantime")
    four.bob.now_ms += 10 * own.WEEK_MS
    renewed = own.renewed(four.bob.database, four.bob.own.keys, four.bob.now_ms)
    assert four.bob.open(post).message.content == b"in the meantime"
    four.bob.now_ms += own.KEEP_MS + 1
    own.renewed(four.bob.database, four.bob.own.keys, four.bob.now_ms)
    four.bob.now_ms += own.KEEP_MS + 1
    own.renewed(four.bob.database, four.bob.own.keys, four.bob.now_ms)
    kept = four.bob.database.execute("SELECT min(key_id) FROM prekeys WHERE kind = ?", (own.Kind.PREKEY,))
    assert kept.fetchone()[0] > renewed[0].id


def test_a_bundle_with_other_keys_is_not_used(four: Four) -> None:
    four.alice.learn(BOB)
    mallory = Device(four.office, 2, 21)
    known = lists.known(four.alice.database, BOB)
    assert known is not None
    with pytest.raises(Unopened):
        four.alice.begin(known.devices[0], mallory.bundle(BOB))


def test_a_device_that_is_not_linked_says_so(four: Four) -> None:
    third = Device(four.office, 1, 13)
    with pytest.raises(Unsealable, match="not linked"):
        seal_message(third.database, third.me, third.writing(BOB, "hello"), NOW_MS)


# --- healing --------------------------------------------------------------------------------


def heal(four: Four, post: Post) -> Opened:
    """bob's phone asks for a key, and alice's phone answers."""
    assert asking.may_answer(four.alice.database, post.name, four.bob.me.device_id)
    sealed = four.alice.seal_key(BOB, post.name, four.bob.me.device_id)
    key = four.bob.open_key(post, sealed)
    assert key is not None
    return open_with(four.bob.database, four.bob.me, post.message(), key, four.bob.now_ms)


def test_a_lost_session_heals(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "before"))
    four.bob.database.execute("DELETE FROM sessions")
    posts = [four.alice.send(BOB, f"{n}") for n in range(3)]
    four.alice.now_ms = four.bob.now_ms = NOW_MS + 10
    # A first message carries what a session begins with, until it is answered; this one was not.
    four.alice.database.execute("UPDATE sessions SET made_ms = ?", (NOW_MS,))
    opened = [four.bob.open(post) for post in posts]
    broken = [post for post, one in zip(posts, opened, strict=True) if one.fault == Fault.NO_KEY]
    for post in broken:
        assert text(heal(four, post)) == post.writing.content.decode()
    assert text(four.bob.open(four.alice.send(BOB, "goes on"))) == "goes on"
    assert text(four.alice.open(four.bob.send(ALICE, "both ways"))) == "both ways"


def test_a_lost_session_that_was_answered_heals_over_a_new_one(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "before"))
    four.alice.open(four.bob.send(ALICE, "answer"))
    four.bob.database.execute("DELETE FROM sessions")
    post = four.alice.send(BOB, "lost")
    assert four.bob.open(post).fault == Fault.NO_KEY
    four.alice.now_ms = four.bob.now_ms = NOW_MS + 10
    assert text(heal(four, post)) == "lost"
    assert text(four.bob.open(four.alice.send(BOB, "goes on"))) == "goes on"


@pytest.mark.parametrize("back_ms", [0, 1, 300, 3_600_000])
def test_a_lost_session_heals_over_a_new_one_after_the_clock_went_back(four: Four, back_ms: int) -> None:
    four.bob.open(four.alice.send(BOB, "before"))
    four.alice.open(four.bob.send(ALICE, "answer"))
    four.bob.database.execute("DELETE FROM sessions")
    for device in four.all:
        device.now_ms -= back_ms
    post = four.alice.send(BOB, "lost")
    assert four.bob.open(post).fault == Fault.NO_KEY
    assert text(heal(four, post)) == "lost"
    assert text(four.bob.open(four.alice.send(BOB, "goes on"))) == "goes on"


def test_who_asks_twice_or_was_not_meant_is_not_answered(four: Four) -> None:
    post = four.alice.send(BOB, "hello")
    assert asking.may_answer(four.alice.database, post.name, four.bob.me.device_id)
    assert not asking.may_answer(four.alice.database, post.name, four.bob.me.device_id)
    third = Device(four.office, 2, 23)
    four.bob.sign([four.bob, four.bob2, third])
    four.alice.learn(BOB)
    assert not asking.may_answer(four.alice.database, post.name, third.me.device_id)


def test_a_deleted_messages_key_is_gone(four: Four) -> None:
    post = four.alice.send(BOB, "hello")
    asking.forget(four.alice.database, post.name)
    assert not asking.may_answer(four.alice.database, post.name, four.bob.me.device_id)


def test_an_older_copy_uses_no_key_again(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    four.alice.open(four.bob.send(ALICE, "2"))
    copy = list(four.alice.database.iterdump())
    four.bob.open(four.alice.send(BOB, "3"))
    restored = Device(four.office, 1, 11)
    restored.database.close()
    restored.database = type(restored.database)(":memory:", isolation_level=None)
    restored.database.executescript("\n".join(copy))
    assert own.is_copy(restored.database, own.next_generation(restored.database), 5)
    sessions.forget_outbound(restored.database)
    chains.begin_anew(restored.database)
    assert text(four.bob.open(restored.send(BOB, "4", client_id=b"n" * 16))) == "4"
    assert kinds(four.bob) == []


# --- a server that drops, repeats, reorders, backdates -----------------------------------------


def overdue(device: Device) -> list[str]:
    device.now_ms += chains.LATE_MS + 1
    chains.report(device.database, device.now_ms)
    return kinds(device)


def test_a_dropped_message_is_missed(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    four.alice.send(BOB, "dropped")
    four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == ["missing"]


def test_one_that_comes_late_is_not_missed(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    late = four.alice.send(BOB, "2")
    four.bob.open(four.alice.send(BOB, "3"))
    assert text(four.bob.open(late)) == "2"
    assert "missing" not in overdue(four.bob)


@pytest.mark.parametrize("why", ["given up", "expired", "deleted"])
def test_what_may_rightly_be_missing_is_not_missed(four: Four, why: str) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    gone = four.alice.send(BOB, "2", expires_at=NOW_MS + 10 if why == "expired" else None)
    if why == "given up":
        chains.given_up(four.alice.database, gone.writing.client_id)
    four.bob.now_ms += 100
    if why == "deleted":
        four.bob.open(
            four.alice.send(BOB, "", relation=Relation.DELETE, relates_to=gone.name, content_type="")
        )
    else:
        four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == []


def test_what_came_while_its_sender_was_blocked_is_not_missed(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    four.bob.database.execute(
        "INSERT INTO settings VALUES (9, '1', x'', x'', ?, 0, x'')", (four.office.now(),)
    )
    four.alice.send(BOB, "kept back")
    four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == []


def test_what_came_while_the_inbox_was_not_complete_is_not_missed(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"))
    chains.excuse_all(four.bob.database)
    four.alice.send(BOB, "of the past")
    four.bob.open(four.alice.send(BOB, "3"))
    assert overdue(four.bob) == []


def test_a_changed_order_is_seen(four: Four) -> None:
    one, two = four.alice.send(BOB, "1"), four.alice.send(BOB, "2")
    four.bob.open(one, message_id=MessageId(5000))
    four.bob.open(two, message_id=MessageId(4000))
    assert kinds(four.bob) == ["reordered"]


def test_a_backdated_message_is_seen(four: Four) -> None:
    four.bob.open(four.alice.send(BOB, "1"), created_at=NOW_MS - chains.SKEW_MS - 1)
    assert kinds(four.bob) == ["backdated"]


def test_an_envelope_is_good_once(four: Four) -> None:
    post = four.alice.send(BOB, "hello")
    assert text(four.bob.open(post)) == "hello"
    assert four.bob.open(post).fault == Fault.NO_KEY
    assert isinstance(post.sealed, Sealed)
