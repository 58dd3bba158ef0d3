"""Phones without a network, servers that die: everything arrives, once, in its order."""

from tidings.testing.scene import Scene


async def test_who_was_away_gets_it_all_in_order(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "The train is late")
    await bob.phone.shows(alice, "alice: The train is late")
    bob.phone.loses_its_connection()
    await alice.phone.sends(bob, "Now it comes")
    await alice.phone.sends(bob, "Fond you a seat")
    await alice.phone.edits("Fond you a seat", "Found you a seat")
    await alice.phone.sends(bob, "Hm")
    await alice.phone.deletes("Hm")
    await alice.phone.sends(bob, "Where are you?")
    bob.phone.comes_back()
    await bob.phone.shows(
        alice,
        "alice: The train is late",
        "alice: Now it comes",
        "alice: Found you a seat (edited)",
        "alice: Where are you?",
    )


async def test_what_is_written_without_a_network_goes_out_later(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    alice.phone.loses_its_connection()
    alice.phone.writes(bob, "In the tunnel")
    alice.phone.writes(bob, "Still in the tunnel")
    await bob.phone.sends(alice, "Are you in the tunnel?")
    alice.phone.comes_back()
    await bob.phone.shows(
        alice,
        "bob: Are you in the tunnel? ✓✓",
        "alice: In the tunnel",
        "alice: Still in the tunnel",
    )
    await alice.phone.shows(
        bob,
        "bob: Are you in the tunnel?",
        "alice: In the tunnel ✓✓",
        "alice: Still in the tunnel ✓✓",
    )


async def test_a_phone_that_is_turned_off_before_its_message_was_answered(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.phone.sends(alice, "Where are you?")
    await alice.phone.shows(bob, "bob: Where are you?")
    alice.phone.hears_nothing_any_more()
    alice.phone.writes(bob, "My battery is almost")
    await bob.phone.shows(alice, "bob: Where are you? ✓✓", "alice: My battery is almost")
    await alice.phone.turns_off()
    await bob.phone.sends(alice, "Almost what?")
    await alice.phone.turns_on()
    await alice.phone.shows(bob, "bob: Where are you?", "alice: My battery is almost ✓✓", "bob: Almost what?")
    await bob.phone.shows(
        alice, "bob: Where are you? ✓✓", "alice: My battery is almost", "bob: Almost what? ✓✓"
    )


async def test_answers_that_get_lost_again_and_again(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "One")
    for text, shown in (("Two", 2), ("Three", 3), ("Four", 4)):
        alice.phone.hears_nothing_any_more()
        alice.phone.writes(bob, text)
        await bob.phone.shows_so_many(alice, shown)
        alice.phone.moves()
        await alice.phone.shows_so_many(bob, shown)
    await bob.phone.shows(alice, "alice: One", "alice: Two", "alice: Three", "alice: Four")
    await alice.phone.shows(bob, "alice: One ✓✓", "alice: Two ✓✓", "alice: Three ✓✓", "alice: Four ✓✓")


async def test_the_node_dies_before_a_message_is_on_its_disk(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "One")
    await bob.phone.shows(alice, "alice: One")
    node = alice.phone.node
    node.waits_for_its_disk()
    alice.phone.writes(bob, "Two")
    await node.has_a_message_to_write()
    await node.dies()
    await node.starts()
    await bob.phone.shows(alice, "alice: One", "alice: Two")
    await alice.phone.shows(bob, "alice: One ✓✓", "alice: Two ✓✓")
    await bob.phone.finds_in_history(alice, "alice: One", "alice: Two")


async def test_the_node_dies_after_a_message_is_on_its_disk_and_before_it_says_so(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "One")
    await bob.phone.shows(alice, "alice: One")
    alice.phone.hears_nothing_any_more()
    alice.phone.writes(bob, "Two")
    await bob.phone.shows(alice, "alice: One", "alice: Two")
    node = alice.phone.node
    await node.dies()
    await node.starts()
    await alice.phone.shows(bob, "alice: One ✓✓", "alice: Two ✓✓")
    await bob.phone.shows(alice, "alice: One", "alice: Two")
    await alice.phone.sends(bob, "Three")
    await bob.phone.shows(alice, "alice: One", "alice: Two", "alice: Three")
    await bob.phone.finds_in_history(alice, "alice: One", "alice: Two", "alice: Three")


async def test_the_receivers_node_dies(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await bob.laptop.logs_in()
    await alice.phone.sends(bob, "One")
    await bob.phone.shows(alice, "alice: One")
    node = bob.phone.node
    await node.dies()
    alice.phone.writes(bob, "Two")
    alice.phone.writes(bob, "Three")
    await node.starts()
    for device in (bob.phone, bob.laptop):
        await device.shows(alice, "alice: One", "alice: Two", "alice: Three")
    await alice.phone.shows(bob, "alice: One ✓✓", "alice: Two ✓✓", "alice: Three ✓✓")


async def test_all_nodes_die(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "Did the lights go out?")
    await bob.phone.shows(alice, "alice: Did the lights go out?")
    for node in scene.nodes:
        await node.dies()
    bob.phone.writes(alice, "Here too")
    alice.phone.writes(bob, "I have candles")
    for node in scene.nodes:
        await node.starts()
    hers, his = await alice.phone.shows_so_many(bob, 3), await bob.phone.shows_so_many(alice, 3)
    assert hers == his
    assert sorted(his) == ["alice: Did the lights go out?", "alice: I have candles", "bob: Here too"]


async def test_the_store_restarts_in_the_middle_of_it(scene: Scene) -> None:
    alice, bob = await scene.friends("alice", "bob")
    await alice.phone.sends(bob, "0")
    await bob.phone.sends(alice, "0")
    for number in range(1, 10):
        alice.phone.writes(bob, f"{number}")
        bob.phone.writes(alice, f"{number}")
        if number % 3 == 0:
            await scene.the_store_restarts()
    hers, his = await alice.phone.shows_so_many(bob, 20), await bob.phone.shows_so_many(alice, 20)
    assert hers == his
    for who in (alice, bob):
        assert [line for line in hers if line.startswith(f"{who}:")] == [f"{who}: {n}" for n in range(10)]
    await bob.phone.finds_in_history(alice, *(line + " ✓✓" * line.startswith("bob") for line in his))
