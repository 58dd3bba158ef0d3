"""The pictures of groups.

spec §6.17, §7
"""

from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.domain.groups import Groups
from tidings.domain.people import media_type_of
from tidings.protocol.api import Done
from tidings.protocol.errors import INVALID, NO_SUCH_CONVERSATION, ProtocolError
from tidings.protocol.ids import CONVERSATION_ID_BYTES, ConversationId
from tidings.protocol.limits import Limits
from tidings.server.http.asking import SECURITY, Caller
from tidings.server.http.pictures import SEALED, answer
from tidings.server.http.problems import AnyRequest

PATH = "/v1/groups/{conversation_id:str}/picture"


def routes(groups: Groups, limits: Limits) -> list[ControllerRouterHandler]:
    """`/v1/groups/{conversation_id}/picture`."""

    @put(PATH, tags=["groups"], security=SECURITY, request_max_body_size=limits.picture_bytes)
    async def picture(
        conversation_id: FromPath[str], request: AnyRequest, caller: NamedDependency[Caller]
    ) -> Done:
        """Show a picture: a PNG, a JPEG or a WebP; in an encrypted group, the sealed bytes of one."""
        group = _parsed(conversation_id)
        data = await request.body()
        media_type = media_type_of(data)
        if await groups.is_sealed(caller.user_id, group):
            media_type = SEALED
        if media_type is None or not data:
            raise ProtocolError(INVALID, "a picture is a PNG, a JPEG or a WebP")
        await groups.set_picture(caller.user_id, group, media_type, data)
        return Done()

    @delete(PATH, tags=["groups"], security=SECURITY, status_code=HTTP_200_OK)
    async def remove(conversation_id: FromPath[str], caller: NamedDependency[Caller]) -> Done:
        """Show no picture any more."""
        await groups.set_picture(caller.user_id, _parsed(conversation_id), "", b"")
        return Done()

    @get(PATH, tags=["groups"], security=SECURITY, media_type="image/png")
    async def show(
        conversation_id: FromPath[str], request: AnyRequest, reader: NamedDependency[Caller]
    ) -> Response[bytes]:
        """A group's picture, for its members.

        The ETag is the picture's version: `If-None-Match` saves sending it again.
        """
        row = await groups.picture(reader.user_id, _parsed(conversation_id))
        if row is None:
            raise ProtocolError(NO_SUCH_CONVERSATION, "this group has no picture")
        return answer(request, row.media_type, row.data, row.version)

    return [picture, remove, show]


def _parsed(text: str) -> ConversationId:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != CONVERSATION_ID_BYTES:
        raise ProtocolError(NO_SUCH_CONVERSATION, "a conversation_id is 32 hex digits")
    return ConversationId(found)
