"""The arithmetic of the comparison, its table and its workloads, without any other server."""

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.rivals import BYTES, CPU_US, SMALL, MemoryRival, Scripted, Silent
from tidings.bench.idle import AT_ONCE
from tidings.bench.peers import __main__ as command
from tidings.bench.peers import daemons, ours, workloads
from tidings.bench.peers.contract import Contestant, Direct, Figures, Idle, Missing, Offline, Sizes, Used
from tidings.bench.peers.daemons import Stat
from tidings.bench.peers.table import Result, as_json, as_table, of_rounds, ratio
from tidings.bench.peers.workloads import RivalContestant
from tidings.bench.process import free_port

OURS = Figures(Direct(40.0, 9000, 400.0, 0.5, 2.0), Idle(8400, 250.0), Offline(4.0, 90_000, 30.0))
THEIRS = Figures(Direct(120.0, 3000, 600.0, 0.7, 3.0), Idle(52_500, 500.0), None)


# --- the arithmetic -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "mine", "times"),
    [
        (120.0, 40.0, 3.0),
        (30.0, 40.0, 0.75),
        (1.0, 3.0, 0.33),
        (None, 40.0, None),
        (120.0, None, None),
        (120.0, 0.0, None),
        (0.0, 40.0, None),
        (-5.0, 40.0, None),
    ],
)
def test_a_ratio_is_theirs_to_ours(theirs: float | None, mine: float | None, times: float | None) -> None:
    assert ratio(theirs, mine) == times


def test_figures_are_medians_of_the_rounds_in_which_they_were_measured() -> None:
    rounds = [Figures(idle=Idle(bytes, cpu)) for bytes, cpu in ((9000, 300.0), (8000, 250.0), (8500, 900.0))]
    assert of_rounds([*rounds, Figures(), OURS]) == Figures(OURS.direct, Idle(8450.0, 275.0), OURS.offline)
    assert of_rounds([]) == Figures()


def test_cpu_is_spread_over_what_was_done() -> None:
    assert workloads.cpu_us(Used(1.5, 0), Used(2.0, 99), 10_000) == 50.0


def test_our_own_benchmarks_are_understood() -> None:
    paced = {"server_cpu_us_per_message": 502.0, "p50_ms": 0.63, "p99_ms": 1.91}
    direct: dict[str, object] = {
        "server_cpu_us_per_message": 39.0,
        "messages_per_s": 8000,
        "paced": [paced],
    }
    assert ours.direct_figures(direct) == Direct(39.0, 8000, 502.0, 0.63, 1.91)
    assert ours.idle_figures({"rss_bytes_per_connection": 8400, "connect_cpu_us": 250}) == Idle(8400, 250)
    offline: dict[str, object] = {
        "server_cpu_us_per_message": 4.0,
        "messages_per_s": 90_000,
        "send_cpu_us_per_message": 30.0,
    }
    assert ours.offline_figures(offline) == OURS.offline


# --- the table ----------------------------------------------------------------------------------

RESULTS = (
    Result("Tidings", "0.1.0", "everything", OURS),
    Result("Other", "7", "less", THEIRS, ("offline: it broke",)),
)


def test_the_table_shows_figures_ratios_promises_and_failures() -> None:
    assert as_table(RESULTS).splitlines() == [
        "|                                           | Tidings | Other           |",
        "|-------------------------------------------|---------|-----------------|",
        "| server CPU for a message, full speed      | 40 µs   | 120 µs (3.0 ×)  |",
        "| server CPU for a message, 500 a second    | 400 µs  | 600 µs (1.5 ×)  |",
        "| send to receive, 500 a second, p50        | 0.5 ms  | 0.7 ms (1.4 ×)  |",
        "| send to receive, 500 a second, p99        | 2.0 ms  | 3.0 ms (1.5 ×)  |",
        "| memory of an idle connection              | 8.4 kB  | 52.5 kB (6.2 ×) |",
        "| server CPU for a login                    | 250 µs  | 500 µs (2.0 ×)  |",
        "| server CPU for a message to who is away   | 30 µs   | –               |",
        "| server CPU for a waiting message, fetched | 4.0 µs  | –               |",
        "",
        "- **Tidings** 0.1.0: everything.",
        "- **Other** 7: less.",
        "- Other failed at offline: it broke",
    ]


def test_a_ratio_below_one_keeps_its_digits() -> None:
    table = as_table([RESULTS[1], RESULTS[0]])
    assert "40 µs (0.33 ×)" in table
    assert "8.4 kB (0.16 ×)" in table


def test_an_error_without_words_is_told_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    _, output, _ = run(monkeypatch, [Scripted("Tidings", 1.0, TimeoutError())])
    assert "- Tidings failed at direct: TimeoutError in direct, rivals.py" in output.splitlines()


def test_the_same_for_programs() -> None:
    first, other = as_json(RESULTS)
    assert json.loads(json.dumps(other)) == other
    assert set(first["ratios"].values()) == {1.0}
    assert other["ratios"]["memory of an idle connection"] == 6.25
    assert other["ratios"]["server CPU for a waiting message, fetched"] is None
    assert (other["direct"]["cpu_us"], other["offline"]) == (120.0, None)
    assert other["failures"] == ["offline: it broke"]


# --- what processes use -------------------------------------------------------------------------


def test_a_process_may_have_any_name() -> None:
    stat = "42 (a ) R 1 2 (b) S 7 42 42 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 5 6 7"
    assert daemons.parse_stat(stat) == Stat(7, 110)


def test_memory_is_the_proportional_set() -> None:
    assert (
        daemons.parse_memory("00400000-7fff [rollup]\nRss:   900 kB\nPss:   512 kB\nPss_Dirty: 3 kB\n")
        == 512 << 10
    )
    assert daemons.parse_memory("") == 0


def test_a_tree_has_all_generations_and_nobody_else() -> None:
    stats = {1: Stat(0, 0), 10: Stat(1, 0), 11: Stat(10, 0), 12: Stat(11, 0), 20: Stat(1, 0), 21: Stat(20, 0)}
    assert daemons.tree([10], stats) == {10, 11, 12}
    assert daemons.tree([12, 20], stats) == {12, 20, 21}
    assert daemons.tree([99], stats) == set()


def test_this_process_uses_something() -> None:
    found = daemons.used([os.getpid()])
    assert found.cpu_s > 0
    assert found.memory_bytes > 1 << 20


# --- the workloads ------------------------------------------------------------------------------


async def test_direct_counts_each_message_once(tmp_path: Path) -> None:
    rival = MemoryRival()
    found = await workloads.direct(rival, tmp_path, SMALL, Silent())
    assert found.cpu_us == found.paced_cpu_us == CPU_US
    assert found.messages_per_s > 0
    assert 0 <= found.p50_ms <= found.p99_ms
    assert rival.sizes == {SMALL.content_bytes}
    assert (rival.started, rival.stopped, rival.users) == (1, 1, 2 * SMALL.pairs)


async def test_a_rival_that_loses_messages_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "STALL_S", 0.0)
    rival = MemoryRival(loses=10)
    with pytest.raises(TimeoutError):
        await workloads.direct(rival, tmp_path, SMALL, Silent())
    assert rival.stopped == 1


async def test_idle_counts_connections_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "SETTLE_S", 0.0)
    progress = Silent()
    found = await workloads.idle(MemoryRival(), tmp_path, SMALL, progress)
    assert found == Idle(BYTES, 0.0)
    assert f"{SMALL.connections - AT_ONCE} connections" in progress.said


async def test_connections_that_are_gone_are_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workloads, "SETTLE_S", 0.0)
    rival = MemoryRival(drops_connections=True)
    with pytest.raises(RuntimeError, match="kept only 0 of 10"):
        await workloads.idle(rival, tmp_path, SMALL, Silent())
    assert rival.stopped == 1


async def test_offline_tells_sending_from_fetching(tmp_path: Path) -> None:
    found = await workloads.offline(MemoryRival(), tmp_path, SMALL, Silent())
    assert (found.cpu_us, found.send_cpu_us) == (CPU_US, CPU_US)


async def test_what_is_missing_is_no_drain(tmp_path: Path) -> None:
    rival = MemoryRival(loses=7)
    with pytest.raises(RuntimeError, match="or not in their order"):
        await workloads.offline(rival, tmp_path, SMALL, Silent())
    assert rival.stopped == 1


async def test_every_workload_has_a_fresh_server(tmp_path: Path) -> None:
    made: list[MemoryRival] = []

    def make() -> MemoryRival:
        made.append(MemoryRival())
        return made[-1]

    contestant: Contestant = RivalContestant(make)
    await contestant.direct(tmp_path, SMALL, Silent())
    await contestant.offline(tmp_path, SMALL, Silent())
    assert [rival.started for rival in made] == [0, 1, 1]


# --- daemons ------------------------------------------------------------------------------------

LISTENS = """
import socket, subprocess, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
while True: server.accept()
"""


@pytest.mark.slow
async def test_a_daemon_is_started_measured_and_ended(tmp_path: Path) -> None:
    port = free_port()
    daemon = daemons.Daemon("listener", [sys.executable, "-c", LISTENS, str(port)], tmp_path, port=port)
    await daemon.start()
    assert daemons.used([daemon.pid]).memory_bytes > 1 << 20
    await daemon.stop()
    assert not Path(f"/proc/{daemon.pid}").exists()
    await daemon.stop()  # once more changes nothing


@pytest.mark.slow
async def test_a_daemon_that_ends_at_once_says_why(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo the port is taken >&2; exit 3"]
    daemon = daemons.Daemon("broken", command, tmp_path, port=free_port())
    with pytest.raises(RuntimeError, match="broken did not start: the port is taken"):
        await daemon.start()


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(Missing, match="no-such-server is not installed: run scripts/peers"):
        daemons.program("no-such-server")


# --- the command --------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, contestants: list[Scripted], *words: str) -> tuple[int, str, str]:
    """The command with these contestants; its exit code, stdout and stderr."""
    made = {one.name.lower(): (lambda one=one: one) for one in contestants}
    monkeypatch.setattr(command, "CONTESTANTS", made)
    result = CliRunner().invoke(command.app, ["--peers", ",".join(made), *words])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_ratios_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    contestants = [Scripted("Tidings", 1.0), Scripted("Other", 2.5)]
    code, output, errors = run(monkeypatch, contestants, "--json", "--rounds", "2", "--pairs", "3")
    printed = json.loads(output)
    assert code == 0
    assert [one["name"] for one in printed["contestants"]] == ["Tidings", "Other"]
    assert set(printed["contestants"][1]["ratios"].values()) == {2.5}
    assert printed["machine"]["cores"] == os.cpu_count()
    assert printed["sizes"]["pairs"] == 3
    assert contestants[0].sizes == [Sizes(pairs=3)] * 2
    assert "bench-peers: 12/12 offline, Other: starting" in errors.splitlines()


def test_one_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    contestants = [Scripted("Tidings", 1.0), Scripted("Other", 2.0, RuntimeError("out of memory"))]
    code, output, _ = run(monkeypatch, contestants)
    assert code == 1
    assert "- Other failed at direct: out of memory" in output.splitlines()
    assert "| server CPU for a message, full speed      | 40 µs   | –" in output
    assert "20.0 kB" not in output
    assert "16.0 kB (2.0 ×)" in output


def test_only_what_was_asked_for_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    _, output, errors = run(monkeypatch, [Scripted("Tidings", 1.0)], "--workloads", "idle")
    assert "8.0 kB" in output
    assert "full speed" not in output
    assert "1/1 idle, Tidings" in errors
    assert "direct" not in errors


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--peers", "tidings,nonsense"], "--peers: unknown: 'nonsense'"),
        (["--workloads", ""], "--workloads: unknown: ''"),
    ],
)
def test_unknown_words_are_refused(monkeypatch: pytest.MonkeyPatch, words: list[str], complaint: str) -> None:
    code, _, errors = run(monkeypatch, [Scripted("Tidings", 1.0)], *words)
    assert code == 2
    assert complaint in errors
    assert "hint: choose from" in errors


def test_a_peer_that_is_not_set_up_is_told_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Scripted("Tidings", 1.0)
    code, output, errors = run(monkeypatch, [first, Scripted("Other", 1.0, version="")])
    assert (code, output, first.sizes) == (2, "", [])
    assert "Other is not installed: run scripts/peers" in errors


def test_nothing_is_left_in_the_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run(monkeypatch, [Scripted("Tidings", 1.0, RuntimeError("broken"))])
    assert list(tmp_path.iterdir()) == []
