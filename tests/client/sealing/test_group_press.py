"""What is refused or lost while a sender key is on its way: it arrives all the same, before the message."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import pytest

from client.memory_world import LOOK_S, until
from client.sealing.lying import Victim
from client.sealing.malice import Choir, lists_heard
from client.sealing.test_clients import in_profile
from client.sealing.test_group_clients import texts
from tidings.client import Refused
from tidings.client.sealing.group_press import REFUSED_MAX
from tidings.protocol.errors import GROUP_CHANGED, INVALID, RATE_LIMITED, ErrorKind
from tidings.protocol.frames import ClientFrame, DevicesChanged, Error, Relation, Send

pytestmark = pytest.mark.slow


def is_handout(frame: ClientFrame) -> bool:
    return isinstance(frame, Send) and frame.relation == Relation.SENDER_KEY


def is_message(frame: ClientFrame) -> bool:
    return isinstance(frame, Send) and frame.relation == Relation.NONE


def refusing(
    victim: Victim, matches: Callable[[ClientFrame], bool], kind: ErrorKind, times: int = 1
) -> Callable[[ClientFrame], Collection[ClientFrame]]:
    """Refuse the first frames that match."""
    left = [None] * times

    def hear(frame: ClientFrame) -> Collection[ClientFrame]:
        if not matches(frame) or not left:
            return [frame]
        left.pop()
        assert isinstance(frame, Send)
        victim.liar.say(Error(kind.code, "no", client_id=frame.client_id, retry_after=0.01))
        return []

    return hear


async def renewed(choir: Choir) -> None:
    """alice has another sender key with the next message."""
    await in_profile(choir.alice, lambda database: database.execute("UPDATE sender_keys SET made_ms = 0"))
    choir.alice.liar.said.clear()


def handouts(victim: Victim) -> list[Send]:
    return [send for send in victim.liar.sent if send.relation == Relation.SENDER_KEY]


async def test_a_handout_that_is_refused_for_now_is_repeated(choir: Choir) -> None:
    alice, bob, _, peer = choir
    await renewed(choir)
    alice.liar.hear = refusing(alice, is_handout, RATE_LIMITED, 2)
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    sent = handouts(alice)
    assert [one.attempt for one in sent] == [1, 2, 3]
    assert len({(one.client_id, *one.envelopes.values()) for one in sent}) == 1


@pytest.mark.parametrize("matches", [is_handout, is_message])
async def test_what_is_behind_a_removal_is_sealed_again(
    choir: Choir, matches: Callable[[ClientFrame], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.client.transmitter.CHANGED_S", 0.01)
    monkeypatch.setattr("tidings.client.sealing.group_press.CHANGED_S", 0.01)
    alice, bob, _, peer = choir
    await renewed(choir)
    alice.liar.hear = refusing(alice, matches, GROUP_CHANGED, 3)
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    messages = [one for one in alice.liar.sent if is_message(one)]
    assert len({one.client_id for one in messages}) == 1
    if matches is is_message:
        assert len({one.content for one in messages}) == 4
    else:
        assert len({one.client_id for one in handouts(alice)}) == 4


@pytest.mark.parametrize("matches", [is_handout, is_message])
async def test_what_is_behind_the_removal_of_a_device_is_sealed_again(
    choir: Choir, matches: Callable[[ClientFrame], bool]
) -> None:
    alice, bob, _, peer = choir
    lists = {one.user_id: one for one in lists_heard(alice)}
    await renewed(choir)
    done: list[Send] = []

    def hear(frame: ClientFrame) -> Collection[ClientFrame]:
        if not matches(frame) or done:
            return [frame]
        assert isinstance(frame, Send)
        done.append(frame)
        alice.liar.say(DevicesChanged(frame.client_id, frame.keys_at, list(lists.values())))
        return []

    alice.liar.hear = hear
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    assert done


async def while_it_waits(choir: Choir, happens: Awaitable[object]) -> set[int]:
    """Something happens in a group while a message of bob's, sealed before, is refused for now.

    The versions of the group for which it was sent.
    """
    alice, bob, _, peer = choir
    waits, has_happened = asyncio.Event(), asyncio.Event()

    def hear(frame: ClientFrame) -> Collection[ClientFrame]:
        if not is_message(frame) or has_happened.is_set():
            return [frame]
        assert isinstance(frame, Send)
        bob.liar.say(Error(RATE_LIMITED.code, "no", client_id=frame.client_id, retry_after=0.01))
        waits.set()
        return []

    bob.liar.hear = hear
    bob.liar.said.clear()
    sending = asyncio.ensure_future(bob.client.send(peer, "3"))
    await waits.wait()
    await happens
    version = (await alice.client.groups.get(peer)).version
    while await in_profile(
        bob, lambda database: database.execute("SELECT version FROM groups").fetchone()
    ) != (version,):
        await asyncio.sleep(LOOK_S)
    has_happened.set()
    await sending
    return {one.version for one in bob.liar.sent if is_message(one)}


async def test_who_joins_while_a_message_waits_is_given_its_key(choir: Choir) -> None:
    """It says for whom it was sealed, not who is in the group by now."""
    alice, _, carol, peer = choir
    assert await while_it_waits(choir, alice.client.groups.add(peer, ["@carol"])) == {1}
    await texts(carol, peer, "3")


async def test_a_message_that_waits_while_somebody_is_removed_is_sealed_again(choir: Choir) -> None:
    alice, bob, carol, peer = choir
    await alice.client.groups.add(peer, ["@carol"])
    await bob.client.send(peer, "for three")
    await texts(carol, peer, "for three")
    assert await while_it_waits(choir, alice.client.groups.remove(peer, ["@carol"])) == {2, 3}
    await texts(alice, peer, "1", "2", "for three", "3")
    keys = await in_profile(
        bob, lambda database: database.execute("SELECT count(DISTINCT key_id) FROM spoken").fetchone()
    )
    assert keys == (2,)


async def test_a_handout_whose_answer_got_lost_is_repeated_before_the_message(choir: Choir) -> None:
    alice, bob, _, peer = choir
    await renewed(choir)
    torn: list[Send] = []

    def hear(frame: ClientFrame) -> Collection[ClientFrame]:
        if is_handout(frame) and not torn:
            assert isinstance(frame, Send)
            torn.append(frame)
            alice.tear()
        return [frame]

    alice.liar.hear = hear
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    first, *again = handouts(alice)
    assert again[0].attempt > first.attempt == 1
    assert (again[0].client_id, again[0].envelopes) == (first.client_id, first.envelopes)
    assert [is_message(one) for one in alice.liar.sent][-1]


async def test_a_handout_that_is_refused_for_good_ends_the_message(choir: Choir) -> None:
    alice, bob, _, peer = choir
    await renewed(choir)
    alice.liar.hear = refusing(alice, is_handout, INVALID, REFUSED_MAX)
    with pytest.raises(Refused, match="invalid"):
        await alice.client.send(peer, "no")
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    await until(lambda: len(handouts(alice)) == REFUSED_MAX + 1)


async def test_a_handout_that_is_refused_for_what_is_not_seen_is_made_anew(choir: Choir) -> None:
    alice, bob, _, peer = choir
    await renewed(choir)
    alice.liar.hear = refusing(alice, is_handout, INVALID, REFUSED_MAX - 1)
    await alice.client.send(peer, "3")
    await texts(bob, peer, "1", "2", "3")
    assert len({one.client_id for one in handouts(alice)}) == REFUSED_MAX
