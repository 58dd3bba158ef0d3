"""Keys, signatures and prekeys."""

import pytest
from tidings_core import (
    BadKey,
    BadSignature,
    CryptoError,
    DeviceKeys,
    KemPrekey,
    Malformed,
    Prekey,
    SigningKey,
    verify,
)

from crypto.phones import Phone

SMALL_ORDER = bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
"""An Ed25519 point of order two."""


def test_a_signature_serves_one_message_and_one_purpose() -> None:
    key = SigningKey.generate()
    signature = key.sign("device-list", b"version 7")
    verify(key.public, "device-list", b"version 7", signature)
    for tag, message, public in [
        ("device-list", b"version 8", key.public),
        ("prekey", b"version 7", key.public),
        ("device-list", b"version 7", SigningKey.generate().public),
    ]:
        with pytest.raises(BadSignature):
            verify(public, tag, message, signature)


def test_each_byte_of_a_signature_counts() -> None:
    key = SigningKey.generate()
    signature = key.sign("t", b"m")
    for place in range(len(signature)):
        changed = bytearray(signature)
        changed[place] ^= 0x10
        with pytest.raises(BadSignature):
            verify(key.public, "t", b"m", bytes(changed))
    with pytest.raises(BadSignature):
        verify(key.public, "t", b"m", signature[:-1])


@pytest.mark.parametrize("public", [bytes(32), SMALL_ORDER, b"\1" + bytes(31), b"", bytes(31), b"\xff" * 33])
def test_a_key_that_is_none_verifies_nothing(public: bytes) -> None:
    with pytest.raises(BadKey):
        verify(public, "t", b"m", bytes(64))


@pytest.mark.parametrize("tag", ["", "a\0b"])
def test_a_tag_cannot_run_into_the_message(tag: str) -> None:
    with pytest.raises(Malformed):
        SigningKey.generate().sign(tag, b"m")


def test_a_signing_key_comes_back_from_its_secret() -> None:
    key = SigningKey.generate()
    again = SigningKey.load(key.secret())
    assert (again.public, again.sign("t", b"m")) == (key.public, key.sign("t", b"m"))


def test_device_keys_come_back_from_their_state() -> None:
    keys = DeviceKeys.generate()
    again = DeviceKeys.load(keys.save())
    assert again.save() == keys.save()
    assert (again.signing, again.agreement) == (keys.signing, keys.agreement)
    verify(again.signing, "agreement", again.agreement, keys.agreement_signature)


def test_prekeys_come_back_from_their_secrets() -> None:
    prekey, kem = Prekey.generate(), KemPrekey.generate()
    assert (len(prekey.public), len(kem.public), len(kem.secret())) == (32, 1568, 64)
    assert Prekey.load(prekey.secret()).public == prekey.public
    assert KemPrekey.load(kem.secret()).public == kem.public


def test_prekeys_are_signed_with_their_ids() -> None:
    phone = Phone()
    number = (7).to_bytes(8, "big")
    verify(phone.device.signing, "prekey", number + b"k", phone.device.sign_prekey(7, b"k"))
    verify(phone.device.signing, "kem-prekey", number + b"k", phone.device.sign_kem_prekey(7, b"k"))


@pytest.mark.parametrize("kind", [SigningKey, Prekey, KemPrekey])
def test_a_secret_has_its_length_and_is_not_zeros(kind: type[SigningKey | Prekey | KemPrekey]) -> None:
    length = len(kind.generate().secret())
    with pytest.raises(BadKey):
        kind.load(bytes(length))
    for wrong in (b"", b"\1" * (length - 1), b"\1" * (length + 1)):
        with pytest.raises(Malformed):
            kind.load(wrong)


def test_every_error_is_a_crypto_error() -> None:
    assert all(issubclass(kind, CryptoError) for kind in (BadKey, BadSignature, Malformed))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_an_id_fits_in_64_bits(number: int) -> None:
    with pytest.raises(OverflowError):
        Phone().device.sign_prekey(number, b"")
