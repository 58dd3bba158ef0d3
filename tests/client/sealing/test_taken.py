"""What a device that was taken out, or a copy of its profile, reads of what comes later."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from client.memory_world import all_agree
from client.sealing.lying import Victim, Victims
from client.sealing.test_clients import in_profile, link, texts
from tidings.client import Fault, SessionEnded
from tidings.client.database import connect
from tidings.client.keeping import key_of
from tidings.client.profile import Profile
from tidings.client.sealing import lists
from tidings.client.sealing.opener import open_message
from tidings.client.sealing.sealer import Self
from tidings.protocol.frames import Deliver, DeviceLists, Hello, Relation, Send, ServerFrame, Welcome

pytestmark = pytest.mark.slow


class Thief:
    """Has a profile, and whatever crossed the wire; no server helps."""

    def __init__(self, profile: Path) -> None:
        kept = Profile(profile)
        account = kept.account()
        assert account.key is not None
        self._database = connect(kept.database(account), key_of(account.key, profile, ask=_nobody))
        self.me = Self(*account.ids())

    def close(self) -> None:
        self._database.close()

    def learn(self, said: Iterable[ServerFrame]) -> None:
        """Take the device lists that the server told the device: they are public."""
        for frame in said:
            if isinstance(frame, DeviceLists):
                for signed in frame.lists:
                    lists.store(self._database, signed, frame.keys_at)

    def reads(self, delivered: Iterable[Deliver], sent: Iterable[Send]) -> list[str]:
        """The texts that can be opened of messages, with any envelope that ever was."""
        every = [data for send in sent for data in send.envelopes.values()]
        found = []
        for deliver in delivered:
            message = deliver.message
            own = [data for data in (deliver.envelope,) if data is not None]
            if message.relation == Relation.NONE:
                text = next(filter(None, (self._read(deliver, data) for data in [*own, *every])), None)
                found += [] if text is None else [text]
        return found

    def _read(self, deliver: Deliver, envelope: bytes) -> str | None:
        self._database.execute("SAVEPOINT try")
        opened = open_message(self._database, self.me, deliver.message, envelope, deliver.message.created_at)
        if opened.fault != Fault.NONE:
            self._database.execute("ROLLBACK TO try")
        self._database.execute("RELEASE try")
        return opened.message.content.decode() if opened.fault == Fault.NONE else None


def _nobody() -> str:
    raise AssertionError("its key is in a file beside it")


async def copied(screen: Victim, to: Path) -> Path:
    """A copy of a whole profile, as it is between two writes."""
    await in_profile(screen, lambda _: shutil.copytree(screen._profile, to))
    return to


def wire(*screens: Victim) -> tuple[list[Deliver], list[Send]]:
    """All messages that devices were sent, in their order, and all that they sent."""
    delivered = {
        (one.message.sender_device, one.message.client_id, one.envelope): one
        for screen in screens
        for one in screen.liar.delivered
    }
    ordered = sorted(delivered.values(), key=lambda one: one.message.message_id)
    return ordered, [send for screen in screens for send in screen.liar.sent]


async def test_four_devices_read_all_and_one_that_is_taken_out_nothing_after(
    victims: Victims, tmp_path: Path
) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.login("alice") as alice2,
    ):
        await link(alice, alice2)
        everything = []
        with suppress(SessionEnded):
            async with await victims.login("bob") as bob2:
                await link(bob, bob2)
                four = {alice: "bob", alice2: "bob", bob: "alice", bob2: "alice"}
                for turn in range(2):
                    for number, (screen, peer) in enumerate(four.items()):
                        everything.append(f"{turn}.{number}")
                        await screen.client.send(peer, everything[-1])
                        for each, other in four.items():
                            found = await texts(each, other, *everything)
                            assert all(one.sealed for one in found)
                await all_agree(*four)
                stolen = await copied(bob2, tmp_path / "stolen")
                await bob.client.devices.sign_out(str(bob2.device_id))
        heard = len(bob2.liar.delivered)
        counts = {
            screen: (len(screen.liar.delivered), len(screen.liar.sent)) for screen in (alice, alice2, bob)
        }
        for turn in range(2):
            for screen, peer in ((alice, "bob"), (alice2, "bob"), (bob, "alice")):
                everything.append(f"after {turn} {screen.device_id}")
                await screen.client.send(peer, everything[-1])
                for each, other in ((alice, "bob"), (alice2, "bob"), (bob, "alice")):
                    await texts(each, other, *everything)
        await all_agree(alice, alice2, bob)
        after = [send for screen in counts for send in screen.liar.sent[counts[screen][1] :]]
        # The first one may be sealed for it still: the node refuses that, and tells nobody of it.
        accepted = {send.client_id: send for send in after}
        assert all(bob2.device_id not in send.envelopes for send in accepted.values())
        assert len(bob2.liar.delivered) == heard
        messages = [one for screen in counts for one in screen.liar.delivered[counts[screen][0] :]]
        assert len(messages) == 12
        thief = Thief(stolen)
        assert thief.reads(messages, accepted.values()) == []
        thief.close()


async def test_a_copy_of_a_profile_reads_nothing_three_turns_later(victims: Victims, tmp_path: Path) -> None:
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        for text in ("1", "3"):
            await alice.client.send("@bob", text)
            await texts(bob, "alice", *"1234"[: int(text)])
            await bob.client.send("@alice", str(int(text) + 1))
            await texts(alice, "bob", *"1234"[: int(text) + 1])
        before = [*"1234"]
        thief = Thief(await copied(bob, tmp_path / "copy"))
        counts = [len(one) for one in wire(alice, bob)]
        for turn in range(6):
            for screen, peer in ((alice, "bob"), (bob, "alice")):
                before.append(f"{turn} of {screen.client.handle}")
                await screen.client.send(peer, before[-1])
                await texts(alice, "bob", *before)
                await texts(bob, "alice", *before)
        messages, sent = wire(alice, bob)
        read = thief.reads(messages[counts[0] :], sent[counts[1] :])
        # What came right after the theft is read with what was stolen; nothing after bob's answer.
        assert read == ["0 of alice"]
        thief.close()


async def test_a_copy_of_a_profile_has_the_prekeys_of_its_time(victims: Victims, tmp_path: Path) -> None:
    """What a new device says first is sealed for them, until they are renewed; it heals likewise."""
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        thief = Thief(await copied(bob, tmp_path / "copy"))
        async with await victims.login("alice") as alice2:
            await link(alice, alice2)
            everything = []
            for turn in "12":
                for screen, peer in ((alice2, "bob"), (bob, "alice")):
                    everything.append(f"{turn} of {screen.client.handle}")
                    await screen.client.send(peer, everything[-1])
                    await texts(alice2, "bob", *everything)
                    await texts(bob, "alice", "1", *everything)
            messages, sent = wire(alice2, bob)
        thief.learn(bob.liar.wire)
        assert thief.reads(messages, sent) == ["1 of alice"]
        thief.close()


async def test_a_copy_of_a_profile_does_not_connect_unnoticed(victims: Victims, tmp_path: Path) -> None:
    async with await victims.register("alice") as alice:
        bob = await victims.register("bob")
        with pytest.raises(SessionEnded, match="another connection of this device took over"):
            # The device that it was copied from is put out, and says so.
            await _until_it_is_put_out(alice, bob, victims, tmp_path / "copy")
        # Opened again it is told that its generation was told before; it uses none of its sessions.
        again = victims.victim(bob._profile)
        async with again:
            (welcome,) = [one for one in again.liar.wire if isinstance(one, Welcome)]
            told = next(one.generation for one in again.liar.said if isinstance(one, Hello))
            assert welcome.generation >= told
            await again.client.send("@alice", "3")
            await texts(alice, "bob", "1", "2", "of the copy", "3")
            await alice.client.send("@bob", "4")
            # What the copy wrote was sealed for others.
            await texts(again, "alice", "1", "2", "3", "4")
            lost = "SELECT count(*) FROM sessions WHERE is_outbound_lost"
            assert await in_profile(again, lambda database: database.execute(lost).fetchone()) == (1,)


async def _until_it_is_put_out(alice: Victim, bob: Victim, victims: Victims, path: Path) -> None:
    async with bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "1", "2")
        async with victims.victim(await copied(bob, path)) as copy:
            await copy.client.send("@alice", "of the copy")
            await texts(alice, "bob", "1", "2", "of the copy")
