"""`tidings chat`: two people at their terminals, and what else they see."""

import asyncio
from pathlib import Path

import pytest

from cli.rig import Running, User
from client.rig import People, ServerProcess
from integration.server import Server
from tidings.client import Client

pytestmark = pytest.mark.slow


def test_two_chat(alice: User, bob: User) -> None:
    with alice.start("chat", bob.at) as one, bob.start("chat", alice.at) as other:
        one.type("how are you?")
        other.until(f"{alice.at}: how are you?")
        one.until("✓ how are you?")
        one.until("✓✓ read how are you?")
        other.type("fine")
        one.until(f"{bob.at}: fine")
        assert other.end_input() == 0
        assert one.end_input() == 0
    assert len([line for line in one.lines if "how are you?" in line and "✓✓" not in line]) == 1


def test_commands_answer_change_and_delete(alice: User, bob: User) -> None:
    with alice.start("chat", bob.at, complaints=True) as one, bob.start("chat", alice.at) as other:
        other.until(f"{alice.at} is online")
        one.until(f"{bob.at} is online")
        one.type("helo")
        one.type("/edit hello")
        other.until(f"— {alice.at} edited: hello —")
        one.until(f"— you (to {bob.at}) edited: hello —")
        other.type("/react 👍")
        one.until(f"— {bob.at} reacted 👍: “hello” —")
        other.type("/reply hi there")
        one.until(f"{bob.at}: (re: “hello”) hi there")
        one.type("//slash")
        other.until(f"{alice.at}: /slash")
        one.type("/delete")
        other.until(f"— {alice.at} deleted ")
        one.type("/quit now")
        one.until("✗ there is no command /quit")
        assert "//quit now would send it" in one.until("hint: ")
        one.type("/help")
        one.until("/reply TEXT")
        one.type("/edit")
        one.until("✗ /edit is used otherwise")
        # A line of another process of the profile is shown, too; one typed here is not repeated.
        alice.says("send", bob.at, "by command")
        one.until(f"{alice.at}: by command  ✓")
        assert one.end_input() == 0
    typed = [line for line in one.lines if line.endswith((" ✓ helo", f"{alice.at}: helo  ✓"))]
    assert len(typed) == 1
    assert [(entry["text"], entry["deleted"]) for entry in bob.objects("history", alice.at)] == [
        ("hello", False),
        ("hi there", False),
        ("", True),
        ("by command", False),
    ]


def test_what_was_said_before_is_shown_and_taken_as_read(alice: User, bob: User) -> None:
    bob.says("send", alice.at, "while you were away")
    bob.says("send", alice.at, "and this", "--reply", "last")
    with alice.start("listen", "--json") as hearing:
        hearing.until_object(type="message", text="and this")
    with alice.start("chat", bob.at) as one:
        one.until(f"{bob.at}: while you were away")
        one.until(f"{bob.at}: (re: “while you were away”) and this")
        assert one.end_input() == 0
    assert [entry["status"] for entry in bob.objects("history", alice.at)] == ["read", "read"]


def test_a_stranger_is_announced(
    strangers: tuple[User, User], asking_server: Server, people: People, tmp_path: Path
) -> None:
    alice, bob = strangers
    carol = User.new(asking_server.url, people.handle("carol"), tmp_path / "carol")
    bob.says("send", alice.at, "hello")
    with alice.start("chat", bob.at) as one:
        one.until(f"— {bob.at} wants to talk to you, 1 message waits: /accept or /decline —")
        carol.says("send", alice.at, "hello")
        one.until(f"(elsewhere) — {carol.at} wants to talk to you")
        one.type("come in")  # writing lets in
        one.until(f"{bob.at}: hello")
        assert one.end_input() == 0


@pytest.mark.parametrize("lets_in", [True, False])
def test_a_stranger_is_let_in_or_turned_away_in_the_chat(
    strangers: tuple[User, User], *, lets_in: bool
) -> None:
    alice, bob = strangers
    bob.says("send", alice.at, "hello")
    with alice.start("chat", bob.at) as one:
        one.until("wants to talk to you")
        one.type("/accept" if lets_in else "/decline")
        one.until(f"{bob.at}: hello" if lets_in else "does not wait for an answer any more")
        assert one.end_input() == 0
    assert alice.objects("people", "requests") == []


def test_who_writes_is_seen(alice: User, bob: User) -> None:
    async def write() -> None:
        async with Client.open(bob.profile, receive=False) as me:
            await me.history(alice.at)  # it is connected then
            await me.chats.typing(alice.at)
            await me.flushed()

    with alice.start("chat", bob.at) as one:
        one.until(f"{bob.at} is offline")
        asyncio.run(write())
        one.until(f"— {bob.at} is writing —")
        bob.says("send", alice.at, "done")
        one.until(f"{bob.at}: done")
        assert one.end_input() == 0


def test_lines_from_a_pipe_are_sent_before_it_leaves(alice: User, bob: User) -> None:
    done = alice.run("chat", bob.at, typed="one\n\ntwo\n/nonsense\nthree")
    assert done.code == 0, done.err
    assert "✗ there is no command /nonsense" in done.err
    page = bob.objects("history", alice.at)
    assert [one["text"] for one in page] == ["one", "two", "three"]


def test_what_is_typed_offline_is_not_lost(
    own_server: ServerProcess, own_people: People, tmp_path: Path
) -> None:
    alice = User.new(own_server.url, own_people.handle("alice"), tmp_path / "a")
    bob = User.new(own_server.url, own_people.handle("bob"), tmp_path / "b")
    alice.says("send", bob.at, "before")
    own_server.kill()
    with Running("chat", bob.at, "--profile", alice.profile, complaints=True) as one:
        one.until("not connected")
        one.type("meanwhile")
        one.type("/edit in the meantime")
        own_server.start()
        one.until("✓ meanwhile")
        one.until("edited: in the meantime")
        assert one.end_input() == 0
    assert [entry["text"] for entry in bob.objects("history", alice.at)] == ["before", "in the meantime"]
