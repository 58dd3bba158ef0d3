"""Phone hooks: each brings a code, and none tells a log of it."""

import asyncio
import email
import json
from typing import Any

import httpx
import pytest
import structlog

from refusals import refusal
from tidings.protocol import errors
from tidings.server.config import ConfigError
from tidings.server.phone_hooks import HttpHook, LogHook, MailHook, open_hook

PHONE, CODE = "+4930901820", "123456"


class Heard:
    """A log that is kept."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = structlog.wrap_logger(structlog.ReturnLogger(), processors=[self._note])

    def _note(self, _: object, method: str, event: Any) -> str:
        self.lines.append(f"{method} {event}")
        return ""


@pytest.mark.parametrize(
    ("hook", "kind"),
    [
        ("log", LogHook),
        ("https://user:secret@sms.example/send", HttpHook),
        ("http://127.0.0.1:9/", HttpHook),
        ("smtps://user:p%40ss@mail.example/?to={phone}@sms.example&from=t@example.org", MailHook),
        ("smtp://mail.example:2525/?to=a@example.org&from=t@example.org", MailHook),
    ],
)
def test_a_hook_is_made_of_what_the_config_says(hook: str, kind: type) -> None:
    assert type(open_hook(hook, Heard().log)) is kind


def test_no_hook() -> None:
    assert open_hook("", Heard().log) is None


@pytest.mark.parametrize(
    "hook",
    [
        "logs",
        "ftp://host/",
        "https://",
        "https://host:x/",
        "http://[::1",
        "smtp://user:secret@host/",
        "smtp://host/?to=a@example.org",
        "smtp://host/?to=a@example.org&from=b@example.org&from=c@example.org",
        "smtp://host/?to=a@example.org&from=b@example.org&cc=c@example.org",
        "smtp://host/?to=a@example.org%0d%0aBcc:x@example.org&from=b@example.org",
    ],
)
def test_a_hook_that_cannot_be_is_an_error_without_its_password(hook: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_hook(hook, Heard().log)
    assert "phone_hook" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_the_log_of_a_trial_shows_the_code() -> None:
    heard = Heard()
    await LogHook(heard.log).send(PHONE, CODE)
    assert CODE in heard.lines[0]


async def test_http_posts_number_and_code() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(204)

    heard = Heard()
    hook = HttpHook("https://u:p@sms.example/send?x=1", heard.log, httpx.MockTransport(answer))
    await hook.send(PHONE, CODE)
    assert json.loads(asked[0].content) == {"phone": PHONE, "code": CODE}
    assert asked[0].headers["authorization"].startswith("Basic ")
    assert heard.lines == []


@pytest.mark.parametrize("status", [301, 400, 500])
async def test_http_that_fails_is_told_and_logged_without_number_or_code(status: int) -> None:
    heard = Heard()
    headers = {"Location": "https://elsewhere.example/"}
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, text=PHONE + CODE))
    error = await refusal(HttpHook("https://u:secret@sms.example/", heard.log, transport).send(PHONE, CODE))
    assert error.kind is errors.OVERLOADED
    assert error.retry_after_s
    assert str(status) in heard.lines[0]
    for private in (PHONE, CODE, "secret"):
        assert private not in heard.lines[0] + error.message


async def test_http_that_is_not_there() -> None:
    heard = Heard()

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(f"no {request.url}", request=request)

    hook = HttpHook("https://u:secret@sms.example/", heard.log, httpx.MockTransport(refuse))
    assert (await refusal(hook.send(PHONE, CODE))).kind is errors.OVERLOADED
    assert "ConnectError" in heard.lines[0]
    assert "secret" not in heard.lines[0]


class MailServer:
    """Takes one mail on loopback, or refuses it."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse = refuse
        self.said: list[str] = []
        self.mail = b""

    async def __aenter__(self) -> "MailServer":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        while line := (await reader.readline()).decode().strip():
            self.said.append(line)
            verb = line.split(" ")[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                self.mail = await reader.readuntil(b"\r\n.\r\n")
            if verb == "RCPT" and self.refuse:
                writer.write(b"550 nobody " + PHONE.encode() + b"\r\n")
            elif verb == "EHLO":
                writer.write(b"250 mail\r\n")
            else:
                writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            if verb == "QUIT":
                break
        writer.close()


def mail_hook(port: int, heard: Heard, user: str = "") -> Any:
    return open_hook(f"smtp://{user}127.0.0.1:{port}/?to={{phone}}@sms.example&from=t@example.org", heard.log)


async def test_a_mail_is_sent_for_gateways_that_take_one() -> None:
    heard = Heard()
    async with MailServer() as server:
        await mail_hook(server.port, heard).send(PHONE, CODE)
    message = email.message_from_bytes(server.mail)
    assert message["To"] == "4930901820@sms.example"
    assert CODE in str(message.get_payload())
    assert heard.lines == []


async def test_a_mail_that_is_refused_is_logged_without_number_or_code() -> None:
    heard = Heard()
    async with MailServer(refuse=True) as server:
        error = await refusal(mail_hook(server.port, heard).send(PHONE, CODE))
    assert error.kind is errors.OVERLOADED
    assert "SMTPRecipientsRefused" in heard.lines[0]
    for private in (PHONE, PHONE[1:], CODE):
        assert private not in heard.lines[0]


async def test_a_password_is_not_sent_in_the_clear() -> None:
    heard = Heard()
    async with MailServer() as server:
        error = await refusal(mail_hook(server.port, heard, "user:secret@").send(PHONE, CODE))
    assert error.kind is errors.OVERLOADED
    assert not any("AUTH" in line for line in server.said)
