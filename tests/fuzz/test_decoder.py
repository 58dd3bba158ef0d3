"""Whatever bytes come in, only ProtocolError leaves a decoder.

The harness is `decode_all`; the canaries at the end are decoders with a planted fault, which
the same harness must find.
"""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.strategies import client_frames, server_frames
from tidings.protocol.codec import JSON, MSGPACK, Codec
from tidings.protocol.errors import MALFORMED, UNKNOWN_TAG, ProtocolError

Decode = Callable[[bytes], object]

codecs = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
often = settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Rubbish that looks like something reaches further than noise does.
msgpack_bytes = st.binary(max_size=64) | st.builds(
    lambda tag, rest: bytes([0x90 | len(rest) & 15, tag]) + rest, st.integers(0, 127), st.binary(max_size=40)
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just("AAAAAAAAAAAAAAAAAAAAAA=="),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
json_bytes = st.builds(
    lambda tag, rest: msgspec.json.encode([tag, *rest]),
    st.integers(0, 12),
    st.lists(json_values, max_size=12),
)
msgpack_values = st.builds(
    lambda tag, rest: msgspec.msgpack.encode([tag, *rest]),
    st.integers(0, 12),
    st.lists(
        st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=20) | st.text(max_size=8) | st.none(),
        max_size=12,
    ),
)


def decode_all(decode: Decode, data: bytes) -> None:
    """The property under test."""
    refusal = None
    try:
        decode(data)
    except ProtocolError as error:
        refusal = error
    assert refusal is None or refusal.kind in (MALFORMED, UNKNOWN_TAG)
    assert refusal is None or len(refusal.message) < 500


@st.composite
def mutated(draw: st.DrawFn, codec: Codec) -> bytes:
    """A valid frame in which some bytes were changed, cut out, doubled or put in."""
    data = bytearray(codec.encode(draw(client_frames | server_frames)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 4)))
        data[at:end] = draw(st.binary(max_size=4) | st.just(bytes(data[at:end]) * 2))
    return bytes(data)


@pytest.mark.slow
@codecs
@often
@given(data=st.binary(max_size=200) | msgpack_bytes | json_bytes | msgpack_values)
def test_any_bytes(codec: Codec, data: bytes) -> None:
    decode_all(codec.decode_client, data)
    decode_all(codec.decode_server, data)


@pytest.mark.slow
@codecs
@often
@given(data=st.data())
def test_mutated_frames(codec: Codec, data: st.DataObject) -> None:
    frame = data.draw(mutated(codec))
    decode_all(codec.decode_client, frame)
    decode_all(codec.decode_server, frame)


@pytest.mark.slow
@codecs
@often
@given(data=st.data())
def test_what_decodes_is_written_as_it_was_read(codec: Codec, data: st.DataObject) -> None:
    """A mutated frame that is still one means the same after a further trip."""
    try:
        frame = codec.decode_client(data.draw(mutated(codec)))
    except ProtocolError:
        return
    assert codec.decode_client(codec.encode(frame)) == frame


# --- canaries -------------------------------------------------------------------------------


def _unwrapped(data: bytes) -> object:
    """Leaks msgspec's own exceptions."""
    return msgspec.msgpack.decode(data)


def _careless(data: bytes) -> object:
    """Good but for one kind of frame: an Ack of more than a hundred."""
    frame = MSGPACK.decode_client(data)
    if getattr(frame, "up_to", 0) > 100:
        raise OverflowError("planted")
    return frame


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decode", "escapes"), [(_unwrapped, (msgspec.DecodeError, ValueError)), (_careless, OverflowError)]
)
def test_the_harness_finds_a_planted_fault(
    decode: Decode, escapes: type[Exception] | tuple[type[Exception], ...]
) -> None:
    @settings(often, max_examples=10_000, database=None, report_multiple_bugs=False, derandomize=True)
    @given(data=mutated(MSGPACK) | msgpack_bytes)
    def fuzz(data: bytes) -> None:
        decode_all(decode, data)

    with pytest.raises(escapes):
        fuzz()
