"""`tidings chaos` as an operator runs it."""

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.rig import tidings
from client.rig import PATIENCE_S, TIDINGS, ServerProcess, environment
from integration.server import MakeServer, free_port

FEW = ("--people", "3", "--devices", "1", "--conversations", "2", "--groups", "1x2", "--rate", "100")


class Operator:
    """Somebody at a terminal with a run in it."""

    def __init__(self, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [TIDINGS, "chaos", *map(str, arguments)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def until(self, text: str) -> None:
        """Wait until the run says something."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said += line
            if text in line:
                return
        raise AssertionError(self.said)

    def note(self, line: str) -> None:
        """Say what is done to the server."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> tuple[int, str]:
        """The exit code, and what was printed."""
        out, err = self._process.communicate(timeout=PATIENCE_S)
        self.said += err
        return self._process.returncode, out


@pytest.mark.slow
def test_a_run_that_is_ended_is_judged_and_cleaned_up(shared_server: ServerProcess, tmp_path: Path) -> None:
    page = tmp_path / "chaos.md"
    operator = Operator("--against", shared_server.url, *FEW, "--marks", "--json", "--report", page)
    operator.until("chatting for 300 s")
    operator.note("the cable was pulled")
    operator.until("acknowledged")
    operator.interrupt()
    operator.until("deleted 3 of 3 accounts")
    code, out = operator.ended()
    assert code == 0, operator.said
    result: dict[str, Any] = json.loads(out)
    assert result["clean"] is True
    assert (result["people"], result["groups"]) == (3, [2])
    assert [mark["text"] for mark in result["marks"]] == ["the cable was pulled"]
    assert "the cable was pulled" in page.read_text()


@pytest.mark.slow
def test_the_second_interrupt_ends_everything(shared_server: ServerProcess) -> None:
    operator = Operator("--against", shared_server.url, *FEW, "--keep")
    operator.until("chatting")
    operator.interrupt()
    operator.interrupt()
    code, out = operator.ended()
    assert (code, out) == (130, "") or "every promise was kept" in out
    assert "deleted" not in operator.said


@pytest.mark.slow
def test_without_a_report_the_page_is_printed(shared_server: ServerProcess) -> None:
    result = tidings("chaos", "--against", shared_server.url, *FEW, "--for", "1s", "--keep")
    assert result.code == 0, result.err
    assert result.out.startswith("# Chaos: every promise was kept\n")
    assert "deleted" not in result.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--people", "4", "--groups", "2x5"), "a group of 5 needs as many people"),
        (("--groups", "many"), "'many' are no groups"),
        (("--conversations", "3"), "conversations are an even number"),
        (("--people", "4", "--conversations", "4"), "less than people"),
        (("--for", "long"), "no length of time"),
    ],
)
def test_what_cannot_be_is_said(arguments: tuple[str, ...], says: str) -> None:
    result = tidings("chaos", "--against", "http://127.0.0.1:1", *arguments)
    assert (result.code, result.out) == (1, "")
    assert says in result.err
    assert "hint: " in result.err


@pytest.mark.slow
def test_who_wants_invites_is_given_one(make_server: MakeServer) -> None:
    server = make_server(config={"registration": "invite"})
    server.start()
    result = tidings("chaos", "--against", server.url, *FEW)
    assert result.code == 1
    assert "wants an invite for an account\nhint: run with --invite CODE" in result.err
    server.stop()


def test_nobody_is_there() -> None:
    result = tidings("chaos", "--against", f"http://127.0.0.1:{free_port()}")
    assert result.code == 1
    assert "hint: is the server running, and the address right?" in result.err


def test_an_address_that_is_none() -> None:
    result = tidings("chaos", "--against", "ftp://example.org")
    assert result.code == 1
    assert "error: cannot use server ftp://example.org" in result.err
