"""Groups: who is in them hears what is said, and nobody else."""

import pytest

from tidings.client import GroupRole, Refused, Rules
from tidings.testing.scene import Scene


async def test_a_group_is_made_and_talked_in(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    family = await alice.phone.founds("Family", bob, carol)
    await bob.phone.shows(family, "— alice made the group “Family” —")
    await carol.phone.shows(family, "— alice made the group “Family” —")
    await alice.phone.sends(family, "Supper at seven?")
    await bob.phone.shows(family, "— alice made the group “Family” —", "alice: Supper at seven?")
    await bob.phone.sends(family, "I'll bring wine")
    for device in (carol.phone, alice.phone):
        await device.shows_so_many(family, 3)
    await carol.phone.shows(
        family, "— alice made the group “Family” —", "alice: Supper at seven?", "bob: I'll bring wine"
    )
    await carol.phone.lists("Family (2 unread)")
    await carol.phone.reads(family)
    await carol.phone.lists("Family")
    await bob.phone.sees_members(family, alice, bob, carol)


async def test_how_many_have_read_a_message(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    made = "— alice made the group “Family” —"
    family = await alice.phone.founds("Family", bob, carol)
    await carol.phone.shows(family, made)
    carol.phone.loses_its_connection()
    await alice.phone.sends(family, "Who is at home?")
    await alice.phone.shows(family, made, "alice: Who is at home? ✓ 1 of 2, read by 0")
    await bob.phone.shows(family, made, "alice: Who is at home?")
    await bob.phone.reads(family)
    await alice.phone.shows(family, made, "alice: Who is at home? ✓ 1 of 2, read by 1")
    carol.phone.comes_back()
    await alice.phone.shows(family, made, "alice: Who is at home? ✓✓ 2 of 2, read by 1")
    alice.phone.loses_its_connection()
    await carol.phone.reads(family)
    alice.phone.comes_back()
    await alice.phone.shows(family, made, "alice: Who is at home? ✓✓ read")


async def test_who_comes_later_hears_what_is_said_from_then_on(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    family = await alice.phone.founds("Family", bob)
    await alice.phone.sends(family, "Carol has her birthday soon")
    await alice.phone.adds(carol, to=family)
    await carol.phone.shows(family, "— alice added carol —")
    await bob.phone.sends(family, "Welcome, Carol!")
    await carol.phone.shows(family, "— alice added carol —", "bob: Welcome, Carol!")
    await carol.phone.finds_in_history(family, "— alice added carol —", "bob: Welcome, Carol!")
    await alice.phone.sees_members(family, alice, bob, carol)


async def test_who_was_removed_hears_nothing_more_and_can_say_nothing(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    family = await alice.phone.founds("Family", bob, carol)
    await alice.phone.sends(family, "Hello all")
    await carol.phone.shows_so_many(family, 2)
    await alice.phone.removes(family, carol)
    await carol.phone.shows(
        family, "— alice made the group “Family” —", "alice: Hello all", "— alice removed carol —"
    )
    await alice.phone.sends(family, "Now we are two")
    await bob.phone.shows_so_many(family, 4)
    with pytest.raises(Refused, match="no_such_conversation"):
        await carol.phone.sends(family, "Can you hear me?")
    await carol.phone.lists("Family (left, 1 unread)")
    await carol.phone.shows_so_many(family, 3)
    await bob.phone.sees_members(family, alice, bob)


async def test_who_did_not_hear_of_a_removal_sends_all_the_same(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    family = await alice.phone.founds("Family", bob, carol)
    await bob.phone.shows_so_many(family, 1)
    bob.phone.loses_its_connection()
    bob.phone.writes(family, "I am back")
    await alice.phone.removes(family, carol)
    bob.phone.comes_back()
    await alice.phone.shows(
        family,
        "— alice made the group “Family” —",
        "— alice removed carol —",
        "bob: I am back",
    )


async def test_who_leaves_and_comes_back_by_a_link(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    family = await alice.phone.founds("Family", bob, carol)
    link = await alice.phone.links(family)
    await carol.phone.shows_so_many(family, 1)
    await carol.phone.leaves(family)
    await alice.phone.sends(family, "Carol has left us")
    await bob.phone.shows_so_many(family, 3)
    assert await carol.phone.joins(link)
    await bob.phone.shows(
        family,
        "— alice made the group “Family” —",
        "— carol left —",
        "alice: Carol has left us",
        "— carol joined by an invite link —",
    )
    await bob.phone.sends(family, "There you are")
    await carol.phone.shows_so_many(family, 4)
    await alice.phone.sees_members(family, alice, bob, carol)


async def test_who_comes_by_a_link_is_let_in(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    (dave,) = await scene.strangers("dave")
    family = await alice.phone.founds("Family", bob, rules=Rules(approval=True))
    assert not await dave.phone.joins(await alice.phone.links(family))
    await alice.phone.sees_waiting(family, dave)
    await dave.phone.shows(family)
    await alice.phone.adds(dave, to=family)
    await dave.phone.shows(family, "— alice added dave —")
    await alice.phone.sees_waiting(family)
    await bob.phone.shows(family, "— alice made the group “Family” —", "— alice added dave —")


async def test_roles_and_rules(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    (dave,) = await scene.strangers("dave")
    family = await alice.phone.founds("Family", bob, carol)
    with pytest.raises(Refused, match="group_rights"):
        await bob.phone.adds(dave, to=family)
    await alice.phone.promotes(family, bob)
    await bob.phone.adds(dave, to=family)
    await alice.phone.rules(family, write=GroupRole.ADMIN)
    with pytest.raises(Refused, match="group_rights"):
        await carol.phone.sends(family, "Hello?")
    await bob.phone.sends(family, "Only we may speak now")
    await carol.phone.shows(
        family,
        "— alice made the group “Family” —",
        "— alice made bob an admin —",
        "— bob added dave —",
        "— alice changed the rules: admins may write, admins add, admins edit —",
        "bob: Only we may speak now",
    )
    await carol.phone.reacts("Only we may speak now", "👍")
    await bob.phone.shows_so_many(family, 5)
    await alice.phone.hands_over(family, bob)
    await alice.phone.leaves(family)
    await bob.phone.sees_members(family, bob, carol, dave)


async def test_what_is_said_is_changed_and_deleted_by_admins_too(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    made = "— alice made the group “Family” —"
    family = await alice.phone.founds("Family", bob, carol)
    await bob.phone.sends(family, "Supper at sevn?")
    await bob.phone.edits("Supper at sevn?", "Supper at seven?")
    await carol.phone.shows(family, made, "bob: Supper at seven? (edited)")
    await carol.phone.reacts("Supper at seven?", "👍")
    await carol.phone.replies("Supper at seven?", "This is an advertisement")
    for device in (alice.phone, carol.phone):
        await device.shows_so_many(family, 3)
    with pytest.raises(Refused, match="not_yours"):
        await bob.phone.deletes("This is an advertisement")
    await alice.phone.deletes("This is an advertisement")
    await bob.phone.reads(family)
    await alice.phone.shows(family, made, "bob: Supper at seven? (edited) [carol 👍]", "carol: (deleted)")


async def test_mentions_polls_and_pins(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    made = "— alice made the group “Family” —"
    family = await alice.phone.founds("Family", bob, carol)
    await alice.phone.sends(family, "What does @bob say, and @nobody?")
    await bob.phone.shows(family, made, "alice: What does @bob say, and @nobody? (to me)")
    await carol.phone.shows(family, made, "alice: What does @bob say, and @nobody?")
    await bob.phone.asks(family, "When?", "at six", "at seven")
    await carol.phone.votes("When?", "at six")
    await alice.phone.votes("When?", "at six")
    await carol.phone.votes("When?", "at seven")
    await bob.phone.votes("When?", "at seven")
    await alice.phone.shows_so_many(family, 3)
    await alice.laptop.logs_in()
    await carol.phone.shows(
        family,
        made,
        "alice: What does @bob say, and @nobody?",
        "bob: When? {at six: alice} {at seven: bob, carol}",
    )
    await alice.phone.pins_for_all("When?")
    await carol.phone.shows_so_many(family, 4)


async def test_a_group_on_all_devices_and_on_a_new_one(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.laptop.logs_in()
    family = await alice.phone.founds("Family", bob)
    await alice.phone.sends(family, "One")
    await bob.laptop.shows(family, "— alice made the group “Family” —", "alice: One")
    await bob.laptop.turns_off()
    await alice.phone.renames(family, "Clan")
    await bob.phone.sends(family, "Two")
    await bob.laptop.turns_on()
    await bob.laptop.shows_so_many(family, 4)
    await bob.phone.mutes(family)
    await bob.laptop.lists("Clan (muted, 1 unread)")
    await bob.phone.lists("Clan (muted, 1 unread)")  # it can read only what it has
    await bob.phone.reads(family)
    await bob.tablet.logs_in()
    # What was said before it came was sealed for others.
    await bob.tablet.lists("Clan (muted)")
    await alice.phone.sends(family, "Three")
    await bob.tablet.lists("Clan (muted, 1 unread)")
    await bob.tablet.reads(family)
    await bob.laptop.lists("Clan (muted)")


async def test_what_was_read_on_another_device_while_one_was_off(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.laptop.logs_in()
    family = await alice.phone.founds("Family", bob)
    await alice.phone.sends(family, "One")
    await bob.laptop.lists("Family (1 unread)")
    await bob.phone.lists("Family (1 unread)")  # it can read only what it has
    await bob.laptop.turns_off()
    await bob.phone.reads(family)
    await bob.laptop.turns_on()
    await bob.laptop.lists("Family")


async def test_a_message_in_a_group_that_disappears(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    made = "— alice made the group “Family” —"
    family = await alice.phone.founds("Family", bob, carol)
    await alice.phone.sends(family, "It is under the mat", vanishes_after_s=30)
    await bob.phone.shows_so_many(family, 2)
    scene.seconds_pass(31)
    for device in (alice.phone, bob.phone, carol.phone):
        await device.shows(family, made)


async def test_who_types_in_a_group(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    family = await alice.phone.founds("Family", bob, carol)
    await carol.phone.shows_so_many(family, 1)
    await bob.phone.types(family)
    await carol.phone.sees_typing(bob)


async def test_a_channel(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    news = await alice.phone.founds_a_channel("News", bob)
    assert await carol.phone.joins(await alice.phone.links(news))
    await alice.phone.sends(news, "The server was updated")
    for device in (bob.phone, carol.phone):
        await device.lists("News (1 unread)")
    with pytest.raises(Refused, match="group_rights"):
        await bob.phone.sends(news, "Thank you")
