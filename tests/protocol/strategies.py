"""Hypothesis strategies for frames, built from the structs' own types."""

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Meta

from tidings.protocol.frames import Frame
from tidings.protocol.ids import (
    CLIENT_ID_BYTES,
    CONVERSATION_ID_BYTES,
    SNOWFLAKE_MAX,
    SNOWFLAKES,
    ClientId,
    ConversationId,
)
from tidings.testing import vectors

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, SNOWFLAKE_MAX),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=40),
    bytes: st.binary(max_size=300),
    ConversationId: st.binary(min_size=CONVERSATION_ID_BYTES, max_size=CONVERSATION_ID_BYTES),
    ClientId: st.binary(min_size=CLIENT_ID_BYTES, max_size=CLIENT_ID_BYTES),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Anything that a type allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        base, *bounds = arguments
        limit = next(bound for bound in bounds if isinstance(bound, Meta))
        if base in _PLAIN and base is not int:
            return _PLAIN[base]
        return st.integers(limit.ge, limit.le if limit.le is not None else SNOWFLAKE_MAX)
    if origin in (Union, UnionType):
        return st.one_of(*(values(argument) for argument in arguments))
    if origin is list:
        return st.lists(values(arguments[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=4)
    if hint is type(None):
        return st.none()
    if hint in SNOWFLAKES:
        return st.integers(0, SNOWFLAKE_MAX)
    if isinstance(hint, type) and issubclass(hint, Frame):
        return of_struct(hint)
    return _PLAIN[hint]


def of_struct(struct: type[Frame]) -> st.SearchStrategy[Frame]:
    """Any value of a struct."""
    hints = get_type_hints(struct, include_extras=True)
    fields = {name: values(hints[name]) for name in struct.__struct_fields__}
    for name in fields.keys() & {"envelope", "one_time"}:
        # Our own JSON decoder takes the three bytes whose base64 is "null" for None. A key is never
        # so short.
        fields[name] = st.none() | st.binary(min_size=16, max_size=100)
    return st.builds(struct, **fields)


client_frames = st.one_of(*map(of_struct, vectors.client_frames()))
server_frames = st.one_of(*map(of_struct, vectors.server_frames()))
