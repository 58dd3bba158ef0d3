"""A profile at rest: nothing in it can be read without its key, which is kept in one of three ways."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import keyring
import keyring.backends.fail
import keyring.backends.null
import msgspec
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError

from client.at_rest import database_of, files, found
from client.memory_world import Devices
from client.rig import environment
from tidings.client import (
    Client,
    ClientError,
    KeyFile,
    Keyring,
    Passphrase,
    ProfileDamaged,
    ProfileInUse,
    ProfileLocked,
    StorageFailed,
    Surroundings,
    keeping,
    rekeying,
    wrapping,
)
from tidings.client.enrolment import enrol
from tidings.client.errors import ConnectionLost
from tidings.client.http import Server
from tidings.client.keeping import Keep
from tidings.client.profile import FORMAT, Account, FileLock, Profile
from tidings.client.socket import Socket
from tidings.client.wrapping import UnderPassphrase
from tidings.protocol.api import LoggedIn
from tidings.testing.world import World

TOKEN = "a token that nobody may read"
WORDS = "correct horse battery"
MORTAL = Path(__file__).parent / "mortal_rekeying.py"
WRITER = Path(__file__).parent / "killed_writer.py"


async def offline(url: str) -> Socket:
    raise ConnectionLost(1006, "offline")


OFFLINE = Surroundings(dial=offline)


async def make(path: Path, keep: Keep | None = None) -> Path:
    """A profile that was made as `Client.register` makes one."""

    async def answer() -> LoggedIn:
        return LoggedIn(handle="alice", user_id="1", device_id="2", token=TOKEN)

    await enrol(path, Server.at("http://127.0.0.1:1"), answer, keep)
    return path


async def token_of(path: Path, passphrase: str | None = None) -> str:
    """Open a profile, and see the token that is in it."""
    async with Client.open(path, passphrase=passphrase, surroundings=OFFLINE) as me:
        assert me._parts is not None
        return me._parts.account.token


def key_in(path: Path) -> bytes:
    """The key in a key file."""
    return bytes.fromhex(path.read_text())


class Memory(KeyringBackend):
    """A keyring that is gone with the test."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        if self.entries.pop((service, username), None) is None:
            raise PasswordDeleteError(username)


@pytest.fixture
def memory() -> Iterator[Memory]:
    before, mine = keyring.get_keyring(), Memory()
    keyring.set_keyring(mine)
    yield mine
    keyring.set_keyring(before)


# --- what is to be read without a key: nothing ------------------------------------------------


@pytest.mark.slow
async def test_nothing_that_was_said_is_to_be_read(tmp_path: Path) -> None:
    world = await World.start()
    devices = Devices(world, tmp_path, sealed=True)
    said = ["supper is at seven", "supper is at eight, not seven", "I shall be there"]
    async with await devices.register("alicia") as alice, await devices.register("roberto") as bob:
        sent = await alice.client.send("@roberto", said[0])
        await alice.client.messages.edit(sent, said[1])
        await alice.client.chats.draft("@roberto", "a draft for later")
        await bob.until(lambda state: [one.text for one in state.messages("alicia")] == [said[1]])
        await bob.client.send("@alicia", said[2])
        await alice.until(lambda state: len(state.messages("roberto")) == 2)
        assert alice.client._parts is not None
        token = alice.client._parts.account.token
        folders = [tmp_path / "alicia-1", tmp_path / "roberto-2"]
        # As a kill leaves it: with what is still in the WAL.
        assert any(name.endswith("-wal") and data for name, data in files(folders[0]).items())
        secrets = [*said, "a draft for later", token, key_in(folders[0] / "profile.key")]
        assert not found(folders[0], [*secrets, "roberto"])
        assert not found(folders[1], [*said, "alicia"])
        secrets += [key for key in _keys_of(folders[0]) if len(key) >= 16]
    assert len(secrets) > 10
    assert not found(folders[0], [*secrets, "roberto", b"SQLite format"])
    assert await token_of(folders[0]) == token


def _keys_of(profile: Path) -> list[bytes]:
    """What the profile has in its columns for keys, on a copy: the profile itself is open."""
    copy = shutil.copytree(profile, profile.with_name("copy"))
    with closing(database_of(copy)) as database:
        rows = [*database.execute("SELECT device, identity FROM own_keys")]
        rows += database.execute("SELECT secret FROM prekeys")
        rows += database.execute("SELECT state FROM sessions")
        rows += database.execute("SELECT key FROM message_keys")
    return [key for row in rows for key in row]


@pytest.mark.slow
async def test_a_kill_and_what_sqlite_does_beside_leave_nothing(tmp_path: Path) -> None:
    profile = await make(tmp_path / "alice")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, WRITER, profile],
        env=environment() | {"SQLITE_TMPDIR": str(temporary), "TMPDIR": str(temporary)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert files(profile)["profile.db-wal"]
    for folder in (profile, temporary):
        assert not found(folder, ["said in confidence", TOKEN, key_in(profile / "profile.key")])
    with closing(database_of(profile)) as database:
        count = database.execute("SELECT count(*) FROM people WHERE handle LIKE '%in confidence%'")
        assert count.fetchone() == (5000,)


# --- the ways to keep the key -----------------------------------------------------------------


async def test_without_a_word_the_key_is_in_a_file_beside_it(tmp_path: Path) -> None:
    profile = await make(tmp_path / "alice")
    assert await token_of(profile) == TOKEN
    modes = {file.name: oct(file.stat().st_mode & 0o777) for file in profile.iterdir()}
    names = ("account.json", "profile.db", "profile.key", "open.lock", "receiver.lock")
    assert modes == dict.fromkeys(names, "0o600")
    assert await token_of(shutil.copytree(profile, tmp_path / "whole copy")) == TOKEN


async def test_the_key_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    monkeypatch.chdir(stick)
    profile = await make(tmp_path / "alice", KeyFile("alice.key"))
    monkeypatch.chdir(tmp_path)
    assert await token_of(profile) == TOKEN
    assert not (profile / "profile.key").exists()
    assert not found(profile, [key_in(stick / "alice.key"), (stick / "alice.key").read_bytes()])
    (stick / "alice.key").rename(tmp_path / "pocket")
    with pytest.raises(ProfileLocked, match=r"key file .*alice\.key is missing") as missing:
        await token_of(profile)
    assert "plug in" in missing.value.hint
    with pytest.raises(ProfileLocked, match="No such file or directory"):
        await make(tmp_path / "other", KeyFile(tmp_path / "nowhere" / "key"))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "no key file"), (b"\xff\xfe", "no key file"), (b"0" * 64, "another profile")]
)
async def test_a_wrong_key_file_is_said_to_be_one(tmp_path: Path, content: bytes, said: str) -> None:
    profile = await make(tmp_path / "alice")
    right = (profile / "profile.key").read_bytes()
    (profile / "profile.key").write_bytes(content)
    with pytest.raises(ProfileLocked, match=said) as locked:
        await token_of(profile)
    assert locked.value.hint
    (profile / "profile.key").write_bytes(right)
    assert await token_of(profile) == TOKEN
    # With the right key, what cannot be read is damaged.
    (profile / "profile.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(ProfileDamaged):
        await token_of(profile)


async def test_the_key_may_be_in_the_keyring(tmp_path: Path, memory: Memory) -> None:
    profile = await make(tmp_path / "alice", Keyring())
    assert await token_of(profile) == TOKEN
    ((entry, key),) = memory.entries.items()
    assert entry[0] == "tidings"
    assert not found(profile, [key, bytes.fromhex(key)])
    memory.entries.clear()
    with pytest.raises(ProfileLocked, match="the keyring has no key for it") as gone:
        await token_of(profile)
    assert "stays on its machine" in gone.value.hint


async def test_a_keyring_that_is_none_is_said_to_be_so(
    tmp_path: Path, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = await make(tmp_path / "alice", Keyring())
    for backend, said in (
        (keyring.backends.fail.Keyring(), "cannot be used"),
        (keyring.backends.null.Keyring(), "does not keep"),
    ):
        keyring.set_keyring(backend)
        with pytest.raises(ProfileLocked, match=said):
            await make(tmp_path / "other", Keyring())
        with pytest.raises(ProfileLocked, match="the keyring"):
            await token_of(profile)
    monkeypatch.setitem(sys.modules, "keyring", None)
    for work in (make(tmp_path / "other", Keyring()), token_of(profile)):
        with pytest.raises(ProfileLocked, match="keyring is not installed") as missing:
            await work
        assert "tidings[keyring]" in missing.value.hint
    assert not (tmp_path / "other").exists()


async def test_the_key_may_be_under_a_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "gru\u0308n ist die Hoffnung"
    profile = await make(tmp_path / "alice", Passphrase(words))
    assert sorted(files(profile)) == ["account.json", "profile.db"]
    assert not found(profile, [words])
    # However it is typed.
    assert await token_of(profile, "gr\u00fcn ist die Hoffnung") == TOKEN
    asked = []

    def ask() -> str:
        asked.append("asked")
        return words

    async with Client.open(profile, passphrase=ask, surroundings=OFFLINE):
        assert asked == ["asked"]
    with pytest.raises(ProfileLocked, match="the passphrase is wrong") as wrong:
        await token_of(profile, "something else")
    assert wrong.value.hint
    with pytest.raises(ProfileLocked, match="its passphrase is needed") as needed:
        await token_of(profile)
    assert "TIDINGS_PASSPHRASE_FILE" in needed.value.hint
    (tmp_path / "words").write_text(f"{words}\n")
    monkeypatch.setenv("TIDINGS_PASSPHRASE_FILE", str(tmp_path / "words"))
    assert await token_of(profile) == TOKEN
    with pytest.raises(ProfileLocked, match="at least 8 characters"):
        await make(tmp_path / "other", Passphrase("short"))
    assert not (tmp_path / "other").exists()
    assert words not in repr(Passphrase(words))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\xff\n", "no text"),
        (b"x" * 5000, "too long"),
    ],
)
def test_what_is_no_file_with_a_passphrase(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "words"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProfileLocked, match=said) as locked:
        keeping.passphrase_of(file)
    assert locked.value.hint
    file.write_bytes(b" a passphrase \r\n")
    assert keeping.passphrase_of(file) == " a passphrase "


@pytest.mark.parametrize(
    "change",
    [
        {"memory_kib": wrapping.MEMORY_KIB_MIN - 1},
        {"memory_kib": wrapping.MEMORY_KIB_MAX + 1},
        {"passes": 0},
        {"passes": 1 << 40},
        {"lanes": 0},
        {"lanes": 65},
        {"salt": "AAAA"},
        {"salt": "?"},
        {"wrapped": "AAAA"},
    ],
    ids=str,
)
async def test_costs_that_cannot_be_are_refused_before_anybody_is_asked(
    tmp_path: Path, change: dict[str, object]
) -> None:
    profile = await make(tmp_path / "alice", Passphrase(WORDS))
    account = Profile(profile).account()
    assert isinstance(account.key, UnderPassphrase)
    worse = msgspec.structs.replace(account.key, **change)
    Profile(profile).replace(msgspec.structs.replace(account, key=worse))

    def ask() -> str:
        raise AssertionError

    with pytest.raises(ProfileDamaged, match=r"account\.json"):
        async with Client.open(profile, passphrase=ask, surroundings=OFFLINE):
            raise AssertionError


async def test_a_failure_while_enrolling_leaves_no_key(tmp_path: Path, memory: Memory) -> None:
    async def refuse() -> LoggedIn:
        raise ClientError("refused")

    for keep in (None, Keyring(), KeyFile(tmp_path / "key")):
        with pytest.raises(ClientError, match="refused"):
            await enrol(tmp_path / "alice", Server.at("http://127.0.0.1:1"), refuse, keep)
    assert not memory.entries
    assert not [*tmp_path.iterdir()]


# --- changing how it is kept ------------------------------------------------------------------


async def test_from_each_way_to_the_next(tmp_path: Path, memory: Memory) -> None:
    profile, stick = await make(tmp_path / "alice"), tmp_path / "stick.key"
    old_key, old = key_in(profile / "profile.key"), shutil.copytree(profile, tmp_path / "old")
    ways: list[Keep] = [Passphrase(WORDS), Keyring(), KeyFile(stick), KeyFile(), KeyFile(), Passphrase(WORDS)]
    names = set()
    for keep in ways:
        account = await Client.protect(profile, key=keep, passphrase=WORDS)
        names.add(account.database)
        assert await token_of(profile, WORDS) == TOKEN
        expected = {account.database, "account.json", "open.lock", "receiver.lock"}
        if isinstance(keep, KeyFile) and keep.path is None:
            assert isinstance(account.key, keeping.InFile)
            expected.add(account.key.path)
        assert set(files(profile)) == expected
        assert len(memory.entries) == isinstance(keep, Keyring)
        assert not found(profile, [TOKEN, old_key])
    assert names == {"profile.db", "profile-2.db"}
    # What was copied before still has the key that it had.
    assert await token_of(old) == TOKEN
    # A file outside of the folder is its owner's, and is never overwritten.
    assert stick.exists()
    with pytest.raises(ProfileLocked, match="exists already"):
        await Client.protect(profile, key=KeyFile(stick), passphrase=WORDS)
    with pytest.raises(ProfileLocked, match=r"named profile\.key"):
        await Client.protect(profile, key=KeyFile(profile / "account.json"), passphrase=WORDS)
    assert await token_of(profile, WORDS) == TOKEN


async def test_what_cannot_be_kept_so_stays_as_it_is(tmp_path: Path, memory: Memory) -> None:
    profile = await make(tmp_path / "alice", Passphrase(WORDS))
    keyring.set_keyring(keyring.backends.fail.Keyring())
    before = files(profile)
    with pytest.raises(ProfileLocked, match="cannot be used"):
        await Client.protect(profile, key=Keyring(), passphrase=WORDS)
    with pytest.raises(ProfileLocked, match="the passphrase is wrong"):
        await Client.protect(profile, key=KeyFile(), passphrase="something else")
    with pytest.raises(ProfileLocked, match="at least 8"):
        await Client.protect(profile, key=Passphrase("short"), passphrase=WORDS)
    after = files(profile)
    del after["open.lock"]
    assert after["account.json"] == before["account.json"]
    assert set(after) == set(before)
    assert await token_of(profile, WORDS) == TOKEN


async def test_a_full_disk_leaves_it_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = await make(tmp_path / "alice")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(rekeying.os, "fsync", full)
        with pytest.raises((ProfileLocked, StorageFailed), match="No space left"):
            await Client.protect(profile, key=Passphrase(WORDS))
    assert await token_of(profile) == TOKEN
    assert {name for name in files(profile) if not name.endswith(".lock")} == {
        "account.json",
        "profile.db",
        "profile.key",
    }


async def test_not_while_somebody_has_it_open(tmp_path: Path) -> None:
    profile = await make(tmp_path / "alice")
    async with Client.open(profile, receive=False, surroundings=OFFLINE):
        with pytest.raises(ProfileInUse, match=f"process {os.getpid()} has it open") as used:
            await Client.protect(profile, key=Passphrase(WORDS))
        assert "end that one" in used.value.hint
        async with Client.open(profile, surroundings=OFFLINE):
            pass
    await Client.protect(profile, key=Passphrase(WORDS))
    assert await token_of(profile, WORDS) == TOKEN


async def test_who_opens_it_meanwhile_waits_for_the_new_key(tmp_path: Path) -> None:
    profile = await make(tmp_path / "alice")
    lock = FileLock(Profile(profile).open_lock)
    assert lock.take()
    opening = asyncio.ensure_future(token_of(profile))
    for _ in range(10):
        await asyncio.sleep(0)  # it finds the lock taken
    account, key = Profile(profile).account(), key_in(profile / "profile.key")
    await asyncio.to_thread(
        rekeying.rekey, Profile(profile), account, key, KeyFile(tmp_path / "stick"), os.urandom
    )
    assert not opening.done()
    lock.release()
    assert await opening == TOKEN


@pytest.mark.slow
async def test_a_kill_at_any_step_of_a_change_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    profile = await make(tmp_path / "alice")
    databases = []
    for copy in await _killed(profile):
        databases.append(Profile(copy).account().database)
        assert await token_of(copy) == TOKEN
        _check_is_tidy(copy)
    assert min(databases.count("profile.db"), databases.count("profile-2.db")) > 1


async def _killed(profile: Path) -> list[Path]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, MORTAL, profile],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    copies = [profile.with_name(f"{profile.name}-{number}") for number in range(1, int(done.stdout) + 1)]
    # Of those that look alike, one.
    looks = {(Profile(copy).account().database, *sorted(_sizes(copy).items())): copy for copy in copies}
    return list(looks.values())


def _sizes(profile: Path) -> dict[str, int]:
    return {name: len(data) for name, data in files(profile).items()}


def _check_is_tidy(profile: Path) -> None:
    account = Profile(profile).account()
    expected = {account.database, "account.json", "open.lock", "receiver.lock"}
    if isinstance(account.key, keeping.InFile) and account.key.path == Path(account.key.path).name:
        expected.add(account.key.path)
    # SQLite leaves an empty journal where it was killed while it was alone.
    assert set(files(profile)) - {f"{account.database}-journal"} == expected


# --- profiles that were not encrypted ---------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A profile of format 1, with the texts of bob, and one that waits for him."""
    with tarfile.open(Path(__file__).parent / "data" / "profile1.tar.gz") as archive:
        archive.extractall(tmp_path / "plain", filter="data")
    return tmp_path / "plain"


PLAIN_TEXTS = ["from bob 4", "waits in the outbox"]


async def check_converted(profile: Path) -> None:
    """Nothing is lost, nothing can be read."""
    async with Client.open(profile, surroundings=OFFLINE) as me:
        assert [one.text for one in await me.messages.recent("bob")] == [f"from bob {n}" for n in range(5)]
        assert me._parts is not None
        token = me._parts.account.token
    assert token.startswith("BVSI")
    assert not found(profile, [*PLAIN_TEXTS, token, "SQLite format"])
    _check_is_tidy(profile)
    with closing(database_of(profile)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT content FROM outbox").fetchall() == [(b"waits in the outbox",)]


async def test_one_that_is_not_encrypted_is_when_it_is_opened(plain: Path) -> None:
    assert len(found(plain, PLAIN_TEXTS)) == 2
    await check_converted(plain)
    assert Profile(plain).account().format == FORMAT
    await check_converted(plain)


async def test_what_was_in_its_wal_is_kept(plain: Path) -> None:
    script = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA journal_mode = WAL')\n"
        "database.execute('UPDATE conversations SET peer = ?', ('roberto',))\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", script, plain / "profile.db"], check=True)
    assert files(plain)["profile.db-wal"]
    async with Client.open(plain, surroundings=OFFLINE) as me:
        assert [chat.peer for chat in await me.chats.list()] == ["roberto"]
    _check_is_tidy(plain)


@pytest.mark.slow
async def test_a_kill_at_any_step_of_the_conversion_leaves_the_old_or_the_new(plain: Path) -> None:
    formats = []
    for copy in await _killed(plain):
        formats.append(Profile(copy).account().format)
        await check_converted(copy)
    assert formats == sorted(formats)
    assert min(formats.count(1), formats.count(FORMAT)) > 1


@pytest.mark.slow
async def test_two_processes_that_open_it_at_once_convert_it_once(plain: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from tidings.client import Client, rekeying\n"
        "inner = rekeying.rekey\n"
        "def counted(*arguments):\n"
        "    print('converted')\n"
        "    return inner(*arguments)\n"
        "rekeying.rekey = counted\n"
        "async def main():\n"
        "    async with Client.open(sys.argv[1], receive=False) as me:\n"
        "        assert len(await me.messages.recent('bob')) == 5\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", script, str(plain)]
    processes = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment())
        for _ in range(4)
    ]
    printed = [(await process.communicate())[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(printed) == [b"", b"", b"", b"converted\n"]
    await check_converted(plain)


@pytest.mark.slow
async def test_not_while_an_older_version_has_it_open(plain: Path) -> None:
    script = (
        "import sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute('PRAGMA journal_mode = WAL')\n"
        "database.execute('SELECT count(*) FROM marks').fetchall()\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(plain / "profile.db")]
    older = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert older.stdout is not None
    await older.stdout.readline()
    with pytest.raises(ProfileInUse, match="another process has it open"):
        await token_of(plain)
    assert Profile(plain).account().format == 1
    await older.communicate(b"")
    await check_converted(plain)


async def test_it_is_protected_without_being_opened_first(plain: Path) -> None:
    account: Account = await Client.protect(plain, key=Passphrase(WORDS))
    assert account.format == FORMAT
    assert (await token_of(plain, WORDS)).startswith("BVSI")
    assert not found(plain, PLAIN_TEXTS)


async def test_a_database_that_is_damaged_is_not_converted(plain: Path) -> None:
    (plain / "profile.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(ProfileDamaged):
        await token_of(plain)
    assert Profile(plain).account().format == 1
    assert "profile-2.db" not in files(plain)
