"""What tests of the rules ask of a refusal."""

from collections.abc import Awaitable

import pytest

from tidings.protocol.errors import ErrorKind, ProtocolError


async def refusal(work: Awaitable[object]) -> ProtocolError:
    """What the rules refuse this with."""
    with pytest.raises(ProtocolError) as caught:
        await work
    return caught.value


async def refused(work: Awaitable[object]) -> ErrorKind:
    """The kind of what the rules refuse this with."""
    return (await refusal(work)).kind
