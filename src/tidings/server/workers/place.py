"""Where the hub's socket is: in the data folder or, where that path is too long, in a folder of its own."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

SOCKET = "hub.sock"
PATH_BYTES = 103
"""the longest path that will do: sun_path of unix(7) has 108 bytes, with a NUL, and while the hub makes the
socket its name is longer by `.new`"""


@contextlib.contextmanager
def hub_place(data: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """A path for the hub's socket, where nobody else can reach it. Raises OSError."""
    path = os.fspath((data / SOCKET).absolute())
    if len(os.fsencode(path)) <= PATH_BYTES:
        yield path
        return
    folder = tempfile.mkdtemp(prefix="tidings-", dir=environment.get("XDG_RUNTIME_DIR") or None)  # mode 0700
    try:
        yield os.path.join(folder, SOCKET)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
