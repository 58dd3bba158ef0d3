"""The config: defaults run, a file and the command line change them, mistakes are named."""

from pathlib import Path

import pytest

from tidings.server.config import Config, ConfigError, address, load


def test_the_default_runs() -> None:
    assert load(None, {}) == Config()


def test_a_file_changes_the_default_and_the_command_line_the_file(tmp_path: Path) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text('listen = "127.0.0.1:1"\ndata = "here"\n[limits]\nsend_rate = {per_s = 2, burst = 3}\n')
    config = load(file, {"listen": "127.0.0.1:2", "log": None})
    assert (config.listen, config.data, config.log) == ("127.0.0.1:2", "here", "info")
    assert (config.limits.send_rate.per_s, config.limits.send_rate.burst) == (2.0, 3)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('lisen = "127.0.0.1:1"', "lisen"),
        ("listen = 8080", "listen"),
        ("[limits]\nframe_byte = 1", "frame_byte"),
        ('log = "loud"', "log"),
        ("listen =", "at end of document"),
        ("[cassandra]\nport = 9042", r"\[cassandra\] without \[redis\]"),
        ("[redis]\ndb = 1", r"\[redis\] without \[cassandra\]"),
        ("workers = 2\n[cassandra]\n[redis]", "`workers` with"),
        ("[cassandra]\nhost = 'x'\n[redis]", "host"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=named):
        load(file, {})


def test_no_text_of_a_config_shows_a_password(tmp_path: Path) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text('[cassandra]\npassword = "dont"\n[redis]\npassword = "tell"\n')
    config = load(file, {})
    assert config.cassandra is not None
    assert config.redis is not None
    assert (config.cassandra.password, config.redis.password) == ("dont", "tell")
    assert not any(word in repr(config) for word in ("dont", "tell"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load(tmp_path / "nothing.toml", {})


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80)), (":80", ("0.0.0.0", 80))],
)
def test_addresses(listen: str, expected: tuple[str, int]) -> None:
    assert address(listen) == expected


@pytest.mark.parametrize("listen", ["", "localhost", "localhost:http", "localhost:65536", "localhost:-1"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT"):
        address(listen)
