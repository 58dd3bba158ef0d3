"""A group of devices that seal and open, without a server between. See `devices.py`."""

import itertools
import sqlite3
from collections.abc import Callable, Collection, Iterable

from client.sealing.devices import Device, Office, Post
from tidings.client.sealing import asking, group_asking, handouts, lists
from tidings.client.sealing.group_opener import open_in_group, reopen, take_share
from tidings.client.sealing.group_sealer import (
    Handing,
    Ready,
    make_ready,
    note_listless,
    seal_in_group,
    seal_share,
)
from tidings.client.sealing.handouts import Posting
from tidings.client.sealing.opener import Opened
from tidings.client.sealing.rosters import Roster
from tidings.client.sealing.sealer import Lacking, Sealed
from tidings.client.values import Fault
from tidings.protocol.frames import Message, Reference, Relation, Scheme, Send
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId

GROUP = ConversationId(b"a group of those")
OTHER_GROUP = ConversationId(b"a second group !")


class GroupDevice(Device):
    """A device with a profile that knows of groups."""

    def __init__(self, office: Office, user_id: int, device_id: int) -> None:
        super().__init__(office, user_id, device_id)
        self.posting = Posting(
            (ClientId(device_id.to_bytes(8, "little") + n.to_bytes(8, "big")) for n in itertools.count(1)),
            b"writer of %07d" % device_id,
        )
        self.bundleless: set[DeviceId] = set()
        """of whom the server gives it no bundle"""

    def supply_group(self, lacking: Lacking) -> set[DeviceId]:
        """Have what is lacking; returns the devices that nothing can be sealed for."""
        for user_id in lacking.lists_of:
            if user_id in self.office.lists:
                self.learn(user_id)
            else:
                note_listless(self.database, [user_id], self.now_ms)
        for user_id, device in lacking.devices:
            if device.device_id not in self.bundleless:
                self.begin(device, self.office.bundle(user_id, device.device_id))
        return {device.device_id for _, device in lacking.devices} & self.bundleless


class Group:
    """Who is in a group, what was said in it, and the server between them: honest, unless a test lies."""

    def __init__(self, conversation_id: ConversationId = GROUP) -> None:
        self.office = Office()
        self.conversation_id = conversation_id
        self.version = 1
        self.removal_at = 0
        self.devices: list[GroupDevice] = []
        self.members: list[UserId] = []
        self.frames: list[Send] = []
        """handouts that the server was sent"""
        self.given: list[Message] = []
        """the same, as they were delivered"""

    @property
    def roster(self) -> Roster:
        return Roster(self.conversation_id, self.version, self.removal_at, tuple(self.members))

    def add(self, user_id: int, *device_ids: int) -> list[GroupDevice]:
        """A user with some devices comes in."""
        made = [GroupDevice(self.office, user_id, device_id) for device_id in device_ids]
        made[0].found()
        made[0].sign(list(made))
        self.devices += made
        self.members.append(UserId(user_id))
        self.version += 1
        return made

    def remove(self, user_id: int) -> None:
        """A member is put out."""
        self.members.remove(UserId(user_id))
        self.version += 1
        self.removal_at = self.version

    def say(
        self,
        sender: GroupDevice,
        text: str,
        *,
        to: Collection[GroupDevice] | None = None,
        **options: object,
    ) -> Post:
        """Seal a message; the handouts before it reach the devices of `to`, all unless it is given."""
        writing = sender.writing(UserId(0), text, conversation_id=self.conversation_id, **options)
        made = self._until_done(
            sender,
            lambda without: seal_in_group(
                sender.database, sender.me, self.roster, writing, sender.posting, sender.now_ms, without
            ),
            to,
        )
        assert isinstance(made, Sealed)
        return Post(sender, writing, made, MessageId(self.office.now()), sender.now_ms)

    def share(self, sender: GroupDevice) -> None:
        """Hand the sender key out, with no message behind it."""
        made = self._until_done(
            sender,
            lambda without: make_ready(
                sender.database, sender.me, self.roster, sender.posting, sender.now_ms, without
            ),
            None,
        )
        assert isinstance(made, Ready)

    def _until_done(
        self,
        sender: GroupDevice,
        job: Callable[[Collection[DeviceId]], object],
        to: Collection[GroupDevice] | None,
    ) -> object:
        without: set[DeviceId] = set()
        for _ in range(50):
            made = job(without)
            if isinstance(made, Lacking):
                without |= sender.supply_group(made)
            elif isinstance(made, Handing):
                self.hand_out(sender, to)
            else:
                return made
        raise AssertionError("it never ends")

    def hand_out(self, sender: GroupDevice, to: Collection[GroupDevice] | None = None) -> None:
        """Send the handouts that wait."""
        for one in handouts.take(sender.database, self.conversation_id, sender.posting.writer, ()):
            self.frames.append(one.frame())
            self.deliver(sender, one.envelopes, to)
            handouts.done(sender.database, one.client_id)

    def deliver(
        self,
        sender: GroupDevice,
        envelopes: dict[DeviceId, bytes],
        to: Collection[GroupDevice] | None = None,
        about: Post | None = None,
    ) -> None:
        """Bring a SENDER_KEY, or a KEYS, to the devices that it has envelopes for."""
        message = self.key_message(sender, about)
        self.given.append(message)
        for device in self.devices if to is None else to:
            if device.me.device_id in envelopes and device is not sender:
                take(device, message, envelopes[device.me.device_id])

    def key_message(self, sender: GroupDevice, about: Post | None = None, **changes: object) -> Message:
        """What a sender key comes by."""
        fields: dict[str, object] = {
            "message_id": MessageId(self.office.now()),
            "conversation_id": self.conversation_id,
            "sender_id": sender.me.user_id,
            "sender_device": sender.me.device_id,
            "client_id": ClientId(b"sender key %05d" % len(self.given)),
            "version": self.version,
            "scheme": Scheme.SENDER_KEY,
            "content_type": "",
            "content": b"",
            "created_at": sender.now_ms,
            "relates_to": None if about is None else about.name,
            "relation": Relation.SENDER_KEY if about is None else Relation.KEYS,
        }
        return Message(**{**fields, **changes})  # type: ignore[arg-type]

    def hear(self, device: GroupDevice, post: Post, **changes: object) -> Opened:
        """Open what was said; what lacks its key waits for it."""
        changes = {"scheme": Scheme.SENDER_KEY, "version": self.version, **changes}
        message = post.message(**changes)
        know(device, message)
        opened = open_in_group(
            device.database, device.me, message, device.now_ms, is_member=message.sender_id in self.members
        )
        if opened.fault == Fault.NO_KEY:
            assert opened.sealed is not None
            asking.keep_unopened(device.database, message, opened.sealed)
            group_asking.await_key(device.database, message, opened.sealed, device.now_ms)
        return opened

    def texts(self, devices: Iterable[GroupDevice], post: Post) -> list[str]:
        """What each of some devices reads of a message; "-" for what cannot be read."""
        opened = [self.hear(device, post) for device in devices]
        return ["-" if one.fault else one.message.content.decode() for one in opened]

    def answer(self, author: GroupDevice, asker: GroupDevice, post: Post) -> bool:
        """Have an author answer who asks for the key of a message; whether it does."""
        device = asker.me.device_id
        if not group_asking.may_answer(author.database, post.name, device, self.conversation_id):
            return False
        answer = group_asking.answer(author.database, post.name, [device])
        assert answer is not None
        said, devices = answer
        author.now_ms += 1
        made = self._until_done(
            author,
            lambda without: seal_share(
                author.database, author.me, self.roster, said, devices, author.now_ms, without, said.sealed_ms
            ),
            None,
        )
        assert isinstance(made, Sealed)
        self.deliver(author, {DeviceId(one): key for one, key in made.envelopes.items()}, about=post)
        return True


def know(device: GroupDevice, message: Message) -> None:
    """Have the sender's list, as the receiver does before it stores what came."""
    known = lists.device(device.database, message.sender_id, message.sender_device)
    if known is None and message.sender_id in device.office.lists:
        device.learn(message.sender_id)


def take(device: GroupDevice, message: Message, envelope: bytes | None) -> bool:
    """Take a sender key that came; whether it was one."""
    know(device, message)
    return take_share(device.database, device.me, message, envelope, device.now_ms) is not None


def fill(device: GroupDevice, post: Post, **changes: object) -> str:
    """What a message that waited for its key says now; empty while it waits."""
    message = post.message(scheme=Scheme.SENDER_KEY, **changes)
    opened = reopen(device.database, device.me, message, device.now_ms)
    return "" if opened is None or opened.fault else opened.message.content.decode()


def asks(device: GroupDevice) -> list[Reference]:
    """What a device asks for now."""
    return [
        one.name for one in group_asking.due(device.database, device.me.device_id, device.now_ms, lambda: 0)
    ]


def kinds(device: GroupDevice) -> list[str]:
    """What the user is warned of."""
    return [warning.kind for warning in device.warned()]


def copy_of(device: GroupDevice) -> GroupDevice:
    """A copy of its profile, as it is now."""
    copied = GroupDevice.__new__(GroupDevice)
    copied.__dict__.update(device.__dict__)
    copied.database = sqlite3.connect(":memory:", isolation_level=None)
    device.database.backup(copied.database)
    return copied
