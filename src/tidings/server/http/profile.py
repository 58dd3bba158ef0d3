"""Profiles and pictures: what users say of themselves.

spec §7
"""

from litestar import Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK
from litestar.types import ControllerRouterHandler

from tidings.domain.accounts import Accounts
from tidings.domain.people import People, media_type_of
from tidings.protocol.api import AccountInfo, ProfileBody
from tidings.protocol.errors import INVALID, NO_SUCH_USER, ProtocolError
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.server.http.asking import SECURITY, Caller
from tidings.server.http.devices import parse_id
from tidings.server.http.pictures import answer
from tidings.server.http.problems import AnyRequest

NO_PICTURE = "no picture of such a user is shown"


def routes(people: People, accounts: Accounts, limits: Limits) -> list[ControllerRouterHandler]:
    """`/v1/profile` and `/v1/users/{user_id}/picture`."""

    @put("/v1/profile", tags=["profile"], security=SECURITY)
    async def profile(data: JSONBody[ProfileBody], caller: NamedDependency[Caller]) -> AccountInfo:
        """Say who one is: a name, and a text about oneself."""
        await people.set_profile(caller.user_id, data.name, data.about)
        return await accounts.info(caller.user_id)

    @put(
        "/v1/profile/picture",
        tags=["profile"],
        security=SECURITY,
        request_max_body_size=limits.picture_bytes,
    )
    async def picture(request: AnyRequest, caller: NamedDependency[Caller]) -> AccountInfo:
        """Show a picture: the body is a PNG, a JPEG or a WebP, as it is."""
        data = await request.body()
        media_type = media_type_of(data)
        if media_type is None:
            raise ProtocolError(INVALID, "a picture is a PNG, a JPEG or a WebP")
        await people.set_picture(caller.user_id, media_type, data)
        return await accounts.info(caller.user_id)

    @delete("/v1/profile/picture", tags=["profile"], security=SECURITY, status_code=HTTP_200_OK)
    async def remove(caller: NamedDependency[Caller]) -> AccountInfo:
        """Show no picture any more."""
        await people.set_picture(caller.user_id, None, b"")
        return await accounts.info(caller.user_id)

    @get("/v1/users/{user_id:str}/picture", tags=["profile"], security=SECURITY, media_type="image/png")
    async def show(
        user_id: FromPath[str], request: AnyRequest, reader: NamedDependency[Caller]
    ) -> Response[bytes]:
        """Somebody's picture, if there is one and they show it to the asker.

        The ETag is the picture's version: `If-None-Match` saves sending it again.
        """
        owner = UserId(parse_id(user_id, NO_SUCH_USER, NO_PICTURE))
        await people.check_known(reader.user_id, [owner])
        found = await people.picture(reader.user_id, owner)
        if found is None:
            raise ProtocolError(NO_SUCH_USER, NO_PICTURE)
        return answer(request, *found)

    return [profile, picture, remove, show]
