"""What strangers and broken clients send: each is told what is wrong, and nobody else notices."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import pytest

from integration.people import Closed, Friends, Speaker, refusal_of, until
from integration.server import MiB, Server, running
from server.rig import BINARY, CONTINUATION, TEXT, frame, upgrade
from tidings.protocol import errors, frames
from tidings.protocol.close import CloseCode
from tidings.protocol.codec import MSGPACK
from tidings.protocol.limits import Limits

pytestmark = pytest.mark.slow

HELLO_S = 1.0
HEAD_S = 1.0
HALF_OPEN_TCP = 1000
HALF_OPEN_WEBSOCKETS = 500
DEFAULTS = Limits()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    limits = {"http_head_s": HEAD_S, "hello_s": HELLO_S, "close_s": 1.0}
    with running(tmp_path_factory.mktemp("server"), limits=limits) as server:
        yield server


@pytest.fixture(autouse=True)
async def nobody_noticed(friends: Friends) -> AsyncIterator[None]:
    """After each test the server serves as before."""
    yield
    await friends.check()
    await until(lambda: friends.server.connections == 0)


def raw(*values: object) -> bytes:
    """A frame of whatever values."""
    return msgspec.msgpack.encode(values)


def mutations(seed: int, count: int) -> list[bytes]:
    """Frames that are none: noise, and good ones cut short."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    good = MSGPACK.encode(frames.History(1, b"c" * 16))  # type: ignore[arg-type]
    noise = [rng.randbytes(rng.randint(1, 200)) for _ in range(count)]
    return noise + [good[:length] for length in range(len(good))]


class TestMalformed:
    @pytest.mark.parametrize(
        ("data", "says"),
        [
            (b"", "truncated"),
            (b"\xc1", "malformed"),
            (raw(), "length"),
            (b"\x92\x03", "truncated"),
            (raw("6"), "`int`"),
            (raw(3, "1"), "`$[1]`"),
            (raw(3, -1), "`$[1]`"),
            (raw(3, 1 << 63), "`$[1]`"),
            (raw(5, 1, b"short"), "`$[2]`"),
            (raw(2, b"c" * 16), "at least"),
            (raw(4, 1, "c" * 16, 1), "`$[2]`"),
            (raw(6) + b"\x00", "trailing"),
            (raw(7, 1, b"bob"), "`$[2]`"),
            (b"\x93\x07\x01\xa1\xff", "UTF-8"),
            (b"\x91" * 5000 + b"\x06", ""),
            (msgspec.msgpack.encode({"tag": 6}), "`array`"),
        ],
        ids=lambda value: None,
    )
    async def test_it_is_named_precisely_and_closed(self, friends: Friends, data: bytes, says: str) -> None:
        async with await Speaker.online(friends.server, friends.tokens[0]) as speaker:
            speaker.say_bytes(data)
            error = await speaker.expect(frames.Error)
            assert (error.code, error.request_id, error.client_id) == (errors.MALFORMED.code, None, None)
            assert says.lower() in error.message.lower()
            assert len(error.message) < 200
            assert await speaker.closing() == Closed(CloseCode.MALFORMED, "malformed")

    async def test_noise(self, friends: Friends) -> None:
        """Also before anybody knows who speaks."""
        for number, data in enumerate(mutations(seed=7, count=100)):
            async with await Speaker.connect(friends.server.port) as speaker:
                if number % 2:
                    speaker.say(frames.Hello(friends.tokens[0], receive=False))
                    await speaker.expect(frames.Welcome)
                speaker.say_bytes(data)
                error = await speaker.expect(frames.Error)
                assert error.code in {
                    errors.MALFORMED.code,
                    errors.UNKNOWN_TAG.code,
                    errors.UNAUTHENTICATED.code,
                }
                if number % 2 == 0 or error.code != errors.UNKNOWN_TAG.code:
                    assert (await speaker.closing()).code in {CloseCode.MALFORMED, CloseCode.NOT_ALLOWED}

    async def test_what_follows_a_malformed_frame_is_not_obeyed(self, friends: Friends) -> None:
        async with friends.talking() as talk:
            talk.alice.send(
                frame(BINARY, b"\xc1"),
                frame(BINARY, MSGPACK.encode(talk.alice.message(talk.conversation, b"too late"))),
            )
            await talk.alice.closing()
            assert not [one for one in talk.alice.seen if isinstance(one, frames.Sent)]
            assert b"too late" not in await talk.bob.history(talk.conversation)

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (frame(BINARY, b"x", rsv=4), CloseCode.PROTOCOL_ERROR),
            (frame(BINARY, b"x", masked=False), CloseCode.PROTOCOL_ERROR),
            (frame(TEXT, b"[6]"), CloseCode.PROTOCOL_ERROR),
            (frame(CONTINUATION, b"x"), CloseCode.PROTOCOL_ERROR),
            (frame(0x3, b"x"), CloseCode.PROTOCOL_ERROR),
        ],
        ids=["rsv", "unmasked", "text", "continuation", "opcode"],
    )
    async def test_a_broken_websocket(self, friends: Friends, data: bytes, code: CloseCode) -> None:
        async with await Speaker.online(friends.server, friends.tokens[0]) as speaker:
            speaker.send(data)
            assert (await speaker.closing()).code == code

    async def test_noise_instead_of_http(self, server: Server) -> None:
        rng = random.Random(8)
        for _ in range(30):
            async with await Speaker.dial(server.port) as speaker:
                speaker.send(rng.randbytes(300))
                answer = await speaker.rest()
                assert answer.startswith(b"HTTP/1.1 400 ") or not answer

    @pytest.mark.parametrize(
        "body",
        [
            None,
            [],
            {"handle": "x"},
            {"handle": 1, "secret": 2},
            {"handle": "eve", "secret": "\ud800" * 9},
        ],
        ids=repr,
    )
    async def test_a_body_that_is_none(self, server: Server, body: Any) -> None:
        status, answer = server.http("/v1/accounts", body or [])
        assert status == 400
        assert answer["name"] in {kind.name for kind in errors.REGISTRY.values()}


class TestOversized:
    async def test_a_message_just_over_the_limit_is_closed(self, friends: Friends) -> None:
        async with await Speaker.online(friends.server, friends.tokens[0]) as speaker:
            speaker.say_bytes(bytes(DEFAULTS.frame_bytes + 1))
            assert (await speaker.closing()).code == CloseCode.TOO_BIG

    async def test_a_message_far_over_the_limit_is_closed(self, friends: Friends) -> None:
        async with await Speaker.online(friends.server, friends.tokens[0]) as speaker:
            speaker.say_bytes(bytes(DEFAULTS.frame_bytes * 2))
            assert (await speaker.closing()).code == CloseCode.TOO_BIG

    async def test_so_is_one_in_fragments(self, friends: Friends) -> None:
        async with await Speaker.online(friends.server, friends.tokens[0]) as speaker:
            part = bytes(DEFAULTS.frame_bytes // 4)
            speaker.send(frame(BINARY, part, fin=False), *[frame(CONTINUATION, part, fin=False)] * 4)
            assert (await speaker.closing()).code == CloseCode.TOO_BIG

    @pytest.mark.parametrize(
        "change",
        [
            {"content": bytes(DEFAULTS.content_bytes + 1)},
            {"content_type": "x" * (DEFAULTS.content_type_chars + 1)},
            {"envelopes": dict.fromkeys(range(DEFAULTS.envelopes + 1), b"")},
            {"envelopes": {1: bytes(DEFAULTS.envelope_bytes + 1)}},
        ],
        ids=lambda change: next(iter(change)),
    )
    async def test_a_value_over_its_limit_is_refused_and_the_session_goes_on(
        self, friends: Friends, change: dict[str, object]
    ) -> None:
        async with friends.talking() as talk:
            said = talk.alice.message(talk.conversation, b"x")
            for name, value in change.items():
                setattr(said, name, value)
            talk.alice.say(said)
            assert (await refusal_of(talk.alice, said)).code == errors.TOO_LARGE.code
            await talk.exchange()

    async def test_a_head_over_the_limit_is_refused(self, server: Server) -> None:
        async with await Speaker.dial(server.port) as speaker:
            speaker.send(upgrade(b"X-Filler: " + b"x" * DEFAULTS.http_head_bytes))
            assert (await speaker.answer())[0] == 431

    async def test_a_body_over_the_limit_is_refused(self, server: Server) -> None:
        status, _ = server.http("/v1/accounts", {"handle": "x" * DEFAULTS.http_body_bytes, "secret": "x"})
        assert status == 413


class TestOutOfPlace:
    @pytest.mark.parametrize("tag", [0, 40, 63, 64, 1 << 40, -1])
    async def test_an_unknown_tag_is_answered_and_the_session_goes_on(
        self, friends: Friends, tag: int
    ) -> None:
        async with friends.talking() as talk:
            talk.alice.say_bytes(raw(tag, {"a": [1, 2.5, None]}))
            error = await talk.alice.expect(frames.Error)
            assert (error.code, error.message) == (errors.UNKNOWN_TAG.code, f"unknown tag {tag}")
            await talk.exchange()

    async def test_a_second_hello(self, friends: Friends) -> None:
        async with await Speaker.online(friends.server, friends.tokens[0]) as speaker:
            speaker.say(frames.Hello(friends.tokens[0]))
            assert (await speaker.expect(frames.Error)).code == errors.OUT_OF_STATE.code
            assert await speaker.closing() == Closed(CloseCode.OUT_OF_STATE, "out_of_state")

    @pytest.mark.parametrize(
        "said",
        [
            frames.Read(1, b"c" * 16, 1),  # type: ignore[arg-type]
            frames.Ack(1),
            frames.Heartbeat(),
            frames.Sync(1, 0),
        ],
        ids=lambda said: type(said).__name__,
    )
    async def test_anything_before_hello(self, server: Server, said: frames.Frame) -> None:
        async with await Speaker.connect(server.port) as speaker:
            speaker.say(said)
            assert (await speaker.expect(frames.Error)).code == errors.UNAUTHENTICATED.code
            assert await speaker.closing() == Closed(CloseCode.NOT_ALLOWED, "unauthenticated")

    async def test_an_ack_of_what_was_never_sent(self, friends: Friends) -> None:
        async with friends.talking() as talk:
            talk.bob.say(frames.Ack(1000))
            assert (await talk.bob.expect(frames.Error)).code == errors.INVALID.code
            await talk.exchange()


class TestUnauthenticated:
    @pytest.mark.parametrize("token", ["", "x", "A" * 56, "ü" * 40, "A" * 10_000, "theirs"])
    async def test_a_token_that_is_not_good(self, friends: Friends, token: str) -> None:
        alice, bob = friends.tokens
        if token == "theirs":  # alice's device with bob's secret
            token = alice[:22] + bob[22:]
        async with await Speaker.connect(friends.server.port) as speaker:
            speaker.say(frames.Hello(token))
            assert (await speaker.expect(frames.Error)).code == errors.UNAUTHENTICATED.code
            assert (await speaker.closing()).code == CloseCode.NOT_ALLOWED

    async def test_a_wrong_password_and_a_taken_handle(self, friends: Friends) -> None:
        for path, kind in (("/v1/sessions", errors.WRONG_CREDENTIALS), ("/v1/accounts", errors.HANDLE_TAKEN)):
            status, answer = friends.server.http(path, {"handle": "alice", "secret": "not this one"})
            assert (status, answer["code"]) == (kind.http_status, kind.code)

    async def test_a_stranger_to_a_conversation(self, friends: Friends) -> None:
        eve = friends.server.register("eve")["token"]
        async with await Speaker.online(friends.server, eve) as speaker:
            said = speaker.message(friends.conversation, b"let me in")
            speaker.say(said)
            assert (await refusal_of(speaker, said)).code == errors.NO_SUCH_CONVERSATION.code
            answer = await speaker.ask(lambda n: frames.History(n, friends.conversation), frames.Error)
            assert answer.code == errors.NO_SUCH_CONVERSATION.code


class TestHalfOpen:
    async def test_connections_that_say_nothing_or_half_a_head(self, friends: Friends) -> None:
        async with contextlib.AsyncExitStack() as stack:
            peers = [
                await stack.enter_async_context(await Speaker.dial(friends.server.port))
                for _ in range(HALF_OPEN_TCP)
            ]
            halves = peers[::2]
            for peer in halves:
                peer.send(upgrade()[:-10])
            async with friends.talking() as talk:
                await talk.exchange()
            friends.server.check_memory()
            ends = await asyncio.gather(*(peer.rest() for peer in peers))
            assert all(end.startswith(b"HTTP/1.1 408 ") for end in ends[::2])
            assert all(end == b"" for end in ends[1::2])

    async def test_websockets_that_never_say_hello(self, friends: Friends) -> None:
        async with contextlib.AsyncExitStack() as stack:
            speakers = [
                await stack.enter_async_context(await Speaker.connect(friends.server.port))
                for _ in range(HALF_OPEN_WEBSOCKETS)
            ]
            async with friends.talking() as talk:
                await talk.exchange()
            friends.server.check_memory()
            closed = await asyncio.gather(*(speaker.closing() for speaker in speakers))
            assert set(closed) == {Closed(CloseCode.HELLO_TIMEOUT, "no Hello came")}

    async def test_pings_are_no_hello(self, server: Server) -> None:
        async with await Speaker.connect(server.port) as speaker:
            speaker.send(frame(0x9, b"here"), frame(BINARY, b"\x92\x01", fin=False))
            async with asyncio.timeout(5):
                assert (await speaker.frame()).payload == b"here"
                assert (await speaker.closing()).code == CloseCode.HELLO_TIMEOUT

    async def test_what_comes_before_hello_is_not_kept(self, friends: Friends) -> None:
        """A part of a message as large as a message may be, from so many who never say who they are."""
        before = friends.server.usage.rss_bytes
        part = frame(BINARY, bytes(DEFAULTS.frame_bytes), fin=False)
        async with contextlib.AsyncExitStack() as stack:
            speakers = [
                await stack.enter_async_context(await Speaker.connect(friends.server.port))
                for _ in range(200)
            ]
            for speaker in speakers:
                speaker.send(part)
            for speaker in speakers:
                await speaker.writer.drain()
            await asyncio.gather(*(speaker.closing() for speaker in speakers))
            grown = friends.server.usage.rss_bytes - before
            print(f"{grown / len(speakers) / 1024:.0f} KiB each")
            assert grown < 8 * MiB


PATHS = [
    b"/v1/users/../../x/picture",
    b"/v1/users/%2e%2e/picture",
    b"/v1/users/%2e%2e%2f%2e%2e%2fx/picture",
    b"/v1/users/%00/picture",
    b"/v1/users/%ff/picture",
    b"/v1/users/\xff/picture",
    b"/v1/users/\xed\xa0\x80/picture",
    b"/v1/users/1%0d%0aSet-Cookie:%20x/picture",
    b"/v1/users/1%20OR%201=1/picture",
    b"/v1/users/-1/picture",
    b"/v1/users/1e3/picture",
    b"/v1/users/%C2%B2/picture",
    b"/v1/users/18446744073709551616/picture",
    b"/v1/users/" + b"9" * 5000 + b"/picture",
    b"/v1/devices/..",
    b"/v1/devices/%2e%2e",
    b"/v1/devices/%2e%2e/account",
    b"/v1/devices/1%3BDROP%20TABLE%20devices",
    b"/v1/devices/1 OR 1=1",
    b"/v1/devices/%",
    b"/v1/devices/%zz",
    b"/v1/devices/0",
    b"/v1/openapi/../../etc/passwd",
    b"/v1/openapi/%2e%2e/%2e%2e/etc/passwd",
    b"/v1/./devices",
    b"/v1/ws/..",
    b"\\..\\x",
    b"*",
]


class TestTricks:
    @pytest.mark.parametrize("path", PATHS, ids=lambda path: repr(path[:40]))
    async def test_a_path_that_leads_nowhere(self, friends: Friends, path: bytes) -> None:
        for method in (b"GET", b"PUT", b"DELETE"):
            async with await Speaker.dial(friends.server.port) as speaker:
                head = [
                    method + b" " + path + b" HTTP/1.1",
                    b"Host: localhost",
                    b"Authorization: Bearer " + friends.tokens[0].encode(),
                    b"Content-Type: application/json",
                    b"Content-Length: 12",
                    b"Connection: close",
                ]
                speaker.send(b"\r\n".join(head) + b'\r\n\r\n{"name":"x"}')
                answer = await speaker.rest()
            head_, _, body = answer.partition(b"\r\n\r\n")
            assert int(head_.split()[1]) in {400, 404, 405, 429}, answer
            assert b"Set-Cookie" not in head_
            told = msgspec.json.decode(body)
            assert told["name"] in {kind.name for kind in errors.REGISTRY.values()}
            assert told["message"].isprintable()
            assert len(told["message"]) < 200
        # Alice's device is still there, and is called as before.
        async with await Speaker.online(friends.server, friends.tokens[0]):
            pass

    async def test_no_log_knows_what_was_said_or_proved(self, server: Server) -> None:
        """Not what was right and not what was wrong, and not where we fail to take it."""
        secret, wrong, content = "the right secret", "the wrong secret", b"what was said"
        number, name, about = "+4930123456", "Eve Nobody", "about nothing"
        status, told = server.http("/v1/accounts", {"handle": "mallory", "secret": secret})
        assert status == 201
        token: str = told["token"]
        guess = token[:-4] + "AAAA"
        assert server.http("/v1/sessions", {"handle": "mallory", "secret": wrong, "code": "987123"})[0] == 401
        assert server.http("/v1/sessions", {"handle": "mallory", "secret": secret + "\ud800"})[0] == 400
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False) as client:
            for path, body in (
                ("/v1/account/phone", {"phone": number}),
                ("/v1/account/phone/confirm", {"code": "987123"}),
                ("/v1/account/factor/confirm", {"code": "987123"}),
                ("/v1/account/delete", {"secret": wrong}),
            ):
                assert (await client.post(path, json=body)).status_code >= 400
            assert (await client.put("/v1/profile", json={"name": name, "about": about})).status_code == 200
            bad = {"Authorization": f"Bearer {guess}"}
            assert (await client.get("/v1/devices", headers=bad)).status_code == 401
        async with await Speaker.online(server, token) as speaker:
            opened = await speaker.ask(lambda n: frames.OpenDirect(n, "alice"), frames.Conversation)
            for said in (
                speaker.message(opened.conversation_id, content),
                speaker.message(bytes(16), content),
            ):  # type: ignore[arg-type]
                speaker.say(said)
            await speaker.expect(frames.Sent)
            await speaker.expect(frames.Error)
            await speaker.ask(lambda n: frames.Lookup(n, phone=number), frames.Error)
            await speaker.ask(
                lambda n: frames.Set(n, frames.SettingKind.DRAFT, opened.conversation_id.hex(), content),
                frames.Ok,
            )
            speaker.say_bytes(MSGPACK.encode(speaker.message(opened.conversation_id, content))[:-3])
            await speaker.closing()
        async with await Speaker.connect(server.port) as speaker:
            speaker.say(frames.Hello(guess))
            await speaker.closing()
        audit = (server.data / "audit.log").read_text()
        assert "login_failed" in audit
        for kept in (
            secret,
            wrong,
            content.decode(),
            number,
            number[1:],
            name,
            about,
            "987123",
            token,
            guess,
        ):
            assert kept not in server.log
            assert kept not in audit
        server.check_log()
