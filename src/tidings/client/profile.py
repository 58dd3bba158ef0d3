"""A profile: the folder that makes this machine a device of an account.

```
 account.json     server, handle, ids, and how the key is kept (mode 0600)
 profile.db       messages, outbox, receipts, keys and the token (SQLite, encrypted)
 profile.key      the key of profile.db, unless it is kept elsewhere (mode 0600)
 open.lock        shared by the processes that have it open; held by the one that changes the key
 receiver.lock    held by the one process that receives
 outbox.lock      held by the process that is sending
 settings.lock    the same, for settings
```

The folder has mode 0700. `account.json` appears last and whole: a profile without it is none. It names the
database: one that it does not name is of a conversion that was cut short, or past, and is removed.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tidings.client.errors import (
    ProfileDamaged,
    ProfileExists,
    ProfileInUse,
    ProfileMissing,
    ProfileTooNew,
    StorageFailed,
)
from tidings.client.keeping import DEFAULT_NAME, OTHER_NAME, InFile, Kept, sync_folder
from tidings.protocol.ids import DeviceId, UserId

FORMAT = 6
"""of account.json and of the database"""
PLAIN_FORMATS = 2
"""up to which the database was not encrypted, and the token was in account.json"""
DATABASE, OTHER_DATABASE = "profile.db", "profile-2.db"
"""the database's name: a new one is made while the old one is still there"""
AROUND = ("", "-wal", "-shm", "-journal")
"""what SQLite puts behind a database's name, for files of its own"""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Who this profile is, and where."""

    format: int
    server: str
    handle: str
    user_id: str
    device_id: str
    token: str = ""
    """what the server lets the device in for; it is in the database, and here only in memory"""
    database: str = DATABASE
    key: Kept | None = None
    """how the database's key is kept; None: it is not encrypted, which formats 1 and 2 were not"""
    sealed: bool = True
    """what is sent is end-to-end encrypted; false: it is not, and others cannot encrypt for it"""

    def __repr__(self) -> str:
        """Without the token, which must not get into a log."""
        return f"Account(@{self.handle} at {self.server})"

    def ids(self) -> tuple[UserId, DeviceId]:
        """The ids as integers."""
        return UserId(int(self.user_id)), DeviceId(int(self.device_id))


class Profile:
    """The paths of a profile, and what stands in its account file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.open_lock = path / "open.lock"
        self.receiver_lock = path / "receiver.lock"
        self.outbox_lock = path / "outbox.lock"
        self.settings_lock = path / "settings.lock"
        self._account = path / "account.json"
        self._new = path / "account.json.new"

    def account(self) -> Account:
        """Who this is. Raises ProfileMissing, ProfileDamaged, ProfileTooNew."""
        try:
            account = msgspec.json.decode(self._account.read_bytes(), type=Account)
        except (FileNotFoundError, NotADirectoryError):
            raise ProfileMissing(
                f"cannot open profile {self.path}: there is none",
                f"make one with: tidings register --profile {self.path} --server URL --handle NAME",
            ) from None
        except OSError as error:
            raise ProfileDamaged(f"cannot open profile {self.path}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise damaged(self.path, f"account.json: {error}") from None
        if account.format > FORMAT:
            raise too_new(self.path, account.format)
        if not (account.user_id.isdecimal() and account.device_id.isdecimal()):
            raise damaged(self.path, "account.json: an id is not a number")
        if account.database not in (DATABASE, OTHER_DATABASE):
            raise damaged(self.path, "account.json: it names no database")
        if account.key is None and account.format > PLAIN_FORMATS:
            raise damaged(self.path, "account.json: it does not say how the key is kept")
        if not self.database(account).is_file():
            raise damaged(self.path, f"{account.database} is missing")
        return account

    def database(self, account: Account) -> Path:
        """Where the database is."""
        return self.path / account.database

    @contextlib.contextmanager
    def create(self) -> Iterator[None]:
        """Hold an empty folder for a new profile; it is removed again if the body fails.

        Raises ProfileExists if there is anything in it.
        """
        made = not self.path.exists()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_empty = not any(self.path.iterdir())
        except OSError as error:
            raise ProfileExists(f"cannot make profile {self.path}: {error.strerror}") from None
        if not is_empty:
            raise ProfileExists(
                f"cannot make profile {self.path}: the folder is not empty",
                "choose another folder with --profile",
            )
        self.path.chmod(0o700)
        try:
            yield
        except BaseException:
            self._remove(folder=made)
            raise

    def replace(self, account: Account) -> None:
        """Write the account file anew; a crash leaves the old or the new one. Raises OSError.

        Only while `open_lock` is held alone.
        """
        os.replace(self._draft(account), self._account)
        sync_folder(self.path)

    def save(self, account: Account) -> None:
        """Write the account file, once. Raises ProfileExists."""
        draft = self._draft(account)
        try:
            # Unlike a rename, a link never replaces what another process made meanwhile.
            os.link(draft, self._account)
        except FileExistsError:
            raise ProfileExists(f"cannot make profile {self.path}: there is one already") from None
        finally:
            draft.unlink()
        sync_folder(self.path)

    def tidy(self, account: Account) -> None:
        """Remove databases, key files and drafts that are not this account's. Raises OSError.

        Only while no key is being changed: see `open_lock`.
        """
        key = account.key.path if isinstance(account.key, InFile) else ""
        wrong = {name for name in (DATABASE, OTHER_DATABASE) if name != account.database}
        stale = [f"{name}{end}" for name in wrong for end in AROUND]
        stale += [name for name in (DEFAULT_NAME, OTHER_NAME, self._new.name) if name != key]
        for name in stale:
            (self.path / name).unlink(missing_ok=True)

    def _draft(self, account: Account) -> Path:
        """The account file under another name, durable."""
        descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encoded(account))
            file.flush()
            os.fsync(file.fileno())
        return self._new

    def _remove(self, *, folder: bool) -> None:
        for end in AROUND:
            (self.path / f"{DATABASE}{end}").unlink(missing_ok=True)
        if folder:
            with contextlib.suppress(OSError):
                self.path.rmdir()


class FileLock:
    """A lock between processes. The kernel lets go of it when its holder dies, however it dies.

    It is held by one, or shared by many.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self, *, shared: bool = False) -> bool:
        """Take the lock if nobody has it, or else none but sharers; the file then names this process.

        Raises StorageFailed.
        """
        assert self._descriptor is None
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageFailed(f"cannot write to {self._path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        with contextlib.suppress(OSError):
            # The lock is what counts; on a full disk it is held by nobody in particular.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of it; without effect if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def is_held(self) -> bool:
        """Whether this object has the lock."""
        return self._descriptor is not None

    def holder(self) -> str:
        """The process that has it, or had it last; empty if unknown."""
        try:
            return self._path.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""


def take_receiver_lock(profile: Profile) -> FileLock:
    """Become the profile's one receiver. Raises ProfileInUse."""
    lock = FileLock(profile.receiver_lock)
    if not lock.take():
        raise ProfileInUse(
            f"cannot receive on profile {profile.path}: it is open in process {lock.holder() or 'unknown'}",
            "end that one first; sending and reading history work beside it",
        )
    return lock


def damaged(path: Path, what: str) -> ProfileDamaged:
    """The refusal of a profile that is not what was written."""
    return ProfileDamaged(
        f"cannot open profile {path}: it is damaged ({what})",
        "log in again into a new folder; the server still has your messages",
    )


def too_new(path: Path, found: int) -> ProfileTooNew:
    """The refusal of a profile of a later version."""
    return ProfileTooNew(
        f"cannot open profile {path}: its format is {found}, this version knows {FORMAT}",
        "use the version that wrote it, or a newer one",
    )


def _encoded(account: Account) -> bytes:
    """The account file. The token must not get into it."""
    fields = msgspec.to_builtins(account)
    del fields["token"]
    return msgspec.json.format(msgspec.json.encode(fields)) + b"\n"
