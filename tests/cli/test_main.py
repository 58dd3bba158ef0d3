"""The command line as such: verbs, usage, failures."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.rig import tidings
from tidings.cli import main as main_module
from tidings.cli.failure import Failure
from tidings.cli.main import VERBS, main
from tidings.store.contract import StoreUnavailable


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


@pytest.mark.parametrize("arguments", [["nonsense"], ["send"], ["send", "--bogus"], ["serve", "--bogus"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_failure_is_two_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: str):  # type: ignore[no-untyped-def]
        def run(*arguments: object, **options: object) -> None:
            raise Failure("cannot do it: because", hint="do that", exit_code=7)

        return run

    monkeypatch.setattr(main_module, "application", failing)
    with pytest.raises(SystemExit) as ended:
        main(["send"])
    assert ended.value.code == 7
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "error: cannot do it: because\nhint: do that\n")


def test_a_cluster_that_fails_has_nothing_to_do_with_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_: object) -> None:
        raise StoreUnavailable("the store at 10.0.0.1:9042 failed: Write timeout")

    monkeypatch.setattr("tidings.cli.serve.run", run)
    config = tmp_path / "tidings.toml"
    config.write_text('cassandra = { contact_points = ["10.0.0.1"] }\nredis = {}\n')
    hints = []
    for options in (["--config", str(config)], []):
        with pytest.raises(SystemExit):
            main(["serve", "--data", str(tmp_path / "data"), *options])
        hints.append(capsys.readouterr().err.splitlines()[-1])
    assert ["the cluster" in hint for hint in hints] == [True, False]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip()


def test_a_verb_pays_for_no_other() -> None:
    listing = "import sys, tidings.cli.main as m; m.application('send'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert "tidings.cli.send" in modules
    assert not {"tidings.server", "tidings.bench", "rocksdict", "litestar", "httpx", "rich"} & modules


def test_without_the_encryption_core_a_client_says_how_to_get_it() -> None:
    program = """
import sys
from tidings.cli.main import main
sys.modules["tidings_core"] = None  # as where it is not installed
main(sys.argv[1:])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "send", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: tidings send encrypts, and the encryption core is not installed\n"
        "hint: in a checkout, scripts/core VENV builds it and installs it into a virtual environment\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--help"], capture_output=True, check=False
    )
    assert done.returncode == 0


def test_no_profile_and_no_server(tmp_path) -> None:  # type: ignore[no-untyped-def]
    done = tidings("send", "@bob", "x", "--profile", tmp_path / "none")
    assert done.code == 1
    assert done.err.startswith("error: cannot open profile")
    assert "\nhint: make one with: tidings register" in done.err
    done = tidings(
        *("register", "--server", "http://127.0.0.1:9", "--handle", "a", "--password", "x" * 9),
        *("--profile", tmp_path / "p"),
    )
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: cannot reach http://127.0.0.1:9")
    assert not (tmp_path / "p").exists()
