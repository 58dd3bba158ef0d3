"""Profiles and pictures: what users say of themselves.

A picture is somebody else's bytes in the reader's browser: it has a type from a fixed list, found by
its first bytes and not by what its sender says, and no browser may take it for anything else.

spec §7
"""

from litestar import MediaType, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_304_NOT_MODIFIED
from litestar.types import ControllerRouterHandler

from tidings.domain.accounts import Accounts
from tidings.domain.people import People, media_type_of
from tidings.protocol.api import AccountInfo, ProfileBody
from tidings.protocol.errors import INVALID, NO_SUCH_USER, ProtocolError
from tidings.protocol.ids import UserId
from tidings.protocol.limits import Limits
from tidings.server.http.asking import SECURITY, Caller
from tidings.server.http.devices import parse_id
from tidings.server.http.problems import AnyRequest

NO_PICTURE = "no picture of such a user is shown"
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Who may see it may change: it is asked for each time, and answered with 304.
    "Cache-Control": "private, no-cache",
}


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
        media_type, data, version = found
        headers = _HEADERS | {"ETag": f'"{version}"'}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(
                b"", status_code=HTTP_304_NOT_MODIFIED, headers=headers, media_type=MediaType.TEXT
            )
        # From the list again: whatever is stored, nothing else reaches a browser.
        shown = media_type if media_type in MEDIA_TYPES else "application/octet-stream"
        return Response(data, headers=headers, media_type=shown)

    return [profile, picture, remove, show]
