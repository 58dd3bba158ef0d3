"""Frames on a stream, however it is cut."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.hub.framing import HEAD_BYTES, Malformed, Splitter, encode, framed, in_frames

BODIES = st.lists(st.binary(max_size=300), max_size=8)


def stream(bodies: list[bytes]) -> bytes:
    return b"".join(piece for body in bodies for piece in framed(body))


@given(BODIES, st.data())
def test_frames_come_whole_and_in_order_however_they_are_cut(
    bodies: list[bytes], data: st.DataObject
) -> None:
    whole = stream(bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    splitter = Splitter()
    found: list[bytes] = []
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += map(bytes, splitter.feed(whole[begin:end]))
    assert found == bodies


@given(BODIES)
def test_one_byte_at_a_time(bodies: list[bytes]) -> None:
    splitter = Splitter()
    found = [bytes(frame) for byte in stream(bodies) for frame in splitter.feed(bytes((byte,)))]
    assert found == bodies


@pytest.mark.parametrize("size", [11, 1 << 20, (1 << 32) - 1])
def test_a_frame_that_is_too_large_is_refused_by_its_head(size: int) -> None:
    splitter = Splitter(limit=10)
    assert list(map(bytes, splitter.feed(stream([bytes(10)])))) == [bytes(10)]
    with pytest.raises(Malformed):
        list(splitter.feed(size.to_bytes(HEAD_BYTES, "big")))


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(10, 100))
def test_items_are_spread_over_frames_that_are_small_enough(items: list[bytes], limit: int) -> None:
    refused: list[bytes] = []
    bodies = list(in_frames(items, b"".join, lambda item, _: refused.append(item), limit))
    assert all(len(body) <= limit for body in bodies)
    assert b"".join(bodies) == b"".join(item for item in items if len(item) <= limit)
    assert refused == [item for item in items if len(item) > limit]


def test_what_fits_goes_in_one_frame() -> None:
    refused: list[object] = []
    assert list(in_frames([1, 2, 3], encode, lambda *one: refused.append(one))) == [encode([1, 2, 3])]
    assert refused == []


def test_what_cannot_be_encoded_is_refused_alone() -> None:
    strange = object()
    refused: list[tuple[object, type[Exception]]] = []
    items: list[object] = [1, strange, 2, 1 << 64, 3]
    bodies = list(in_frames(items, encode, lambda item, error: refused.append((item, type(error)))))
    assert [item for body in bodies for item in msgspec.msgpack.decode(body)] == [1, 2, 3]
    assert refused == [(strange, TypeError), (1 << 64, OverflowError)]
