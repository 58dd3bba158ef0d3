"""Where Redis is and how to speak with it: what an operator decides."""

import ssl
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec


class RedisMisconfigured(Exception):
    """The config of Redis cannot be used; the message says which key and why."""


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Login(NamedTuple):
    """Who one is for a server. Not to be logged."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.username!r}, ...)"


class RedisConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One Redis, as the nodes of a system share it. Its text never shows a password."""

    mode: Literal["single", "sentinel", "cluster"] = "single"
    """one master; one that Sentinels choose; or several that share the keys"""
    addresses: tuple[str, ...] = ("127.0.0.1:6379",)
    """host:port of the master (or of some, of which the first that is master is used), of the Sentinels,
    or of some servers of the Cluster"""
    service: str = ""
    """the name that the Sentinels know the master by"""
    db: Annotated[int, msgspec.Meta(ge=0)] = 0
    """number of the database; a Cluster has only 0"""
    prefix: str = ""
    """what keys and channels begin with, where Redis is shared with others"""
    username: str = ""
    """ACL user; empty: the default one"""
    password: str = ""
    """its password; empty: none is asked for"""
    password_file: str = ""
    """file whose first line is the password, instead of `password`"""
    sentinel_username: str = ""
    """the same for the Sentinels, which have users of their own"""
    sentinel_password: str = ""
    """the Sentinels' password; empty: none is asked for"""
    sentinel_password_file: str = ""
    """file whose first line is the Sentinels' password"""
    tls: bool = False
    """speak TLS, with the Sentinels too"""
    tls_ca: str = ""
    """file of the certificates (PEM) that Redis' own is checked against; empty: those of the system"""
    tls_verify: bool = True
    """check the certificate and its name; without it anybody between can read and change what is said"""
    tls_cert: str = ""
    """file of the certificate chain (PEM) shown to Redis, where it asks for one"""
    tls_key: str = ""
    """file of that certificate's private key (PEM)"""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    """how long nothing may come from a server that is to answer, before it is taken for gone"""

    def __repr__(self) -> str:
        hidden = {"password", "sentinel_password"}
        parts = [
            f"{name}={'...' if name in hidden else repr(getattr(self, name))}"
            for name in self.__struct_fields__
            if getattr(self, name)
        ]
        return f"RedisConfig({', '.join(parts)})"


def checked(config: RedisConfig) -> RedisConfig:
    """The config as it is. Raises RedisMisconfigured if parts of it do not go together."""
    if not config.addresses:
        raise RedisMisconfigured("addresses: none is given")
    for address in config.addresses:
        parsed(address)
    if config.mode == "sentinel" and not config.service:
        raise RedisMisconfigured("service: the name that the Sentinels know the master by is missing")
    if config.mode == "cluster" and config.db:
        raise RedisMisconfigured("db: a Redis Cluster has only the database 0")
    if not config.prefix.isascii():
        raise RedisMisconfigured("prefix: only ASCII is allowed")
    if "{" in config.prefix:
        raise RedisMisconfigured("prefix: a { in it would decide where keys live in a Cluster")
    if bool(config.tls_cert) != bool(config.tls_key):
        raise RedisMisconfigured("tls_cert and tls_key: one needs the other")
    return config


def parsed(address: str) -> Address:
    """The parts of `host:port`. Raises RedisMisconfigured."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise RedisMisconfigured(f"addresses: {address!r} is not HOST:PORT")
    return Address(host.strip("[]"), int(port))


def login(config: RedisConfig) -> Login | None:
    """Who we are for Redis, if anybody. Raises RedisMisconfigured."""
    return _login(config.username, config.password, config.password_file)


def sentinel_login(config: RedisConfig) -> Login | None:
    """Who we are for the Sentinels, if anybody. Raises RedisMisconfigured."""
    return _login(config.sentinel_username, config.sentinel_password, config.sentinel_password_file)


def _login(username: str, password: str, file: str) -> Login | None:
    if file:
        try:
            password = next(iter(Path(file).read_text().splitlines()), "")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise RedisMisconfigured(f"cannot read the password in {file}: {reason}") from None
    if not password and not username:
        return None
    return Login(username or "default", password)


def tls_context(config: RedisConfig) -> ssl.SSLContext | None:
    """How TLS is spoken, if it is. Raises RedisMisconfigured."""
    if not config.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=config.tls_ca or None)
        if config.tls_cert:
            context.load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as error:  # ssl.SSLError is one
        named = ", ".join(filter(None, (config.tls_ca, config.tls_cert, config.tls_key)))
        raise RedisMisconfigured(f"TLS with {named}: {error.strerror or error}") from None
    if not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
