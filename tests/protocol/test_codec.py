"""spec §2: both subprotocols carry the same frames, and refuse the same rubbish."""

import json
import time
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.strategies import client_frames, of_struct, server_frames
from tidings.protocol import frames, ids
from tidings.protocol.codec import (
    CODECS,
    JSON,
    JSON_SUBPROTOCOL,
    MSGPACK,
    MSGPACK_SUBPROTOCOL,
    Codec,
    decode_message,
    encode_message,
)
from tidings.protocol.errors import MALFORMED, UNKNOWN_TAG, ErrorKind, ProtocolError
from tidings.protocol.frames import Ack, Deliver, Frame, Heartbeat, Hello, Message, Read, SealedDeliver, Send
from tidings.protocol.limits import Limits
from tidings.testing import vectors

codecs = pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
CONVERSATION = bytes(range(16))


def packed(codec: Codec, value: object) -> bytes:
    """Any value in a codec's encoding, frame or not."""
    return msgspec.msgpack.encode(value) if codec is MSGPACK else msgspec.json.encode(value)


def refused(codec: Codec, data: bytes) -> ErrorKind:
    """Why a server does not take this."""
    with pytest.raises(ProtocolError) as caught:
        codec.decode_client(data)
    return caught.value.kind


# --- what goes out comes in -----------------------------------------------------------------


@codecs
@given(frame=client_frames)
def test_a_clients_frame_survives_the_wire(codec: Codec, frame: Frame) -> None:
    assert codec.decode_client(codec.encode(frame)) == frame


@codecs
@given(frame=server_frames)
def test_a_servers_frame_survives_the_wire(codec: Codec, frame: Frame) -> None:
    assert codec.decode_server(codec.encode(frame)) == frame


@codecs
@given(frame=client_frames)
def test_a_frame_may_come_as_a_memoryview(codec: Codec, frame: Frame) -> None:
    assert codec.decode_client(memoryview(codec.encode(frame))) == frame


@codecs
@given(message=of_struct(Message), envelope=st.none() | st.binary(min_size=16, max_size=64))
def test_a_sealed_deliver_reads_as_a_deliver(codec: Codec, message: Message, envelope: bytes | None) -> None:
    sealed = SealedDeliver(ids.EntryId(9), msgspec.Raw(encode_message(message)), envelope)
    assert codec.decode_server(codec.encode(sealed)) == Deliver(ids.EntryId(9), message, envelope)


@given(message=of_struct(Message))
def test_a_message_survives_the_store(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


def test_there_is_a_codec_for_each_subprotocol_and_msgpack_is_preferred() -> None:
    assert list(CODECS) == [MSGPACK_SUBPROTOCOL, JSON_SUBPROTOCOL]
    assert [codec.binary for codec in CODECS.values()] == [True, False]
    assert all(codec.subprotocol == name for name, codec in CODECS.items())


def test_tags_are_unique_and_keep_to_their_direction() -> None:
    clients = [struct.__struct_config__.tag for struct in vectors.client_frames()]
    servers = [struct.__struct_config__.tag for struct in vectors.server_frames()]
    assert clients == list(range(1, 1 + len(clients)))
    assert servers == list(range(64, 64 + len(servers)))
    assert clients[-1] < 64
    assert servers[-1] < 128


# --- snowflakes in JSON ---------------------------------------------------------------------


def test_json_writes_snowflakes_as_strings_and_counts_as_numbers() -> None:
    read = Read(7, ids.ConversationId(CONVERSATION), ids.MessageId(2**62))
    assert json.loads(JSON.encode(read)) == [4, 7, "AAECAwQFBgcICQoLDA0ODw==", str(2**62)]


def test_json_writes_snowflakes_as_strings_at_any_depth() -> None:
    one = 2**60 + 1
    message = vectors.full(Message)
    message = msgspec.structs.replace(message, message_id=one, sender_device=one, sender_id=one)
    page = frames.Page(1, [frames.HistoryItem(message, 1)], False)
    sent = frames.Sent(ids.ClientId(CONVERSATION), ids.MessageId(one), [ids.DeviceId(one)])
    text = JSON.encode(page) + JSON.encode(sent)
    assert text.count(b'"%d"' % one) == 5
    assert text.count(b"%d" % one) == 5


@pytest.mark.parametrize("number", [b"12", b'"12"'])
def test_json_takes_snowflakes_as_strings_and_as_numbers(number: bytes) -> None:
    frame = JSON.decode_client(b'[1,"token","",%s]' % number)
    assert frame == Hello("token", have=ids.EntryId(12))


def test_msgpack_takes_no_snowflake_as_a_string() -> None:
    assert refused(MSGPACK, packed(MSGPACK, [1, "token", "", "12"])) is MALFORMED


# --- older and newer peers ------------------------------------------------------------------


@codecs
@given(frame=client_frames, extra=st.lists(st.integers() | st.text() | st.none(), min_size=1, max_size=3))
def test_trailing_fields_of_a_newer_client_are_ignored(codec: Codec, frame: Frame, extra: list[Any]) -> None:
    values = msgspec.to_builtins(frame, builtin_types=(bytes,))
    extra = [value if not isinstance(value, int) else value % 2**63 for value in extra]
    assert codec.decode_client(packed(codec, values + extra)) == frame


@codecs
@pytest.mark.parametrize("struct", vectors.client_frames(), ids=lambda struct: struct.__name__)
def test_fields_with_a_default_may_be_left_out_and_no_others(codec: Codec, struct: type[Frame]) -> None:
    required = [field.name for field in msgspec.structs.fields(struct) if field.required]
    shortest = vectors.short(struct) or vectors.full(struct)
    values = msgspec.to_builtins(shortest, builtin_types=(bytes,))[: 1 + len(required)]
    assert codec.decode_client(packed(codec, values)) == shortest
    if required:
        assert refused(codec, packed(codec, values[:-1])) is MALFORMED


@codecs
@pytest.mark.parametrize("tag", [-1, 0, 40, 63, 69, 127, 128, 2**40, 2**64 - 1])
def test_an_unknown_tag_is_told_from_a_broken_frame(codec: Codec, tag: int) -> None:
    for fields in ([], [1, "two", None], [[{"deep": [1]}]]):
        assert refused(codec, packed(codec, [tag, *fields])) is UNKNOWN_TAG


@codecs
def test_each_side_knows_only_the_tags_that_it_may_get(codec: Codec) -> None:
    assert refused(codec, codec.encode(frames.Ok(1))) is UNKNOWN_TAG
    with pytest.raises(ProtocolError, match="unknown_tag: unknown tag 6"):
        codec.decode_server(codec.encode(Heartbeat()))


# --- what is refused ------------------------------------------------------------------------


@codecs
@pytest.mark.parametrize(
    "frame",
    [
        [],
        {},
        None,
        7,
        "text",
        [None],
        ["3", 7],
        [3.0, 7],
        [True],
        [[3], 7],
        [3, -1],
        [3, 2**63],
        [3, 2**64 - 1],
        [3, 1.5],
        [3, None],
        [3, True],
        [3, 1, 5],
        [3, 1, [-1]],
        [4, 1, CONVERSATION[:15], 1],
        [4, 1, CONVERSATION + b"x", 1],
        [5, 1, CONVERSATION, None, None, 0],
        [2, CONVERSATION, 1, CONVERSATION, 1, 0, 4, "", b""],
        [2, CONVERSATION, 1, CONVERSATION, 1, 0, 0, "", "no base64!"],
        [2, CONVERSATION, 1, CONVERSATION, 1, 0, 0, "", b"", {"a": b""}],
        [2, CONVERSATION, 1, CONVERSATION, 1, 0, 0, "", b"", {}, [1]],
        [7, 1, 3],
    ],
    ids=repr,
)
def test_a_frame_that_is_not_what_its_tag_says_is_malformed(codec: Codec, frame: object) -> None:
    assert refused(codec, packed(codec, frame)) is MALFORMED


@codecs
@given(frame=client_frames, cut=st.integers(1, 1000))
def test_a_frame_cut_short_is_malformed(codec: Codec, frame: Frame, cut: int) -> None:
    data = codec.encode(frame)
    assert refused(codec, data[: -1 - cut % len(data)]) is MALFORMED


@codecs
@given(frame=client_frames)
def test_bytes_behind_a_frame_are_malformed(codec: Codec, frame: Frame) -> None:
    assert refused(codec, codec.encode(frame) + b"6") is MALFORMED


@codecs
def test_a_server_frame_is_checked_like_a_client_frame(codec: Codec) -> None:
    with pytest.raises(ProtocolError, match="malformed: "):
        codec.decode_server(packed(codec, [69]))


def test_text_that_is_not_utf8_is_malformed() -> None:
    assert refused(MSGPACK, b"\x92\x01\xa2\xc3\x28") is MALFORMED
    assert refused(JSON, b'[1,"\xc3\x28"]') is MALFORMED


# --- what an attacker would send ------------------------------------------------------------

FRAME_BYTES = Limits().frame_bytes

HOSTILE = {
    "lying array": b"\x93\x03\x01\xdd\xff\xff\xff\xff",
    "lying outer array": b"\xdd\xff\xff\xff\xff\x03",
    "lying map": b"\x9a\x02"
    + b"\xc4\x10"
    + bytes(16)
    + b"\x01"
    + b"\xc4\x10"
    + bytes(16)
    # then version, keys_at, scheme, content_type, content, and envelopes that claim 2^32
    + b"\x01\x00\x00\xa0\xc4\x00\xdf\xff\xff\xff\xff",
    "lying bytes": b"\x9a\x02\xc6\xff\xff\xff\xff",
    "lying text": b"\x92\x01\xdb\xff\xff\xff\xff",
    "nested arrays": b"\x92\x01" + b"\x91" * (FRAME_BYTES - 2),
    "nested arrays of an unknown tag": b"\x92\x3f" + b"\x91" * (FRAME_BYTES - 2),
    "nested maps": b"\x92\x01" + b"\x81\x01" * (FRAME_BYTES // 2 - 1),
    "maps as keys": b"\x92\x3f\x81\x81\x81\x80\x01\x01\x01",
    "many empty maps": b"\xdd\x00\x01\xff\xf0\x3f" + b"\x80" * 0x1FFEF,
    "an extension": b"\x92\x03\xd7\xff" + b"\xff" * 8,
    "a byte that means nothing": b"\xc1",
    "JSON: nested arrays": b"[1," + b"[" * FRAME_BYTES,
    "JSON: nested arrays of an unknown tag": b"[63," + b"[" * 60_000 + b"]" * 60_000 + b"]",
    "JSON: nested objects": b'[1,{"a":' * 20_000,
    "JSON: 100,000 digits": b"[3," + b"9" * 100_000 + b"]",
    "JSON: a tag of 5,000 digits": b"[" + b"9" * 5_000 + b"]",
    "JSON: digits as text": b'[3,"' + b"9" * 100_000 + b'"]',
    "JSON: a great exponent": b"[3,1e999999999]",
    "JSON: half a surrogate pair": b'[1,"\\ud800"]',
    "JSON: many empty objects": b"[63" + b",{}" * 43_000 + b"]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused_and_cost_nothing(name: str) -> None:
    data = HOSTILE[name]
    codec = JSON if name.startswith("JSON") else MSGPACK
    refused(codec, data)  # what is built on first use is not the input's fault
    tracemalloc.start()
    before = time.process_time()
    refused(codec, data)
    spent_s = time.process_time() - before
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_384
    assert spent_s < 0.1


@codecs
def test_a_long_list_costs_what_it_holds(codec: Codec) -> None:
    frame = codec.decode_client(codec.encode(Ack(1, list(range(30_000)))))
    assert frame == Ack(1, list(range(30_000)))


def test_the_greatest_allowed_message_fits_into_a_frame_in_both_encodings() -> None:
    limits = Limits()
    device = ids.SNOWFLAKE_MAX
    send = Send(
        ids.ClientId(CONVERSATION),
        1,
        ids.ConversationId(CONVERSATION),
        1,
        1,
        1,
        "x" * limits.content_type_chars,
        bytes(limits.content_bytes),
        {ids.DeviceId(device - number): bytes(200) for number in range(limits.envelopes)},
    )
    assert len(MSGPACK.encode(send)) <= limits.frame_bytes
    assert len(JSON.encode(send)) <= limits.frame_bytes
