"""Who may reach whom: blocks, and requests that are declined."""

import pytest

from tidings.testing.scene import Scene


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "plain"])
async def test_nothing_comes_from_who_is_blocked_and_it_stays_hidden_for_ever(
    scene: Scene, *, sealed: bool
) -> None:
    alice, bob = await scene.friends("alice", "bob", sealed=sealed)
    if sealed:
        await bob.laptop.logs_in()  # else it would not have been sealed for it
    await alice.phone.sends(bob, "Buy my vitamins")
    await bob.phone.shows(alice, "alice: Buy my vitamins")
    await bob.phone.reads(alice)
    await alice.phone.shows(bob, "alice: Buy my vitamins ✓✓ read")

    await bob.phone.blocks(alice)
    await alice.phone.sends(bob, "Today only half the price")
    await alice.phone.edits("Buy my vitamins", "Buy my vitamins now")
    # She is not told: her ticks stay as they were, and the new message waits for its second one.
    await alice.phone.shows(
        bob, "alice: Buy my vitamins now (edited) ✓✓ read", "alice: Today only half the price ✓"
    )
    if not sealed:
        await bob.laptop.logs_in()
    for device in (bob.phone, bob.laptop):
        await device.lists("alice (blocked)")
        await device.shows(alice, "alice: Buy my vitamins")
        await device.finds_in_history(alice, "alice: Buy my vitamins")

    await bob.laptop.unblocks(alice)
    await alice.phone.sends(bob, "Sorry about that")
    for device in (bob.phone, bob.laptop):
        await device.shows(alice, "alice: Buy my vitamins", "alice: Sorry about that")
        await device.finds_in_history(alice, "alice: Buy my vitamins", "alice: Sorry about that")
    await alice.phone.finds_in_history(
        bob,
        "alice: Buy my vitamins now (edited) ✓✓ read",
        "alice: Today only half the price ✓",
        "alice: Sorry about that ✓✓",
    )


async def test_a_block_holds_on_every_node_once_it_is_answered(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.laptop.logs_in()
    await alice.tablet.logs_in()
    for number in range(2):
        for device in (alice.phone, alice.laptop, alice.tablet):
            await device.sends(bob, f"Spam {number}")
        await bob.phone.blocks(alice)
        for device in (alice.phone, alice.laptop, alice.tablet):
            await device.sends(bob, "More spam")
        await bob.phone.unblocks(alice)
    await bob.phone.shows(alice, *[f"alice: Spam {number // 3}" for number in range(6)])
    await alice.tablet.shows_so_many(bob, 12)


async def test_who_is_declined_is_not_told_and_may_be_let_in_later(scene: Scene) -> None:
    alice, bob = await scene.strangers("alice", "bob")
    await bob.laptop.logs_in()
    await alice.phone.sends(bob, "Do you still sell the bicycle?")
    await bob.laptop.is_asked_by(alice)
    await bob.phone.is_asked_by(alice)
    await bob.phone.declines(alice)
    await bob.laptop.is_asked_by()
    await alice.phone.sends(bob, "Hello?")
    await alice.phone.shows(bob, "alice: Do you still sell the bicycle? ✓", "alice: Hello? ✓")
    await bob.laptop.accepts(alice)
    for device in (bob.phone, bob.laptop):
        await device.shows(alice, "alice: Do you still sell the bicycle?", "alice: Hello?")
    await alice.phone.shows(bob, "alice: Do you still sell the bicycle? ✓✓", "alice: Hello? ✓✓")


async def test_who_is_blocked_sees_nobody_there(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.watches(bob)
    await alice.phone.sees_online(bob)
    await bob.phone.blocks(alice)
    await alice.phone.sees_online(bob, online=False)
    await bob.phone.unblocks(alice)
    await alice.phone.sees_online(bob)
