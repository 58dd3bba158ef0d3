"""How a picture is taken and shown, whoever it is of.

A picture is somebody else's bytes in the reader's browser: it has a type from a fixed list, found by
its first bytes and not by what its sender says, and no browser may take it for anything else.

spec §7
"""

from litestar import MediaType, Response
from litestar.status_codes import HTTP_304_NOT_MODIFIED

from tidings.protocol.ids import EntryId
from tidings.server.http.problems import AnyRequest

MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
SEALED = "application/octet-stream"
"""of what only clients can read"""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    # Who may see it may change: it is asked for each time, and answered with 304.
    "Cache-Control": "private, no-cache",
}


def answer(request: AnyRequest, media_type: str, data: bytes, version: EntryId) -> Response[bytes]:
    """The picture, or that it is the one that the reader has: the ETag is its version."""
    headers = _HEADERS | {"ETag": f'"{version}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=HTTP_304_NOT_MODIFIED, headers=headers, media_type=MediaType.TEXT)
    # From the list again: whatever is stored, nothing else reaches a browser.
    shown = media_type if media_type in MEDIA_TYPES else SEALED
    return Response(data, headers=headers, media_type=shown)
