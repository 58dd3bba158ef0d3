"""Test vectors: sample frames in both encodings, for the spec and for clients in other languages.

Samples are derived from the structs, so that a new frame or field is in the vectors without
being added here. `scripts/spec` writes them to `spec/vectors/`, and a test compares.

spec §11
"""

import hashlib
import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tidings.protocol import frames, ids, keys
from tidings.protocol.codec import JSON, MSGPACK
from tidings.protocol.errors import MALFORMED, RATE_LIMITED, UNKNOWN_TAG, ErrorKind, ProtocolError
from tidings.protocol.frames import ClientFrame, Frame, ServerFrame
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, EntryId, MessageId, UserId

NOON_MS = 1_767_268_800_000
"""2026-01-01T12:00:00Z, when the samples happen."""

ALICE = UserId(ids.snowflake(NOON_MS - 86_400_000, 0, 1))
BOB = UserId(ids.snowflake(NOON_MS - 80_000_000, 0, 2))
ALICE_LAPTOP = DeviceId(ids.snowflake(NOON_MS - 3_600_000, 0, 3))
BOB_PHONE = DeviceId(ids.snowflake(NOON_MS - 1_800_000, 0, 4))
CONVERSATION = ids.direct_conversation_id(ALICE, BOB)
CLIENT_ID = ids.client_id(bytes.fromhex("8f1d3a5b7c9e0246"), 7)
MESSAGE = MessageId(ids.snowflake(NOON_MS, 0, 0))

_BY_NAME: dict[str, object] = {
    "token": "AAUd-example-token",
    "agent": "example/1.0",
    "generation": 3,
    "attempt": 2,
    "version": 1,
    "keys_at": EntryId(MESSAGE),
    "content_type": "text/plain",
    "content": "Grüße, Bob".encode(),
    "envelopes": {BOB_PHONE: b"key for Bob's phone"},
    "envelope": b"key for Bob's phone",
    "expires_at": NOON_MS + 604_800_000,
    "silent": True,
    "receive": False,
    "handle": "bob",
    "code": RATE_LIMITED.code,
    "message": RATE_LIMITED.meaning,
    "retry_after": 1.5,
    "heartbeat_s": 30.0,
    "heartbeat_answer_s": 10.0,
    "window_entries": 256,
    "content_bytes": 65_536,
    "created_at": NOON_MS,
    "since": NOON_MS,
    "now_ms": NOON_MS + 20,
    "at_ms": NOON_MS + 40,
    "sender_id": ALICE,
    "sender_device": ALICE_LAPTOP,
}
_BY_TYPE: dict[Any, object] = {
    int: 2,
    bool: True,
    float: 1.0,
    str: "text",
    bytes: b"bytes",
    UserId: BOB,
    DeviceId: BOB_PHONE,
    MessageId: MESSAGE,
    EntryId: EntryId(MESSAGE),
    ConversationId: CONVERSATION,
    ClientId: CLIENT_ID,
}


def client_frames() -> tuple[type[Frame], ...]:
    """Every frame that a client sends, in the order of the tags."""
    return _in_order(get_args(ClientFrame))


def server_frames() -> tuple[type[Frame], ...]:
    """Every frame that a server sends, in the order of the tags."""
    return _in_order(get_args(ServerFrame))


def full(struct: type[Frame]) -> Frame:
    """A sample with every field set."""
    hints = get_type_hints(struct)
    return struct(**{name: _sample(name, hints[name]) for name in struct.__struct_fields__})


def short(struct: type[Frame]) -> Frame | None:
    """A sample in which all that has a default has it; None where nothing has one."""
    fields = msgspec.structs.fields(struct)
    required = [field for field in fields if field.required]
    if len(required) == len(fields):
        return None
    hints = get_type_hints(struct)
    return struct(**{field.name: _sample(field.name, hints[field.name]) for field in required})


def _in_order(structs: tuple[type[Frame], ...]) -> tuple[type[Frame], ...]:
    return tuple(sorted(structs, key=lambda struct: int(str(struct.__struct_config__.tag))))


def _sample(name: str, hint: Any) -> object:
    if isinstance(hint, type) and issubclass(hint, Frame):
        return full(hint)
    if name in _BY_NAME:
        return _BY_NAME[name]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _sample(name, arguments[0])
    if origin is list:
        return [_sample("", arguments[0])]
    return _BY_TYPE[hint]


# --- spec/vectors/frames.json ---------------------------------------------------------------


def frame_vectors() -> list[dict[str, object]]:
    """Each frame in both encodings; a decoder must read them, an encoder may write them."""
    return [
        {
            "frame": type(frame).__name__,
            "case": case,
            "from": sender,
            "msgpack": MSGPACK.encode(frame).hex(),
            "json": json.loads(JSON.encode(frame)),
        }
        for sender, case, frame in _cases()
    ]


def _cases() -> Iterator[tuple[str, str, Frame]]:
    for sender, structs in (("client", client_frames()), ("server", server_frames())):
        for struct in structs:
            yield sender, "every field set", full(struct)
            shorter = short(struct)
            if shorter is not None:
                yield sender, "defaults where there are any", shorter
    yield "client", "the greatest snowflake", frames.Read(1, CONVERSATION, MessageId(ids.SNOWFLAKE_MAX))
    yield "client", "the greatest number of JSON", frames.Ack(2**53 - 1, [0, 2**53 - 1])
    yield "client", "300 bytes of content", _send(bytes(range(256)) + bytes(44))
    yield "client", "no content", _send(b"")


def _send(content: bytes) -> Frame:
    return frames.Send(CLIENT_ID, 1, CONVERSATION, 1, EntryId(0), 0, "application/octet-stream", content)


# --- spec/vectors/decoding.json -------------------------------------------------------------


class Decoding(NamedTuple):
    """Bytes that a server's decoder meets, and what must become of them."""

    case: str
    encoding: str
    data: bytes
    expected: type[Frame] | ErrorKind

    @property
    def result(self) -> str:
        """The name of the frame, or of the error."""
        return self.expected.name if isinstance(self.expected, ErrorKind) else self.expected.__name__


_READ = b'[4,1,"AAAAAAAAAAAAAAAAAAAAAA==",%s]'

DECODINGS = (
    Decoding("trailing fields with defaults left out", "msgpack", bytes.fromhex("920307"), frames.Ack),
    Decoding(
        "a trailing field of a newer version", "msgpack", bytes.fromhex("940307 90 a3 6e6577"), frames.Ack
    ),
    Decoding("a number in a longer form than needed", "msgpack", bytes.fromhex("9203cd0007"), frames.Ack),
    Decoding("an unknown tag", "msgpack", bytes.fromhex("923f07"), UNKNOWN_TAG),
    Decoding("a frame of the other direction", "msgpack", bytes.fromhex("924507"), UNKNOWN_TAG),
    Decoding("a required field is missing", "msgpack", bytes.fromhex("9103"), MALFORMED),
    Decoding("a negative number where none may be", "msgpack", bytes.fromhex("9203ff"), MALFORMED),
    Decoding("2^63, one too many", "msgpack", bytes.fromhex("9203cf8000000000000000"), MALFORMED),
    Decoding("text where a number belongs", "msgpack", bytes.fromhex("9203a137"), MALFORMED),
    Decoding("true is not 1", "msgpack", bytes.fromhex("9203c3"), MALFORMED),
    Decoding("bytes after the frame", "msgpack", bytes.fromhex("910600"), MALFORMED),
    Decoding("cut short", "msgpack", bytes.fromhex("9203"), MALFORMED),
    Decoding("a length that lies", "msgpack", bytes.fromhex("930307ddffffffff"), MALFORMED),
    Decoding("text that is not UTF-8", "msgpack", bytes.fromhex("9201a2c328"), MALFORMED),
    Decoding("a map is no frame", "msgpack", bytes.fromhex("8106c0"), MALFORMED),
    Decoding("an empty array is no frame", "msgpack", bytes.fromhex("90"), MALFORMED),
    Decoding("nothing", "msgpack", b"", MALFORMED),
    Decoding("a snowflake as a string", "json", _READ % b'"7"', frames.Read),
    Decoding("a snowflake as a number", "json", _READ % b"7", frames.Read),
    Decoding("a trailing field of a newer version", "json", b'[3,7,[],{"new":1}]', frames.Ack),
    Decoding("an unknown tag", "json", b"[63,7]", UNKNOWN_TAG),
    Decoding("a tag as a string", "json", b'["3",7]', MALFORMED),
    Decoding("base64 without its padding", "json", b'[4,1,"AAAAAAAAAAAAAAAAAAAAAA",1]', MALFORMED),
    Decoding("15 bytes of conversation_id", "json", b'[4,1,"AAAAAAAAAAAAAAAAAAAA",1]', MALFORMED),
    Decoding("a number in words", "json", b'[3,"seven"]', MALFORMED),
    Decoding("not JSON", "json", b"[3,7", MALFORMED),
)


def decoding_vectors() -> list[dict[str, object]]:
    """What a server makes of bytes at the edges of the format."""
    return [
        {
            "case": vector.case,
            "encoding": vector.encoding,
            "input": vector.data.hex() if vector.encoding == "msgpack" else vector.data.decode(),
            "result": vector.result,
        }
        for vector in DECODINGS
    ]


def decoded(encoding: str, data: bytes) -> str:
    """The name of the frame, or of the error, that a server's decoder answers with."""
    codec = MSGPACK if encoding == "msgpack" else JSON
    try:
        return type(codec.decode_client(data)).__name__
    except ProtocolError as error:
        return error.kind.name


# --- spec/vectors/ids.json ------------------------------------------------------------------


def id_vectors() -> dict[str, object]:
    """How ids are put together; numbers as strings, bytes as hex."""
    parts = ((ids.EPOCH_MS, 0, 0), (NOON_MS, 0, 0), (NOON_MS, 4095, 1023), (NOON_MS + 1, 1, 2))
    users = ((ALICE, BOB), (BOB, ALICE), (UserId(1), UserId(2)))
    return {
        "snowflakes": [
            {
                "unix_ms": str(ms),
                "node": node,
                "sequence": sequence,
                "id": str(ids.snowflake(ms, node, sequence)),
            }
            for ms, node, sequence in parts
        ],
        "direct_conversations": [
            {"users": [str(one), str(other)], "conversation_id": ids.direct_conversation_id(one, other).hex()}
            for one, other in users
        ],
    }


# --- spec/vectors/keys.json -----------------------------------------------------------------


def key_vectors() -> dict[str, object]:
    """Device lists and what is signed; numbers as strings, bytes as hex. Keys of these seeds sign."""
    identity, previous, device = (_signer(seed) for seed in (b"identity", b"previous", b"device"))
    listed = [
        keys.ListedDevice(ALICE_LAPTOP, _public(device), bytes(range(32))),
        keys.ListedDevice(DeviceId(ALICE_LAPTOP + 1), bytes(range(32, 64)), bytes(range(64, 96))),
    ]
    first = keys.DeviceListBody(
        user_id=ALICE, version=1, identity=_public(previous), previous=b"", devices=listed[:1]
    )
    second = keys.DeviceListBody(
        user_id=ALICE, version=2, identity=_public(identity), previous=_public(previous), devices=listed
    )
    bodies = [keys.encode_list(body) for body in (first, second)]
    prekey = keys.named_key(258, bytes(range(96, 128)))
    signed = (
        (keys.DEVICE_LIST, previous, bodies[0]),
        (keys.DEVICE_LIST, identity, bodies[1]),
        (keys.DEVICE_LIST, previous, bodies[1]),
        (keys.AGREEMENT, device, listed[0].agreement),
        (keys.PREKEY, device, prekey),
        (keys.KEM_PREKEY, device, prekey),
    )
    odd = (
        ("a device twice", msgspec.structs.replace(second, devices=[listed[0]] * 2)),
        ("out of order", msgspec.structs.replace(second, devices=listed[::-1])),
        ("version 0", msgspec.structs.replace(first, version=0)),
        ("of another format", msgspec.structs.replace(first, format=2)),
    )
    return {
        "signatures": [
            {
                "tag": tag,
                "public": _public(signer).hex(),
                "message": message.hex(),
                "signed": keys.signed_bytes(tag, message).hex(),
                "signature": signer.sign(keys.signed_bytes(tag, message)).hex(),
            }
            for tag, signer, message in signed
        ],
        "lists": [
            {
                "user_id": str(body.user_id),
                "version": body.version,
                "devices": [str(one.device_id) for one in body.devices],
                "body": keys.encode_list(body).hex(),
            }
            for body in (first, second)
        ],
        "no_lists": [
            *({"case": case, "body": keys.encode_list(body).hex()} for case, body in odd),
            {"case": "a field too many", "body": (b"\x97" + bodies[0][1:] + b"\xc0").hex()},
            {"case": "a number in a longer form than needed", "body": (b"\x96\xcc" + bodies[0][1:]).hex()},
        ],
    }


def _signer(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())


def _public(signer: Ed25519PrivateKey) -> bytes:
    return signer.public_key().public_bytes_raw()


# --- the worked example ---------------------------------------------------------------------


def dialogue() -> Iterator[tuple[str, str, Frame]]:
    """Alice's laptop and Bob's phone exchange one message: who sends, what it means, the frame."""
    alice, bob = "A>", "B>"
    to_alice, to_bob = ">A", ">B"
    message = frames.Message(
        MESSAGE, CONVERSATION, ALICE, ALICE_LAPTOP, CLIENT_ID, 1, 0, "text/plain", b"Hi Bob", NOON_MS
    )
    read = frames.Receipt(CONVERSATION, BOB, MESSAGE, MESSAGE, NOON_MS + 900)
    members = [frames.Member(ALICE, "alice"), frames.Member(BOB, "bob")]
    yield (
        alice,
        "the first frame names the device by its token",
        frames.Hello("AAUd-example-token", "example/1.0"),
    )
    yield (
        to_alice,
        "recognised",
        frames.Welcome(ALICE, ALICE_LAPTOP, "alice", NOON_MS - 500, 30.0, 10.0, 256, 65_536),
    )
    yield to_alice, "nothing was waiting", frames.Drained(NOON_MS - 499)
    yield alice, "which conversation is the one with Bob?", frames.OpenDirect(1, "bob")
    yield to_alice, "this one", frames.Conversation(1, CONVERSATION, 1, 1, members)
    yield (
        alice,
        "a message, written to the laptop's disk before",
        frames.Send(CLIENT_ID, 1, CONVERSATION, 1, EntryId(0), 0, "text/plain", b"Hi Bob"),
    )
    yield to_alice, "it is on the server's disk", frames.Sent(CLIENT_ID, MESSAGE, [], NOON_MS)
    yield to_bob, "the first Deliver of this connection", frames.Deliver(EntryId(MESSAGE), message)
    yield bob, "it is on the phone's disk", frames.Ack(1)
    yield (
        to_alice,
        "DELIVERED",
        frames.Receipt(CONVERSATION, BOB, MESSAGE, MessageId(0), NOON_MS + 30),
    )
    yield bob, "Bob has opened the conversation", frames.Read(1, CONVERSATION, MESSAGE)
    yield to_alice, "READ", read
    yield to_bob, "and that is durable", frames.Ok(1)
    yield bob, "half a minute later", frames.Heartbeat()
    yield to_bob, "so it is still there", frames.HeartbeatOk(NOON_MS + 30_000)
