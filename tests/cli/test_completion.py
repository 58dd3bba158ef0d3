"""Completion, as shells ask for it: the script, and the answers that it gets."""

import subprocess
from pathlib import Path

import pytest

from cli.rig import tidings
from client.rig import TIDINGS, environment

pytestmark = pytest.mark.slow

BASH = "/bin/bash"


def words(line: str) -> list[str]:
    """What bash is answered for a line with the cursor at its end."""
    done = tidings(
        _TIDINGS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(line.split(" ")) - 1)
    )
    assert done.code == 0, done.err
    return done.out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tidings ch", ["check", "chat", "chats", "chaos"]),
        ("tidings message un", ["unreact", "unstar"]),
        ("tidings chats mute --f", ["--for"]),
        ("tidings people report @bob spam --b", ["--block"]),
        ("tidings people privacy la", ["last_seen"]),
        ("tidings send @bob hi --s", ["--silent"]),
        ("tidings completion ", ["bash", "zsh", "fish"]),
        ("tidings nonsense --", []),
    ],
)
def test_verbs_and_options_are_completed(line: str, expected: list[str]) -> None:
    found = words(line)
    assert found[: len(expected)] == expected
    assert found == expected or line.endswith("--")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered_with_a_summary(shell: str) -> None:
    done = tidings(
        _TIDINGS_COMPLETE=f"complete_{shell}",
        _TYPER_COMPLETE_ARGS="tidings chats unm",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )
    assert "unmute" in done.out
    assert "notifications" in done.out
    assert tidings("completion", shell).out.count("_TIDINGS_COMPLETE") >= 1


@pytest.mark.skipif(not Path(BASH).exists(), reason="no bash")
def test_bash_completes_with_the_script() -> None:
    script = tidings("completion", "bash").out
    asking = (
        f"{script}\nCOMP_WORDS=(tidings chats unp); COMP_CWORD=2; _tidings_completion {TIDINGS}; "
        'echo "${COMPREPLY[@]}"; complete -p tidings'
    )
    done = subprocess.run(
        [BASH, "--norc", "-ec", asking], capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["unpin", "complete -o default -F _tidings_completion tidings"]


def test_no_other_shell_is_known() -> None:
    done = tidings("completion", "tcsh")
    assert (done.code, "'bash', 'zsh', 'fish'" in done.err) == (2, True)
