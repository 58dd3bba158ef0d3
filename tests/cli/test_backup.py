"""`backup`, `restore` and `check`, by commands alone."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.rig import Result, tidings
from integration.server import Server, running
from tidings.store.rocks_database import RESTORING

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path) as server:
        server.register("alice")
        yield server


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with running(tmp_path_factory.mktemp("stopped")) as server:
        server.register("alice")
    return server.data


@pytest.fixture
def data(stopped: Path, tmp_path: Path) -> Path:
    """The data folder of a server that was stopped."""
    return shutil.copytree(stopped, tmp_path / "data")


def check_refused(done: Result, said: str) -> None:
    """One line of what is wrong, one of what to do, and no more."""
    assert done.code == 1
    assert said in done.err
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) <= 2
    assert "Traceback" not in done.err


def users(data: Path) -> int:
    """How many accounts a folder has."""
    done = tidings("check", "--data", data, "--json")
    assert done.code == 0, done.out + done.err
    found: int = done.objects[-1]["rows"]["users"]
    return found


def test_backup_of_a_running_server(server: Server, tmp_path: Path) -> None:
    done = tidings("backup", "--data", server.data, "--to", tmp_path / "backup")
    assert (done.code, done.out) == (0, f"{tmp_path / 'backup'}\n"), done.err
    server.register("bob")
    assert users(tmp_path / "backup") == 1
    check_refused(tidings("backup", "--data", server.data, "--to", tmp_path / "backup"), "not empty")
    check_refused(tidings("backup", "--data", server.data, "--to", server.data / "within"), "within")


def test_a_server_without_an_admin_port_is_asked_in_vain(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        (server.data / "admin.json").unlink()
        check_refused(tidings("backup", "--data", server.data, "--to", tmp_path / "backup"), "admin")
        check_refused(tidings("check", "--data", server.data), "in use")


def test_backup_restore_and_check_of_a_stopped_server(data: Path, tmp_path: Path) -> None:
    # What a server leaves that was killed: nobody answers there any more.
    (data / "admin.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "t"}))
    done = tidings("backup", "--data", data, "--to", tmp_path / "backup")
    assert done.code == 0, done.err
    done = tidings("restore", "--from", tmp_path / "backup", "--data", tmp_path / "new")
    assert (done.code, done.out) == (0, f"{tmp_path / 'new'}\n"), done.err
    assert users(tmp_path / "new") == 1
    assert not (tmp_path / "new" / "admin.json").exists()
    done = tidings("restore", "--from", tmp_path / "backup", "--data", tmp_path / "new")
    check_refused(done, "not empty")


def test_relative_folders_are_those_of_who_asks(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tidings("backup", "--data", server.data, "--to", "nightly/1")
    assert done.code == 0, done.err
    assert users(tmp_path / "nightly" / "1") == 1


def test_what_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "missing", tmp_path / "file"):
        for arguments in (
            ("backup", "--data", place, "--to", tmp_path / "backup"),
            ("restore", "--from", place, "--data", tmp_path / "new"),
            ("check", "--data", place),
        ):
            check_refused(tidings(*arguments), "")
    assert not (tmp_path / "missing").exists()
    assert not (tmp_path / "backup").exists()
    assert not (tmp_path / "new").exists()


def test_an_admin_file_that_is_none(data: Path, tmp_path: Path) -> None:
    (data / "admin.json").write_text("[]")
    check_refused(tidings("backup", "--data", data, "--to", tmp_path / "backup"), "admin.json")


def test_check_says_in_words_that_all_is_well(data: Path) -> None:
    done = tidings("check", "--data", data)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(" tables: no problems\n")


def test_check_finds_repairs_and_then_is_content(data: Path, tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parents[1] / "store" / "data" / "format1.tar.gz") as archive:
        archive.extractall(tmp_path / "one", filter="data")
    check_refused(tidings("check", "--data", tmp_path / "one"), "has format 1")
    done = tidings("restore", "--from", tmp_path / "one", "--data", tmp_path / "two")
    assert done.code == 0, done.err
    spoil(tmp_path / "two")
    done = tidings("check", "--data", tmp_path / "two")
    assert done.code == 1
    assert "2 × memberships: a member whose row is missing or wrong (such as user " in done.out
    assert done.out.endswith("2 problems\n")
    done = tidings("check", "--data", tmp_path / "two", "--repair", "--json")
    assert done.code == 0
    assert [(one["count"], one["repaired"]) for one in done.objects[:-1]] == [(2, 2)]
    assert tidings("check", "--data", tmp_path / "two").code == 0


def spoil(data: Path) -> None:
    """Lose the derived rows."""
    from rocksdict import Options, Rdict  # noqa: PLC0415

    store = Rdict(str(data), Options(raw_mode=True))
    memberships = store.get_column_family("memberships")
    for key in list(memberships.keys()):
        memberships.delete(key)
    memberships.close()
    store.close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('listen = "nowhere"', "nowhere"),
        ("colour = 1", "colour"),
        ('log = "loud"', "log"),
        ('tls_cert = "/nowhere/cert.pem"', "tls_key"),
        ('admin = "a:b:c"', "a:b:c"),
        ("]", "cannot read"),
    ],
)
def test_check_finds_what_is_wrong_in_a_config(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "tidings.toml").write_text(line)
    done = tidings("check", "--config", tmp_path / "tidings.toml", "--data", tmp_path / "data")
    check_refused(done, said)
    assert "hint: " in done.err


def test_check_takes_the_folder_from_the_config(data: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(f"data = {json.dumps(str(data))}")
    done = tidings("check", "--config", tmp_path / "other.toml", "--json")
    assert done.code == 0, done.err


def test_a_restore_that_was_interrupted_is_no_data_folder(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "new" / RESTORING)
    check_refused(tidings("check", "--data", tmp_path / "new"), "was not finished")
    check_refused(
        tidings("serve", "--listen", "127.0.0.1:0", "--admin", "", "--data", tmp_path / "new"),
        "was not finished",
    )
    done = tidings("restore", "--from", data, "--data", tmp_path / "new")
    assert done.code == 0, done.err
    assert users(tmp_path / "new") == 1
