"""One port with several listeners, which nobody else gets by accident; and where the hub listens."""

import os
import socket
import stat
from pathlib import Path

import pytest

from tidings.protocol.limits import Limits
from tidings.server.gateway import listen
from tidings.server.workers.doors import open_doors
from tidings.server.workers.place import PATH_BYTES, hub_place

HOST = "127.0.0.1"


def test_all_have_one_port_and_each_is_knocked_at() -> None:
    doors = open_doors(HOST, 0, Limits(), 3)
    port = doors[0].port
    assert {door.open().getsockname() for door in doors} == {(HOST, port)}
    came = set()
    for door in doors:
        door.open().setblocking(False)
    knocking = [socket.create_connection((HOST, port)) for _ in range(60)]
    for number, door in enumerate(doors):
        while True:
            try:
                door.open().accept()[0].close()
            except BlockingIOError:
                break
            came.add(number)
    assert came == {0, 1, 2}
    for knock in knocking:
        knock.close()
    for door in doors:
        door.close()


def test_a_door_that_was_closed_opens_on_the_same_port() -> None:
    doors = open_doors(HOST, 0, Limits(), 2)
    doors[1].close()
    doors[1].close()
    assert doors[1].open().getsockname() == (HOST, doors[0].port)
    for door in doors:
        door.close()


@pytest.mark.parametrize("shared", [False, True])
def test_the_port_of_another_service_is_not_shared(shared: bool) -> None:
    with listen(HOST, 0, Limits(), reuse_port=shared) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot bind {HOST}:{port}: address already in use"):
            open_doors(HOST, port, Limits(), 2)


def test_the_hub_listens_in_the_data_folder(tmp_path: Path) -> None:
    with hub_place(tmp_path, os.environ) as path:
        assert path == f"{tmp_path}/hub.sock"


def test_where_the_path_is_too_long_it_is_a_folder_that_is_ours_alone(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 30)
    (tmp_path / "run").mkdir()
    with hub_place(data, {"XDG_RUNTIME_DIR": str(tmp_path / "run")}) as path:
        assert len(path) <= PATH_BYTES
        assert Path(path).parent.parent == tmp_path / "run"
        assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as hub:
            hub.bind(path)
    assert list((tmp_path / "run").iterdir()) == []


def test_without_a_folder_for_what_runs_it_is_a_temporary_one(tmp_path: Path) -> None:
    with hub_place(tmp_path / ("long" * 30), {}) as path:
        assert len(path) <= PATH_BYTES
        assert Path(path).parent.is_dir()
    assert not Path(path).parent.exists()
