# ruff: noqa: T201
"""What the core's functions cost: microseconds of CPU each, the least of several rounds.

.venv/bin/python crypto/measure.py
"""

import time
from collections.abc import Callable

from tidings_core import (
    Bundle,
    DeviceKeys,
    KemPrekey,
    Prekey,
    ReceivedSenderKey,
    SenderKey,
    Session,
    open_sealed,
    pad,
    safety_number,
    seal,
)

ROUNDS = 7
CONTEXT = b"context"
TEXT = b"x" * 200


def cost_us(call: Callable[[], object], times: int = 300) -> float:
    """Of one call; other work on the machine makes some rounds dearer, none cheaper."""
    rounds = []
    for _ in range(ROUNDS):
        start = time.process_time_ns()
        for _ in range(times):
            call()
        rounds.append((time.process_time_ns() - start) / times / 1000)
    return min(rounds)


def main() -> None:
    alice, bob = DeviceKeys.generate(), DeviceKeys.generate()
    prekey, kem, one_time = Prekey.generate(), KemPrekey.generate(), Prekey.generate()
    bundle = Bundle(
        signing=bob.signing,
        agreement=bob.agreement,
        agreement_signature=bob.agreement_signature,
        prekey_id=1,
        prekey=prekey.public,
        prekey_signature=bob.sign_prekey(1, prekey.public),
        kem_id=2,
        kem=kem.public,
        kem_signature=bob.sign_kem_prekey(2, kem.public),
        one_time_id=3,
        one_time=one_time.public,
    )
    hers = Session.outbound(alice, bundle, CONTEXT)
    first = hers.encrypt(TEXT)
    his, _ = Session.inbound(bob, first, prekey, kem, one_time, CONTEXT)
    hers.decrypt(his.encrypt(TEXT))
    state = hers.save()
    # On a copy: a peer follows no gap of as many messages as are encrypted here.
    talker = Session.load(state)
    messages = iter([hers.encrypt(TEXT) for _ in range(300 * ROUNDS)])
    key, sealed = seal(TEXT, CONTEXT)
    own = SenderKey.generate()
    received = ReceivedSenderKey(own.share())
    group = iter([own.encrypt(TEXT) for _ in range(300 * ROUNDS)])

    def turn() -> None:
        his.decrypt(hers.encrypt(TEXT))
        hers.decrypt(his.encrypt(TEXT))

    table: dict[str, Callable[[], object]] = {
        "DeviceKeys.generate": DeviceKeys.generate,
        "Prekey.generate": Prekey.generate,
        "KemPrekey.generate": KemPrekey.generate,
        "Session.outbound (verifies the bundle)": lambda: Session.outbound(alice, bundle, CONTEXT),
        "Session.inbound": lambda: Session.inbound(bob, first, prekey, kem, one_time, CONTEXT),
        "encrypt 200 B": lambda: talker.encrypt(TEXT),
        "decrypt 200 B, same chain": lambda: his.decrypt(next(messages)),
        "two messages, a turn each": turn,
        "save": hers.save,
        "load": lambda: Session.load(state),
        "seal 200 B": lambda: seal(TEXT, CONTEXT),
        "open 200 B": lambda: open_sealed(key, sealed, CONTEXT),
        "pad 200 B": lambda: pad(TEXT),
        "sender key: encrypt 200 B": lambda: own.encrypt(TEXT),
        "sender key: decrypt 200 B": lambda: received.decrypt(next(group)),
    }
    for name, call in table.items():
        print(f"{name:40} {cost_us(call):8.1f} µs")
    number = cost_us(lambda: safety_number(b"a", alice.signing, b"b", bob.signing), 10)
    print(f"{'safety_number':40} {number:8.1f} µs")
    sizes = {
        "bundle's KEM key": len(kem.public),
        "first message of 200 B": len(first),
        "later message of 200 B": len(hers.encrypt(TEXT)),
        "session state": len(state),
        "group message of 200 B": len(own.encrypt(TEXT)),
    }
    for name, size in sizes.items():
        print(f"{name:40} {size:8} bytes")


if __name__ == "__main__":
    main()
