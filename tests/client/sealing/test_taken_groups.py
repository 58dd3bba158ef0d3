"""What a member who was removed, or a device that was taken out, reads of what comes later in a group."""

from contextlib import suppress
from pathlib import Path

import pytest

from client.sealing.lying import Victim, Victims
from client.sealing.test_clients import link
from client.sealing.test_group_clients import texts
from client.sealing.test_taken import Thief, copied
from tidings.client import Fault, SessionEnded
from tidings.client.sealing.group_opener import open_in_group, take_share
from tidings.protocol.frames import Deliver, Relation

pytestmark = pytest.mark.slow


class GroupThief(Thief):
    """Has a profile, and all frames that ever crossed the wire."""

    def reads_group(self, *screens: Victim) -> list[str]:
        """The texts of messages of a group that can be opened, with any envelope that ever was."""
        every = [
            (send, data)
            for screen in screens
            for send in screen.liar.sent
            for data in send.envelopes.values()
        ]
        told = {
            (one.message.sender_device, one.message.client_id): one
            for screen in screens
            for one in screen.liar.delivered
        }
        keys = [one for one in told.values() if one.message.relation in (Relation.SENDER_KEY, Relation.KEYS)]
        for deliver in keys:
            for send, data in every:
                if send.client_id == deliver.message.client_id:
                    self._take(deliver, data)
        found = [self._open_sealed(one) for one in told.values() if not one.message.relation]
        return sorted(text for text in found if text)

    def _take(self, deliver: Deliver, envelope: bytes) -> None:
        self._database.execute("SAVEPOINT take")
        taken = take_share(self._database, self.me, deliver.message, envelope, deliver.message.created_at)
        if taken is None:
            self._database.execute("ROLLBACK TO take")
        self._database.execute("RELEASE take")

    def _open_sealed(self, deliver: Deliver) -> str:
        message = deliver.message
        if not message.scheme:
            return ""
        self._database.execute("SAVEPOINT try")
        opened = open_in_group(self._database, self.me, message, message.created_at, is_member=True)
        self._database.execute("ROLLBACK TO try")
        self._database.execute("RELEASE try")
        return opened.message.content.decode() if opened.fault == Fault.NONE else ""


async def test_a_member_who_was_removed_reads_nothing_after_with_all_that_crossed_the_wire(
    victims: Victims, tmp_path: Path
) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("carol") as carol,
    ):
        group = (await alice.client.groups.create("Family", ["@bob", "@carol"])).peer
        for screen in (alice, bob, carol):
            await screen.client.send(group, f"before, of {screen.client.handle}")
        for screen in (alice, bob, carol):
            await texts(screen, group, *(f"before, of {name}" for name in ("alice", "bob", "carol")))
        stolen = await copied(carol, tmp_path / "stolen")
        await alice.client.groups.remove(group, ["@carol"])
        for turn in range(2):
            for screen in (alice, bob):
                await screen.client.send(group, f"after {turn}, of {screen.client.handle}")
        await alice.client.groups.add(group, ["@carol"])
        await bob.client.send(group, "she is back")
        await carol.until(lambda _: "she is back" in [one.text for one in carol.checked.messages(group)])
        thief = GroupThief(stolen)
        thief.learn(carol.liar.wire)
        read = thief.reads_group(alice, bob, carol)
        thief.close()
        # What she was given when she was back went over her own ratchets, which the copy has, too.
        assert not [text for text in read if text.startswith("after")]
        assert [text for text in read if text.startswith("before")] == [
            "before, of alice",
            "before, of bob",
        ]


async def test_a_device_that_was_taken_out_reads_nothing_after(victims: Victims, tmp_path: Path) -> None:
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        group = (await alice.client.groups.create("Family", ["@bob"])).peer
        with suppress(SessionEnded):
            async with await victims.login("bob") as laptop:
                await link(bob, laptop)
                await alice.client.send(group, "for both")
                await texts(laptop, group, "for both")
                stolen = await copied(laptop, tmp_path / "stolen")
                await bob.client.devices.sign_out(str(laptop.device_id))
        for screen in (alice, bob):
            await screen.client.send(group, f"after, of {screen.client.handle}")
        await texts(bob, group, "for both", "after, of alice", "after, of bob")
        thief = GroupThief(stolen)
        thief.learn([*laptop.liar.wire, *bob.liar.wire])
        assert thief.reads_group(alice, bob, laptop) == ["for both"]
        thief.close()
