"""A second implementation of the handshake and the ratchet, on the package `cryptography` alone.

Written from the descriptions (PQXDH, the Double Ratchet, Olm's message format) and from the wire
format that `crypto/README.md` tells, not from the Rust code, and as plainly as can be: it keeps
every key and wipes none. Whoever writes another client may start here.
"""

import hashlib
import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM1024PrivateKey, MLKEM1024PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = b"\1"
KDF_INFO = b"Tidings/1_CURVE25519_SHA-256_ML-KEM-1024"


def hkdf(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def agree(secret: X25519PrivateKey, public: bytes) -> bytes:
    return secret.exchange(X25519PublicKey.from_public_bytes(public))


def public(key: X25519PrivateKey | Ed25519PrivateKey | MLKEM1024PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def signed(tag: bytes, message: bytes) -> bytes:
    """What a signature is really over."""
    return b"tidings/1 " + tag + b"\0" + message


class Secrets(NamedTuple):
    """What a device holds: its two keys and its prekeys."""

    signing: Ed25519PrivateKey
    agreement: X25519PrivateKey
    prekey: X25519PrivateKey
    kem: MLKEM1024PrivateKey
    one_time: X25519PrivateKey | None

    @classmethod
    def generate(cls, *, spare: bool) -> "Secrets":
        make = X25519PrivateKey.generate
        return cls(
            Ed25519PrivateKey.generate(),
            make(),
            make(),
            MLKEM1024PrivateKey.generate(),
            make() if spare else None,
        )


class Published(NamedTuple):
    """A bundle."""

    signing: bytes
    agreement: bytes
    agreement_signature: bytes
    prekey_id: int
    prekey: bytes
    prekey_signature: bytes
    kem_id: int
    kem: bytes
    kem_signature: bytes
    one_time_id: int | None
    one_time: bytes | None

    @classmethod
    def of(cls, secrets: Secrets, prekey_id: int, kem_id: int, one_time_id: int) -> "Published":
        sign = secrets.signing.sign
        agreement, prekey, kem = public(secrets.agreement), public(secrets.prekey), public(secrets.kem)
        return cls(
            public(secrets.signing),
            agreement,
            sign(signed(b"agreement", agreement)),
            prekey_id,
            prekey,
            sign(signed(b"prekey", u64(prekey_id) + prekey)),
            kem_id,
            kem,
            sign(signed(b"kem-prekey", u64(kem_id) + kem)),
            one_time_id if secrets.one_time else None,
            public(secrets.one_time) if secrets.one_time else None,
        )

    def verify(self) -> None:
        """Raises InvalidSignature."""
        key = Ed25519PublicKey.from_public_bytes(self.signing)
        key.verify(self.agreement_signature, signed(b"agreement", self.agreement))
        key.verify(self.prekey_signature, signed(b"prekey", u64(self.prekey_id) + self.prekey))
        key.verify(self.kem_signature, signed(b"kem-prekey", u64(self.kem_id) + self.kem))


class Header(NamedTuple):
    """The handshake in a first message."""

    signing: bytes
    agreement: bytes
    agreement_signature: bytes
    ephemeral: bytes
    prekey_id: int
    kem_id: int
    one_time_id: int | None
    ciphertext: bytes

    def encode(self) -> bytes:
        one_time = b"\0" if self.one_time_id is None else b"\1" + u64(self.one_time_id)
        keys = self.signing + self.agreement + self.agreement_signature + self.ephemeral
        return keys + u64(self.prekey_id) + u64(self.kem_id) + one_time + self.ciphertext

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        prekey_id, kem_id = (int.from_bytes(data[place : place + 8], "big") for place in (160, 168))
        there = data[176] == 1
        one_time_id = int.from_bytes(data[177:185], "big") if there else None
        ciphertext = data[185:] if there else data[177:]
        assert len(ciphertext) == 1568
        return cls(
            data[:32], data[32:64], data[64:128], data[128:160], prekey_id, kem_id, one_time_id, ciphertext
        )

    def session_id(self) -> bytes:
        return hashlib.sha256(b"tidings/1 session" + self.encode()).digest()


class Public(NamedTuple):
    """The responder's keys that a handshake uses."""

    signing: bytes
    agreement: bytes
    prekey: bytes
    kem: bytes
    one_time: bytes | None


def root_key(secrets: list[bytes], header: Header, responder: Public, context: bytes) -> bytes:
    """PQXDH §2.2 and §3.3, with the hash of all that both sides saw."""
    parts = [
        b"tidings/1 handshake",
        header.signing,
        header.agreement,
        responder.signing,
        responder.agreement,
        u64(header.prekey_id),
        responder.prekey,
        u64(header.kem_id),
        responder.kem,
        b"" if header.one_time_id is None else u64(header.one_time_id),
        responder.one_time or b"",
        header.ephemeral,
        header.ciphertext,
        context,
    ]
    transcript = hashlib.sha256(b"".join(sized(part) for part in parts)).digest()
    return hkdf(bytes(32), b"\xff" * 32 + b"".join(secrets), KDF_INFO + transcript, 32)


class Chain:
    """One direction between two turns: a key for each message."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._keys: list[bytes] = []

    def key(self, index: int) -> bytes:
        while len(self._keys) <= index:
            self._keys.append(mac(self._key, b"\1"))
            self._key = mac(self._key, b"\2")
        return self._keys[index]


class Ratchet:
    """The Double Ratchet with Olm's derivations and messages."""

    def __init__(self, root: bytes, mine: X25519PrivateKey) -> None:
        self._root = root
        self._mine = mine
        self._sending: Chain | None = None
        self._sent = 0
        self._theirs: bytes | None = None
        self._receiving: dict[bytes, Chain] = {}

    @property
    def heard(self) -> bool:
        """Whether the peer has said anything."""
        return bool(self._receiving)

    def begin(self, theirs: bytes) -> None:
        """The initiator's first chain, against the responder's prekey."""
        self._sending = self._step(theirs)

    def _step(self, theirs: bytes) -> Chain:
        keys = hkdf(self._root, agree(self._mine, theirs), b"OLM_RATCHET", 64)
        self._root = keys[:32]
        return Chain(keys[32:])

    def encrypt(self, plaintext: bytes) -> bytes:
        if self._sending is None:
            assert self._theirs is not None, "the responder hears first"
            self._mine = X25519PrivateKey.generate()
            self._sending, self._sent = self._step(self._theirs), 0
        cipher, mac_key = cipher_of(self._sending.key(self._sent))
        padder = padding.PKCS7(128).padder()
        encryptor = cipher.encryptor()
        text = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
        fields = b"\x0a\x20" + public(self._mine) + b"\x10" + varint(self._sent)
        body = b"\4" + fields + b"\x22" + varint(len(text)) + text
        self._sent += 1
        return body + mac(mac_key, body)

    def decrypt(self, message: bytes) -> bytes:
        theirs, index, text = parsed(message)
        if theirs not in self._receiving:
            self._receiving[theirs] = self._step(theirs)
            self._theirs, self._sending = theirs, None
        cipher, mac_key = cipher_of(self._receiving[theirs].key(index))
        if not hmac.compare_digest(mac(mac_key, message[:-32]), message[-32:]):
            raise ValueError("the MAC does not fit")
        decryptor, unpadder = cipher.decryptor(), padding.PKCS7(128).unpadder()
        return unpadder.update(decryptor.update(text) + decryptor.finalize()) + unpadder.finalize()


def cipher_of(message_key: bytes) -> tuple[Cipher[modes.CBC], bytes]:
    """AES-256 in CBC mode and the key of the MAC, from the key of one message."""
    keys = hkdf(b"", message_key, b"OLM_KEYS", 80)
    return Cipher(algorithms.AES256(keys[:32]), modes.CBC(keys[64:])), keys[32:64]


def varint(number: int) -> bytes:
    """A number as protocol buffers write it."""
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def parsed(message: bytes) -> tuple[bytes, int, bytes]:
    """Ratchet key, index in the chain, ciphertext."""
    assert message[0] == 4
    fields, place = {}, 1
    end = len(message) - 32
    while place < end:
        tag, place = message[place], place + 1
        number, place = read_varint(message, place)
        if tag & 7 == 2:
            fields[tag] = message[place : place + number]
            place += number
        else:
            fields[tag] = number.to_bytes(8, "big")
    return fields[0x0A], int.from_bytes(fields[0x10], "big"), fields[0x22]


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte, place = data[place], place + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7


class Session:
    """One side of a session."""

    def __init__(self, ratchet: Ratchet, header: Header, *, initiator: bool) -> None:
        self.session_id = header.session_id()
        self._ratchet = ratchet
        self._header = header if initiator else None

    @classmethod
    def outbound(cls, mine: Secrets, theirs: Published, context: bytes) -> "Session":
        theirs.verify()
        ephemeral, ratchet_key = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        kem_secret, ciphertext = MLKEM1024PublicKey.from_public_bytes(theirs.kem).encapsulate()
        agreement = public(mine.agreement)
        header = Header(
            public(mine.signing),
            agreement,
            mine.signing.sign(signed(b"agreement", agreement)),
            public(ephemeral),
            theirs.prekey_id,
            theirs.kem_id,
            theirs.one_time_id,
            ciphertext,
        )
        secrets = [
            agree(mine.agreement, theirs.prekey),
            agree(ephemeral, theirs.agreement),
            agree(ephemeral, theirs.prekey),
            *([agree(ephemeral, theirs.one_time)] if theirs.one_time else []),
            kem_secret,
        ]
        responder = Public(theirs.signing, theirs.agreement, theirs.prekey, theirs.kem, theirs.one_time)
        ratchet = Ratchet(root_key(secrets, header, responder, context), ratchet_key)
        ratchet.begin(theirs.prekey)
        return cls(ratchet, header, initiator=True)

    @classmethod
    def inbound(cls, mine: Secrets, message: bytes, context: bytes) -> tuple["Session", bytes]:
        encoded, inner = taken_apart(message)
        header = Header.decode(encoded)
        key = Ed25519PublicKey.from_public_bytes(header.signing)
        key.verify(header.agreement_signature, signed(b"agreement", header.agreement))
        one_time = mine.one_time if header.one_time_id is not None else None
        secrets = [
            agree(mine.prekey, header.agreement),
            agree(mine.agreement, header.ephemeral),
            agree(mine.prekey, header.ephemeral),
            *([agree(one_time, header.ephemeral)] if one_time else []),
            mine.kem.decapsulate(header.ciphertext),
        ]
        responder = Public(
            public(mine.signing),
            public(mine.agreement),
            public(mine.prekey),
            public(mine.kem),
            public(one_time) if one_time else None,
        )
        session = cls(
            Ratchet(root_key(secrets, header, responder, context), mine.prekey), header, initiator=False
        )
        return session, session._ratchet.decrypt(inner)

    def encrypt(self, plaintext: bytes) -> bytes:
        message = self._ratchet.encrypt(plaintext)
        if self._header is None or self._ratchet.heard:
            return VERSION + b"\0" + message
        return VERSION + b"\1" + sized(self._header.encode()) + message

    def decrypt(self, message: bytes) -> bytes:
        return self._ratchet.decrypt(taken_apart(message)[1])


def taken_apart(message: bytes) -> tuple[bytes, bytes]:
    """The encoded handshake, empty if there is none, and the ratchet's message."""
    assert message[:1] == VERSION
    if message[1] == 0:
        return b"", message[2:]
    end = 6 + int.from_bytes(message[2:6], "big")
    return message[6:end], message[end:]


def open_sealed(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Sealed content: version, commitment, ciphertext."""
    keys = hkdf(b"", key, b"tidings/1 content", 64)
    assert sealed[:1] == VERSION
    assert sealed[1:33] == keys[32:]
    return ChaCha20Poly1305(keys[:32]).decrypt(bytes(12), sealed[33:], aad)
