"""What a server that lies can make of keys and devices. See `test_malice.py`."""

import asyncio
import sqlite3
from collections.abc import Callable

import msgspec
import pytest
import tidings_core as core

from client.memory_world import until
from client.sealing import devices as impostors
from client.sealing.devices import Office
from client.sealing.lying import Victim, Victims, changing, entry, honest, remade
from client.sealing.malice import (
    NAMES,
    Pair,
    faults,
    lists_heard,
    lists_told,
    removed,
    told,
)
from client.sealing.test_clients import in_profile, link, texts, warned
from tidings.client import ClientError, Fault, Refused
from tidings.client.sealing import own
from tidings.client.sealing.linking import Answer
from tidings.client.sealing.publishing import sign
from tidings.client.sealing.sealer import Self
from tidings.protocol.api import DeviceKeys, KeysState
from tidings.protocol.frames import (
    Bundle,
    Bundles,
    Claim,
    ClientFrame,
    Deliver,
    DeviceLists,
    DevicesChanged,
    Message,
    Reference,
    Relation,
    Scheme,
    Send,
    Sent,
    ServerFrame,
    SignedDevices,
    Welcome,
)
from tidings.protocol.ids import (
    ClientId,
    DeviceId,
    EntryId,
    MessageId,
    UserId,
)
from tidings.protocol.keys import DEVICE_LIST, ListedDevice, decode_list

pytestmark = pytest.mark.slow


class Impostor:
    """The server as a user's only device, under an identity of its own."""

    def __init__(self, user_id: UserId, device_id: DeviceId) -> None:
        self.office = Office()
        self.device = impostors.Device(self.office, user_id, device_id)
        self.device.found()

    def lie(self, frame: ServerFrame) -> list[ServerFrame]:
        """The list and the bundles of the user are the server's."""
        user, device = self.device.me
        if isinstance(frame, DeviceLists | DevicesChanged):
            signed = [self.office.lists.get(one.user_id, one) for one in frame.lists]
            return [msgspec.structs.replace(frame, lists=signed)]
        if isinstance(frame, Bundles):
            bundles = [self.device.bundle(user) if one.device_id == device else one for one in frame.bundles]
            return [Bundles(frame.request_id, bundles)]
        return [frame]


# --- keys -----------------------------------------------------------------------------------


async def test_an_identity_that_is_swapped_at_first_contact_shows_in_the_safety_number(
    victims: Victims,
) -> None:
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        impostor = Impostor(bob.user_id, bob.device_id)
        alice.liar.lie = impostor.lie
        await alice.client.send("@bob", "for the server")
        # The server reads it, and only comparing tells.
        me = Self(alice.user_id, alice.device_id)
        assert alice.liar.reached == {bob.device_id}
        assert not warned(alice)
        mine, theirs = await alice.client.safety.number("@bob"), await bob.client.safety.number("@alice")
        assert mine.digits != theirs.digits
        assert not mine.verified
        with pytest.raises(ClientError, match="is not the one"):
            await alice.client.safety.verify("@bob", theirs.code)
        await bob.until(lambda state: state.messages("alice"))
        assert faults(bob, "alice") == [Fault.NO_KEY]
        assert me.user_id != bob.user_id


@pytest.mark.parametrize("is_strict", [False, True], ids=["", "strict"])
async def test_an_identity_that_is_swapped_later_is_told(victims: Victims, *, is_strict: bool) -> None:
    alice = await victims.register("alice")
    alice.is_strict = is_strict
    async with alice, await victims.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await alice.client.safety.verify("@bob")
        impostor = Impostor(bob.user_id, bob.device_id)
        impostor.device.sign([impostor.device])  # version 2
        alice.liar.lie = impostor.lie
        # bob's device keeps its keys, whoever signs: of another identity it is another device.
        await alice.client.safety.number("@bob")
        await told(alice, "list_forged")
        other = Impostor(bob.user_id, DeviceId(bob.device_id + 1))
        other.device.sign([other.device])
        alice.liar.lie = other.lie
        number = await alice.client.safety.number("@bob")
        await told(alice, "identity_replaced")
        assert not number.verified
        assert number.digits != (await bob.client.safety.number("@alice")).digits
        if is_strict:
            with pytest.raises(Refused, match="identity has changed"):
                await alice.client.send("@bob", "2")
            assert len(alice.liar.sent) == 1
            await alice.client.safety.accept("@bob")
            assert not (await alice.client.safety.number("@bob")).verified


@pytest.mark.parametrize("swapped", ["prekey", "kem", "agreement", "signing", "all"])
async def test_keys_that_are_swapped_in_a_bundle_are_not_used(victims: Victims, swapped: str) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.login("alice") as laptop,
    ):
        await link(alice, laptop)
        fake = impostors.Device(Office(), bob.user_id, bob.device_id).bundle(bob.user_id)
        fields = ("prekey", "kem", "agreement", "signing") if swapped == "all" else (swapped,)

        def swap(bundle: Bundle) -> Bundle:
            if swapped == "all":
                return fake if bundle.user_id == bob.user_id else bundle
            changes = {name: getattr(fake, name) for name in fields}
            return msgspec.structs.replace(bundle, **changes) if bundle.user_id == bob.user_id else bundle

        alice.liar.lie = changing(
            Bundles, lambda frame: Bundles(frame.request_id, [swap(one) for one in frame.bundles])
        )
        await alice.client.send("@bob", "not for the server")
        assert alice.liar.reached == {laptop.device_id}
        await told(alice, "keys_forged")
        await bob.until(lambda state: state.messages("alice"))
        assert faults(bob, "alice") == [Fault.NO_KEY]


# --- device lists -----------------------------------------------------------------------------


async def test_an_old_list_is_not_used(victims: Victims) -> None:
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        gone = await removed(victims, bob, lambda: alice.client.send("@bob", "for both"))
        assert alice.liar.reached == {bob.device_id, gone}
        before = next(one for one in lists_heard(alice) if one.user_id == bob.user_id)
        await alice.client.send("@bob", "for one")
        alice.liar.lie = lists_told(lambda _: before, bob.user_id)
        await alice.client.safety.number("@bob")
        await told(alice, "list_old")
        await alice.client.send("@bob", "for one, too")
        assert [set(send.envelopes) for send in alice.liar.sent[-2:]] == [{bob.device_id}] * 2


async def test_a_removal_that_is_withheld_is_not_seen(victims: Victims) -> None:
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:

        async def and_no_more() -> None:
            await alice.client.send("@bob", "for both")
            before = next(one for one in lists_heard(alice) if one.user_id == bob.user_id)
            alice.liar.lie = lists_told(lambda _: before, bob.user_id)

        gone = await removed(victims, bob, and_no_more)
        # An honest node refuses what is sealed by the old list. One that lies would take it.
        alice.liar.hear = lambda frame: [] if isinstance(frame, Send) else [frame]
        sending = asyncio.ensure_future(alice.client.send("@bob", "for the removed one, too"))
        await until(lambda: len(alice.liar.sent) == 2)
        assert gone in alice.liar.sent[-1].envelopes
        assert not warned(alice)
        sending.cancel()


@pytest.mark.parametrize("forged", ["body", "signer", "another's"])
async def test_a_device_that_is_invented_gets_nothing(pair: Pair, forged: str) -> None:
    alice, bob = pair
    mallory = impostors.Device(Office(), bob.user_id, DeviceId(bob.device_id + 1))
    device = ListedDevice(mallory.me.device_id, mallory.own.keys.signing, mallory.own.keys.agreement)
    true = next(one for one in lists_heard(alice) if one.user_id == bob.user_id)
    known = decode_list(true.body, 64)
    other = core.SigningKey.generate()
    body = sign(other, Self(bob.user_id, bob.device_id), 2, [*known.devices, device]).body
    named = msgspec.msgpack.encode(msgspec.structs.replace(decode_list(body, 64), identity=known.identity))
    told_list = {
        "body": msgspec.structs.replace(true, body=named),
        "signer": SignedDevices(bob.user_id, named, other.sign(DEVICE_LIST, named)),
        "another's": next(one for one in lists_heard(alice) if one.user_id == alice.user_id),
    }[forged]
    if forged == "another's":
        told_list = msgspec.structs.replace(told_list, user_id=bob.user_id)
    alice.liar.lie = lists_told(lambda _: told_list, bob.user_id)
    before = alice.liar.said.copy()
    await alice.client.safety.number("@bob")
    await told(alice, "list_forged")
    # It says so when a message is sent, too; and has a bundle for it.
    refused: list[Send] = []

    def hear(frame: ClientFrame) -> list[ClientFrame]:
        if isinstance(frame, Send) and not refused:
            refused.append(frame)
            alice.liar.say(DevicesChanged(frame.client_id, EntryId(frame.keys_at + 1), [told_list]))
            return []
        return [frame]

    alice.liar.hear = hear
    await alice.client.send("@bob", "not for it")
    assert refused
    await texts(bob, "alice", "1", "2", "not for it")
    assert alice.liar.reached == {bob.device_id}
    claimed = [frame for frame in alice.liar.said[len(before) :] if isinstance(frame, Claim)]
    assert not [name for frame in claimed for name in frame.devices if name.device_id == device.device_id]


async def test_a_device_that_is_said_to_be_missing_gets_no_key(pair: Pair) -> None:
    alice, bob = pair
    mallory = DeviceId(bob.device_id + 1)
    alice.liar.lie = changing(Sent, lambda sent: msgspec.structs.replace(sent, missing=[mallory]))
    await alice.client.send("@bob", "3")
    await alice.client.flushed()
    alice.liar.lie = honest
    await alice.client.send("@bob", "4")
    await texts(bob, "alice", "1", "2", "3", "4")
    assert alice.liar.reached == {bob.device_id}
    assert [send.relation for send in alice.liar.sent] == [Relation.NONE] * 3


async def test_devices_that_are_said_to_be_gone_are_only_left_out(pair: Pair) -> None:
    alice, bob = pair

    def gone(signed: SignedDevices) -> SignedDevices:
        return msgspec.structs.replace(signed, gone=[bob.device_id])

    alice.liar.lie = lists_told(gone, bob.user_id)
    await alice.client.safety.number("@bob")
    with pytest.raises(Refused):
        await alice.client.send("@bob", "for nobody")
    alice.liar.lie = honest
    await alice.client.safety.number("@bob")
    await alice.client.send("@bob", "3")
    await texts(bob, "alice", "1", "2", "3")
    assert alice.liar.reached == {bob.device_id}


async def test_a_list_of_ones_own_that_the_server_made_is_not_used(pair: Pair) -> None:
    alice, bob = pair
    impostor = Impostor(alice.user_id, DeviceId(alice.device_id + 1))
    for _ in range(3):
        impostor.device.sign([impostor.device])
    alice.liar.lie = impostor.lie
    await alice.client.safety.number("@bob")
    await told(alice, "list_forged")
    await alice.client.send("@bob", "3")
    await texts(bob, "alice", "1", "2", "3")
    assert alice.liar.reached == {bob.device_id}


async def test_who_is_told_to_be_the_first_device_is_a_stranger_to_all_others(victims: Victims) -> None:
    """The server hides the account's list from a new device, and takes the one that it makes."""
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        await alice.client.send("@bob", "1")
        await texts(bob, "alice", "1")
        laptop = await victims.login("alice")
        laptop.liar.lie = lists_told(lambda _: None, alice.user_id)
        laptop.liar.twist = lambda _, path, answer: (200, b"{}") if path == "/v1/keys/devices" else answer
        async with laptop:
            await laptop.client.send("@bob", "from a stranger")
            assert laptop.liar.reached == {bob.device_id}
            await told(bob, "device_unknown")
            # Even if the server shows its list.
            made = await in_profile(laptop, _own_list(alice.user_id))
            assert isinstance(made, SignedDevices)
            for screen, peer in ((bob, "@alice"), (alice, "@bob")):
                screen.liar.lie = lists_told(lambda _: made, alice.user_id)
                await screen.client.safety.number(peer)
            await told(bob, "list_old")
            await told(alice, "list_forged")
        assert faults(bob, "alice") == [Fault.UNKNOWN_DEVICE]
        assert [one.text for one in bob.state.messages("alice")] == ["1", ""]


def _own_list(user_id: UserId) -> Callable[[sqlite3.Connection], object]:
    """The list that a device made of itself, as it would be told to others."""

    def read(database: sqlite3.Connection) -> object:
        (body,) = database.execute("SELECT body FROM device_lists WHERE user_id = ?", (user_id,)).fetchone()
        mine = own.load(database)
        assert mine is not None
        assert mine.identity is not None
        return SignedDevices(user_id, body, mine.identity.sign(DEVICE_LIST, body))

    return read


# --- linking ----------------------------------------------------------------------------------


async def test_keys_that_are_swapped_while_a_device_is_linked_let_nobody_in(victims: Victims) -> None:
    async with await victims.register("alice") as alice, await victims.login("alice") as laptop:
        code = await laptop.client.devices.link_code()
        fake = impostors.Device(Office(), alice.user_id, laptop.device_id).own.keys

        def swap(method: str, path: str, answer: tuple[int, bytes]) -> tuple[int, bytes]:
            if (method, path) != ("GET", f"/v1/devices/{laptop.device_id}/keys"):
                return answer
            keys = msgspec.json.decode(answer[1], type=DeviceKeys)
            swapped = msgspec.structs.replace(keys, signing=fake.signing, agreement=fake.agreement)
            return answer[0], msgspec.json.encode(swapped)

        alice.liar.twist = swap
        with pytest.raises(ClientError, match="no device"):
            await alice.client.devices.approve(code)
        assert not await laptop.client.devices.is_linked()


async def test_an_answer_of_who_does_not_know_the_code_is_not_taken(victims: Victims) -> None:
    async with await victims.register("alice") as alice, await victims.login("alice") as laptop:
        code = await laptop.client.devices.link_code()

        def swap(method: str, path: str, answer: tuple[int, bytes]) -> tuple[int, bytes]:
            if (method, path) != ("GET", "/v1/keys"):
                return answer
            state = msgspec.json.decode(answer[1], type=KeysState)
            if not state.link_reply:
                return answer
            reply = msgspec.msgpack.decode(state.link_reply, type=Answer)
            fake = msgspec.structs.replace(reply, identity=core.SigningKey.generate().public)
            swapped = msgspec.structs.replace(state, link_reply=msgspec.msgpack.encode(fake))
            return answer[0], msgspec.json.encode(swapped)

        laptop.liar.twist = swap
        await alice.client.devices.approve(code)
        await told(laptop, "list_forged")
        assert not await laptop.client.devices.is_linked()


# --- keys that are asked for ----------------------------------------------------------------------


def ask_for(alice: Victim, user: UserId, device: DeviceId) -> Deliver:
    """The server asks alice, in a device's name, for the key of what she sent last."""
    send = alice.liar.sent[-1]
    place = MessageId(max(frame.message_id for frame in alice.liar.wire if isinstance(frame, Sent)) + 1)
    return entry(
        Message(
            message_id=place,
            conversation_id=send.conversation_id,
            sender_id=user,
            sender_device=device,
            client_id=ClientId(b"ask-%012d" % next(NAMES)),
            version=1,
            scheme=Scheme.DIRECT,
            content_type="",
            content=b"",
            created_at=1_800_000_000_000,
            relates_to=Reference(alice.device_id, send.client_id),
            relation=Relation.ASK,
            target=MessageId(place - 1),
        )
    )


def keys_sent(alice: Victim) -> list[set[DeviceId]]:
    """The devices that she sent keys to once more."""
    return [set(send.envelopes) for send in alice.liar.sent if send.relation == Relation.KEYS]


async def test_who_is_on_no_list_gets_no_key(victims: Victims) -> None:
    async with (
        await victims.register("alice") as alice,
        await victims.register("bob") as bob,
        await victims.register("mallory") as mallory,
    ):
        await mallory.client.send("@alice", "hello")
        gone = await removed(victims, bob, lambda: alice.client.send("@bob", "for both"))
        assert gone in alice.liar.reached
        await alice.client.send("@bob", "for one")
        for user, device in (
            (bob.user_id, DeviceId(bob.device_id + 77)),
            (mallory.user_id, mallory.device_id),
            (bob.user_id, mallory.device_id),
            (bob.user_id, gone),
        ):
            alice.liar.say(ask_for(alice, user, device))
        count = len(alice.liar.said)
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "for both", "for one", "2")
        await alice.client.flushed()
        assert not keys_sent(alice)
        assert not [frame for frame in alice.liar.said[count:] if isinstance(frame, Claim)]


async def test_a_removed_device_gets_no_key_of_what_was_for_it(victims: Victims) -> None:
    """It was meant to have it; what it lost is not given to it again."""
    async with await victims.register("alice") as alice, await victims.register("bob") as bob:
        asked = []

        async def for_both() -> None:
            await alice.client.send("@bob", "for both")
            asked.append(len(alice.liar.sent))

        gone = await removed(victims, bob, for_both)
        ask = ask_for(alice, bob.user_id, gone)
        await alice.client.send("@bob", "for one")
        alice.liar.say(ask)
        await bob.client.send("@alice", "2")
        await texts(alice, "bob", "for both", "for one", "2")
        await alice.client.flushed()
        assert gone in alice.liar.sent[0].envelopes
        assert not keys_sent(alice)


async def test_a_device_is_sent_a_key_once_however_often_it_is_asked_for(pair: Pair) -> None:
    alice, bob = pair
    await alice.client.send("@bob", "3")
    ask = ask_for(alice, bob.user_id, bob.device_id)
    alice.liar.say(ask)
    await until(lambda: keys_sent(alice))
    for later in range(1, 4):
        alice.liar.say(remade(ask, later=later, client_id=ClientId(b"again-%010d" % later)))
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "3", "4")
    await alice.client.flushed()
    # Sealed, for a device that the message was for anyway.
    assert keys_sent(alice) == [{bob.device_id}]


@pytest.mark.parametrize("generation", [0, 1000], ids=["an old one", "a new one"])
async def test_another_generation_costs_no_message(pair: Pair, generation: int) -> None:
    alice, bob = pair
    alice.liar.lie = changing(Welcome, lambda frame: msgspec.structs.replace(frame, generation=generation))
    alice.tear()
    await alice.client.send("@bob", "3")
    await texts(bob, "alice", "1", "2", "3")
    await bob.client.send("@alice", "4")
    await texts(alice, "bob", "1", "2", "3", "4")
    assert not faults(bob, "alice")
    assert not warned(bob)
    # What was sealed over a session before is sealed over it never again.
    envelopes = [envelope for send in alice.liar.sent for envelope in send.envelopes.values()]
    assert len(envelopes) == len(set(envelopes)) == 2
