"""The reference of the command line, written from the commands themselves."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer.main

from tidings.cli.main import VERBS, application

NOTE = """# Commands

`tidings VERB [VERB] …`; every one explains itself with `--help`. Data goes to stdout, what is to be
known about it to stderr. The exit code is 0, 1 (it failed: `error: …` and, where something can be
done, `hint: …` say why), 2 (it was called wrongly) or 130 (Ctrl-C). `source <(tidings completion bash)`
completes verbs and options.
"""


def page() -> Iterator[str]:
    """The page, line by line."""
    yield NOTE
    for verb, summary in VERBS.items():
        yield f"## tidings {verb}\n\n{summary}\n"
        command: Any = typer.main.get_command(application(verb))
        yield from _command(command.commands[verb], f"tidings {verb}")


def _command(command: Any, path: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner:
        for name, one in inner.items():
            yield f"### {path} {name}\n"
            yield from _command(one, f"{path} {name}")
        return
    yield f"{inspect.cleandoc(command.help or '')}\n"
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(_metavar(one) for one in arguments)
    yield f"```\n{path}{f' {usage}' if usage else ''} [OPTIONS]\n```\n"
    rows = [row for one in command.params if (row := _row(one))]
    if rows:
        yield "| | | default |\n|---|---|---|"
        yield from rows
        yield ""


def _row(param: Any) -> str:
    if param.name == "help":
        return ""
    is_argument = param.param_type_name == "argument"
    name = _metavar(param) if is_argument else ", ".join((*param.opts, *param.secondary_opts))
    help_ = " ".join((param.help or "").split()).replace("|", "\\|")
    if param.envvar:
        help_ = f"{help_} (or `{param.envvar}`)".strip()
    return f"| `{name}` | {help_} | {_default(param)} |"


def _metavar(param: Any) -> str:
    name: str = (param.metavar or param.name).upper()
    name = f"{name}…" if param.nargs == -1 else name
    return name if param.required else f"[{name}]"


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if param.default in (None, "", False, [], ()):
        return ""
    return f"`{param.default}`"
