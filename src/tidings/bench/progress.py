"""What a benchmark is at, on stderr, so that stdout stays for its figures."""

import sys
import time
from typing import TextIO

UPDATED_S = 10.0
"""where nobody sits before it, an update is a line of its own, and not more often than so"""


class Progress:
    """One line for each step."""

    def __init__(self, name: str, stream: TextIO = sys.stderr) -> None:
        self._name = name
        self._stream = stream
        self._updated_s: float | None = None
        self._is_open = False

    def say(self, step: str) -> None:
        """A step begins."""
        if self._is_open:
            print(file=self._stream)
            self._is_open = False
        print(f"{self._name}: {step}", file=self._stream, flush=True)

    def update(self, state: str) -> None:
        """How far the step is; on a terminal it replaces what the last update said."""
        if self._stream.isatty():
            print(f"\r\x1b[K{self._name}: {state}", end="", file=self._stream, flush=True)
            self._is_open = True
            return
        now_s = time.monotonic()
        if self._updated_s is None or now_s - self._updated_s >= UPDATED_S:
            self._updated_s = now_s
            self.say(state)
