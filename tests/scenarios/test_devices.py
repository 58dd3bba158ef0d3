"""Somebody's devices: they show the same, whichever of them something was done on."""

from tidings.testing.scene import Scene

PICTURE = b"\x89PNG\r\n\x1a\n of Bob"


async def test_what_is_sent_and_read_on_one_device_is_so_on_the_other(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.laptop.logs_in()
    await alice.phone.sends(bob, "Lunch?")
    await bob.phone.lists("alice (1 unread)")
    await bob.laptop.lists("alice (1 unread)")
    await bob.laptop.reads(alice)
    await bob.phone.lists("alice")
    await alice.phone.shows(bob, "alice: Lunch? ✓✓ read")
    await bob.laptop.sends(alice, "At noon")
    await bob.phone.shows(alice, "alice: Lunch?", "bob: At noon ✓✓")
    await bob.laptop.shows(alice, "alice: Lunch?", "bob: At noon ✓✓")
    await alice.phone.reads(bob)
    await bob.phone.shows(alice, "alice: Lunch?", "bob: At noon ✓✓ read")
    await bob.laptop.shows(alice, "alice: Lunch?", "bob: At noon ✓✓ read")


async def test_one_device_is_enough_for_the_second_tick_and_the_other_gets_it_too(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.laptop.logs_in()
    await bob.laptop.turns_off()
    await alice.phone.sends(bob, "Lunch?")
    await alice.phone.shows(bob, "alice: Lunch? ✓✓")
    await bob.phone.sends(alice, "At noon")
    await alice.phone.shows(bob, "alice: Lunch? ✓✓", "bob: At noon")
    await bob.laptop.turns_on()
    await bob.laptop.shows(alice, "alice: Lunch?", "bob: At noon ✓✓")


async def test_a_new_device_reads_from_then_on_and_has_what_is_kept_of_the_chats(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "Lunch?")
    await bob.phone.shows(alice, "alice: Lunch?")
    await alice.phone.drafts(bob, "The usual")
    await alice.phone.pins(bob)
    await alice.laptop.logs_in()
    # What was sealed before was not sealed for it.
    await alice.laptop.shows(bob)
    await bob.phone.replies("Lunch?", "Where?")
    await alice.phone.shows(bob, "alice: Lunch? ✓✓", "bob: Where? (to: Lunch?)")
    await alice.laptop.shows(bob, "bob: Where? (to: …)")
    await alice.laptop.lists("bob (pinned, 1 unread, draft: The usual)")
    await alice.laptop.replies("Where?", "The usual place")
    await bob.phone.shows(
        alice, "alice: Lunch?", "bob: Where? (to: Lunch?) ✓✓", "alice: The usual place (to: Where?)"
    )


async def test_a_new_device_has_the_past_where_nothing_is_encrypted(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob", sealed=False)
    await alice.phone.sends(bob, "Lunch at tvelve?")
    await bob.phone.shows(alice, "alice: Lunch at tvelve?")
    await alice.phone.edits("Lunch at tvelve?", "Lunch at twelve?")
    await bob.phone.shows(alice, "alice: Lunch at twelve? (edited)")
    await bob.phone.reads(alice)
    await bob.phone.reacts("Lunch at twelve?", "😋")
    await bob.phone.replies("Lunch at twelve?", "Where?")
    await alice.phone.drafts(bob, "The usual")
    await alice.laptop.logs_in()
    await alice.laptop.shows(
        bob,
        "alice: Lunch at twelve? (edited) [bob 😋] ✓✓ read",
        "bob: Where? (to: Lunch at twelve?)",
    )
    await alice.laptop.lists("bob (1 unread, draft: The usual)")
    await alice.laptop.replies("Where?", "The usual place")
    await bob.phone.shows(
        alice,
        "alice: Lunch at twelve? (edited) [bob 😋]",
        "bob: Where? (to: Lunch at twelve?) ✓✓",
        "alice: The usual place (to: Where?)",
    )


async def test_a_device_that_goes_from_node_to_node_misses_nothing(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "Line 0")
    for number in range(1, 12):
        if number % 4 == 3:
            bob.phone.moves()
        alice.phone.writes(bob, f"Line {number}")
    await bob.phone.shows(alice, *[f"alice: Line {number}" for number in range(12)])
    bob.phone.moves()
    bob.phone.writes(alice, "Read it all")
    await alice.phone.shows(bob, *[f"alice: Line {n} ✓✓" for n in range(12)], "bob: Read it all")


async def test_a_device_that_is_signed_out_by_another_is_out(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.laptop.logs_in()
    await bob.phone.sends(alice, "Is this your laptop in the tram?")
    await alice.laptop.shows(bob, "bob: Is this your laptop in the tram?")
    await alice.phone.signs_out(alice.laptop)
    await alice.laptop.is_signed_out()
    await bob.phone.sends(alice, "I have it")
    await alice.phone.shows(bob, "bob: Is this your laptop in the tram?", "bob: I have it")
    await alice.laptop.turns_off()
    await alice.laptop.turns_on()
    await alice.laptop.is_signed_out()
    await alice.laptop.shows(bob, "bob: Is this your laptop in the tram?")


async def test_pins_mutes_and_drafts_are_on_all_devices(scene: Scene) -> None:
    alice, bob, carol = await scene.friends("alice", "bob", "carol")
    await alice.laptop.logs_in()
    await bob.phone.sends(alice, "Hi")
    await carol.phone.sends(alice, "Hello")
    await alice.laptop.lists("carol (1 unread)", "bob (1 unread)")
    await alice.phone.pins(bob)
    await alice.laptop.lists("bob (pinned, 1 unread)", "carol (1 unread)")
    await alice.laptop.mutes(carol)
    await alice.laptop.drafts(carol, "What I always")
    await alice.phone.lists("bob (pinned, 1 unread)", "carol (muted, 1 unread, draft: What I always)")
    await alice.laptop.turns_off()
    await alice.phone.unmutes(carol)
    await alice.phone.drafts(carol, "")
    await alice.phone.hides("Hi")
    await alice.laptop.turns_on()
    await alice.laptop.lists("bob (pinned)", "carol (1 unread)")
    await alice.laptop.shows(bob)
    await bob.phone.shows(alice, "bob: Hi ✓✓")


async def test_a_name_and_a_picture(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.laptop.logs_in()
    await bob.laptop.logs_in()
    await bob.phone.names_its_owner("Bob the Bass", "Gone singing")
    await bob.laptop.shows_a_picture(PICTURE)
    for device in (alice.phone, alice.laptop, bob.phone, bob.laptop):
        await device.knows(bob, "Bob the Bass", "Gone singing", PICTURE)
