"""Signatures: whether what devices publish was signed by the keys that it names.

The server believes clients no more than they believe it: what it could not check would only be found out
by those who write to a device. Clients check it all again.

spec §6.16
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tidings.protocol.errors import INVALID, ProtocolError
from tidings.protocol.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, signed_bytes


def check_signature(what: str, public: bytes, tag: str, message: bytes, signature: bytes) -> None:
    """Whether a key has signed a message of this kind; `what` names it. Raises ProtocolError (invalid)."""
    check_length(f"the signature of {what}", signature, SIGNATURE_BYTES)
    check_length(f"the key that signs {what}", public, PUBLIC_KEY_BYTES)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed_bytes(tag, message))
    except (InvalidSignature, ValueError):
        raise ProtocolError(INVALID, f"the signature of {what} is wrong") from None


def check_length(what: str, value: bytes, length: int) -> None:
    """Refuse what has another length than its kind. Raises ProtocolError (invalid)."""
    if len(value) != length:
        raise ProtocolError(INVALID, f"{what} has {length} bytes")
