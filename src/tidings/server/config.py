"""The config: every key with its default, unit and one sentence. The default runs.

A TOML file may set any of it; unknown keys and wrong types are errors that name the key.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tidings.protocol.limits import Limits
from tidings.redis.config import RedisConfig
from tidings.store.cassandra.config import CassandraConfig

WORKERS_MAX = 64
"""the most workers of one hub"""


class ConfigError(Exception):
    """The config cannot be used; the message says which key and why."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator decides."""

    listen: str = "127.0.0.1:8080"
    """host:port (or [v6]:port) that HTTP and WebSocket share"""
    data: str = "data"
    """the folder of the embedded store"""
    origins: tuple[str, ...] = ()
    """web origins, besides the server's own, whose pages may connect"""
    proxies: tuple[str, ...] = ()
    """addresses or networks of proxies in front of it, whose X-Forwarded-For is believed"""
    log: Literal["debug", "info", "warning", "error"] = "info"
    """how much goes to stderr"""
    log_json: bool = False
    """one JSON object a line instead of text"""
    sync: bool = True
    """fsync before Sent; false may lose acknowledged messages at a power cut"""
    accept_clock: bool = False
    """start although the clock went back by more than a day since the last run"""
    registration: Literal["open", "invite", "closed"] = "open"
    """who may make an account: anybody, who has an invite code, nobody"""
    strangers: Literal["request", "deliver"] = "request"
    """what becomes of a first message from somebody who is no contact: a request, or delivery"""
    admin: str = "127.0.0.1:8081"
    """host:port of metrics and administration, loopback only; empty turns it off"""
    tls_cert: str = ""
    """file of the certificate chain (PEM); with `tls_key` the server speaks TLS"""
    tls_key: str = ""
    """file of the certificate's private key (PEM)"""
    audit: bool = True
    """write who logged in, changed or was changed to `audit.log` in the data folder"""
    phone_hook: str = ""
    """how codes reach phones: empty (off), `log` (trials only), an http(s) URL or smtp(s)://…"""
    workers: Annotated[int, msgspec.Meta(ge=1, le=WORKERS_MAX)] = 1
    """processes that share the port; with 1 the server is one process, with more they have a hub"""
    cassandra: CassandraConfig | None = None
    """the store that many nodes share, instead of the embedded one; needs `redis`, too"""
    redis: RedisConfig | None = None
    """the bus and the directory of the nodes that share `cassandra`"""
    limits: Limits = Limits()
    """every bound, see the reference"""


def load(path: Path | None, overrides: dict[str, object]) -> Config:
    """The config of a file (if any) with the command line's words over it. Raises ConfigError."""
    values: dict[str, object] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from None
    values.update({key: value for key, value in overrides.items() if value is not None})
    try:
        return checked(msgspec.convert(values, Config, strict=True))
    except msgspec.ValidationError as error:
        raise ConfigError(f"config: {error}") from None


def checked(config: Config) -> Config:
    """The config as it is. Raises ConfigError if parts of it do not go together."""
    if (config.cassandra is None) != (config.redis is None):
        there, missing = ("redis", "cassandra") if config.cassandra is None else ("cassandra", "redis")
        raise ConfigError(
            f"config: [{there}] without [{missing}]\n"
            "hint: nodes that share a store need both; a server that is alone needs neither"
        )
    if config.cassandra is not None and config.workers > 1:
        raise ConfigError(
            "config: `workers` with [cassandra]\n"
            "hint: start one server for each core, each with a `listen`, `admin` and `data` of its own"
        )
    return config


def address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises ConfigError."""
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"cannot listen on {listen!r}: expected HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 — ":8080" asks for all interfaces
