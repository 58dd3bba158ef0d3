"""The end-to-end encryption of Tidings: sessions, sender keys, sealed content, safety numbers.

It keeps nothing and knows nobody: the caller stores what `save` and `secret` return, says whose
keys are whose, and carries messages. All it returns is one format with the web client's.

Every function raises Malformed for bytes that are not what they should be, and TooNew for bytes
that a newer version wrote; other errors are named where they occur.
"""

from typing import final

__all__ = [
    "BadKey",
    "BadSignature",
    "Bundle",
    "CryptoError",
    "DeviceKeys",
    "Handshake",
    "KemPrekey",
    "Malformed",
    "Prekey",
    "ReceivedSenderKey",
    "SenderKey",
    "Session",
    "SigningKey",
    "TooNew",
    "Undecryptable",
    "compare_safety_code",
    "handshake_of",
    "open_sealed",
    "pad",
    "safety_code",
    "safety_number",
    "seal",
    "unpad",
    "verify",
]

class CryptoError(Exception):
    """What this module raises: one of the subclasses, or itself if the system gives no randomness."""

class Malformed(CryptoError):
    """The bytes are not what they should be, and never will be."""

class TooNew(CryptoError):
    """A newer version of Tidings wrote the bytes: an update helps."""

class BadSignature(CryptoError):
    """The signature does not fit the key, the tag and the message."""

class BadKey(CryptoError):
    """A key that is none, or one that would give the secret away (of small order, zeros alone)."""

class Undecryptable(CryptoError):
    """Well formed, but not to be opened: another key, changed, read before, too far ahead, too old."""

@final
class SigningKey:
    """An Ed25519 key pair, such as a user's identity."""

    @staticmethod
    def generate() -> SigningKey:
        """A new one."""

    @staticmethod
    def load(secret: bytes) -> SigningKey:
        """The one whose secret this is (32 bytes). Raises BadKey for zeros alone."""

    def secret(self) -> bytes:
        """What `load` takes."""

    @property
    def public(self) -> bytes:
        """What others verify with (32 bytes)."""

    def sign(self, tag: str, message: bytes) -> bytes:
        """A signature (64 bytes) over the message, good for the purpose that the tag names alone."""

def verify(public: bytes, tag: str, message: bytes, signature: bytes) -> None:
    """Raises BadSignature unless the key signed this message for this purpose, or BadKey."""

@final
class DeviceKeys:
    """The keys of one device: a signing key, and an agreement key that it vouches for."""

    @staticmethod
    def generate() -> DeviceKeys:
        """New ones."""

    @staticmethod
    def load(state: bytes) -> DeviceKeys:
        """Those that `save` wrote."""

    def save(self) -> bytes:
        """All there is to know of them. Secret."""

    @property
    def signing(self) -> bytes:
        """The public signing key (Ed25519, 32 bytes)."""

    @property
    def agreement(self) -> bytes:
        """The public agreement key (X25519, 32 bytes)."""

    @property
    def agreement_signature(self) -> bytes:
        """The signing key's word for the agreement key (64 bytes, tag "agreement")."""

    def sign(self, tag: str, message: bytes) -> bytes:
        """A signature of the device, as `SigningKey.sign`."""

    def sign_prekey(self, id: int, public: bytes) -> bytes:
        """Signs a prekey and the id that it is published under (tag "prekey")."""

    def sign_kem_prekey(self, id: int, public: bytes) -> bytes:
        """Signs a KEM prekey and the id that it is published under (tag "kem-prekey")."""

@final
class Prekey:
    """An X25519 key to publish: signed and kept for a while, or for one session."""

    @staticmethod
    def generate() -> Prekey:
        """A new one."""

    @staticmethod
    def load(secret: bytes) -> Prekey:
        """The one whose secret this is (32 bytes). Raises BadKey for zeros alone."""

    def secret(self) -> bytes:
        """What `load` takes."""

    @property
    def public(self) -> bytes:
        """What is published (32 bytes)."""

@final
class KemPrekey:
    """An ML-KEM-1024 key to publish, signed."""

    @staticmethod
    def generate() -> KemPrekey:
        """A new one."""

    @staticmethod
    def load(secret: bytes) -> KemPrekey:
        """The one whose secret this is (64 bytes). Raises BadKey for zeros alone."""

    def secret(self) -> bytes:
        """What `load` takes: the seed of the pair."""

    @property
    def public(self) -> bytes:
        """What is published (1,568 bytes)."""

@final
class Bundle:
    """What one device has published, as a server that nobody trusts hands it out."""

    def __new__(
        cls,
        *,
        signing: bytes,
        agreement: bytes,
        agreement_signature: bytes,
        prekey_id: int,
        prekey: bytes,
        prekey_signature: bytes,
        kem_id: int,
        kem: bytes,
        kem_signature: bytes,
        one_time_id: int | None,
        one_time: bytes | None,
    ) -> Bundle:
        """Raises Malformed if a field has not its length. Verifies no signature."""

    def verify(self) -> None:
        """Raises BadSignature or BadKey unless the signing key vouches for the other keys.

        Whose signing key it is, only the caller can know.
        """

    @property
    def signing(self) -> bytes:
        """The device's public signing key."""

    @property
    def agreement(self) -> bytes:
        """The device's public agreement key."""

@final
class Handshake:
    """What a message tells of the handshake in it, before anything of it is verified."""

    @property
    def session_id(self) -> bytes:
        """The session that it begins or belongs to (32 bytes)."""

    @property
    def prekey_id(self) -> int:
        """Which signed prekey it used."""

    @property
    def kem_id(self) -> int:
        """Which KEM prekey it used."""

    @property
    def one_time_id(self) -> int | None:
        """Which one-time prekey it used, if any."""

    @property
    def signing(self) -> bytes:
        """The initiator's public signing key: to be looked up in its user's device list."""

    @property
    def agreement(self) -> bytes:
        """The initiator's public agreement key."""

def handshake_of(message: bytes) -> Handshake | None:
    """The handshake in a message; None in one that was written after the responder's answer.

    Next, look for a session of this id: it decrypts the message. If there is none, find the
    named secrets and call `Session.inbound`.
    """

@final
class Session:
    """One side of a session between two devices.

    A chain keeps the keys of the 40 messages last skipped, for five chains; a message more than
    2,000 ahead in its chain is refused.
    """

    @staticmethod
    def outbound(device: DeviceKeys, bundle: Bundle, context: bytes) -> Session:
        """Begins a session with the device of the bundle. Raises BadSignature or BadKey.

        The context is whatever both sides must agree on, such as users, identities and devices.
        """

    @staticmethod
    def inbound(
        device: DeviceKeys,
        message: bytes,
        prekey: Prekey,
        kem: KemPrekey,
        one_time: Prekey | None,
        context: bytes,
    ) -> tuple[Session, bytes]:
        """Answers the handshake in a message: the session, and what the message says.

        Next, delete the one-time prekey together with saving the session. The caller checks that
        the signing key is in the device list of who it should be. Raises Undecryptable if a secret
        or the context is another than the initiator's, BadSignature or BadKey if its keys are bad.
        """

    def encrypt(self, plaintext: bytes) -> bytes:
        """A message for the peer. Next, save the session before the message leaves."""

    def decrypt(self, message: bytes) -> bytes:
        """What the peer's message says. Next, save the session together with it.

        Raises Undecryptable for a message that was read before, is too far ahead, or whose key is
        no longer kept; BadKey. After an error the session is what it was before.
        """

    def save(self) -> bytes:
        """All there is to know of it. Secret."""

    @staticmethod
    def load(state: bytes) -> Session:
        """The one that `save` wrote."""

    @property
    def session_id(self) -> bytes:
        """The same on both sides (32 bytes)."""

    @property
    def peer_signing(self) -> bytes:
        """The peer's public signing key."""

    @property
    def peer_agreement(self) -> bytes:
        """The peer's public agreement key."""

    @property
    def is_answered(self) -> bool:
        """Whether something of the peer was decrypted, so that it is known to have the session."""

def seal(plaintext: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Seals content with a fresh key: the key (32 bytes), and what it opens."""

def open_sealed(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """What was sealed. Raises Undecryptable if the key or AAD is another, or a byte was changed."""

def pad(plaintext: bytes) -> bytes:
    """Hides the length: at least 128 bytes, and at most 12 % more than what it is given, or 5 bytes."""

def unpad(padded: bytes) -> bytes:
    """What `pad` was given."""

@final
class SenderKey:
    """One's own key of a group: each message is encrypted once for all members."""

    @staticmethod
    def generate() -> SenderKey:
        """A new one."""

    def share(self) -> bytes:
        """What members need to read from the next message on. Secret: it goes through sessions."""

    def encrypt(self, plaintext: bytes) -> bytes:
        """A message for all members. Next, save the key before the message leaves."""

    @property
    def index(self) -> int:
        """How many messages it has encrypted; the index of the next one."""

    def save(self) -> bytes:
        """All there is to know of it. Secret."""

    @staticmethod
    def load(state: bytes) -> SenderKey:
        """The one that `save` wrote."""

@final
class ReceivedSenderKey:
    """Somebody else's key of a group. It reads a message as often as it is asked to."""

    def __new__(cls, shared: bytes) -> ReceivedSenderKey:
        """From what the sender's `share` gave. Raises BadSignature or BadKey."""

    def decrypt(self, message: bytes) -> tuple[bytes, int]:
        """What a message says, and its index: one seen before with another message is a replay.

        Raises Undecryptable for a message of another key, changed, or from before `first_index`.
        """

    @property
    def first_index(self) -> int:
        """The index of the first message that it can decrypt."""

    def save(self) -> bytes:
        """All there is to know of it. Secret."""

    @staticmethod
    def load(state: bytes) -> ReceivedSenderKey:
        """The one that `save` wrote."""

def safety_number(user_a: bytes, identity_a: bytes, user_b: bytes, identity_b: bytes) -> str:
    """60 digits for two people to compare, the same for both. Takes some milliseconds."""

def safety_code(user_a: bytes, identity_a: bytes, user_b: bytes, identity_b: bytes) -> bytes:
    """The same for a QR code on A's screen, A's half first."""

def compare_safety_code(mine_first: bytes, scanned: bytes) -> bool:
    """Whether a code from the other's screen fits one's own code."""
