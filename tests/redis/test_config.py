"""What an operator decides, and what of it cannot be used."""

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidings.redis.config import (
    Address,
    Login,
    RedisConfig,
    RedisMisconfigured,
    checked,
    login,
    parsed,
    sentinel_login,
    tls_context,
)
from tidings.redis.dial import Dialer
from tidings.redis.slots import ranges_of, slot_of

SECRET = "correct horse"


def test_the_default_is_a_redis_on_this_machine() -> None:
    config = checked(RedisConfig())
    assert [str(parsed(address)) for address in config.addresses] == ["127.0.0.1:6379"]
    assert login(config) is None
    assert tls_context(config) is None


def test_it_can_be_a_table_of_the_config() -> None:
    values = {"mode": "sentinel", "addresses": ["a:1", "b:2"], "service": "chat", "password": SECRET}
    config = msgspec.convert(values, RedisConfig, strict=True)
    assert (config.mode, config.addresses, config.service) == ("sentinel", ("a:1", "b:2"), "chat")


def test_no_text_of_it_shows_a_password() -> None:
    config = RedisConfig(password=SECRET, sentinel_password=SECRET, username="chat")
    for text in (repr(config), str(config), f"{[config]}", repr(login(config)), f"{login(config)}"):
        assert "horse" not in text
    assert "username='chat'" in repr(config)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"addresses": ()}, "addresses"),
        ({"addresses": ("redis",)}, "'redis' is not HOST:PORT"),
        ({"addresses": ("redis:0",)}, "'redis:0' is not HOST:PORT"),
        ({"addresses": ("redis:65536",)}, "'redis:65536' is not HOST:PORT"),
        ({"addresses": (":6379",)}, "':6379' is not HOST:PORT"),
        ({"mode": "sentinel"}, "service"),
        ({"mode": "cluster", "db": 1}, "db"),
        ({"prefix": "ä:"}, "prefix"),
        ({"prefix": "{a}:"}, "prefix"),
        ({"tls_cert": "a"}, "tls_cert and tls_key"),
        ({"tls_key": "a"}, "tls_cert and tls_key"),
    ],
)
def test_what_does_not_go_together_is_said(options: dict[str, Any], why: str) -> None:
    with pytest.raises(RedisMisconfigured, match=why):
        checked(RedisConfig(**options))


def test_addresses() -> None:
    assert parsed("redis.example:6379") == Address("redis.example", 6379)
    assert parsed("[::1]:6379") == Address("::1", 6379)
    assert str(parsed("[::1]:6379")) == "[::1]:6379"


def test_logins(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\nnot this\n")
    assert login(RedisConfig(password=SECRET)) == Login("default", SECRET)
    assert login(RedisConfig(username="chat", password_file=str(file))) == Login("chat", SECRET)
    assert login(RedisConfig(username="chat")) == Login("chat", "")
    assert sentinel_login(RedisConfig(password=SECRET)) is None
    assert sentinel_login(RedisConfig(sentinel_password_file=str(file))) == Login("default", SECRET)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(RedisMisconfigured, match="missing: No such file or directory"):
        login(RedisConfig(password_file=missing))
    for options in ({"tls_ca": missing}, {"tls_cert": missing, "tls_key": missing}):
        with pytest.raises(RedisMisconfigured, match="missing: No such file or directory"):
            tls_context(RedisConfig(tls=True, **options))
    (tmp_path / "garbage").write_bytes(b"\xff\xfe")
    with pytest.raises(RedisMisconfigured, match="garbage: it is no text"):
        login(RedisConfig(password_file=str(tmp_path / "garbage")))
    with pytest.raises(RedisMisconfigured, match=r"TLS with .*garbage"):
        tls_context(RedisConfig(tls=True, tls_ca=str(tmp_path / "garbage")))


def test_slots_as_the_specification_has_them() -> None:
    assert slot_of(b"123456789") == 0x31C3
    assert slot_of(b"{user1000}.following") == slot_of(b"{user1000}.followers") == slot_of(b"user1000")
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")
    assert slot_of(b"foo{bar}{zap}") == slot_of(b"bar")


def test_who_has_what() -> None:
    reply = [
        [5461, 10922, [b"10.0.0.2", 6379, b"id2", []], [b"10.0.0.5", 6379, b"id5", []]],
        [0, 5460, [b"", 6379, b"id1", []]],
        [10923, 16383, [None, 6380, b"id3"]],
    ]
    assert ranges_of(reply, Address("asked", 1)) == (
        (0, 5460, Address("asked", 6379)),
        (5461, 10922, Address("10.0.0.2", 6379)),
        (10923, 16383, Address("asked", 6380)),
    )


def test_without_its_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hiredis", None)
    with pytest.raises(RedisMisconfigured, match=r"pip install 'tidings\[cluster\]'"):
        Dialer(RedisConfig())
