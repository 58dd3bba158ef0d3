"""Lengths of time as people type them: 90s, 30m, 12h, 7d."""

import re

from tidings.cli.failure import Failure

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([1-9][0-9]{0,8})([smhd])")


def seconds(text: str) -> int:
    """How many seconds that is. Raises Failure."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Failure(f"{text!r} is no length of time", hint="say 90s, 30m, 12h or 7d")
    return int(found[1]) * UNITS_S[found[2]]


def span(seconds: float) -> str:
    """The same for people, in the largest unit that it fills."""
    for unit in ("d", "h", "m"):
        if seconds >= UNITS_S[unit]:
            return f"{round(seconds / UNITS_S[unit], 1):g} {unit}"
    return f"{seconds:.0f} s"
