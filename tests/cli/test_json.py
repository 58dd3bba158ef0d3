"""Every verb that a program may use has `--json`."""

from collections.abc import Iterator

import typer

from tidings.cli.main import VERBS, application

WITHOUT = {
    "serve": "prints nothing but logs, which have --log-json",
    "chat": "is for people; programs use listen and send",
    "completion": "prints a script for a shell",
}


def commands(verb: str) -> Iterator[tuple[str, set[str]]]:
    """A verb, or those below it, and the options of each."""
    found = typer.main.get_command(application(verb)).commands[verb]  # type: ignore[attr-defined]
    inner = getattr(found, "commands", {"": found})
    for name, command in inner.items():
        yield f"{verb} {name}".strip(), {option for one in command.params for option in one.opts}


def test_all_verbs_speak_json_but_a_few() -> None:
    without = {name for verb in VERBS for name, options in commands(verb) if "--json" not in options}
    assert without == set(WITHOUT)


def test_all_verbs_explain_themselves() -> None:
    for verb in VERBS:
        found = typer.main.get_command(application(verb)).commands[verb]  # type: ignore[attr-defined]
        for command in getattr(found, "commands", {"": found}).values():
            assert command.help, f"{verb} {command.name}"
