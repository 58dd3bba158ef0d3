"""One request to an ASGI application of this process, without a socket."""

from typing import Any
from urllib.parse import unquote

from tidings.server.workers.orders import Answer, Ask

JSON = "application/json"


async def answer(app: Any, ask: Ask) -> Answer:
    """What the application answers."""
    status, media_type, body = 0, JSON, b""
    unread = True

    async def receive() -> dict[str, Any]:
        nonlocal unread
        if not unread:
            return {"type": "http.disconnect"}
        unread = False
        return {"type": "http.request", "body": ask.body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, media_type, body
        if message["type"] == "http.response.start":
            status = message["status"]
            media_type = dict(message["headers"]).get(b"content-type", JSON.encode()).decode()
        else:
            body += message.get("body", b"")

    await app(_scope(ask), receive, send)
    return Answer(ask.number, status, media_type, body)


def _scope(ask: Ask) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": ask.method,
        "scheme": "http",
        "path": unquote(ask.path),
        "raw_path": ask.path.encode("latin-1"),
        "query_string": ask.query,
        "root_path": "",
        "headers": [(b"content-type", JSON.encode()), (b"content-length", b"%d" % len(ask.body))],
        "client": None,
        "server": None,
        "state": {},
    }
