"""What people write where others see it: names, texts about themselves, reasons of reports.

A text that passes is in Unicode's composed form (NFC) and shows as it is stored: no control
characters, nothing that turns the direction of what follows or cannot be seen, no towers of
combining marks. Emoji stay whole.

spec §6.12
"""

import re
import unicodedata

from tidings.protocol.errors import INVALID, TOO_LARGE, ProtocolError

RAW_FACTOR = 4
"""A text may be so many times too long before it is composed; beyond that nothing is computed."""
MARKS_MAX = 4
"""combining marks, joiners and variation selectors in a row"""

_JOINERS = frozenset("\u200c\u200d")
_REFUSED = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_MARKS = frozenset({"Mn", "Mc", "Me"})
# Letters and symbols by their category, and seen by nobody.
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
# A flag of a region is a black flag and tags, which are format characters anywhere else.
_REGION_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,7}\U000e007f")
_NONCHARACTERS_ARABIC = range(0xFDD0, 0xFDF0)


def check_text(what: str, text: str, limit_chars: int, *, lines: bool = False) -> str:
    """A text as it is stored, without space around it; `lines` allows more than one.

    Raises ProtocolError (invalid, too_large) and names `what`.
    """
    # Before anything is done with it: composing a megabyte of marks takes long.
    if len(text) > RAW_FACTOR * limit_chars:
        raise ProtocolError(TOO_LARGE, f"{what} is over {limit_chars} characters")
    if lines:
        text = text.replace("\r\n", "\n")
    # Before it is composed: that is not defined for surrogates.
    _check_characters(what, text, lines=lines)
    kept = unicodedata.normalize("NFC", text).strip()
    if not lines:
        kept = " ".join(kept.split())
    _check_marks(what, kept)
    if len(kept) > limit_chars:
        raise ProtocolError(TOO_LARGE, f"{what} is over {limit_chars} characters")
    return kept


def _check_characters(what: str, text: str, *, lines: bool) -> None:
    for char in _REGION_FLAG.sub("\U0001f3f4", text):
        if char in _JOINERS or (lines and char == "\n"):
            continue
        if unicodedata.category(char) in _REFUSED or char in _FILLERS or _is_noncharacter(ord(char)):
            raise ProtocolError(INVALID, f"{what} has a character that cannot be shown: U+{ord(char):04X}")


def _check_marks(what: str, text: str) -> None:
    run = MARKS_MAX  # none at the beginning: they would sit on what is shown before the text
    seen = False
    for char in text:
        if char in _JOINERS or unicodedata.category(char) in _MARKS:
            run += 1
            if run > MARKS_MAX:
                where = "in a row" if seen else "at its beginning"
                raise ProtocolError(INVALID, f"{what} has too many combining marks {where}")
        else:
            run = 0
            seen = True


def _is_noncharacter(code: int) -> bool:
    return code & 0xFFFE == 0xFFFE or code in _NONCHARACTERS_ARABIC
