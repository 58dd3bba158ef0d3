"""spec §6.16: what is signed, byte for byte."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.strategies import of_struct
from protocol.test_vectors import load
from tidings.protocol.ids import SNOWFLAKE_MAX, DeviceId, UserId
from tidings.protocol.keys import (
    AGREEMENT,
    DEVICE_LIST,
    DeviceListBody,
    ListedDevice,
    decode_list,
    encode_list,
    named_key,
    signed_bytes,
)
from tidings.testing import vectors


def body(**fields: object) -> DeviceListBody:
    values: dict[str, object] = {
        "user_id": UserId(7),
        "version": 1,
        "identity": b"i" * 32,
        "previous": b"",
        "devices": [device(1), device(2)],
    }
    return DeviceListBody(**{**values, **fields})  # type: ignore[arg-type]


def device(number: int, **fields: bytes) -> ListedDevice:
    return ListedDevice(DeviceId(number), **{"signing": b"s" * 32, "agreement": b"a" * 32, **fields})


@pytest.mark.parametrize(
    "good",
    [body(), body(devices=[]), body(previous=b"p" * 32), body(version=SNOWFLAKE_MAX, user_id=UserId(0))],
)
def test_a_list_comes_back_as_it_was(good: DeviceListBody) -> None:
    assert decode_list(encode_list(good), 2) == good


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (body(format=2), "format 2"),
        (body(version=0), "starts at 1"),
        (body(version=-1), "no device list"),
        (body(version=1 << 63), "no device list"),
        (body(identity=b"i" * 31), "no device list"),
        (body(identity=b"i" * 33), "no device list"),
        (body(previous=b"p" * 31), "32 bytes"),
        (body(previous=b"p" * 33), "no device list"),
        (body(previous=b"i" * 32), "before this one"),
        (body(devices=[device(2), device(1)]), "ascending"),
        (body(devices=[device(1), device(1)]), "each once"),
        (body(devices=[device(1), device(2), device(3)]), "more than 2"),
        (body(devices=[device(1, signing=b"")]), "no device list"),
        (body(devices=[device(1, agreement=b"a" * 64)]), "no device list"),
    ],
)
def test_an_odd_list_is_refused(wrong: DeviceListBody, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_list(encode_list(wrong), 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\0",
        lambda data: data[:-1],
        lambda data: b"\x97" + data[1:] + b"\xc0",
        lambda data: data[:1] + b"\xcc\x01" + data[2:],
        lambda data: b"\xdc\x00\x06" + data[1:],
        lambda data: b"",
        lambda data: b"\x91" * 100_000,
        lambda data: b"\x96\x01\xa1\xff" + data[3:],
    ],
)
def test_there_is_one_encoding_of_a_list(change: object) -> None:
    with pytest.raises(ValueError, match="list"):
        decode_list(change(encode_list(body())), 2)  # type: ignore[operator]


@given(st.binary(max_size=300))
def test_random_bytes_are_no_list(data: bytes) -> None:
    with pytest.raises(ValueError, match="list"):
        decode_list(data, 9)


@given(of_struct(DeviceListBody), st.integers(0, 400), st.integers(0, 255))
def test_a_list_with_a_byte_changed_is_another_or_none(good: DeviceListBody, place: int, byte: int) -> None:
    data = bytearray(encode_list(good))
    data[place % len(data)] = byte
    try:
        found = decode_list(bytes(data), 9)
    except ValueError:
        return
    assert encode_list(found) == bytes(data)


def test_kinds_of_messages_are_told_apart() -> None:
    assert signed_bytes(DEVICE_LIST, b"x") == b"tidings/1 device-list\0x"
    assert signed_bytes("a", b"\0b") != signed_bytes("a\0", b"b") or "\0" not in AGREEMENT
    assert named_key(258, b"key") == b"\0\0\0\0\0\0\1\2key"


def test_the_vectors_are_what_the_source_makes_and_verify() -> None:
    content = load("keys.json")
    assert content == vectors.key_vectors()
    for signed in content["signatures"]:
        message = bytes.fromhex(signed["message"])
        data = signed_bytes(signed["tag"], message)
        assert data.hex() == signed["signed"]
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signed["public"]))
        key.verify(bytes.fromhex(signed["signature"]), data)
    for one in content["lists"]:
        found = decode_list(bytes.fromhex(one["body"]), 16)
        assert (str(found.user_id), found.version) == (one["user_id"], one["version"])
        assert [str(listed.device_id) for listed in found.devices] == one["devices"]
    for odd in content["no_lists"]:
        with pytest.raises(ValueError, match=r"."):
            decode_list(bytes.fromhex(odd["body"]), 16)
