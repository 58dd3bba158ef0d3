"""spec §9"""

import pytest

from tidings.protocol.close import CloseCode, may_reconnect


@pytest.mark.parametrize("code", list(CloseCode))
def test_every_code_may_stand_in_a_close_frame(code: CloseCode) -> None:
    # RFC 6455 §7.4: 1004, 1005, 1006 and 1015 never travel; 4000-4999 are free to use.
    assert code in {1000, 1001, 1002, 1003, *range(1007, 1015)} or 4000 <= code <= 4499


@pytest.mark.parametrize("code", [code for code in CloseCode if code >= 4000])
def test_private_codes_follow_their_hundred(code: CloseCode) -> None:
    assert may_reconnect(code) == (code < 4400)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (CloseCode.NORMAL, True),
        (CloseCode.GOING_AWAY, True),
        (CloseCode.INTERNAL_ERROR, True),
        (CloseCode.PROTOCOL_ERROR, False),
        (CloseCode.INVALID_TEXT, False),
        (CloseCode.POLICY_VIOLATION, False),
        (CloseCode.TOO_BIG, False),
    ],
)
def test_codes_of_the_rfc(code: CloseCode, expected: bool) -> None:
    assert may_reconnect(code) == expected


@pytest.mark.parametrize(("code", "expected"), [(1006, True), (4099, True), (4399, True), (4499, False)])
def test_codes_that_this_version_does_not_know(code: int, expected: bool) -> None:
    assert may_reconnect(code) == expected


def test_no_two_names_for_one_code() -> None:
    assert len(CloseCode.__members__) == len(set(CloseCode))
