"""The audit log: what it holds, how it is kept, and that nothing it meets stops the server."""

import json
import os
import stat
from pathlib import Path

import pytest
import structlog

from tidings.server.audit import VALUE_CHARS, Audit

NOW_MS = 1_800_000_000_000


class Rig:
    def __init__(self, path: Path | None, **bounds: int) -> None:
        self.warnings: list[str] = []

        def note(_: object, method: str, event: structlog.typing.EventDict) -> str:
            self.warnings.append(str(event["event"]))
            return ""

        log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[note])
        self.audit = Audit(path, lambda: NOW_MS, log, **bounds)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_object_a_line_that_only_we_may_read(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    rig = Rig(path)
    rig.audit("login", user_id=(1 << 62) + 1, address="192.0.2.1", note=None)
    rig.audit("weird", handle='"}\n{"event": "forged"', lone="\udc80", long="x" * 10_000)
    login, weird = lines(path)
    assert login == {"at_ms": NOW_MS, "event": "login", "user_id": str((1 << 62) + 1), "address": "192.0.2.1"}
    assert weird["handle"] == '"}\n{"event": "forged"'
    assert weird["long"] == "x" * VALUE_CHARS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert rig.audit.counts == {"login": 1, "weird": 1}
    rig.audit.close()


def test_it_goes_on_where_it_was_also_behind_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text('{"at_ms":1,"event":"ol')
    path.chmod(0o644)
    rig = Rig(path)
    rig.audit("login")
    first, second = path.read_text().splitlines()
    assert first == '{"at_ms":1,"event":"ol'
    assert json.loads(second)["event"] == "login"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    rig.audit.close()


def test_old_files_move_on_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    rig = Rig(path, file_bytes=100, files=3)
    for number in range(20):
        rig.audit("event", number=number)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == ["audit.log", "audit.log.1", "audit.log.2"]
    kept = [line["number"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert kept == list(range(20))[-len(kept) :]
    assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
    rig.audit.close()


def test_a_folder_that_is_gone_costs_events_and_is_said_once(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "audit.log"
    rig = Rig(path)
    for _ in range(3):
        rig.audit("login")
    assert len(rig.warnings) == 1
    assert not rig.audit.ok
    path.parent.mkdir()
    rig.audit("login")
    assert rig.audit.ok
    assert len(lines(path)) == 1
    assert rig.audit.counts == {"login": 4}
    rig.audit.close()


def test_a_full_disk_costs_events_and_tears_no_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.log"
    rig = Rig(path)
    rig.audit("first")
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda file, data: write(file, data[:9]))
        rig.audit("torn")
    rig.audit("last")
    whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["event"] for line in whole] == ["first", "last"]
    assert len(rig.warnings) == 1
    rig.audit.close()


def test_no_link_is_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "audit.log").symlink_to(target)
    rig = Rig(tmp_path / "audit.log")
    rig.audit("login")
    assert target.read_text() == "precious"
    assert len(rig.warnings) == 1


def test_without_a_file_it_counts_only() -> None:
    rig = Rig(None)
    rig.audit("login")
    assert rig.audit.counts == {"login": 1}
    assert rig.audit.ok
    assert rig.warnings == []
    rig.audit.close()
