"""People who talk: first messages, ticks, and everything that can be said about a message."""

from tidings.testing.scene import Scene


async def test_a_first_message_between_strangers(scene: Scene) -> None:
    alice, bob = await scene.strangers("alice", "bob")
    await alice.phone.sends(bob, "Hi, it's Alice from the choir")
    await alice.phone.shows(bob, "alice: Hi, it's Alice from the choir ✓")
    await bob.phone.is_asked_by(alice)
    await bob.phone.shows(alice)
    await bob.phone.accepts(alice)
    await bob.phone.shows(alice, "alice: Hi, it's Alice from the choir")
    await bob.phone.is_asked_by()
    await alice.phone.shows(bob, "alice: Hi, it's Alice from the choir ✓✓")
    await bob.phone.sends(alice, "Hello Alice!")
    await alice.phone.shows(bob, "alice: Hi, it's Alice from the choir ✓✓", "bob: Hello Alice!")


async def test_the_ticks_of_a_message(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    bob.phone.loses_its_connection()
    await alice.phone.sends(bob, "Are you there?")
    await alice.phone.shows(bob, "alice: Are you there? ✓")
    bob.phone.comes_back()
    await bob.phone.shows(alice, "alice: Are you there?")
    await alice.phone.shows(bob, "alice: Are you there? ✓✓")
    await bob.phone.lists("alice (1 unread)")
    await bob.phone.reads(alice)
    await bob.phone.lists("alice")
    await alice.phone.shows(bob, "alice: Are you there? ✓✓ read")


async def test_a_message_is_changed_answered_reacted_to_and_deleted_everywhere(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.laptop.logs_in()
    await alice.phone.sends(bob, "Supper at sevn?")
    await bob.phone.shows(alice, "alice: Supper at sevn?")
    await alice.laptop.shows(bob, "alice: Supper at sevn? ✓✓")

    await alice.laptop.edits("Supper at sevn?", "Supper at seven?")
    await bob.phone.shows(alice, "alice: Supper at seven? (edited)")
    await bob.phone.reacts("Supper at seven?", "👍")
    await bob.phone.replies("Supper at seven?", "I'll bring wine")
    for device in (alice.phone, alice.laptop):
        await device.shows(
            bob,
            "alice: Supper at seven? (edited) [bob 👍] ✓✓",
            "bob: I'll bring wine (to: Supper at seven?)",
        )

    await bob.phone.reacts("Supper at seven?", "")
    await bob.phone.deletes("I'll bring wine")
    await bob.phone.shows(alice, "alice: Supper at seven? (edited)", "bob: (deleted) ✓✓")
    for device in (alice.phone, alice.laptop):
        await device.shows(bob, "alice: Supper at seven? (edited) ✓✓", "bob: (deleted)")
        await device.finds_in_history(bob, "alice: Supper at seven? (edited) ✓✓", "bob: (deleted)")


async def test_a_forwarded_message(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    await alice.phone.sends(bob, "The choir meets at eight")
    await bob.phone.shows(alice, "alice: The choir meets at eight")
    await bob.phone.forwards("The choir meets at eight", carol)
    await carol.phone.shows(bob, "bob: The choir meets at eight (forwarded)")
    await bob.phone.shows(carol, "bob: The choir meets at eight (forwarded) ✓✓")
    await carol.phone.shows(alice)


async def test_two_who_write_at_once_see_one_order(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "0")
    await bob.phone.sends(alice, "0")
    for number in range(1, 20):
        alice.phone.writes(bob, f"{number}")
        bob.phone.writes(alice, f"{number}")
    hers, his = await alice.phone.shows_so_many(bob, 40), await bob.phone.shows_so_many(alice, 40)
    assert hers == his
    for who in (alice, bob):
        assert [line for line in hers if line.startswith(f"{who}:")] == [f"{who}: {n}" for n in range(20)]


async def test_who_is_there_and_who_is_typing(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.phone.sends(alice, "Ring me when you can")
    await alice.phone.shows(bob, "bob: Ring me when you can")
    await alice.phone.watches(bob)
    await alice.phone.sees_online(bob)
    await alice.phone.types(bob)
    await bob.phone.sees_typing(alice)
    await bob.phone.turns_off()
    await alice.phone.sees_online(bob, online=False)
    await bob.phone.turns_on()
    await alice.phone.sees_online(bob)


async def test_a_message_that_disappears(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.laptop.logs_in()
    await alice.phone.sends(bob, "Do you have the key?")
    await bob.phone.sends(alice, "It is under the mat", vanishes_after_s=30)
    await alice.phone.shows(bob, "alice: Do you have the key? ✓✓", "bob: It is under the mat")
    await bob.laptop.shows(alice, "alice: Do you have the key?", "bob: It is under the mat ✓✓")
    await bob.laptop.turns_off()
    scene.seconds_pass(31)
    await alice.phone.shows(bob, "alice: Do you have the key? ✓✓")
    await bob.phone.shows(alice, "alice: Do you have the key?")
    await bob.laptop.turns_on()
    await bob.laptop.shows(alice, "alice: Do you have the key?")
    await bob.tablet.logs_in()
    await alice.phone.sends(bob, "It is not there")
    await bob.tablet.shows(alice, "alice: It is not there")
