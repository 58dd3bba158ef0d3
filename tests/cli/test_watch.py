"""`tidings watch`: who is there, beside a `listen` of the same profile."""

import pytest

from cli.rig import User

pytestmark = pytest.mark.slow


def test_somebody_comes_and_goes(alice: User, bob: User) -> None:
    with (
        alice.start("listen", "--json") as listening,
        alice.start("watch", bob.at, alice.at, "--json") as watching,
        alice.start("watch", bob.at) as people,
    ):
        listening.until("caught_up")
        watching.until_object(type="presence", handle=bob.handle, online=False)
        assert people.until(bob.at).startswith(f"{bob.at} is offline")
        with bob.start("listen", "--json") as there:
            there.until("caught_up")
            watching.until_object(type="presence", handle=bob.handle, online=True)
            people.until(f"{bob.at} is online")
        gone = people.until(f"{bob.at} is offline, last seen ")
        assert gone.count(":") == 1
        assert (people.interrupt(), watching.interrupt(), listening.interrupt()) == (130, 130, 130)
    assert "no_such_user" in alice.fails("watch", "@nobody-at-all")
