"""The vectors in `spec/vectors/`, read as another language's client would read them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tidings.protocol import frames, ids
from tidings.protocol.codec import JSON, MSGPACK
from tidings.protocol.errors import ProtocolError
from tidings.testing import vectors

FOLDER = Path(__file__).parents[2] / "spec" / "vectors"


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


@pytest.mark.parametrize(
    "vector", load("frames.json"), ids=lambda vector: f"{vector['frame']}: {vector['case']}"
)
def test_both_encodings_of_a_frame_say_the_same(vector: dict[str, Any]) -> None:
    side = "decode_client" if vector["from"] == "client" else "decode_server"
    packed = getattr(MSGPACK, side)(bytes.fromhex(vector["msgpack"]))
    text = getattr(JSON, side)(json.dumps(vector["json"]).encode())
    assert packed == text
    assert type(packed) is getattr(frames, vector["frame"])
    assert MSGPACK.encode(packed).hex() == vector["msgpack"]
    assert json.loads(JSON.encode(packed)) == vector["json"]


def test_every_frame_is_there() -> None:
    names = {vector["frame"] for vector in load("frames.json")}
    assert names == {struct.__name__ for struct in (*vectors.client_frames(), *vectors.server_frames())}


@pytest.mark.parametrize("vector", load("decoding.json"), ids=lambda vector: vector["case"])
def test_a_server_decodes_as_the_vector_says(vector: dict[str, str]) -> None:
    is_msgpack = vector["encoding"] == "msgpack"
    data = bytes.fromhex(vector["input"]) if is_msgpack else vector["input"].encode()
    try:
        result = type((MSGPACK if is_msgpack else JSON).decode_client(data)).__name__
    except ProtocolError as error:
        result = error.kind.name
    assert result == vector["result"]
    assert vectors.decoded(vector["encoding"], data) == vector["result"]


def test_ids_are_put_together_as_the_vectors_say() -> None:
    content = load("ids.json")
    for parts in content["snowflakes"]:
        assert ids.snowflake(int(parts["unix_ms"]), parts["node"], parts["sequence"]) == int(parts["id"])
    for pair in content["direct_conversations"]:
        one, other = (ids.UserId(int(user)) for user in pair["users"])
        assert ids.direct_conversation_id(one, other).hex() == pair["conversation_id"]


def test_the_files_are_what_the_source_makes() -> None:
    assert load("frames.json") == vectors.frame_vectors()
    assert load("decoding.json") == vectors.decoding_vectors()
    assert load("ids.json") == vectors.id_vectors()


def test_the_worked_example_is_a_conversation_of_two() -> None:
    arrows = [arrow for arrow, _, _ in vectors.dialogue()]
    assert set(arrows) == {"A>", ">A", "B>", ">B"}
