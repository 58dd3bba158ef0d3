"""A client of XMPP over WebSocket (RFC 7395), as far as chatting needs one.

Stream management (XEP-0198) with an acknowledgement asked for after each message, receipts
(XEP-0184), carbons (XEP-0280). Stanzas are looked at with regular expressions: a real parser would only
cost the load generator time, and the server's stanzas are known.
"""

import asyncio
import base64
import re
from collections import deque

from tidings.bench.peers.websocket import TextSocket, content, name_of

DOMAIN = "localhost"
PASSWORD = "pw"  # noqa: S105 - of people who do not exist
SUBPROTOCOL = "xmpp"
STEP_S = 15.0
RECEIPTS_AN_ACK = 10
"""so often is the server asked whether it has the receipts: nobody waits for that"""
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
RECEIPTS = "urn:xmpp:receipts"
MANAGEMENT = "urn:xmpp:sm:3"

_BODY = re.compile(r"<body[^>]*>([^<]*)</body>")
_FROM = re.compile(r"""\sfrom=['"]([^'"]+)['"]""")
_ID = re.compile(r"""\sid=['"]([^'"]+)['"]""")
_COUNT = re.compile(r"""\sh=['"](\d+)['"]""")
_RECEIVED = re.compile(r"""<received\s[^>]*?\bid=['"]([^'"]+)['"]""")


def address(user: int) -> str:
    """The bare address of a user."""
    return f"u{user}@{DOMAIN}"


class XmppClient(TextSocket):
    """One stream of one user."""

    def __init__(self, user: int) -> None:
        super().__init__()
        self._user = user
        self._steps: asyncio.Queue[str] = asyncio.Queue()
        """what the server says while the stream is being opened"""
        self._is_open = False
        self._received = 0
        """stanzas that count for stream management"""
        self._sent = 0
        self._unacknowledged: deque[str] = deque()
        """names of messages; empty for other stanzas"""
        self._receipts = 0

    # --- opening ----------------------------------------------------------------------------

    async def login(self, url: str) -> None:
        """Log in, so that only `come_online` is left. Raises RuntimeError where it is refused."""
        await self.open(url, SUBPROTOCOL)
        opening = f"<open xmlns='{FRAMING}' to='{DOMAIN}' version='1.0'/>"
        proof = base64.b64encode(f"\0u{self._user}\0{PASSWORD}".encode()).decode()
        await self._step(opening, "features")
        await self._step(
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>", "<success"
        )
        await self._step(opening, "features")
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind>"
        await self._step(f"<iq xmlns='jabber:client' type='set' id='bind'>{bind}</iq>", "<jid>")
        await self._step(f"<enable xmlns='{MANAGEMENT}' resume='true'/>", "<enabled")
        self._is_open = True
        self._stanza("<iq xmlns='jabber:client' type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>")

    def come_online(self) -> None:
        """From here on messages come, those first that have waited."""
        self._stanza("<presence xmlns='jabber:client'/>")

    async def _step(self, said: str, awaited: str) -> None:
        self.write(said)
        async with asyncio.timeout(STEP_S):
            while awaited not in (answer := await self._steps.get()):
                if "<failure" in answer or "<failed" in answer or "type='error'" in answer:
                    raise RuntimeError(f"XMPP: {answer[:200]}")

    # --- talking ----------------------------------------------------------------------------

    def send(self, to: int, name: str, content_bytes: int) -> None:
        """A chat message that asks for a receipt, and whether the server has it."""
        self._stanza(
            f"<message xmlns='jabber:client' to='{address(to)}' id='{name}' type='chat'>"
            f"<body>{content(name, content_bytes)}</body><request xmlns='{RECEIPTS}'/></message>",
            name,
        )
        self._ask()

    async def close(self) -> None:
        """End the stream, so that the server does not keep it for being resumed."""
        self._stanza("<presence xmlns='jabber:client' type='unavailable'/>")
        self.write(f"<close xmlns='{FRAMING}'/>")
        await super().close()

    def heard(self, text: str) -> None:
        if not self._is_open:
            self._steps.put_nowait(text)
        elif text.startswith("<message"):
            self._received += 1
            self._message(text)
        elif text.startswith("<a "):
            self._acknowledged(int(_found(_COUNT, text)))
        elif text.startswith(("<r ", "<r/")):
            self.write(f"<a xmlns='{MANAGEMENT}' h='{self._received}'/>")
        elif text.startswith(("<iq", "<presence")):
            self._received += 1
            if "urn:xmpp:ping" in text:
                to = f" to='{_found(_FROM, text)}'" if _FROM.search(text) else ""
                self._stanza(f"<iq xmlns='jabber:client' type='result' id='{_found(_ID, text)}'{to}/>")

    def _message(self, text: str) -> None:
        receipt = _RECEIVED.search(text)
        if receipt is not None:
            self.on_receipt(receipt.group(1))
            return
        name = name_of(_found(_BODY, text))
        self.on_message(name)
        if self.gives_receipts:
            self._receipts += 1
            self._stanza(
                f"<message xmlns='jabber:client' to='{_found(_FROM, text)}'"
                f" id='r{self._receipts}' type='chat'>"
                f"<received xmlns='{RECEIPTS}' id='{name}'/></message>"
            )
            if self._receipts % RECEIPTS_AN_ACK == 0:
                self._ask()

    def _stanza(self, stanza: str, name: str = "") -> None:
        self.write(stanza)
        self._sent += 1
        self._unacknowledged.append(name)

    def _ask(self) -> None:
        self.write(f"<r xmlns='{MANAGEMENT}'/>")

    def _acknowledged(self, count: int) -> None:
        while len(self._unacknowledged) > self._sent - count:
            name = self._unacknowledged.popleft()
            if name:
                self.on_taken(name)


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if match is None:
        raise RuntimeError(f"XMPP: not understood: {text[:200]}")
    return match.group(1)
