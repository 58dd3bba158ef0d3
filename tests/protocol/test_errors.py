"""spec §8"""

import http

import pytest

from tidings.protocol import errors
from tidings.protocol.close import CloseCode, may_reconnect
from tidings.protocol.errors import REGISTRY, ErrorKind, Fault, ProtocolError

kinds = pytest.mark.parametrize("kind", list(REGISTRY.values()), ids=lambda kind: kind.name)


def test_codes_and_names_are_unique_and_nothing_is_left_out() -> None:
    declared = [value for value in vars(errors).values() if isinstance(value, ErrorKind)]
    assert list(REGISTRY.values()) == declared
    assert len({kind.code for kind in declared}) == len(declared)
    assert len({kind.name for kind in declared}) == len(declared)


@kinds
def test_a_row_is_what_it_is_called(kind: ErrorKind) -> None:
    assert REGISTRY[kind.code] is kind
    assert getattr(errors, kind.name.upper()) is kind
    assert kind.code > 0
    assert kind.meaning


@kinds
def test_the_http_status_fits_whose_fault_it_is(kind: ErrorKind) -> None:
    http.HTTPStatus(kind.http_status)
    is_ours = kind.fault in (Fault.SERVER, Fault.ENVIRONMENT)
    assert (kind.http_status >= 500) == is_ours


@kinds
def test_what_closes_is_not_to_be_retried(kind: ErrorKind) -> None:
    if kind.close is not None:
        assert isinstance(kind.close, CloseCode)
        assert not kind.retry
        assert not may_reconnect(kind.close)


@kinds
def test_an_error_says_when_to_come_back_only_if_one_may(kind: ErrorKind) -> None:
    error = ProtocolError(kind)
    assert error.message == kind.meaning
    assert (error.retry_after_s is not None) == kind.retry
    assert str(error) == f"{kind.name}: {kind.meaning}"


def test_an_error_may_be_more_precise_than_its_kind() -> None:
    error = ProtocolError(errors.RATE_LIMITED, "too many log-ins", retry_after_s=7.5)
    assert (error.kind, error.message, error.retry_after_s) == (errors.RATE_LIMITED, "too many log-ins", 7.5)
