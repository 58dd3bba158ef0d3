"""Enrolment: makes this machine a device of an account, with a profile of its own.

The profile's folder is held, and its key kept, before the server is asked; both are gone again if that fails.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from tidings.client import http, keeping, vault
from tidings.client.database import Failed
from tidings.client.errors import Refused, StorageFailed, Unreachable
from tidings.client.http import Server
from tidings.client.keeping import IN_FOLDER, Entropy, Keep, Secured
from tidings.client.profile import FORMAT, Account, Profile
from tidings.client.sealing.publishing import Publishing
from tidings.client.sealing.sealer import Self
from tidings.client.sealing.supplies import Supplies
from tidings.client.surroundings import Surroundings
from tidings.protocol.api import LoggedIn

T = TypeVar("T")

log = logging.getLogger("tidings.client")


async def enrol(
    path: str | Path,
    server: Server,
    ask: Callable[[], Awaitable[LoggedIn]],
    keep: Keep | None = None,
    entropy: Entropy = os.urandom,
    *,
    sealed: bool = True,
    is_new: bool = False,
) -> Account:
    """Make a profile of what the server answers. `is_new`: the account has no other device.

    `sealed` false: nothing is encrypted that is sent, and nobody can encrypt for this device.

    Raises ProfileExists, ProfileLocked (its key cannot be kept so), StorageFailed, and what `ask` does.
    """
    profile = Profile(Path(path))
    with profile.create():
        secured = await asyncio.to_thread(keeping.secure, keep or IN_FOLDER, profile.path, entropy)
        try:
            account = save(profile, server, await ask(), secured, sealed=sealed)
        except BaseException:
            keeping.undo(secured.kept, profile.path)
            raise
    if is_new and sealed:
        await _publish(profile, server, account, secured.key)
    return account


async def _publish(profile: Profile, server: Server, account: Account, key: bytes) -> None:
    """Publish the first device's keys, so that others can write to it at once.

    If that fails it is done when the profile is opened.
    """
    surroundings = Surroundings()

    async def request(method: str, path: str, answer: type[T], body: msgspec.Struct | None = None) -> T:
        return await http.ask(server, method, path, answer, body, token=account.token)

    now_ms = surroundings.clock.wall_ms
    opened = await vault.Vault.open(profile.database(account), key, surroundings.connect, now_ms())
    try:
        me = Self(*account.ids())
        supplies = Supplies(opened, me, now_ms, strict=False)
        await Publishing(opened, me, request, supplies, now_ms).publish()
    except (Refused, Unreachable) as error:
        log.warning("this device's keys could not be published yet: %s", error)
    finally:
        await opened.close()


def save(
    profile: Profile,
    server: Server,
    answer: LoggedIn,
    secured: Secured | None = None,
    *,
    sealed: bool = True,
) -> Account:
    """Write a profile into the folder that is held for it; without a key, one is made and put beside it.

    Raises ProfileLocked, StorageFailed.
    """
    key, kept = secured or keeping.secure(IN_FOLDER, profile.path, os.urandom)
    account = Account(
        format=FORMAT,
        server=server.http,
        handle=answer.handle,
        user_id=answer.user_id,
        device_id=answer.device_id,
        token=answer.token,
        key=kept,
        sealed=sealed,
    )
    try:
        vault.create(profile.database(account), key, answer.token)
        profile.save(account)
    except (OSError, *Failed) as error:
        raise StorageFailed(
            f"cannot write profile {profile.path}: {error}",
            f"@{answer.handle} exists on the server; log in when this is mended",
        ) from error
    return account
