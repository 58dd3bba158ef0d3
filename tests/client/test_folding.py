"""Folding: whatever order changes come in, the message ends the same; nobody changes another's."""

from hypothesis import given
from hypothesis import strategies as st

from tidings.client import Message
from tidings.client.folding import folded, with_expiry
from tidings.protocol import frames
from tidings.protocol.frames import Reference, Relation
from tidings.protocol.ids import ClientId, ConversationId, DeviceId, MessageId, UserId

ALICE, BOB = UserId(1), UserId(2)
HANDLES: dict[int, str] = {ALICE: "alice", BOB: "bob"}
TARGET = Reference(DeviceId(10), ClientId(b"t" * 16))

MESSAGE = Message(
    reference=TARGET,
    message_id=MessageId(100),
    conversation_id=ConversationId(b"c" * 16),
    peer="bob",
    peer_id=BOB,
    sender="alice",
    sender_id=ALICE,
    own=True,
    content=b"as it was",
    content_type="text/plain",
    created_at=0,
)


def change(number: int, relation: Relation, sender: UserId, content: bytes) -> frames.Message:
    return frames.Message(
        MessageId(100 + number),
        MESSAGE.conversation_id,
        sender,
        DeviceId(10 + sender),
        ClientId(number.to_bytes(16, "big")),
        1,
        0,
        "" if relation == Relation.DELETE else "text/plain",
        content,
        0,
        TARGET,
        relation=relation,
    )


changes = st.lists(
    st.tuples(
        st.sampled_from([Relation.EDIT, Relation.REACTION, Relation.DELETE]),
        st.sampled_from([ALICE, BOB]),
        st.sampled_from([b"", b"a", b"b"]),
    ),
    max_size=7,
).map(
    lambda made: [
        change(number + 1, relation, sender, content)
        for number, (relation, sender, content) in enumerate(made)
    ]
)


@given(changes, st.randoms())
def test_any_order_ends_the_same(made: list[frames.Message], random) -> None:  # type: ignore[no-untyped-def]
    expected = folded(MESSAGE, made, HANDLES)
    shuffled = [*made, *random.sample(made, len(made) // 2)]
    random.shuffle(shuffled)
    found = folded(MESSAGE, shuffled, HANDLES)
    assert found == expected
    # By a plain model: what each rule says by itself.
    deletes = [one for one in made if one.relation == Relation.DELETE and one.sender_id == ALICE]
    assert found.deleted == bool(deletes)
    if deletes:
        assert (found.content, found.reactions, found.delete) == (b"", {}, deletes[-1].message_id)
        return
    edits = [one for one in made if one.relation == Relation.EDIT and one.sender_id == ALICE]
    assert found.content == (edits[-1].content if edits else b"as it was")
    for user, handle in HANDLES.items():
        reactions = [one for one in made if one.relation == Relation.REACTION and one.sender_id == user]
        last = reactions[-1].content.decode() if reactions else ""
        assert found.reactions.get(handle, "") == last


def test_only_the_author_edits_and_deletes() -> None:
    forged = [change(1, Relation.EDIT, BOB, b"forged"), change(2, Relation.DELETE, BOB, b"")]
    assert folded(MESSAGE, forged, HANDLES) == MESSAGE


def test_what_has_expired_stays_gone_and_is_not_deleted() -> None:
    gone = with_expiry(folded(MESSAGE, [change(1, Relation.REACTION, BOB, b"x")], HANDLES))
    assert (gone.content, gone.expired, gone.deleted, gone.reactions) == (b"", True, False, {})
    assert folded(gone, [change(2, Relation.EDIT, ALICE, b"late")], HANDLES).content == b""


def test_a_reaction_that_is_no_text_and_one_of_a_stranger_do_no_harm() -> None:
    found = folded(MESSAGE, [change(1, Relation.REACTION, UserId(77), b"\xff")], HANDLES)
    assert found.reactions == {"user 77": "�"}
