"""The profile's folder and its locks."""

import os
from pathlib import Path

import pytest

from tidings.client import ProfileDamaged, ProfileExists, ProfileInUse, ProfileMissing, ProfileTooNew
from tidings.client.profile import FORMAT, Account, FileLock, Profile, take_receiver_lock

ACCOUNT = Account(
    format=FORMAT, server="http://x", handle="alice", user_id="1", device_id="2", token="secret"
)


def make(path: Path, account: Account = ACCOUNT) -> Profile:
    profile = Profile(path)
    with profile.create():
        profile.database.touch()
        profile.save(account)
    return profile


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    assert make(tmp_path / "deep" / "down").account() == ACCOUNT
    assert "secret" not in repr(ACCOUNT)


def test_a_failure_while_making_one_leaves_nothing(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "new")

    def fail() -> None:
        with profile.create():
            profile.database.touch()
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
    profile.database.unlink()
    with pytest.raises(ProfileDamaged, match=r"profile\.db is missing"):
        profile.account()
    (profile.path / "account.json").write_text("{")
    with pytest.raises(ProfileDamaged, match=r"account\.json"):
        profile.account()
    newer = Account(format=FORMAT + 1, server="", handle="", user_id="1", device_id="2", token="")
    with pytest.raises(ProfileTooNew, match="format"):
        make(tmp_path / "newer", newer).account()


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
