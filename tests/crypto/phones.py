"""Devices with their published keys, and pairs of sessions between them."""

from typing import Any

from tidings_core import Bundle, DeviceKeys, KemPrekey, Prekey, Session

CONTEXT = b"alice and bob"
PREKEY_ID = 11
KEM_ID = 2**63 + 22
ONE_TIME_ID = 2**64 - 1


class Phone:
    """A device and the secrets of what it has published."""

    def __init__(self) -> None:
        self.device = DeviceKeys.generate()
        self.prekey = Prekey.generate()
        self.kem = KemPrekey.generate()
        self.one_time = Prekey.generate()

    def published(self, *, spare: bool = True) -> dict[str, Any]:
        """The fields of its bundle, with a one-time prekey if one is to spare."""
        return {
            "signing": self.device.signing,
            "agreement": self.device.agreement,
            "agreement_signature": self.device.agreement_signature,
            "prekey_id": PREKEY_ID,
            "prekey": self.prekey.public,
            "prekey_signature": self.device.sign_prekey(PREKEY_ID, self.prekey.public),
            "kem_id": KEM_ID,
            "kem": self.kem.public,
            "kem_signature": self.device.sign_kem_prekey(KEM_ID, self.kem.public),
            "one_time_id": ONE_TIME_ID if spare else None,
            "one_time": self.one_time.public if spare else None,
        }

    def bundle(self, *, spare: bool = True, **changed: Any) -> Bundle:
        """Its bundle, with some fields changed as a bad server would."""
        return Bundle(**(self.published(spare=spare) | changed))

    def call(self, other: "Phone", *, spare: bool = True) -> Session:
        """A session with another device."""
        return Session.outbound(self.device, other.bundle(spare=spare), CONTEXT)

    def answer(
        self, message: bytes, *, spare: bool = True, context: bytes = CONTEXT
    ) -> tuple[Session, bytes]:
        """The session that a first message begins, and what it says."""
        mine = self.one_time if spare else None
        return Session.inbound(self.device, message, self.prekey, self.kem, mine, context)


def talking() -> tuple[Session, Session]:
    """A session whose two sides have heard of each other."""
    alice, bob = Phone(), Phone()
    hers = alice.call(bob)
    his, _ = bob.answer(hers.encrypt(b"hello"))
    hers.decrypt(his.encrypt(b"hello yourself"))
    return hers, his


def reloaded(session: Session) -> Session:
    """The session as it comes back after a restart."""
    return Session.load(session.save())
