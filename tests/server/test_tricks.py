"""Every string that a stranger or a user may send, with what breaks other servers in it.

It is refused with a sentence, and then nothing has changed; or it is just text, and changes what any
text would. It never is our fault.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

import pytest

from server.http_rig import BOB, Node, node_of
from tidings.protocol import errors, frames, ids
from tidings.protocol.api import LoggedIn
from tidings.protocol.codec import JSON, MSGPACK, Codec
from tidings.protocol.frames import Error, Frame, Lookup, Ok, OpenDirect, Report, Send, Set, SettingKind
from tidings.protocol.ids import ConversationId, UserId
from tidings.protocol.limits import Limits, Rate
from tidings.store.memory import MemoryStore
from tidings.store.schema import NODES, SECRETS, SEEN, TABLES
from tidings.testing.world import PASSWORD, Device

EVER = Rate(per_s=1e6, burst=1_000_000)
LIMITS = Limits(
    receipt_delay_s=0.0,
    login_rate=EVER,
    register_rate=EVER,
    account_rate=EVER,
    lookup_rate=EVER,
    query_rate=EVER,
    setting_rate=EVER,
)
TEXTS = [
    "'; DROP TABLE users; --",
    "' OR '1'='1",
    "../../etc/passwd",
    "..\\..\\nul",
    "%2e%2e%2f",
    "{0.__class__}%s%n${jndi:ldap://x}",
    "</script><script>alert(1)</script>",
]
"""of which some are fine as a name"""
NO_TEXTS = [
    "a\0b",
    "a\x1b[2J\x07",
    "evil\u202e",
    "a" + "\u0301" * 10_000,
    "\ue000",
    "A" * 1_000_000,
]
"""which nothing may be called"""
MESSAGE_CHARS = 200


class Place(NamedTuple):
    """A request with a string in it."""

    method: str
    path: str
    body: dict[str, object]
    takes_text: bool = False
    """whether any text that can be shown will do"""
    with_token: bool = True


def places(text: str, device_id: str) -> Iterator[Place]:
    yield Place("POST", "/v1/accounts", {"handle": text, "secret": PASSWORD}, with_token=False)
    taken = {"handle": "bob", "secret": PASSWORD}
    yield Place("POST", "/v1/accounts", taken | {"device_name": text}, with_token=False)
    yield Place("POST", "/v1/accounts", {"handle": "eve", "secret": text[:7]}, with_token=False)
    kdf = {"kdf": {"salt": text}}
    yield Place("POST", "/v1/accounts", {"handle": "eve", "secret": PASSWORD} | kdf, with_token=False)
    yield Place("POST", "/v1/kdf", {"handle": text}, with_token=False)
    yield Place("POST", "/v1/sessions", {"handle": text, "secret": PASSWORD}, with_token=False)
    yield Place("POST", "/v1/sessions", {"handle": "alice", "secret": text}, with_token=False)
    yield Place("PUT", "/v1/account/handle", {"handle": text})
    yield Place("PUT", "/v1/account/secret", {"secret": text, "new_secret": PASSWORD})
    yield Place("POST", "/v1/account/phone", {"phone": text})
    yield Place("POST", "/v1/account/phone/confirm", {"code": text})
    yield Place("POST", "/v1/account/factor", {"secret": text})
    yield Place("POST", "/v1/account/factor/confirm", {"code": text})
    yield Place("POST", "/v1/account/factor/remove", {"secret": text, "code": text})
    yield Place("POST", "/v1/account/delete", {"secret": text})
    yield Place("PUT", "/v1/profile", {"name": text}, takes_text=True)
    yield Place("PUT", "/v1/profile", {"about": text}, takes_text=True)
    yield Place("PUT", f"/v1/devices/{device_id}", {"name": text}, takes_text=True)


class People(NamedTuple):
    """A node, its store, alice and bob."""

    node: Node
    store: MemoryStore
    alice: dict[str, str]
    bob: UserId

    async def rows(self) -> dict[str, list[object]]:
        """All that is stored, but for when somebody was seen and what id was given last."""
        tables = [table for table in TABLES if table not in (NODES, SEEN, SECRETS)]
        return {table.name: list(await self.store.scan(table, limit=10_000)) for table in tables}

    async def online(self, codec: Codec) -> Device:
        """Alice."""
        account = LoggedIn(**{name: self.alice[name] for name in LoggedIn.__struct_fields__})
        return await self.node.world.online(account, codec)


@pytest.fixture
async def people() -> AsyncIterator[People]:
    store = MemoryStore()
    async with node_of(LIMITS, store=store, phone_hook="log") as node:
        alice = await node.register()
        bob = await node.register(BOB)
        yield People(node, store, alice, UserId(int(bob["user_id"])))
        assert node.world.complaints == []


def check_message(message: str) -> None:
    """What somebody is told shows as it is, and is no echo of megabytes."""
    assert message.isprintable()
    assert 0 < len(message) <= MESSAGE_CHARS


@pytest.mark.parametrize("text", TEXTS + NO_TEXTS, ids=lambda text: repr(text[:12]))
async def test_in_requests(people: People, text: str) -> None:
    for place in places(text, people.alice["device_id"]):
        token = people.alice["token"] if place.with_token else ""
        before = await people.rows()
        headers = {"Content-Type": "application/json"}
        content = json.dumps(place.body).encode()
        answer = await people.node.ask(
            place.method, place.path, content=content, token=token, headers=headers
        )
        if place.takes_text and text in TEXTS:
            assert answer.status_code == 200, place
            continue
        assert 400 <= answer.status_code < 500, place
        check_message(answer.json()["message"])
        assert await people.rows() == before, place


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b"1e999"])
async def test_what_is_no_text_at_all(people: People, text: bytes) -> None:
    for place in places("@", people.alice["device_id"]):
        if not any(value == "@" for value in place.body.values()):
            continue
        before = await people.rows()
        content = json.dumps(place.body).encode().replace(b'"@"', text)
        token = people.alice["token"] if place.with_token else ""
        headers = {"Content-Type": "application/json"}
        answer = await people.node.ask(
            place.method, place.path, content=content, token=token, headers=headers
        )
        assert 400 <= answer.status_code < 500, place
        assert await people.rows() == before, place


def said(text: str, bob: UserId, conversation: ConversationId) -> list[tuple[Frame, bool]]:
    """Frames with a string in them, and whether any text will do there."""
    name = ids.client_id(bytes(8), 1)
    return [
        (OpenDirect(1, text), False),
        (Lookup(1, handle=text), False),
        (Lookup(1, phone=text), False),
        (Set(1, SettingKind.OPAQUE, text, b"1"), True),
        (Set(1, SettingKind.BLOCK, text, b"1"), False),
        (Set(1, SettingKind.PRIVACY, text, b"nobody"), False),
        (Set(1, SettingKind.STAR, text, b"1"), False),
        (Set(1, SettingKind.DRAFT, text, b"1"), False),
        (Report(1, bob, text), True),
        (Send(name, 1, conversation, 1, 0, frames.Scheme.PLAIN, text, b"hello"), True),
    ]


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
@pytest.mark.parametrize("text", TEXTS + NO_TEXTS[:-1], ids=lambda text: repr(text[:12]))
async def test_in_frames(people: People, text: str, codec: Codec) -> None:
    device = await people.online(codec)
    conversation = await device.open("bob")
    for frame, takes_text in said(text, people.bob, conversation):
        before = await people.rows()
        device.say(frame)
        answer = await device.expect(Frame, lambda one: isinstance(one, Error | Ok | frames.Sent))
        opaque = isinstance(frame, Set) and text in ("evil\u202e", "\ue000")  # nobody but its owner sees it
        if takes_text and (text in TEXTS or opaque):
            assert not isinstance(answer, Error), frame
            continue
        assert isinstance(answer, Error), frame
        assert answer.code != errors.INTERNAL.code
        check_message(answer.message)
        assert await people.rows() == before, frame
    await device.settle()


@pytest.mark.parametrize(
    "text", [*TEXTS, "A" * 1_000_000, "A" * 56, "\u0301" * 10_000, "\0"], ids=lambda text: repr(text[:12])
)
async def test_as_a_token(people: People, text: str) -> None:
    before = await people.rows()
    device = people.node.world.connect(LoggedIn("1", "1", "eve", text))
    device.hello()
    error = await device.expect(Error)
    assert error.code == errors.UNAUTHENTICATED.code
    check_message(error.message)
    assert device.link.closed is not None
    if text.isascii() and text.isprintable():
        answer = await people.node.ask("GET", "/v1/devices", token=text)
        assert answer.status_code == 401
    assert await people.rows() == before


@pytest.mark.parametrize("text", [*TEXTS, *NO_TEXTS], ids=lambda text: repr(text[:12]))
async def test_as_an_invite(text: str) -> None:
    store = MemoryStore()
    async with node_of(LIMITS, store=store, registration="invite") as node:
        body = {"handle": "eve", "secret": PASSWORD, "invite": text}
        answer = await node.ask("POST", "/v1/accounts", body)
        told = answer.json()
        assert (answer.status_code, told["name"]) in {(403, "bad_invite"), (413, "too_large")}
        check_message(told["message"])
        assert not [table.name for table in TABLES if await store.scan(table, limit=1)]
