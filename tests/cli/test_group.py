"""`tidings group`, and groups wherever else a person is named."""

from pathlib import Path

import pytest

from cli.rig import User
from client.rig import People

pytestmark = pytest.mark.slow


@pytest.fixture
def carol(people: People, tmp_path: Path) -> User:
    return User.new(people.server.url, people.handle("carol"), tmp_path / "carol")


def test_a_group_is_made_talked_in_and_looked_after(alice: User, bob: User, carol: User) -> None:
    made = alice.object("group", "create", "Family", bob.at, "--about", "All of us")
    assert (made["type"], made["name"], made["count"], made["role"]) == ("group", "Family", 2, "owner")
    assert alice.says("group", "create", "Choir").startswith("made #Choir, #")
    with bob.start("listen") as hearing:
        hearing.until("#Family: " + alice.handle + " made the group “Family”: All of us")
        sent = alice.object("send", "#Family", f"What says {bob.at}?")
        assert sent["to"] == "#Family"
        hearing.until(f"{alice.at} in #Family: What says {bob.at}?  (mentions you)")
    assert bob.says("send", "#family", "Nothing", "--reply", "last").endswith("sent to #family\n")
    (_, question, answer) = alice.objects("history", "#family")
    assert (question["mentions_me"], answer["from"]) == (False, bob.handle)
    assert answer["reply_to"] == sent["reference"]

    assert alice.says("group", "add", "Family", carol.at) == f"{carol.at} added to #Family\n"
    assert alice.says("group", "promote", "#Family", bob.at) == f"admin of #Family: {bob.at}\n"
    roles = {one["handle"]: one["role"] for one in carol.objects("group", "members", "#Family")}
    assert roles == {alice.handle: "owner", bob.handle: "admin", carol.handle: "member"}
    assert bob.says("group", "rename", "#Family", "Clan") == "it is called #Clan\n"
    assert bob.says("group", "about", "#Clan", "Us") == "#Clan is described\n"
    shown = carol.says("group", "show", made["peer"][:9])
    assert "name       Clan\nabout      Us\n" in shown
    assert "members    3\n" in shown
    assert carol.says("group", "list").startswith("#Clan ")
    assert bob.says("group", "remove", "#Clan", carol.at) == f"{carol.at} removed from #Clan\n"
    assert "no_such_conversation" in carol.fails("send", "#Clan", "Hello?")
    past = carol.run("history", "#Clan")
    assert past.err == "note: you are in this group no more; this is what the profile has of it\n"
    assert f"{bob.handle} removed {carol.handle}" in past.out.splitlines()[-1]
    assert "hand the group over" in alice.fails("group", "leave", "#Clan")
    assert alice.says("group", "transfer", "#Clan", bob.at) == f"{bob.at} owns #Clan\n"
    assert alice.says("group", "leave", "#Clan") == "you have left #Clan\n"


def test_what_was_written_before_a_removal_is_said_to_have_failed(own_people: People, tmp_path: Path) -> None:
    url = own_people.server.url
    alice, carol = (User.new(url, own_people.handle(name), tmp_path / name) for name in ("alice", "carol"))
    alice.says("group", "create", "Family", carol.at)
    carol.says("group", "list")
    own_people.server.stop()
    assert "cannot" in carol.fails("send", "#Family", "I come", "--timeout", "1")
    own_people.server.start()
    alice.says("group", "remove", "#Family", carol.at)
    with carol.start("listen", complaints=True) as hearing:
        hearing.until("✗ a message to #Family was not sent (")
        assert hearing.until("I come").endswith("): I come")


def test_how_many_have_read(alice: User, bob: User, carol: User) -> None:
    alice.says("group", "create", "Family", bob.at, carol.at)
    alice.says("send", "#Family", "Supper?")
    with bob.start("chat", "#Family") as talking:
        talking.until("talking in #Family")
        talking.until(f"{alice.at}: Supper?")
        (_, shown) = alice.says("history", "#Family").splitlines()
        for _ in range(50):
            if "read by 1 of 2" in shown:
                break
            (_, shown) = alice.says("history", "#Family").splitlines()
        assert shown.endswith("✓ read by 1 of 2")
        info = alice.says("message", "info", "#Family", "last").splitlines()
        assert info[1].startswith("read by 1 of 2, delivered to ")
        found = alice.object("message", "info", "#Family", "last")
        assert [one["handle"] for one in found["members"]] == sorted((bob.handle, carol.handle))
        talking.type("I come")
        talking.until("✓ I come")
        assert talking.end_input() == 0
    assert carol.says("history", "#Family").splitlines()[-1].endswith(f"{bob.at}: I come")


def test_links_and_who_is_let_in(alice: User, bob: User, carol: User) -> None:
    alice.says("group", "create", "Family", "--approval")
    link = alice.object("group", "link", "#Family", "--expires", "2h")["link"]
    assert bob.says("group", "preview", link) == (
        f"#Family, a group of 1, made by {alice.at}\nwho joins is let in first\n"
    )
    assert bob.says("group", "join", link) == "you wait to be let in\n"
    assert carol.object("group", "join", link)["waiting"]
    waiting = {one["handle"] for one in alice.objects("group", "waiting", "#Family")}
    assert waiting == {bob.handle, carol.handle}
    assert alice.says("group", "let-in", "#Family", bob.at) == f"{bob.at} let into #Family\n"
    assert alice.says("group", "turn-away", "#Family", carol.at) == f"{carol.at} turned away\n"
    assert alice.says("group", "waiting", "#Family") == ""
    assert [one["name"] for one in bob.objects("group", "list")] == ["Family"]
    assert alice.says("group", "unlink", "#Family", link) == "revoked; #Family has no links\n"
    assert "bad_link" in carol.fails("group", "join", link)
    assert "no invite link" in carol.fails("group", "join", "tidings:join/x")


def test_rules_polls_and_pins(alice: User, bob: User) -> None:
    alice.says("group", "create", "News", bob.at)
    assert alice.says("group", "rules", "News", "--write", "admins", "--approval") == (
        "write      admins\nadd        admins\nedit       admins\napproval   yes\n"
    )
    assert alice.object("group", "rules", "News")["rules"]["write"] == "admin"
    error = bob.fails("send", "#News", "May I?")
    assert "group_rights" in error
    assert "tidings group members" in error
    alice.says("group", "poll", "News", "When?", "at six", "at seven", "--multiple")
    assert bob.says("group", "vote", "#News", "last", "1", "2").endswith("voted for at six, at seven\n")
    assert bob.says("group", "vote", "#News", "last", "2").endswith("voted for at seven\n")
    shown = alice.says("history", "#News")
    assert f"    1. at six (0)\n    2. at seven (1) {bob.at}  ✓" in shown
    assert bob.fails("group", "vote", "#News", "last", "3").startswith(
        "error: the poll has the options 1 to 2"
    )
    assert alice.says("group", "pin", "News", "last") == "pinned in #News\n"
    assert len(bob.object("group", "show", "News")["pins"]) == 1
    assert alice.says("group", "unpin", "News", "last") == "not pinned in #News any more\n"


def test_a_group_is_a_chat(alice: User, bob: User) -> None:
    alice.says("group", "create", "Family", bob.at)
    alice.says("send", "#Family", "Hello")
    assert bob.says("chats", "pin", "#family") == "#family is pinned\n"
    (chat,) = bob.objects("chats", "list")
    assert (chat["title"], chat["pinned"], chat["unread"]) == ("Family", True, 1)
    assert bob.says("read", "#Family") == "read what came from #Family\n"
    assert bob.says("chats", "list").startswith("#Family ")
    bob.says("message", "react", "#Family", "last", "👍")
    bob.says("message", "star", "#Family", "last")
    assert bob.object("message", "starred")["text"] == "Hello"
    alice.says("message", "edit", "#Family", "last", "Hello all")
    assert "Hello all  (edited)" in bob.says("history", "#Family")
    alice.says("send", "#Family", "Are you there?")
    assert bob.says("read", "#Family") == "read what came from #Family\n"
    assert "read by 1 of 1" in alice.says("message", "info", "#Family", "last")


def test_which_group_is_meant(alice: User, tmp_path: Path) -> None:
    assert "you are in no group #Nowhere" in alice.fails("send", "#Nowhere", "hello")
    one = alice.object("group", "create", "Family")
    other = alice.object("group", "create", "family", "--about", "the other one")
    error = alice.fails("send", "#Family", "hello")
    assert "may be one of 2 groups" in error
    assert one["peer"][:9] in error
    assert other["peer"][:9] in error
    assert alice.says("send", other["peer"][:9], "hello")
    assert alice.object("history", other["peer"], "--limit", "1")["text"] == "hello"
    picture = tmp_path / "family.png"
    assert "has no picture" in alice.fails("group", "picture", one["peer"], picture)
    assert "no such file" in alice.fails("group", "picture", one["peer"], picture, "--set")


def test_a_picture_of_a_group(alice: User, bob: User, tmp_path: Path) -> None:
    picture, saved = tmp_path / "family.png", tmp_path / "saved.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    alice.says("group", "create", "Family", bob.at)
    assert alice.says("group", "picture", "Family", picture, "--set") == "#Family has a picture\n"
    assert bob.says("group", "picture", "Family", saved) == f"written to {saved}\n"
    assert saved.read_bytes() == picture.read_bytes()
    assert alice.says("group", "picture", "Family", "--remove") == "#Family has no picture\n"
