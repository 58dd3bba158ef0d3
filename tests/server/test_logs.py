"""What goes to the log, and how."""

import io
import json
import logging

import pytest

from tidings.server.logs import Bridge, open_log


def test_one_json_object_a_line() -> None:
    stream = io.StringIO()
    log = open_log("info", as_json=True, stream=stream)
    log.info("listening", url="http://127.0.0.1:1")
    log.debug("not this")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["url"]) == ("listening", "info", "http://127.0.0.1:1")


@pytest.mark.parametrize("as_json", [True, False])
def test_what_libraries_log_arrives_with_its_traceback(as_json: bool) -> None:
    stream = io.StringIO()
    logger = logging.Logger("library")
    logger.addHandler(Bridge(open_log("info", as_json=as_json, stream=stream)))
    try:
        raise ValueError("planted")
    except ValueError:
        logger.exception("it broke: %s", "badly")
    assert "it broke: badly" in stream.getvalue()
    assert "ValueError: planted" in stream.getvalue()


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_tells_no_values(as_json: bool) -> None:
    stream = io.StringIO()
    log = open_log("info", as_json=as_json, stream=stream)

    def fail(password: str) -> None:
        raise ValueError(f"planted, {len(password)} characters")

    try:
        fail("-".join(["correct", "horse"]))
    except ValueError:
        log.exception("it broke")
    assert "planted, 13 characters" in stream.getvalue()
    assert "correct-horse" not in stream.getvalue()
