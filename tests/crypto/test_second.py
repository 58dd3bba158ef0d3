"""The core against the second implementation, each as Alice and as Bob."""

from collections.abc import Callable
from typing import Any

import pytest
import tidings_core
from cryptography.exceptions import InvalidSignature

from crypto import second
from crypto.phones import CONTEXT, KEM_ID, ONE_TIME_ID, PREKEY_ID, Phone

Pair = tuple[Any, Any]
spare = pytest.mark.parametrize("spare", [True, False])


def core_calls_second(*, spare: bool) -> Pair:
    bob = second.Secrets.generate(spare=spare)
    published = second.Published.of(bob, PREKEY_ID, KEM_ID, ONE_TIME_ID)
    bundle = tidings_core.Bundle(**published._asdict())
    hers = tidings_core.Session.outbound(tidings_core.DeviceKeys.generate(), bundle, CONTEXT)
    his, said = second.Session.inbound(bob, hers.encrypt(b"hello"), CONTEXT)
    assert said == b"hello"
    return hers, his


def second_calls_core(*, spare: bool) -> Pair:
    bob = Phone()
    published = second.Published(**bob.published(spare=spare))
    hers = second.Session.outbound(second.Secrets.generate(spare=False), published, CONTEXT)
    his, said = bob.answer(hers.encrypt(b"hello"), spare=spare)
    assert said == b"hello"
    return hers, his


beginnings = pytest.mark.parametrize("begin", [core_calls_second, second_calls_core])


@beginnings
@spare
def test_they_understand_each_other(begin: Callable[..., Pair], *, spare: bool) -> None:
    hers, his = begin(spare=spare)
    assert hers.session_id == his.session_id
    assert his.decrypt(hers.encrypt(b"before the answer")) == b"before the answer"
    for n in range(12):
        speaker, listener = (hers, his) if n % 5 > 2 else (his, hers)
        text = b"%d" % n * n
        assert listener.decrypt(speaker.encrypt(text)) == text


@beginnings
def test_they_agree_on_messages_out_of_order(begin: Callable[..., Pair]) -> None:
    hers, his = begin(spare=True)
    late = hers.encrypt(b"late")
    hers.decrypt(his.encrypt(b"answer"))
    messages = [hers.encrypt(b"%d" % n) for n in range(30)]
    for n in (29, 3, 17):
        assert his.decrypt(messages[n]) == b"%d" % n
    assert hers.decrypt(his.encrypt(b"x" * 5000)) == b"x" * 5000
    assert his.decrypt(late) == b"late"
    assert his.decrypt(messages[5]) == b"5"


@spare
def test_they_agree_on_what_is_signed(*, spare: bool) -> None:
    bob = Phone()
    second.Published(**bob.published(spare=spare)).verify()
    with pytest.raises(InvalidSignature):
        second.Published(**bob.published(spare=spare) | {"kem_id": 1}).verify()


def test_they_agree_on_the_context() -> None:
    bob = second.Secrets.generate(spare=True)
    bundle = tidings_core.Bundle(**second.Published.of(bob, 1, 2, 3)._asdict())
    hers = tidings_core.Session.outbound(tidings_core.DeviceKeys.generate(), bundle, CONTEXT)
    with pytest.raises(ValueError, match="MAC"):
        second.Session.inbound(bob, hers.encrypt(b"hello"), b"another context")


def test_they_agree_on_sealed_content() -> None:
    key, sealed = tidings_core.seal(b"hello", b"aad")
    assert second.open_sealed(key, sealed, b"aad") == b"hello"
