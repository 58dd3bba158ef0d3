"""Exported chats, in the forms that phones make."""

# ruff: noqa: DTZ001 - an export does not tell its time zone

import contextlib
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.client.whatsapp import BadExport, Entry, authors, parse, read

DATA = Path(__file__).parent / "data"


def told(name: str) -> list[tuple[str, str | None, str]]:
    return [(f"{one.at:%Y-%m-%d %H:%M:%S}", one.author, one.text) for one in read(DATA / name)]


def test_brackets_lines_that_belong_together_and_colons_in_the_text() -> None:
    assert told("brackets.txt") == [
        ("2021-04-03 09:15:00", "Nora", "Is the ferry running today?"),
        ("2021-04-03 09:15:42", "+47 900 00 000", "Yes, every hour: 10, 11, 12"),
        ("2021-04-13 18:02:11", "Nora", "Thanks!\nand see you\non board"),
    ]


def test_german_with_a_line_of_the_app() -> None:
    assert told("german.txt") == [
        ("2019-12-24 17:30:00", None, "Nachrichten und Anrufe sind Ende-zu-Ende-verschlüsselt."),
        ("2019-12-24 17:31:00", "Jonas Weiß", "Frohe Weihnachten 🎄"),
        ("2019-12-24 17:33:00", "Oma", "Danke, mein Lieber:\nKommt ihr morgen?"),
        ("2019-12-25 09:00:00", "Jonas Weiß", "Um zehn!"),
    ]


def test_american_order_is_found_and_twelve_is_noon_or_midnight() -> None:
    assert told("us.txt") == [
        ("2022-02-03 09:05:00", None, "Messages and calls are end-to-end encrypted."),
        ("2022-02-03 09:05:00", "Dana", "Morning"),
        ("2022-02-03 12:10:00", "Lee", "It is noon"),
        ("2022-02-14 00:01:00", "Dana", "Just past midnight"),
    ]


def test_an_iphone_with_marks_crlf_and_a_byte_order_mark() -> None:
    assert told("iphone.txt") == [
        ("2020-01-15 07:08:09", "Book club", "Messages and calls are end-to-end encrypted."),
        ("2020-01-15 07:08:10", "Priya", "image omitted"),
        ("2020-01-15 07:09:00", "+91 12345", "what a cover"),
        ("2020-01-16 23:59:59", "Sam", "Lovely"),
    ]


def test_other_forms() -> None:
    assert told("iso.txt") == [
        ("2023-07-01 08:00:00", "Ida", "First"),
        ("2023-07-01 08:01:00", None, "Max created group “Lake”"),
        ("2023-07-02 08:01:00", "Max", "Second"),
    ]
    assert told("iphone12.txt")[0] == ("2020-01-15 14:30:22", "Ana", "hola")
    assert told("old.txt")[1] == ("2014-01-16 14:31:00", "Tom", "aber gut")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("03/04/21, 10:00 - A: x\n25/04/21, 10:00 - A: x", "2021-04-03"),
        ("03/04/21, 10:00 - A: x\n04/25/21, 10:00 - A: x", "2021-03-04"),
        # Nothing exceeds 12: the order in which time does not run backwards.
        ("01/10/21, 10:00 - A: x\n02/09/21, 10:00 - A: x", "2021-01-10"),
        ("10/01/21, 10:00 - A: x\n09/02/21, 10:00 - A: x", "2021-01-10"),
        ("03/04/21, 10:00 - A: x", "2021-04-03"),
        ("3/4/21, 10:00 AM - A: x", "2021-03-04"),
        ("2021/04/03 10:00 - A: x", "2021-04-03"),
        ("3.4.2021 klo 10.00 - A: x", "2021-04-03"),
        ("3.4.2021, 10.00 - A: x", "2021-04-03"),
        ("3. 4. 2021, 10:00 - A: x", "2021-04-03"),
        ("[3/4/2021 10:00:00 a.\u00a0m.] A: x", "2021-03-04"),
    ],
)
def test_day_and_month(text: str, moment: str) -> None:
    assert f"{parse(text)[0].at:%Y-%m-%d}" == moment


def test_text_that_looks_like_a_head_is_text() -> None:
    entries = parse("01.02.2021, 10:00 - A: see\n45.13.2021, 99:99 - B: no\n[01.02.2021, 10:00 - C: no\n")
    assert [(one.author, one.text) for one in entries] == [
        ("A", "see\n45.13.2021, 99:99 - B: no\n[01.02.2021, 10:00 - C: no")
    ]


def test_a_message_that_begins_with_an_empty_line() -> None:
    entries = parse("01.02.2021, 10:00 - A: one\n01.02.2021, 10:01 - A:\ntwo\n01.02.2021, 10:02 - B left:\n")
    assert [(one.author, one.text) for one in entries] == [("A", "one"), ("A", "\ntwo"), (None, "B left:")]


@pytest.mark.parametrize(
    ("data", "line", "reason"),
    [
        (b"", 1, "empty"),
        (b"\n\nhello\n", 3, "date and a time"),
        (b"01.02.2021, 10:00 - A: x\n\xff\n", 2, "UTF-8"),
        (b"25.04.2021, 10:00 - A: x\n04.25.2021, 10:00 - A: x\n", 2, "date 04.25.2021 does not fit"),
    ],
)
def test_a_fault_is_named_by_its_line(tmp_path: Path, data: bytes, line: int, reason: str) -> None:
    (tmp_path / "x.txt").write_bytes(data)
    with pytest.raises(BadExport, match=reason) as bad:
        read(tmp_path / "x.txt")
    assert bad.value.line == line
    assert "\n" not in bad.value.message


NAMES = st.sampled_from(["Nora", "+47 900 00 000", "Jessie & James", "Prof. Oak", "Åse-Marie", "小林"])
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r")).filter(
    lambda line: not line[:1].isdigit() and not line.startswith("[")
)
TEXTS = st.lists(LINES, min_size=1, max_size=3).map("\n".join)
MOMENTS = st.datetimes(datetime(2009, 1, 1), datetime(2069, 12, 31)).map(lambda m: m.replace(microsecond=0))
FORMS = {
    "brackets": "[{at:%d-%m-%y %H:%M:%S}] {author}: {text}",
    "german": "{at:%d.%m.%Y, %H:%M} - {author}: {text}",
    "iso": "{at:%Y-%m-%d, %H:%M} - {author}: {text}",
    "iphone": "\u200e[{at:%d/%m/%Y, %H:%M:%S}] {author}: {text}",
    "us": "{at:%m/%d/%y, %I:%M\u202f%p} - {author}: {text}",
}


@given(st.sampled_from(sorted(FORMS)), st.lists(st.tuples(MOMENTS, NAMES, TEXTS), min_size=1, max_size=8))
def test_what_was_written_is_read(form: str, said: list[tuple[datetime, str, str]]) -> None:
    # One day beyond the twelfth settles the order of day and month.
    said = sorted([(datetime(2009, 1, 31), "Nora", "first"), *said], key=lambda one: one[0])
    while said[-1][2].endswith("\n"):
        said[-1] = (*said[-1][:2], said[-1][2][:-1])
    text = "\n".join(FORMS[form].format(at=at, author=author, text=text) for at, author, text in said)
    entries = parse(text)
    marks = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    assert [(one.author, one.text) for one in entries] == [
        (author, text.lstrip(marks)) for _, author, text in said
    ]
    exact = "%Y%m%d%H%M" + ("%S" if form in ("brackets", "iphone") else "")
    assert [f"{one.at:{exact}}" for one in entries] == [f"{at:{exact}}" for at, _, _ in said]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadExport):
        entries = parse(text)
        assert entries == sorted(entries, key=lambda one: one.line)


def test_authors_come_in_the_order_of_their_first_word() -> None:
    at = datetime(2021, 1, 1)
    entries = [Entry(n, at, who, "") for n, who in enumerate(["b", None, "a", "b"], 1)]
    assert authors(entries) == ["b", "a"]
