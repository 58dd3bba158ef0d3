"""spec §7"""

import msgspec

from tidings.protocol.api import LoggedIn, Problem


def test_ids_travel_as_strings() -> None:
    body = b'{"user_id":"9007199254740993","device_id":"2","handle":"bob","token":"t"}'
    assert msgspec.json.decode(body, type=LoggedIn).ids() == (9007199254740993, 2)


def test_a_problem_says_when_to_come_back_only_if_one_may() -> None:
    assert msgspec.json.encode(Problem(6, "invalid", "no")) == b'{"code":6,"name":"invalid","message":"no"}'
