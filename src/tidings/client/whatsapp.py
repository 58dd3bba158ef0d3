"""Reads the text file that WhatsApp's "export chat" makes.

The format is nowhere written down and follows the phone's system, language and settings. What
all variants share: a message begins with a date and a time, in brackets or before a dash, then
`Name: text`; a line that does not begin so belongs to the message before it; a line without
`Name: ` is the app's own. Whether 03/04 is in March or in April is found from the whole file.

It does no IO but `read`, and knows nothing of the rest of the client.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from tidings.client.errors import ClientError

INVISIBLE = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
"""marks of direction, which exports are strewn with, and the byte order mark"""

_SPACE = "[ \u00a0\u202f]"
_HEAD = re.compile(
    rf"""
    [{INVISIBLE}]* (?P<bracket>\[)? [{INVISIBLE}]*
    (?P<date>[0-9]{{1,4}} (?P<mark>[./-]) {_SPACE}? [0-9]{{1,2}} (?P=mark) {_SPACE}? [0-9]{{1,4}}) \.?
    ,? {_SPACE}+ (?:(?:at|um|kl\.|klo|à|às){_SPACE}+)?
    (?P<hour>[0-9]{{1,2}}) [:.] (?P<minute>[0-9]{{2}}) (?: [:.] (?P<second>[0-9]{{2}}))?
    (?: {_SPACE}* (?P<half>[AaPp]) \.? {_SPACE}? [Mm] \.? )?
    (?: {_SPACE}Uhr )?
    (?P<end> \] | {_SPACE}[-–] | : ) {_SPACE}
    (?P<rest>.*)
    """,
    re.VERBOSE | re.DOTALL,
)
_ORDERS = ("dmy", "mdy", "ymd")
"""the orders of day, month and year, the likeliest first"""


class BadExport(ClientError):
    """This is no exported chat; `line` is where that shows."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        self.reason = reason
        super().__init__(
            f"cannot read the export: line {line}: {reason}",
            "it should be the .txt file that WhatsApp's “Export chat” makes",
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A message, or a line of the app's own (`author` None)."""

    line: int
    """where it begins in the file, from 1"""
    at: datetime
    """in the time zone of who exported the chat, which the file does not tell"""
    author: str | None
    text: str


@dataclass(slots=True)
class _Begun:
    line: int
    head: re.Match[str]
    rest: list[str]


def read(path: Path) -> list[Entry]:
    """The entries of a file, in its order. Raises BadExport, OSError."""
    data = path.read_bytes()
    try:
        return parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise BadExport(data.count(b"\n", 0, error.start) + 1, "this is not UTF-8 text") from None


def parse(text: str) -> list[Entry]:
    """The entries of an export, in its order. Raises BadExport."""
    begun = _split(text)
    if not begun:
        raise BadExport(1, "the file is empty")
    dates = [_numbers(one.head) for one in begun]
    order = _order(begun, dates)
    authors = {author for one in begun if (author := _author(one.rest[0])) is not None}
    return [
        _entry(one, _moment(one.head, numbers, order), authors)
        for one, numbers in zip(begun, dates, strict=True)
    ]


def authors(entries: Iterable[Entry]) -> list[str]:
    """Who speaks, in the order of their first message."""
    return list(dict.fromkeys(entry.author for entry in entries if entry.author is not None))


def _split(text: str) -> list[_Begun]:
    """Put together the lines that belong together."""
    begun: list[_Begun] = []
    # Not splitlines(): a message may hold U+2028 and its like.
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.removesuffix("\r")
        head = _HEAD.fullmatch(line)
        if head is not None and _is_possible(head):
            begun.append(_Begun(number, head, [head["rest"]]))
        elif begun:
            begun[-1].rest.append(line)
        elif line.strip(INVISIBLE + " "):
            raise BadExport(number, "it does not begin with a date and a time")
    while begun and begun[-1].rest[-1] == "" and len(begun[-1].rest) > 1:
        # Empty lines at the end belong to the file, not to its last message.
        begun[-1].rest.pop()
    return begun


def _is_possible(head: re.Match[str]) -> bool:
    """Whether this could be a moment at all; else it is text that looks like one."""
    if (head["bracket"] is not None) != (head["end"] == "]"):
        return False
    if int(head["minute"]) > 59 or int(head["second"] or 0) > 59:
        return False
    hour = int(head["hour"])
    if not (1 <= hour <= 12 if head["half"] else hour <= 23):
        return False
    numbers = _numbers(head)
    return any(_moment(head, numbers, order) is not None for order in _ORDERS)


def _numbers(head: re.Match[str]) -> list[str]:
    return [part.strip(" \u00a0\u202f") for part in head["date"].split(head["mark"])]


def _order(begun: list[_Begun], dates: list[list[str]]) -> str:
    """The order that suits every date; of several, the one in which time runs backwards least."""
    candidates: list[tuple[int, int, str]] = []
    reason = (1, "")
    us_first = any(one.head["half"] and one.head["mark"] == "/" for one in begun)
    for preference, order in enumerate(_ORDERS):
        moments = []
        for one, numbers in zip(begun, dates, strict=True):
            moment = _moment(one.head, numbers, order)
            if moment is None:
                reason = max(reason, (one.line, f"its date {one.head['date']} does not fit those before it"))
                break
            moments.append(moment)
        else:
            backwards = sum(later < earlier for earlier, later in pairwise(moments))
            likely = -1 if us_first and order == "mdy" else preference
            candidates.append((backwards, likely, order))
    if not candidates:
        raise BadExport(*reason)
    return min(candidates)[2]


def _moment(head: re.Match[str], numbers: list[str], order: str) -> datetime | None:
    """The moment, if its date can be read in this order."""
    if len(numbers[0]) > 2:
        # A year with its century leaves no doubt.
        order = "ymd"
    parts = dict(zip(order, numbers, strict=True))
    if len(parts["y"]) not in (2, 4) or len(parts["d"]) > 2:
        return None
    year = int(parts["y"]) + (2000 if len(parts["y"]) == 2 else 0)
    hour = int(head["hour"])
    if head["half"]:
        hour = hour % 12 + (12 if head["half"] in "pP" else 0)
    try:
        return datetime(  # noqa: DTZ001 - the file does not tell the time zone
            year, int(parts["m"]), int(parts["d"]), hour, int(head["minute"]), int(head["second"] or 0)
        )
    except ValueError:
        return None


def _author(rest: str) -> str | None:
    name, colon, _ = rest.partition(": ")
    return _clean(name) or None if colon else None


def _entry(one: _Begun, at: datetime | None, authors: set[str]) -> Entry:
    assert at is not None
    first, *more = one.rest
    author = _author(first)
    if author is not None:
        text = first.partition(": ")[2]
    elif first.endswith(":") and _clean(first[:-1]) in authors:
        # A message that begins with an empty line, in an export without trailing spaces.
        author, text = _clean(first[:-1]), ""
    else:
        text = first
    return Entry(one.line, at, author, "\n".join([text.lstrip(INVISIBLE), *more]))


def _clean(name: str) -> str:
    """A name without marks; `~` stands before those that are in nobody's address book."""
    bare = "".join(" " if char in "\u00a0\u202f" else char for char in name if char not in INVISIBLE)
    return bare.strip().removeprefix("~").strip()
