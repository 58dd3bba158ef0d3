"""What people write where others see it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.domain.wording import MARKS_MAX, check_text
from tidings.protocol.errors import INVALID, TOO_LARGE, ProtocolError

ACUTE = "\u0301"
FAMILY = "👨\u200d👩\u200d👧\u200d👦"

GOOD = [
    ("", ""),
    ("Alice", "Alice"),
    ("  Alice\u00a0 \u2003Liddell ", "Alice Liddell"),
    ("e" + ACUTE, "é"),
    ("Łukasz Żółć", "Łukasz Żółć"),
    ("नमस्ते", "नमस्ते"),
    ("می\u200cخواهم", "می\u200cخواهم"),
    ("שלום", "שלום"),
    ("ệ", "ệ"),
    (FAMILY, FAMILY),
    ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
    (
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    ),
    ("🇪🇺 1\ufe0f\u20e3 👍🏽", "🇪🇺 1\ufe0f\u20e3 👍🏽"),
    ("Robert'); DROP TABLE users;--", "Robert'); DROP TABLE users;--"),
    ("../../etc/passwd", "../../etc/passwd"),
    ("<script>alert(1)</script>", "<script>alert(1)</script>"),
]


@pytest.mark.parametrize(("text", "kept"), GOOD)
def test_what_people_are_called_stays(text: str, kept: str) -> None:
    assert check_text("name", text, 64) == kept
    assert check_text("name", kept, 64) == kept


BAD = {
    "NUL": "a\0b",
    "escape": "\x1b[31mAlice",
    "newline": "Alice\nBob",
    "tab": "a\tb",
    "C1": "a\x9b31m",
    "bidi override": "Alice \u202eecilA",
    "bidi isolate": "\u2067Alice",
    "direction mark": "Alice\u200f",
    "zero width space": "Al\u200bice",
    "byte order mark": "\ufeffAlice",
    "soft hyphen": "Al\u00adice",
    "line separator": "Alice\u2028Bob",
    "surrogate": "Alice\ud83d",
    "private use": "Alice\uf8ff",
    "noncharacter": "Alice\uffff",
    "noncharacter of a higher plane": "Alice\U0001fffe",
    "filler": "\u3164",
    "stray tag": "Alice\U000e0041",
    "tags without an end": "🏴\U000e0067\U000e0062",
    "only a joiner": "\u200d",
    "leading mark": ACUTE + "Alice",
    "leading mark behind spaces": "  " + ACUTE + "Alice",
    "tower": "a" + ACUTE * 20,
    "tower with joiners": ("a" + (ACUTE + "\u200d") * 10),
    "tower of enclosing marks": "a" + "\u20dd" * 10,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_what_does_not_show_as_it_is_stored_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_text("name", text, 64)
    assert refused.value.kind is INVALID
    assert refused.value.message.startswith("name has ")
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "a" * 65,
        "a" + ACUTE * 10_000,
        "e" + "\u0323\u0302" * 5_000_000,
        "\u202e" * 1_000_000,
        "é" * 65,
        " ".join("a" * 33),
    ],
)
def test_what_is_too_long_is_refused_at_once(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        check_text("name", text, 64)
    assert refused.value.kind is TOO_LARGE
    assert refused.value.message == "name is over 64 characters"


def test_length_counts_what_is_stored() -> None:
    assert check_text("name", ("e" + ACUTE) * 64, 64) == "é" * 64
    assert check_text("name", " " * 50 + "a" * 64 + " " * 50, 64) == "a" * 64


def test_lines_are_for_texts_only() -> None:
    assert check_text("about", "one\r\ntwo\n\n  three\n", 64, lines=True) == "one\ntwo\n\n  three"
    for text in ("a\rb", "a\x0bb", "a\u2029b", "a\tb"):
        with pytest.raises(ProtocolError):
            check_text("about", text, 64, lines=True)


nasty = st.one_of(
    st.characters(),
    st.characters(categories=["Mn", "Me", "Mc", "Cf", "Cc", "Zs", "Cs", "Co", "Cn"]),
    st.sampled_from(["\u200d", "\u200c", "\ufe0f", ACUTE, " ", "\n", "👩", "🏴", "\U000e0067", "\U000e007f"]),
)


@given(st.text(nasty, max_size=80), st.booleans())
def test_whatever_passes_is_clean_and_nothing_else_is_raised(text: str, lines: bool) -> None:
    try:
        kept = check_text("name", text, 20, lines=lines)
    except ProtocolError as error:
        assert error.kind in (INVALID, TOO_LARGE)  # noqa: PT017
        return
    assert kept == check_text("name", kept, 20, lines=lines), "it stays as it is"
    assert len(kept) <= 20
    assert unicodedata.is_normalized("NFC", kept)
    assert kept == kept.strip()
    run = 0
    for char in kept.replace("\n", "") if lines else kept:
        category = unicodedata.category(char)
        assert category not in {"Cc", "Cs", "Co", "Zl", "Zp"}
        assert category != "Cf" or char in "\u200c\u200d" or char >= "\U000e0000"
        run = run + 1 if category.startswith("M") or char in "\u200c\u200d" else 0
        assert run <= MARKS_MAX
    kept.encode()
