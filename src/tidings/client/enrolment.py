"""Enrolment: makes this machine a device of an account, with a profile of its own.

The profile's folder is held before the server is asked, and is gone again if that fails.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from tidings.client import vault
from tidings.client.errors import StorageFailed
from tidings.client.http import Server
from tidings.client.profile import FORMAT, Account, Profile
from tidings.protocol.api import LoggedIn


async def enrol(path: str | Path, server: Server, ask: Callable[[], Awaitable[LoggedIn]]) -> Account:
    """Make a profile of what the server answers. Raises ProfileExists, StorageFailed, and what `ask` does."""
    profile = Profile(Path(path))
    with profile.create():
        return save(profile, server, await ask())


def save(profile: Profile, server: Server, answer: LoggedIn) -> Account:
    """Write a profile into the folder that is held for it. Raises StorageFailed."""
    account = Account(
        format=FORMAT,
        server=server.http,
        handle=answer.handle,
        user_id=answer.user_id,
        device_id=answer.device_id,
        token=answer.token,
    )
    try:
        vault.create(profile.database)
        profile.save(account)
    except (OSError, vault.Failed) as error:
        raise StorageFailed(
            f"cannot write profile {profile.path}: {error}",
            f"@{answer.handle} exists on the server; log in when this is mended",
        ) from error
    return account
