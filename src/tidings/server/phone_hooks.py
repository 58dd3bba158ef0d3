"""Phone hooks: how a code gets to a phone, by what the config's `phone_hook` says.

- `log`: the code goes to the log. For trials only: who reads the log has every number.
- `https://…` (or `http://…`): `POST` with JSON `{"phone": "+49…", "code": "123456"}`, for whatever sends
  text messages; any answer of 2xx is a yes. A user and password in the URL are sent as Basic.
- `smtps://[USER:PASSWORD@]HOST[:PORT]/?to=ADDRESS&from=ADDRESS` (or `smtp://…`, with STARTTLS where the
  server has it, and never a password without it): a mail, for gateways that make a text message of
  one. `{phone}` in `to` stands for the number's digits.

But for `log`, no number and no code is ever logged.
"""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import httpx
from structlog.typing import FilteringBoundLogger

from tidings.domain.phones import PhoneHook
from tidings.protocol.errors import OVERLOADED, ProtocolError
from tidings.server.config import ConfigError

TIMEOUT_S = 10.0
RETRY_S = 30.0
AT_ONCE = 8
"""codes on their way at the same time"""
TEXT = "Your Tidings code is {code}. Whoever asks you for it is not from Tidings."


class LogHook:
    """Implements `PhoneHook` for trials."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    async def send(self, phone: str, code: str) -> None:
        self._log.warning("phone code (phone_hook is log)", phone=phone, code=code)


class HttpHook:
    """Implements `PhoneHook` over a service that takes a POST."""

    def __init__(
        self,
        url: str,
        log: FilteringBoundLogger,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._log = log
        self._transport = transport
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def send(self, phone: str, code: str) -> None:
        try:
            async with (
                self._turn,
                httpx.AsyncClient(
                    timeout=TIMEOUT_S, transport=self._transport, follow_redirects=False, trust_env=False
                ) as client,
            ):
                answer = await client.post(self._url, json={"phone": phone, "code": code})
            if not answer.is_success:
                raise _failed(self._log, f"the service answered {answer.status_code}")
        except httpx.HTTPError as error:
            # Its kind, not its text: that may hold the URL, and with it a password.
            raise _failed(self._log, type(error).__name__) from None


class MailHook:
    """Implements `PhoneHook` over SMTP, in threads."""

    def __init__(self, url: SplitResult, log: FilteringBoundLogger) -> None:
        """Raises ConfigError."""
        query = parse_qs(url.query)
        try:
            (self._to,) = query.pop("to")
            (self._from,) = query.pop("from")
            self._host, self._port = url.hostname or "", url.port
            if query or not self._host:
                raise ValueError
            # A header with a line break would be refused with each mail: better at the start.
            self._message("+0", "0")
        except (KeyError, ValueError):
            raise ConfigError(
                "phone_hook: expected smtp(s)://[USER:PASSWORD@]HOST[:PORT]/?to=ADDRESS&from=ADDRESS"
            ) from None
        self._tls = url.scheme == "smtps"
        self._user = unquote(url.username or "")
        self._password = unquote(url.password or "")
        self._log = log
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def send(self, phone: str, code: str) -> None:
        try:
            async with self._turn:
                await asyncio.to_thread(self._send, self._message(phone, code))
        except (OSError, smtplib.SMTPException) as error:
            raise _failed(self._log, type(error).__name__) from None

    def _message(self, phone: str, code: str) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = self._to.replace("{phone}", phone.removeprefix("+"))
        message["Subject"] = "Tidings code"
        message.set_content(TEXT.format(code=code))
        return message

    def _send(self, message: EmailMessage) -> None:
        with self._connect() as smtp:
            if not self._tls:
                smtp.ehlo()
                if self._user or smtp.has_extn("starttls"):
                    smtp.starttls(context=ssl.create_default_context())
            if self._user:
                smtp.login(self._user, self._password)
            smtp.send_message(message)

    def _connect(self) -> smtplib.SMTP:
        if self._tls:
            return smtplib.SMTP_SSL(
                self._host, self._port or 0, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        return smtplib.SMTP(self._host, self._port or 0, timeout=TIMEOUT_S)


def open_hook(hook: str, log: FilteringBoundLogger) -> PhoneHook | None:
    """The hook of a config; None where it is empty. Raises ConfigError."""
    if not hook:
        return None
    if hook == "log":
        return LogHook(log)
    try:
        url = urlsplit(hook)
        named = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        named = False
    if named and url.scheme in ("http", "https"):
        return HttpHook(hook, log)
    if named and url.scheme in ("smtp", "smtps"):
        return MailHook(url, log)
    # The value itself is not shown: it may hold a password.
    raise ConfigError("phone_hook: expected log, an http(s) URL or smtp(s)://…")


def _failed(log: FilteringBoundLogger, reason: str) -> ProtocolError:
    log.warning("a phone code could not be sent", reason=reason)
    return ProtocolError(OVERLOADED, "the code could not be sent", retry_after_s=RETRY_S)
