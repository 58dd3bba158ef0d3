"""Lengths of time, typed and shown."""

import pytest

from tidings.cli.duration import seconds, span
from tidings.cli.failure import Failure


@pytest.mark.parametrize(("text", "expected"), [("30s", 30), ("5m", 300), ("8h", 28_800), ("7d", 604_800)])
def test_lengths(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "-5m", "5 m", "1.5h", "5M", "5w", "٣m", "9999999999s"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(Failure) as failed:
        seconds(text)
    assert failed.value.hint


def test_spans_are_shown_in_their_largest_unit() -> None:
    assert [span(one) for one in (0, 59, 90, 7200, 604_800)] == ["0 s", "59 s", "1.5 m", "2 h", "7 d"]
