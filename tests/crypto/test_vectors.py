"""The recorded vectors: what was written once is read for ever, and fixed secrets give fixed bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tidings_core
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tidings_core import (
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
    safety_number,
    unpad,
    verify,
)

from crypto import second

VECTORS = json.loads((Path(__file__).parents[2] / "spec/vectors/crypto.json").read_text())

Vector = dict[str, Any]


def each(section: str) -> pytest.MarkDecorator:
    assert VECTORS[section]
    return pytest.mark.parametrize("vector", VECTORS[section])


def unhex(vector: Vector, *names: str) -> list[bytes]:
    return [bytes.fromhex(vector[name]) for name in names]


@each("signatures")
def test_signatures(vector: Vector) -> None:
    secret, public, message, signature = unhex(vector, "secret", "public", "message", "signature")
    key = SigningKey.load(secret)
    assert key.public == public
    assert key.sign(vector["tag"], message) == signature
    verify(public, vector["tag"], message, signature)


@each("kem_prekeys")
def test_kem_prekeys(vector: Vector) -> None:
    secret, public = unhex(vector, "secret", "public")
    assert KemPrekey.load(secret).public == public
    assert MLKEM1024PrivateKey.from_seed_bytes(secret).public_key().public_bytes_raw() == public


@each("safety_numbers")
def test_safety_numbers(vector: Vector) -> None:
    user_a, identity_a, user_b, identity_b = unhex(vector, "user_a", "identity_a", "user_b", "identity_b")
    code_a, code_b = unhex(vector, "code_a", "code_b")
    assert safety_number(user_a, identity_a, user_b, identity_b) == vector["number"]
    assert safety_code(user_a, identity_a, user_b, identity_b) == code_a
    assert safety_code(user_b, identity_b, user_a, identity_a) == code_b
    assert compare_safety_code(code_a, code_b)


@each("sealed")
def test_sealed_content(vector: Vector) -> None:
    key, aad, plaintext, sealed = unhex(vector, "key", "aad", "plaintext", "sealed")
    assert open_sealed(key, sealed, aad) == plaintext
    assert second.open_sealed(key, sealed, aad) == plaintext


@each("padded")
def test_padding(vector: Vector) -> None:
    plaintext, padded = unhex(vector, "plaintext", "padded")
    assert pad(plaintext) == padded
    assert unpad(padded) == plaintext


@each("handshakes")
def test_handshakes(vector: Vector) -> None:
    device, prekey, kem = unhex(vector["responder"], "device_keys", "prekey", "kem")
    one_time = vector["responder"]["one_time"]
    (context,) = unhex(vector, "context")
    messages = [unhex(pair, "message", "plaintext") for pair in vector["messages"]]
    shake = handshake_of(messages[0][0])
    assert shake is not None
    assert str(shake.prekey_id) == vector["responder"]["prekey_id"]
    assert str(shake.kem_id) == vector["responder"]["kem_id"]
    assert shake.one_time_id == (one_time and int(vector["responder"]["one_time_id"]))
    assert [shake.signing, shake.agreement] == unhex(vector["initiator"], "signing", "agreement")
    session, said = Session.inbound(
        DeviceKeys.load(device),
        messages[0][0],
        Prekey.load(prekey),
        KemPrekey.load(kem),
        Prekey.load(bytes.fromhex(one_time)) if one_time else None,
        context,
    )
    assert said == messages[0][1]
    assert session.session_id.hex() == vector["session_id"]
    for message, plaintext in messages[1:]:
        assert session.decrypt(message) == plaintext


@each("handshakes")
def test_handshakes_in_the_second_implementation(vector: Vector) -> None:
    device, prekey, kem = unhex(vector["responder"], "device_keys", "prekey", "kem")
    one_time = vector["responder"]["one_time"]
    secrets = second.Secrets(
        Ed25519PrivateKey.from_private_bytes(device[2:34]),
        X25519PrivateKey.from_private_bytes(device[34:]),
        X25519PrivateKey.from_private_bytes(prekey),
        MLKEM1024PrivateKey.from_seed_bytes(kem),
        X25519PrivateKey.from_private_bytes(bytes.fromhex(one_time)) if one_time else None,
    )
    first, *others = (unhex(pair, "message", "plaintext") for pair in vector["messages"])
    session, said = second.Session.inbound(secrets, first[0], bytes.fromhex(vector["context"]))
    assert said == first[1]
    assert session.session_id.hex() == vector["session_id"]
    assert [session.decrypt(message) for message, _ in others] == [plaintext for _, plaintext in others]


@each("sessions")
def test_sessions(vector: Vector) -> None:
    (state,) = unhex(vector, "state")
    session = Session.load(state)
    assert session.save() == state
    keys = [session.session_id, session.peer_signing, session.peer_agreement]
    assert keys == unhex(vector, "session_id", "peer_signing", "peer_agreement")
    for pair in vector["messages"]:
        message, plaintext = unhex(pair, "message", "plaintext")
        assert session.decrypt(message) == plaintext


@each("sender_keys")
def test_sender_keys(vector: Vector) -> None:
    own_state, shared, state = unhex(vector, "own_state", "shared", "state")
    own = SenderKey.load(own_state)
    assert own.save() == own_state
    assert own.share() == shared
    received = ReceivedSenderKey(shared)
    assert received.save() == state
    assert received.first_index == vector["first_index"]
    for entry in vector["messages"]:
        message, plaintext = unhex(entry, "message", "plaintext")
        assert ReceivedSenderKey.load(state).decrypt(message) == (plaintext, entry["index"])
        assert own.encrypt(plaintext) == message


READERS: dict[str, Callable[[bytes], object]] = {
    "session": Session.load,
    "handshake_of": handshake_of,
    "shared_sender_key": ReceivedSenderKey,
    "padded": unpad,
    "prekey": Prekey.load,
}


@each("refused")
def test_what_is_refused(vector: Vector) -> None:
    with pytest.raises(getattr(tidings_core, vector["error"])) as caught:
        READERS[vector["reader"]](bytes.fromhex(vector["bytes"]))
    assert type(caught.value).__name__ == vector["error"]
