"""What a benchmark is at, on stderr, so that stdout stays for its figures."""

import sys
from typing import TextIO


class Progress:
    """One line for each step."""

    def __init__(self, name: str, stream: TextIO = sys.stderr) -> None:
        self._name = name
        self._stream = stream

    def say(self, step: str) -> None:
        """A step begins."""
        print(f"{self._name}: {step}", file=self._stream, flush=True)
