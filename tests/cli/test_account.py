"""`tidings account` and `tidings devices`, as somebody uses them who has two devices."""

import json
import re
import subprocess
from pathlib import Path

import pyotp
import pytest

from cli.rig import register, tidings
from client.rig import PASSWORD, TIDINGS, People, environment

pytestmark = pytest.mark.slow

NEW_PASSWORD = "an even longer secret"


def login(people: People, name: str, profile: Path, password: str, *more: str) -> int:
    arguments = (
        "login",
        "--server",
        people.server.url,
        "--handle",
        people.handle(name),
        "--profile",
        profile,
    )
    return tidings(*arguments, *more, TIDINGS_PASSWORD=password).code


def test_a_device_is_named_and_signed_out(people: People, tmp_path: Path) -> None:
    laptop, phone = tmp_path / "laptop", tmp_path / "phone"
    register(people.server.url, people.handle("alice"), laptop)
    assert login(people, "alice", phone, PASSWORD) == 0
    listed = tidings("devices", "list", "--profile", laptop, "--json").objects
    assert [device["current"] for device in listed] == [True, False]
    stolen = listed[1]["device_id"]
    named = tidings("devices", "rename", stolen, "the phone", "--profile", laptop, "--json")
    assert named.objects[0]["name"] == "the phone"
    assert "the phone" in tidings("devices", "list", "--profile", laptop).out
    assert tidings("devices", "sign-out", stolen, "--profile", laptop).code == 0
    out = tidings("history", "@" + people.handle("alice"), "--profile", phone)
    assert out.code == 1
    assert "does not accept this device's token" in out.err
    assert len(tidings("devices", "list", "--profile", laptop, "--json").objects) == 1
    missing = tidings("devices", "sign-out", "../../account", "--profile", laptop)
    assert missing.code == 1
    assert "no such device" in missing.err


def test_another_password_signs_the_other_devices_out(people: People, tmp_path: Path) -> None:
    laptop, phone = tmp_path / "laptop", tmp_path / "phone"
    register(people.server.url, people.handle("alice"), laptop)
    assert login(people, "alice", phone, PASSWORD) == 0
    wrong = tidings(
        "account",
        "password",
        "--profile",
        laptop,
        TIDINGS_PASSWORD="not this",
        TIDINGS_NEW_PASSWORD=NEW_PASSWORD,
    )
    assert wrong.code == 1
    assert "password" in wrong.err
    changed = tidings(
        "account",
        "password",
        "--profile",
        laptop,
        TIDINGS_PASSWORD=PASSWORD,
        TIDINGS_NEW_PASSWORD=NEW_PASSWORD,
    )
    assert changed.code == 0, changed.err
    assert tidings("devices", "list", "--profile", phone).code == 1
    assert tidings("devices", "list", "--profile", laptop).code == 0
    assert login(people, "alice", tmp_path / "old", PASSWORD) == 1
    assert login(people, "alice", tmp_path / "new", NEW_PASSWORD) == 0


def test_a_handle_is_changed_and_shown(people: People, tmp_path: Path) -> None:
    profile = tmp_path / "alice"
    register(people.server.url, people.handle("alice"), profile)
    assert tidings("account", "rename", "@" + people.handle("alice.b"), "--profile", profile).code == 0
    shown = tidings("account", "info", "--profile", profile, "--json").objects[0]
    assert (shown["handle"], shown["second_factor"]) == (people.handle("alice.b"), False)
    refused = tidings("account", "rename", "no way!", "--profile", profile)
    assert refused.code == 1
    unavailable = tidings("account", "phone", "+49 30 123456", "--profile", profile)
    assert unavailable.code == 1


def test_a_second_factor_is_asked_for_until_it_is_removed(people: People, tmp_path: Path) -> None:
    profile = tmp_path / "alice"
    register(people.server.url, people.handle("alice"), profile)
    with subprocess.Popen(
        [TIDINGS, "account", "second-factor", "--profile", profile, "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"TIDINGS_PASSWORD": PASSWORD},
    ) as adding:
        assert adding.stdin is not None
        assert adding.stderr is not None
        found = re.search(r"app: (\S+)", adding.stderr.readline())
        assert found is not None
        out, err = adding.communicate(pyotp.TOTP(found[1]).now() + "\n")
    assert adding.returncode == 0, err
    recovery = json.loads(out)["recovery_codes"]
    without = tidings(
        "login",
        "--server",
        people.server.url,
        "--handle",
        people.handle("alice"),
        "--profile",
        tmp_path / "no",
        TIDINGS_PASSWORD=PASSWORD,
    )
    assert without.code == 1
    assert "second factor" in without.err
    assert login(people, "alice", tmp_path / "yes", PASSWORD, "--code", recovery[0]) == 0
    assert login(people, "alice", tmp_path / "again", PASSWORD, "--code", recovery[0]) == 1
    removed = tidings(
        "account",
        "remove-second-factor",
        "--profile",
        profile,
        "--code",
        recovery[1],
        TIDINGS_PASSWORD=PASSWORD,
    )
    assert removed.code == 0, removed.err
    assert login(people, "alice", tmp_path / "free", PASSWORD) == 0


def test_an_account_is_exported_and_ended(people: People, tmp_path: Path) -> None:
    profile, file = tmp_path / "alice", tmp_path / "alice.json"
    register(people.server.url, people.handle("alice"), profile)
    assert tidings("account", "export", file, "--profile", profile).code == 0
    assert json.loads(file.read_text())["account"]["handle"] == people.handle("alice")
    assert file.stat().st_mode & 0o777 == 0o600
    again = tidings("account", "export", file, "--profile", profile)
    assert again.code == 1
    assert "exists already" in again.err
    kept = tidings("account", "delete", "--profile", profile, typed="n\n", TIDINGS_PASSWORD=PASSWORD)
    assert kept.code == 1
    ended = tidings("account", "delete", "--profile", profile, "--yes", TIDINGS_PASSWORD=PASSWORD)
    assert ended.code == 0, ended.err
    assert login(people, "alice", tmp_path / "late", PASSWORD) == 1
