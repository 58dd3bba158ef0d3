"""`tidings completion`: the script that makes a shell complete verbs and options at the Tab key.

The script calls `tidings` again with the line in its environment (`_TIDINGS_COMPLETE` says so). Typer answers
that, but knows only the verb that was imported: `verb_of_line` finds out which.
"""

import os
from typing import Annotated, Literal

import typer

# Typer offers these only together with options that write into the user's shell files.
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script

PROGRAM = "tidings"
VARIABLE = "_TIDINGS_COMPLETE"
LINES = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")
"""where bash, and where zsh and fish, hand over the line"""


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Which one.", show_default=False)],
) -> None:
    """Print a script for your shell; then Tab completes verbs and options.

    \b
    bash, in ~/.bashrc:  eval "$(tidings completion bash)"
    zsh, in ~/.zshrc after compinit:  eval "$(tidings completion zsh)"
    fish, once:  tidings completion fish > ~/.config/fish/completions/tidings.fish
    """
    print(get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell))


def is_completing() -> bool:
    """Whether a shell wants to know how its line may go on."""
    return bool(os.environ.get(VARIABLE))


def verb_of_line() -> str:
    """Make ready to answer the shell; returns the verb on its line, if there is one yet."""
    completion_init()
    line = next((os.environ[name] for name in LINES if name in os.environ), "")
    return next((word for word in line.split()[1:] if not word.startswith("-")), "")
