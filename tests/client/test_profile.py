"""The profile's folder and its locks."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from tidings.client import ProfileDamaged, ProfileExists, ProfileInUse, ProfileMissing, ProfileTooNew
from tidings.client.keeping import InFile
from tidings.client.profile import FORMAT, Account, FileLock, Profile, take_receiver_lock

ACCOUNT = Account(
    format=FORMAT,
    server="http://x",
    handle="alice",
    user_id="1",
    device_id="2",
    token="secret",
    key=InFile("profile.key", "tells it"),
)


def make(path: Path, account: Account = ACCOUNT) -> Profile:
    profile = Profile(path)
    with profile.create():
        profile.database(account).touch()
        profile.save(account)
    return profile


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    assert make(tmp_path / "deep" / "down").account() == replace(ACCOUNT, token="")
    assert "secret" not in repr(ACCOUNT)
    assert b"secret" not in (tmp_path / "deep" / "down" / "account.json").read_bytes()


def test_a_failure_while_making_one_leaves_nothing(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "new")

    def fail() -> None:
        with profile.create():
            profile.database(ACCOUNT).touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not profile.path.exists()


def test_a_folder_with_anything_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ProfileExists, match="not empty"), Profile(tmp_path).create():
        raise AssertionError
    assert (tmp_path / "file").exists()
    with pytest.raises(ProfileExists), Profile(tmp_path / "file").create():
        raise AssertionError


def test_the_account_is_written_once(tmp_path: Path) -> None:
    profile = make(tmp_path / "p")
    with pytest.raises(ProfileExists):
        profile.save(ACCOUNT)
    assert sorted(file.name for file in profile.path.iterdir()) == ["account.json", "profile.db"]


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileMissing, match="there is none") as missing:
        Profile(tmp_path / "nowhere").account()
    assert "tidings register" in missing.value.hint
    profile = make(tmp_path / "p")
    profile.database(ACCOUNT).unlink()
    with pytest.raises(ProfileDamaged, match=r"profile\.db is missing"):
        profile.account()
    (profile.path / "account.json").write_text("{")
    with pytest.raises(ProfileDamaged, match=r"account\.json"):
        profile.account()
    with pytest.raises(ProfileTooNew, match="format"):
        make(tmp_path / "newer", replace(ACCOUNT, format=FORMAT + 1)).account()
    with pytest.raises(ProfileDamaged, match="how the key is kept"):
        make(tmp_path / "keyless", replace(ACCOUNT, key=None)).account()
    (tmp_path / "elsewhere.db").touch()
    with pytest.raises(ProfileDamaged, match="names no database"):
        make(tmp_path / "outside", replace(ACCOUNT, database="../elsewhere.db")).account()


def test_a_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    profile = make(tmp_path / "p")
    lock = take_receiver_lock(profile)
    with pytest.raises(ProfileInUse, match=f"open in process {os.getpid()}"):
        take_receiver_lock(profile)
    lock.release()
    lock.release()
    take_receiver_lock(profile).release()
    other = FileLock(profile.outbox_lock)
    assert other.take()
    assert other.is_held
    assert not FileLock(profile.outbox_lock).take()
    other.release()


def test_a_shared_lock_keeps_out_who_wants_it_alone(tmp_path: Path) -> None:
    profile = make(tmp_path / "p")
    one, other, alone = (FileLock(profile.open_lock) for _ in range(3))
    assert one.take(shared=True)
    assert other.take(shared=True)
    one.release()
    assert not alone.take()
    other.release()
    assert alone.take()
    assert not one.take(shared=True)
    alone.release()


def test_tidying_removes_what_the_account_does_not_name(tmp_path: Path) -> None:
    profile = make(tmp_path / "p")
    for name in (
        "profile.key",
        "profile-2.key",
        "profile-2.db",
        "profile-2.db-wal",
        "profile.db-wal",
        "mine",
    ):
        (profile.path / name).touch()
    profile.tidy(profile.account())
    left = ["account.json", "mine", "profile.db", "profile.db-wal", "profile.key"]
    assert sorted(file.name for file in profile.path.iterdir()) == left
