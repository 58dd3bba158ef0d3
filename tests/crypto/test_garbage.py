"""Whatever bytes come in, only a CryptoError comes out: no panic, no other exception."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tidings_core import (
    CryptoError,
    DeviceKeys,
    KemPrekey,
    Prekey,
    ReceivedSenderKey,
    SenderKey,
    Session,
    SigningKey,
    compare_safety_code,
    handshake_of,
    open_sealed,
    pad,
    safety_code,
    seal,
    unpad,
    verify,
)

from crypto.phones import Phone, talking

_alice, _bob = Phone(), Phone()
_hers, _his = talking()
_own = SenderKey.generate()
_received = ReceivedSenderKey(_own.share())
_key, _sealed = seal(b"hello", b"")
_code = safety_code(b"a", _alice.device.signing, b"b", _bob.device.signing)
_first = _alice.call(_bob).encrypt(b"hello")

READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "inbound": (_bob.answer, _first),
    "handshake_of": (handshake_of, _first),
    "decrypt": (lambda data: Session.load(_his.save()).decrypt(data), _hers.encrypt(b"x" * 40)),
    "decrypt first": (lambda data: Session.load(_his.save()).decrypt(data), _first),
    "session": (Session.load, _hers.save()),
    "waiting session": (Session.load, _alice.call(_bob).save()),
    "device keys": (DeviceKeys.load, _alice.device.save()),
    "signing key": (SigningKey.load, b"\1" * 32),
    "prekey": (Prekey.load, b"\1" * 32),
    "kem prekey": (KemPrekey.load, b"\1" * 64),
    "sender key": (SenderKey.load, _own.save()),
    "received sender key": (ReceivedSenderKey.load, _received.save()),
    "shared sender key": (ReceivedSenderKey, _own.share()),
    "group message": (_received.decrypt, _own.encrypt(b"hello")),
    "sealed": (lambda data: open_sealed(_key, data, b""), _sealed),
    "sealed key": (lambda data: open_sealed(data, _sealed, b""), _key),
    "padded": (unpad, pad(b"hello")),
    "safety code": (lambda data: compare_safety_code(_code, data), _code),
    "public key": (lambda data: verify(data, "t", b"m", bytes(64)), _alice.device.signing),
    "signature": (lambda data: verify(_alice.device.signing, "t", b"m", data), bytes(64)),
}
"""What reads bytes from outside, and bytes that it reads."""

pytestmark = pytest.mark.slow
readers = pytest.mark.parametrize("name", READERS)


def only_crypto_errors(read: Callable[[bytes], object], data: bytes) -> None:
    with contextlib.suppress(CryptoError):
        read(data)


def used(read: Callable[[bytes], object], data: bytes) -> None:
    """A state that was changed and still loads must not panic when it is used, either."""
    try:
        loaded = read(data)
        if isinstance(loaded, Session):
            loaded.encrypt(b"x")
            loaded.decrypt(_his.encrypt(b"x"))
        elif isinstance(loaded, SenderKey):
            loaded.encrypt(b"x")
            loaded.share()
        elif isinstance(loaded, ReceivedSenderKey):
            loaded.decrypt(_own.encrypt(b"x"))
    except CryptoError:
        pass


@readers
@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_noise(name: str, data: bytes) -> None:
    read, _ = READERS[name]
    only_crypto_errors(read, data)
    only_crypto_errors(read, b"\1" + data)
    only_crypto_errors(read, READERS[name][1][:2] + data)


@readers
@settings(max_examples=300)
@given(data=st.data())
def test_what_was_good_and_was_changed(name: str, data: st.DataObject) -> None:
    read, good = READERS[name]
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        match data.draw(st.sampled_from(["set", "cut", "drop", "repeat", "insert"])):
            case "set" if changed:
                changed[place] = data.draw(st.integers(0, 255))
            case "cut":
                del changed[place:]
            case "drop":
                del changed[place : place + 4]
            case "repeat":
                changed[place:place] = changed[place : place + 8]
            case "insert":
                changed[place:place] = data.draw(st.binary(max_size=8))
    used(read, bytes(changed))
