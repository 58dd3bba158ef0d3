"""Stretching: what people can remember or type, made costly to guess. Argon2id (RFC 9106)."""

from typing import Protocol

STRETCHED_BYTES = 32


class Stretch(Protocol):
    """Makes a key of a text, at a cost."""

    def __call__(self, text: bytes, salt: bytes, *, passes: int, memory_kib: int, lanes: int) -> bytes: ...


def stretched(text: bytes, salt: bytes, *, passes: int, memory_kib: int, lanes: int) -> bytes:
    """A key of a text; takes about 0.1 s at the usual costs. Raises argon2's HashingError without memory."""
    # Here and not above: only a new device, or another password, needs it.
    from argon2.low_level import Type, hash_secret_raw  # noqa: PLC0415

    return hash_secret_raw(
        text,
        salt,
        time_cost=passes,
        memory_cost=memory_kib,
        parallelism=lanes,
        hash_len=STRETCHED_BYTES,
        type=Type.ID,
    )
