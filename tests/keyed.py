"""People whose devices have keys, and what tests of sealed messages ask of them."""

from random import Random

from tidings.protocol import frames
from tidings.protocol.api import LoggedIn
from tidings.protocol.frames import DeviceLists, DeviceName, Scheme, Send
from tidings.protocol.ids import ConversationId, DeviceId, EntryId, UserId
from tidings.store.memory import MemoryStore, Tables
from tidings.testing.keyring import KeyedDevice, Keyring
from tidings.testing.world import Device, World


class Person:
    """A user with an identity, and devices that it has signed."""

    def __init__(self, world: World, account: LoggedIn, seed: int) -> None:
        self.world = world
        self.account = account
        self.user_id: UserId = account.ids()[0]
        self.random = Random(seed)
        self.ring = Keyring(self.user_id, self.random)
        self.devices: list[KeyedDevice] = []

    async def publish(self, account: LoggedIn | None = None) -> KeyedDevice:
        """A device publishes its keys; no list has it yet."""
        device = KeyedDevice(account or self.account, self.random)
        await self.world.services.account_rules.keys.publish(self.user_id, device.device_id, device.keys())
        return device

    async def add(self, account: LoggedIn | None = None) -> KeyedDevice:
        """A device publishes its keys, and the next list has it."""
        device = await self.publish(account)
        self.devices.append(device)
        await self.sign()
        return device

    async def login(self) -> KeyedDevice:
        """A further device, in the list."""
        return await self.add(await self.world.login(self.account.handle))

    async def sign(self, *, by: KeyedDevice | None = None) -> None:
        """Have the next list stored, of the devices that there are."""
        wanted = self.ring.sign(*self.devices)
        caller = (by or self.devices[0]).device_id
        await self.world.services.account_rules.list_changes.put(self.user_id, caller, wanted)

    async def bring(self, device: KeyedDevice, first: int, count: int, **options: bool) -> int:
        """Bring one-time pairs; how many are left."""
        brought = device.one_time(first, count, **options)
        return await self.world.services.account_rules.keys.bring(self.user_id, device.device_id, brought)

    def name(self, device: KeyedDevice) -> DeviceName:
        return DeviceName(self.user_id, device.device_id)


async def person(world: World, handle: str, seed: int) -> Person:
    """A new account whose first device has keys and is listed."""
    made = Person(world, await world.register(handle), seed)
    await made.add()
    return made


async def keys_at(device: Device, *users: UserId) -> EntryId:
    """As of when a device has just read lists."""
    answer = await device.ask(lambda n: frames.Devices(n, list(users)), DeviceLists)
    return answer.keys_at


class Sealed:
    """Alice and bob, who write to each other's devices."""

    def __init__(
        self, world: World, tables: Tables, alice: Person, bob: Person, phones: tuple[Device, Device]
    ) -> None:
        self.world = world
        self.tables = tables
        self.store = MemoryStore(tables)
        self.alice, self.bob = alice, bob
        self.phone, self.other = phones
        """alice's and bob's first devices, online"""
        self.chat = ConversationId(b"")

    async def look(self, device: Device | None = None) -> EntryId:
        return await keys_at(device or self.phone, self.alice.user_id, self.bob.user_id)

    def send(
        self, device: Device, seen: EntryId, *names: DeviceId, text: str = "sealed", **options: object
    ) -> Send:
        """Send a sealed message with envelopes for these devices, without waiting."""
        envelopes = {name: b"key for %d" % name for name in names}
        sealed: dict[str, object] = {"scheme": Scheme.DIRECT, "keys_at": seen, "envelopes": envelopes}
        return device.send(self.chat, text, **{**sealed, **options})


async def sealed(**settings: object) -> Sealed:
    """A node, and both of them on it."""
    tables = Tables()
    world = await World.start(MemoryStore(tables), **settings)  # type: ignore[arg-type]
    alice, bob = await person(world, "alice", 1), await person(world, "bob", 2)
    phone, other = await world.online(alice.account), await world.online(bob.account)
    here = Sealed(world, tables, alice, bob, (phone, other))
    here.chat = await phone.open("bob")
    return here
