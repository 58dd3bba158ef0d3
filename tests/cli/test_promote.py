"""`tidings promote` where there is no cluster: what it refuses, before it has done anything."""

from pathlib import Path

import pytest

from cli.rig import tidings
from integration.server import Server, free_port, running
from tidings.store.promoted import Promoted, mark_promoted
from tidings.store.rocks import RocksStore

pytestmark = pytest.mark.slow


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    await RocksStore.open(path).close()
    return path


def config(tmp_path: Path, text: str = "") -> Path:
    """Of a cluster where nobody listens."""
    path = tmp_path / "cluster.toml"
    path.write_text(
        text or f"[cassandra]\nport = {free_port()}\n[redis]\naddresses = ['127.0.0.1:{free_port()}']\n"
    )
    return path


def test_a_folder_without_a_store(tmp_path: Path) -> None:
    done = tidings("promote", "--data", tmp_path, "--to", config(tmp_path), "--yes")
    assert (done.code, done.out) == (1, "")
    assert f"there is no store in {tmp_path}" in done.err


def test_a_config_that_names_no_cluster(data: Path, tmp_path: Path) -> None:
    done = tidings("promote", "--data", data, "--to", config(tmp_path, "log = 'info'\n"), "--yes")
    assert done.code == 1
    assert "names no cluster" in done.err
    done = tidings("promote", "--data", data, "--to", config(tmp_path, "nonsense = 1\n"), "--yes")
    assert done.code == 1
    assert "nonsense" in done.err


def test_a_cluster_that_is_not_there(data: Path, tmp_path: Path) -> None:
    done = tidings("promote", "--data", data, "--to", config(tmp_path), "--yes")
    assert done.code == 1
    assert "hint: a node starts only where it finds the others" in done.err
    assert "Traceback" not in done.err
    assert not list(tmp_path.glob("*.promotion/snapshot*"))


def test_a_server_without_an_admin_port_cannot_be_asked(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        (server.data / "admin.json").rename(tmp_path / "admin.json")
        done = tidings("promote", "--data", server.data, "--to", config(tmp_path), "--yes")
        (tmp_path / "admin.json").rename(server.data / "admin.json")
    assert done.code == 1
    assert "admin.json" in done.err


def test_what_was_handed_over_is_started_again_only_on_purpose(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    server.stop()
    mark_promoted(server.data, Promoted("2026-01-31T12:00:00+00:00", "a cluster", "somebody"))
    done = tidings("serve", "--data", server.data, "--listen", "127.0.0.1:0", "--admin", "")
    assert done.code == 1
    assert "was handed over to a cluster" in done.err
    assert "--take-back" in done.err
    done = tidings("serve", "--data", server.data, "--listen", "127.0.0.1:0", "--admin", "", "--workers", "2")
    assert done.code == 1
    assert "was handed over to a cluster" in done.err
    with pytest.raises(AssertionError, match="handed over"):
        server.start()
    server.options = ("--take-back",)
    server.start()
    server.stop()
    server.options = ()
    server.start()
    server.stop()
