"""Opens a profile: holds it, converts one of an older format, and finds its key."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tidings.client import keeping, rekeying
from tidings.client.errors import ProfileInUse, StorageFailed
from tidings.client.keeping import IN_FOLDER, Ask, Entropy, Keep
from tidings.client.profile import Account, FileLock, Profile
from tidings.client.wrapping import check_passphrase

POLL_S = 0.05
CHANGING_S = 60.0
"""how long another process may take to change the key"""
LEAVING_S = 1.0
"""how long other processes may take to close a profile whose key is to be changed"""


class Opened(NamedTuple):
    """A profile whose key cannot be changed until `hold` is released."""

    account: Account
    key: bytes
    hold: FileLock


async def open_profile(profile: Profile, ask: Ask, entropy: Entropy) -> Opened:
    """Hold a profile and find its key; one that is not encrypted is before.

    `ask` is called, on another thread, if it is kept under a passphrase. Raises ProfileMissing,
    ProfileLocked, ProfileInUse, ProfileDamaged, ProfileTooNew, StorageFailed, and what `ask` does.
    """
    while profile.account().key is None:
        await _changed(profile, None, IN_FOLDER, entropy)
    hold = FileLock(profile.open_lock)
    await _until(lambda: hold.take(shared=True), CHANGING_S, profile, hold)
    try:
        account = profile.account()
        assert account.key is not None, "a profile never stops being encrypted"
        _tidy(profile, account)
        return Opened(account, await _key(profile, account, ask), hold)
    except BaseException:
        hold.release()
        raise


async def protect(path: Path, keep: Keep, ask: Ask, entropy: Entropy) -> Account:
    """Give a profile another key, kept as said. Raises what `open_profile` does."""
    profile = Profile(path)
    account = profile.account()
    # Before it is held: somebody may be asked.
    key = None if account.key is None else await _key(profile, account, ask)
    if isinstance(keep, keeping.Passphrase):
        check_passphrase(keep.text)
    return await _changed(profile, key, keep, entropy, of=account)


async def _changed(
    profile: Profile, key: bytes | None, keep: Keep, entropy: Entropy, *, of: Account | None = None
) -> Account:
    """Change the key while nobody has the profile open. Another process may do it at the same time."""
    hold = FileLock(profile.open_lock)
    await _until(hold.take, LEAVING_S if of else CHANGING_S, profile, hold)
    try:
        account = profile.account()
        if of is None and account.key is not None:
            return account  # it was converted meanwhile
        if of is not None and account != of:
            raise ProfileInUse(
                f"cannot protect profile {profile.path}: another process has just changed how it is kept",
                "try again",
            )
        profile.tidy(account)
        return await asyncio.to_thread(rekeying.rekey, profile, account, key, keep, entropy)
    except OSError as error:
        raise _cannot(profile, error) from error
    finally:
        hold.release()


async def _until(take: Callable[[], bool], patience_s: float, profile: Profile, hold: FileLock) -> None:
    """Take a lock that others have. Raises ProfileInUse, StorageFailed."""
    tries = round(patience_s / POLL_S)
    while not take():
        tries -= 1
        if not tries:
            raise ProfileInUse(
                f"cannot use profile {profile.path}: process {hold.holder() or 'unknown'} has it open",
                "its key is changed only while no other program has it open: end that one first",
            )
        await asyncio.sleep(POLL_S)


async def _key(profile: Profile, account: Account, ask: Ask) -> bytes:
    assert account.key is not None
    if isinstance(account.key, keeping.InFile):
        return keeping.key_of(account.key, profile.path, ask)
    # A keyring may show a window first, and a passphrase is to be slow to try.
    return await asyncio.to_thread(keeping.key_of, account.key, profile.path, ask)


def _tidy(profile: Profile, account: Account) -> None:
    try:
        profile.tidy(account)
    except OSError as error:
        raise _cannot(profile, error) from error


def _cannot(profile: Profile, error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot write profile {profile.path}: {error.strerror}")
