"""A group that people and devices come to and leave at random, over a network that loses keys.

What is checked at the end of each walk, and after every step as far as it can be: who was in when something
was written reads it, nobody else does, whatever the server delivers to them.
"""

from random import Random

import pytest

from client.sealing.devices import Post
from client.sealing.group_devices import Group, GroupDevice, asks, fill
from tidings.client.sealing import lists, sender_keys
from tidings.client.sealing.group_asking import WAIT_MS
from tidings.client.sealing.group_sealer import seal_share
from tidings.client.sealing.sealer import Lacking, Sealed
from tidings.client.values import Fault
from tidings.protocol.ids import DeviceId, UserId

STEPS = 60
LOST = 0.15
"""of handouts, for each device"""


class Walk:
    """See the module's text."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.group = Group()
        self.listed: dict[UserId, list[GroupDevice]] = {}
        self.said: list[tuple[Post, GroupDevice, set[DeviceId]]] = []
        """with its author, and who is to read it"""
        self.read: dict[tuple[int, DeviceId], str] = {}
        self._next = 1
        for _ in range(3):
            self.join()

    @property
    def inside(self) -> list[GroupDevice]:
        return [device for user in self.group.members for device in self.listed[user]]

    def step(self) -> None:
        moves = [self.say] * 8 + [self.join, self.leave, self.add_device, self.remove_device, self.deliver]
        self.random.choice(moves)()

    def join(self) -> None:
        if len(self.group.members) < 6:
            user = self._next
            self._next += 1
            made = self.group.add(user, *range(10 * user, 10 * user + self.random.randint(1, 2)))
            self.listed[UserId(user)] = made

    def leave(self) -> None:
        if len(self.group.members) > 2:
            self.group.remove(self.random.choice(self.group.members))

    def add_device(self) -> None:
        user = self.random.choice(self.group.members)
        devices = self.listed[user]
        made = GroupDevice(self.group.office, user, 10 * user + 2 + self.random.randrange(10**6) * 1000)
        self.group.devices.append(made)
        devices[0].sign([*devices, made])
        devices.append(made)

    def remove_device(self) -> None:
        user = self.random.choice(self.group.members)
        devices = self.listed[user]
        if len(devices) > 1:
            devices.remove(self.random.choice(devices[1:]))
            devices[0].sign(devices)
            # A server refuses what is sealed for a device that was removed, and tells the list.
            for device in self.inside:
                if lists.known(device.database, user) is not None:
                    device.learn(user)

    def say(self) -> None:
        author = self.random.choice(self.inside)
        readers = {device.me.device_id for device in self.inside if device is not author}
        to = [device for device in self.group.devices if self.random.random() > LOST]
        post = self.group.say(author, f"message {len(self.said)}", to=to)
        self.said.append((post, author, readers))
        self._send_missing(author, post, readers)

    def _send_missing(self, author: GroupDevice, post: Post, readers: set[DeviceId]) -> None:
        """The server names devices that the author did not know of."""
        said = sender_keys.spoken(author.database, post.writing.client_id)
        assert said is not None
        missing = sorted(readers - sender_keys.holders(author.database, said.key_id))
        if not missing:
            return
        for user in self.group.members:
            author.learn(user)
        made: object = None
        while not isinstance(made, Sealed):
            made = seal_share(author.database, author.me, self.group.roster, said, missing, author.now_ms)
            if isinstance(made, Lacking):
                author.supply_group(made)
        self.group.deliver(author, {DeviceId(one): key for one, key in made.envelopes.items()})

    def deliver(self) -> None:
        """Everybody is told everything, in some order; also who is not, or not any more, in the group."""
        for number, (post, author, _) in self.random.sample(list(enumerate(self.said)), len(self.said)):
            for device in self.group.devices:
                name = (number, device.me.device_id)
                if device is author or name in self.read:
                    continue
                text = fill(device, post) or ""
                if not text:
                    opened = self.group.hear(device, post)
                    text = "" if opened.fault else opened.message.content.decode()
                    assert opened.fault in (Fault.NONE, Fault.NO_KEY, Fault.FORGED, Fault.UNKNOWN_DEVICE)
                if text:
                    self.read[name] = text

    def heal(self) -> None:
        """Who lacks a key asks, and is answered by who is still in."""
        by_name = {post.name: (post, author) for post, author, _ in self.said}
        for _ in range(8):
            self.deliver()
            for device in self.inside:
                device.now_ms += WAIT_MS
                for name in asks(device):
                    post, author = by_name[name]
                    if author in self.inside:
                        for user in self.group.members:
                            author.learn(user)
                        self.group.answer(author, device, post)
        self.deliver()

    def check(self) -> None:
        for number, (post, author, readers) in enumerate(self.said):
            for device in self.group.devices:
                text = self.read.get((number, device.me.device_id))
                if device.me.device_id not in readers:
                    assert text is None, f"{device.me} reads {post.writing.content!r}, and was not in"
                elif device in self.inside and author in self.inside:
                    assert text == post.writing.content.decode(), f"{device.me} cannot read {number}"


@pytest.mark.parametrize("seed", range(12))
def test_who_is_in_reads_and_nobody_else(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()
    walk.heal()
    walk.check()
    assert len(walk.read) > 20
