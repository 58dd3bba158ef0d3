"""A server that cannot start says why and what to do, in words, and ends with 1."""

import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.server import PATIENCE_S, TIDINGS, MakeServer, Server, free_port
from tidings.store.rocks import RocksStore
from tidings.store.schema import FORMAT

pytestmark = pytest.mark.slow


def refusal(*arguments: str | Path, port: int = 0) -> str:
    """What `tidings serve` says on its way out."""
    done = subprocess.run(
        [
            TIDINGS,
            "serve",
            "--listen",
            f"127.0.0.1:{port or free_port()}",
            "--admin",
            "",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1, done
    assert done.stdout == ""
    return done.stderr


def check_words(said: str, *words: str) -> None:
    lines = said.splitlines()
    assert "Traceback" not in said
    assert [line for line in lines if line.startswith("error: ")], said
    assert lines[-1].startswith("hint: "), said
    for word in words:
        assert word in said, said


async def written_store(path: Path, format_number: int = FORMAT) -> None:
    """An empty store of a format."""
    await RocksStore.open(path, format_number=format_number).close()


async def test_a_store_in_use(make_server: MakeServer) -> None:
    server: Server = make_server()
    server.start()
    check_words(refusal("--data", server.data), "in use", str(server.data))
    assert server.health()["status"] == "ok"
    server.stop()


async def test_a_newer_store(tmp_path: Path) -> None:
    await written_store(tmp_path / "data", FORMAT + 1)
    check_words(refusal("--data", tmp_path / "data"), "newer")


def no_current(data: Path) -> Path:
    (data / "CURRENT").unlink()
    return data / "CURRENT"


def torn_manifest(data: Path) -> Path:
    (manifest,) = data.glob("MANIFEST-*")
    manifest.write_bytes(manifest.read_bytes()[:20])
    return manifest


def foreign_bytes(data: Path) -> Path:
    (data / "CURRENT").write_bytes(b"\x00\xff" * 20)
    return data / "CURRENT"


@pytest.mark.parametrize("damage", [no_current, torn_manifest, foreign_bytes])
async def test_a_damaged_store(tmp_path: Path, damage: Callable[[Path], Path]) -> None:
    data = tmp_path / "data"
    await written_store(data)
    damage(data)
    before = sorted(data.iterdir())
    check_words(refusal("--data", data), "damaged", "backup")
    assert set(before) <= set(data.iterdir()), "evidence is gone"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("colour = 'red'", ["colour"]),
        ("[limits]\nframe_bytes = 'many'", ["limits.frame_bytes", "int"]),
        ("[limits]\nframe_bites = 1", ["frame_bites"]),
        ("log = 'loud'", ["log"]),
        ("listen = ", ["at end of document"]),
        (None, ["No such file"]),
    ],
)
def test_a_config_that_cannot_be_used(tmp_path: Path, config: str | None, words: list[str]) -> None:
    file = tmp_path / "tidings.toml"
    if config is not None:
        file.write_text(config)
    check_words(refusal("--config", file, "--data", tmp_path / "data"), *words)
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal("--data", tmp_path / "data", port=port)
        check_words(said, f"cannot bind 127.0.0.1:{port}: address already in use", "--listen")


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    check_words(refusal("--data", file), str(file))
