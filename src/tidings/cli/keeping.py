"""What the verbs that work on a data folder share: the store's errors as failures."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import typer

from tidings.cli.failure import Failure
from tidings.store.contract import StoreDamaged, StoreError, StoreFull, StoreInUse, StoreTooNew

T = TypeVar("T")

HINTS: dict[type[Exception], str] = {
    StoreInUse: "stop the server that holds it, or work on a backup of it",
    StoreFull: "make room on the disk",
    StoreTooNew: "use the version that wrote it, or a newer one",
    StoreDamaged: "restore a backup into an empty folder; delete nothing in this one",
}
HINT = "see that the folders exist and can be read and written"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end. Raises Failure for what the store or the disk refused; Ctrl-C ends with 130."""
    try:
        return asyncio.run(work)
    except (StoreError, OSError) as error:
        raise failure_of(error) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def failure_of(error: StoreError | OSError) -> Failure:
    """An error in two lines. Some bring a hint of their own, which knows more."""
    said = str(error)
    if isinstance(error, OSError):
        what = error.strerror or said
        said = f"{error.filename}: {what}" if error.filename else what
    message, _, hint = said.partition("\nhint: ")
    return Failure(message, hint=hint or HINTS.get(type(error), HINT))
