"""The name and description of a group: for its members, the newest of them, and of that group."""

import pytest

from client.sealing.group_devices import GROUP, OTHER_GROUP, Group, GroupDevice, kinds
from tidings.client.sealing import infos
from tidings.client.sealing.infos import open_info, preview, seal_info


class Three(Group):
    """alice, bob and carol."""

    def __init__(self) -> None:
        super().__init__()
        (self.alice,) = self.add(1, 11)
        (self.bob,) = self.add(2, 21)
        (self.carol,) = self.add(3, 31)

    def edit(self, device: GroupDevice, text: str) -> bytes:
        return seal_info(device.database, GROUP, text.encode(), self.removal_at)


@pytest.fixture
def group() -> Three:
    return Three()


def read(device: GroupDevice, told: bytes) -> str | None:
    found = open_info(device.database, GROUP, told)
    return None if found is None else found.decode()


def key_ids(*told: bytes) -> list[bytes]:
    return [one[1 : 1 + infos.KEY_ID_BYTES] for one in told]


def test_it_is_read_with_any_members_sender_key(group: Three) -> None:
    info = group.edit(group.alice, "the choir")
    assert b"choir" not in info
    assert read(group.alice, info) == "the choir"
    assert read(group.bob, info) is None
    group.share(group.alice)
    assert read(group.bob, info) == "the choir"
    (dave,) = group.add(4, 41)
    assert read(dave, info) is None
    group.share(group.bob)
    assert read(dave, info) == "the choir"
    assert kinds(dave) == []


def test_it_is_edited_by_any_member_with_the_same_key(group: Three) -> None:
    first = group.edit(group.alice, "1")
    read(group.alice, first)
    group.share(group.alice)
    assert read(group.bob, first) == "1"
    second = group.edit(group.bob, "2")
    assert key_ids(first) == key_ids(second)
    for device in (group.alice, group.bob, group.carol):
        assert read(device, second) == "2"
    assert first != group.edit(group.alice, "1")


def test_after_a_removal_it_has_another_key(group: Three) -> None:
    first = group.edit(group.alice, "1")
    group.share(group.alice)
    for device in (group.alice, group.bob, group.carol):
        assert read(device, first) == "1"
    group.remove(3)
    # What it says has not changed: who was removed has read it.
    second = group.edit(group.bob, "2")
    assert key_ids(second) != key_ids(first)
    group.share(group.bob)
    assert read(group.alice, second) == "2"
    assert read(group.carol, second) == "1"
    third = group.edit(group.bob, "3")
    assert key_ids(third) == key_ids(second)


def test_while_it_is_changed_both_keys_are_given(group: Three) -> None:
    first = group.edit(group.alice, "1")
    read(group.alice, first)
    group.share(group.alice)
    group.remove(3)
    second = group.edit(group.alice, "2")
    group.share(group.alice)
    (dave,) = group.add(4, 41)
    group.share(group.alice)
    # Whether the server took the edit is not known yet.
    assert read(dave, first) == "1"
    assert read(dave, second) == "2"


def test_an_older_one_is_not_gone_by(group: Three) -> None:
    first = group.edit(group.alice, "1")
    read(group.alice, first)
    second = group.edit(group.alice, "2")
    group.share(group.alice)
    assert [read(group.bob, told) for told in (first, second, first, first)] == ["1", "2", "2", "2"]
    assert kinds(group.bob) == ["info_old"]
    third = group.edit(group.bob, "3")
    assert read(group.bob, third) == "3"


def test_of_two_edits_at_once_the_one_that_is_told_last_holds(group: Three) -> None:
    first = group.edit(group.alice, "1")
    group.share(group.alice)
    read(group.bob, first)
    one, other = group.edit(group.alice, "alice's"), group.edit(group.bob, "bob's")
    assert [read(group.carol, told) for told in (one, other)] == ["alice's", "bob's"]
    assert kinds(group.carol) == []


@pytest.mark.parametrize("change", ["a byte", "its group", "its counter", "clear", "nothing left"])
def test_one_that_no_member_sealed_is_not_gone_by(group: Three, change: str) -> None:
    first = group.edit(group.alice, "1")
    group.share(group.alice)
    assert read(group.bob, first) == "1"
    forged = group.edit(group.alice, "2")
    if change == "a byte":
        forged = forged[:-1] + bytes([forged[-1] ^ 1])
    elif change == "its group":
        database = group.alice.database
        infos.learn(database, OTHER_GROUP, infos.key_of(database, GROUP))
        forged = seal_info(database, OTHER_GROUP, b"of another group")
    elif change == "its counter":
        forged = forged[:16] + b"\x07" + forged[17:]
    elif change == "clear":
        forged = b"the server's"
    else:
        forged = b""
    assert read(group.bob, forged) == "1"
    assert read(group.bob, forged) == "1"
    assert kinds(group.bob) == ["info_forged"]


def test_one_whose_key_is_not_known_leaves_the_one_before(group: Three) -> None:
    first = group.edit(group.alice, "1")
    group.share(group.alice)
    assert read(group.bob, first) == "1"
    other = Three()
    told = other.edit(other.alice, "sealed elsewhere")
    assert read(group.bob, told) == "1"
    assert kinds(group.bob) == []  # its key may come


def test_an_invite_link_has_the_key(group: Three) -> None:
    info = group.edit(group.alice, "the choir")
    read(group.alice, info)
    key = infos.key_of(group.alice.database, GROUP)
    assert preview(GROUP, key, info) == b"the choir"
    assert preview(OTHER_GROUP, key, info) is None
    assert preview(GROUP, b"k" * 32, info) is None
    assert preview(GROUP, key, b"junk") is None
    newcomer = GroupDevice(group.office, 4, 41)
    assert infos.learn(newcomer.database, GROUP, key)
    assert not infos.learn(newcomer.database, GROUP, key)
    assert not infos.learn(newcomer.database, GROUP, b"")
    assert not infos.learn(newcomer.database, GROUP, b"cut off")
    assert read(newcomer, info) == "the choir"


def test_many_keys_fill_no_disk_and_push_out_none_that_is_used(group: Three) -> None:
    info = group.edit(group.alice, "1")
    group.share(group.alice)
    assert read(group.bob, info) == "1"
    for number in range(3 * infos.KEPT):
        infos.learn(group.bob.database, GROUP, b"%032d" % number)
    (count,) = group.bob.database.execute("SELECT count(*) FROM info_keys").fetchone()
    assert count == infos.KEPT + 1
    assert read(group.bob, info) == "1"
    assert infos.key_of(group.bob.database, GROUP) == infos.key_of(group.alice.database, GROUP)


def test_a_counter_at_its_end_is_not_passed(group: Three) -> None:
    group.edit(group.alice, "1")
    database = group.alice.database
    database.execute("INSERT INTO group_infos VALUES (?, ?, x'', x'')", (GROUP, infos.COUNTER_MAX))
    last = group.edit(group.alice, "last")
    assert read(group.alice, last) == "last"
    assert read(group.alice, group.edit(group.alice, "and after")) == "and after"


def test_a_group_that_is_left_leaves_nothing(group: Three) -> None:
    info = group.edit(group.alice, "1")
    assert read(group.alice, info) == "1"
    infos.forget_group(group.alice.database, GROUP)
    assert read(group.alice, info) is None
    assert infos.key_of(group.alice.database, GROUP) == b""


def test_a_picture_is_sealed_as_the_info_is(group: Three) -> None:
    info = group.edit(group.alice, "1")
    read(group.alice, info)
    picture = infos.seal_picture(group.alice.database, GROUP, b"a picture", group.removal_at)
    assert key_ids(picture) == key_ids(info)
    assert infos.open_picture(group.bob.database, GROUP, picture) is None
    group.share(group.alice)
    assert infos.open_picture(group.bob.database, GROUP, picture) == b"a picture"
    assert infos.open_picture(group.bob.database, OTHER_GROUP, picture) is None
    for wrong in (info, picture[:-1], b"", b"\x89PNG"):
        assert infos.open_picture(group.bob.database, GROUP, wrong) is None
    assert read(group.bob, picture) is None
    group.remove(3)
    later = infos.seal_picture(group.alice.database, GROUP, b"another", group.removal_at)
    assert key_ids(later) != key_ids(picture)


def test_what_an_info_said_once_is_read_without_going_by_it(group: Three) -> None:
    first = group.edit(group.alice, "1")
    assert read(group.alice, first) == "1"
    second = group.edit(group.alice, "2")
    assert infos.peek(group.alice.database, GROUP, second) == b"2"
    assert read(group.alice, first) == "1"
    assert infos.peek(group.bob.database, GROUP, second) is None
    assert infos.peek(group.alice.database, GROUP, b"") is None
    assert kinds(group.alice) == []
