"""Frames to bytes and back, in the two subprotocols.

`tidings.v1.msgpack` is the default. `tidings.v1.json` carries the same arrays for people and
small clients: bytes as base64, snowflakes as strings. Whatever bytes come in, the only
exception that leaves `decode` is `ProtocolError`.

spec §2
"""

import types
from collections.abc import Callable
from typing import Any, Protocol, Union, get_args, get_origin, get_type_hints

import msgspec

from tidings.protocol.errors import MALFORMED, UNKNOWN_TAG, ProtocolError
from tidings.protocol.frames import ClientFrame, Frame, Heartbeat, Message, SealedDeliver, ServerFrame
from tidings.protocol.ids import SNOWFLAKES

MSGPACK_SUBPROTOCOL = "tidings.v1.msgpack"
JSON_SUBPROTOCOL = "tidings.v1.json"


class Codec(Protocol):
    """One subprotocol. Stateless; one instance serves all connections."""

    @property
    def subprotocol(self) -> str:
        """The name that the WebSocket handshake agrees on."""

    @property
    def binary(self) -> bool:
        """Whether its frames travel as binary WebSocket messages."""

    @property
    def heartbeat(self) -> bytes:
        """A Heartbeat as clients send it, to be known without decoding."""

    def encode(self, frame: Frame) -> bytes:
        """The frame as one WebSocket message."""

    def decode_client(self, data: bytes | memoryview) -> ClientFrame:
        """What a client sent. Raises ProtocolError (malformed, unknown_tag)."""

    def decode_server(self, data: bytes | memoryview) -> ServerFrame:
        """What a server sent. Raises ProtocolError (malformed, unknown_tag)."""


def encode_message(message: Message) -> bytes:
    """A message as it stands in an inbox and inside a Deliver frame."""
    return _encoder.encode(message)


def decode_message(data: bytes) -> Message:
    """The inverse of `encode_message`, for bytes that this server wrote itself."""
    return _message_decoder.decode(data)


_encoder = msgspec.msgpack.Encoder()
_message_decoder = msgspec.msgpack.Decoder(Message)


class MsgpackCodec:
    """`tidings.v1.msgpack`."""

    subprotocol = MSGPACK_SUBPROTOCOL
    binary = True

    def __init__(self) -> None:
        self.encode = _encoder.encode
        self.heartbeat = self.encode(Heartbeat())
        self._client = msgspec.msgpack.Decoder(ClientFrame)
        self._server = msgspec.msgpack.Decoder(ServerFrame)

    def decode_client(self, data: bytes | memoryview) -> ClientFrame:
        try:
            frame: ClientFrame = self._client.decode(data)
            return frame
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refusal(error, _msgpack_head, data, ClientFrame) from None

    def decode_server(self, data: bytes | memoryview) -> ServerFrame:
        try:
            frame: ServerFrame = self._server.decode(data)
            return frame
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refusal(error, _msgpack_head, data, ServerFrame) from None


class JsonCodec:
    """`tidings.v1.json`: the same arrays, snowflakes as strings, bytes as base64."""

    subprotocol = JSON_SUBPROTOCOL
    binary = False

    def __init__(self) -> None:
        self.heartbeat = msgspec.json.encode(Heartbeat())
        self._client = msgspec.json.Decoder(ClientFrame, strict=False)
        self._server = msgspec.json.Decoder(ServerFrame, strict=False)

    def encode(self, frame: Frame) -> bytes:
        return msgspec.json.encode(_jsonable(frame))

    def decode_client(self, data: bytes | memoryview) -> ClientFrame:
        try:
            frame: ClientFrame = self._client.decode(data)
            return frame
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refusal(error, _json_head, data, ClientFrame) from None

    def decode_server(self, data: bytes | memoryview) -> ServerFrame:
        try:
            frame: ServerFrame = self._server.decode(data)
            return frame
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _refusal(error, _json_head, data, ServerFrame) from None


MSGPACK: Codec = MsgpackCodec()
JSON: Codec = JsonCodec()
CODECS: dict[str, Codec] = {codec.subprotocol: codec for codec in (MSGPACK, JSON)}
"""In order of preference."""


class _Head(msgspec.Struct, array_like=True):
    """Any frame, as far as its tag: the rest is skipped, so that no input costs memory here."""

    tag: int


_msgpack_head = msgspec.msgpack.Decoder(_Head).decode
_json_head = msgspec.json.Decoder(_Head).decode


def _refusal(
    error: Exception,
    decode_head: Callable[[bytes | memoryview], _Head],
    data: bytes | memoryview,
    union: object,
) -> ProtocolError:
    """Tell a well-formed frame of an unknown tag from one that is broken."""
    try:
        tag = decode_head(data).tag
    except (msgspec.DecodeError, RecursionError):
        return ProtocolError(MALFORMED, str(error))
    if tag in _tags(union):
        return ProtocolError(MALFORMED, str(error))
    return ProtocolError(UNKNOWN_TAG, f"unknown tag {tag}")


def _tags(union: object) -> set[object]:
    return {member.__struct_config__.tag for member in get_args(union)}


# --- snowflakes as strings ------------------------------------------------------------------


def _jsonable(frame: Frame) -> object:
    if isinstance(frame, SealedDeliver):
        message = _jsonable(decode_message(bytes(frame.message)))
        return [frame.__struct_config__.tag, str(frame.entry_id), message, frame.envelope]
    convert = _struct_converter(type(frame))
    assert convert is not None
    return convert(frame)


Convert = Callable[[Any], object]


def _struct_converter(struct: type[Frame]) -> Convert:
    """A function from a frame to the list that JSON gets, built once a type."""
    cached = _struct_converters.get(struct)
    if cached is None:
        hints = get_type_hints(struct)
        tag = struct.__struct_config__.tag
        head = [] if tag is None else [tag]
        fields = [(name, _converter(hints[name])) for name in struct.__struct_fields__]

        def cached(frame: Any) -> object:
            values = ((getattr(frame, name), convert) for name, convert in fields)
            return head + [value if convert is None else convert(value) for value, convert in values]

        _struct_converters[struct] = cached
    return cached


_struct_converters: dict[type[Frame], Convert] = {}


def _converter(hint: Any) -> Convert | None:
    """How to rewrite a value of this type; None where JSON takes it as it is."""
    if hint in SNOWFLAKES:
        return str
    if isinstance(hint, type) and issubclass(hint, Frame):
        return _struct_converter(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [found for found in map(_converter, arguments) if found is not None]
        if not inner:
            return None
        (convert,) = inner
        return lambda value: None if value is None else convert(value)
    if origin is list:
        item = _converter(arguments[0])
        return None if item is None else lambda values: [item(value) for value in values]
    return None
