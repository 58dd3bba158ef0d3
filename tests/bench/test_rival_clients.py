"""What the clients of other servers say and understand, without those servers."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from tidings.bench.peers import centrifugo, ejabberd
from tidings.bench.peers.centrifugo import Centrifugo, CentrifugoClient
from tidings.bench.peers.websocket import TextSocket, content, name_of
from tidings.bench.peers.xmpp import MANAGEMENT, RECEIPTS, XmppClient


class Heard:
    """Listens to a client's hooks, and to what it writes."""

    def __init__(self, client: TextSocket, monkeypatch: pytest.MonkeyPatch) -> None:
        self.written: list[str] = []
        self.taken: list[str] = []
        self.messages: list[str] = []
        self.receipts: list[str] = []
        client.on_taken = self.taken.append
        client.on_message = self.messages.append
        client.on_receipt = self.receipts.append
        monkeypatch.setattr(client, "write", self.written.append)

    def new(self) -> list[str]:
        """What was written since the last time."""
        written, self.written[:] = list(self.written), []
        return written


def test_a_message_begins_with_its_name() -> None:
    assert len(content("12.345", 200)) == 200
    assert name_of(content("12.345", 200)) == "12.345"
    assert name_of(content("12.345", 3)) == "12.345"


# --- Centrifugo ---------------------------------------------------------------------------------


def published(channel: str, data: dict[str, Any]) -> str:
    return json.dumps({"push": {"channel": channel, "pub": {"data": data}}})


async def test_centrifugo_publishes_and_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    client = CentrifugoClient(4)
    heard = Heard(client, monkeypatch)
    client.send(5, "1.1", 20)
    (said,) = heard.new()
    assert json.loads(said) == {
        "id": 1,
        "publish": {"channel": "in:5", "data": {"from": 4, "text": "1.1|" + 16 * "x"}},
    }
    client.heard('{"id":1,"publish":{"offset":7}}\n{}')
    assert heard.taken == ["1.1"]
    assert heard.new() == ["{}"]  # its ping


async def test_centrifugo_answers_a_message_with_a_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    client = CentrifugoClient(5)
    heard = Heard(client, monkeypatch)
    client.heard(published("in:5", {"from": 4, "text": content("1.1", 20)}))
    (said,) = heard.new()
    assert heard.messages == ["1.1"]
    assert json.loads(said)["publish"] == {"channel": "receipts:4", "data": {"receipt": "1.1"}}
    client.heard(published("receipts:5", {"receipt": "9.9"}))
    assert heard.receipts == ["9.9"]
    client.gives_receipts = False
    client.heard(published("in:5", {"from": 4, "text": content("1.2", 20)}))
    client.heard('{"push":{"channel":"in:5","join":{}}}')
    assert (heard.messages, heard.new()) == (["1.1", "1.2"], [])


async def test_centrifugo_may_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    client = CentrifugoClient(4)
    Heard(client, monkeypatch)
    client.send(5, "1.1", 20)
    with pytest.raises(RuntimeError, match="permission denied"):
        client.heard('{"id":1,"error":{"code":103,"message":"permission denied"}}')


def test_a_token_is_signed() -> None:
    head, claims, signature = centrifugo.token(7, 1000.5).split(".")
    expected = hmac.new(centrifugo.KEY.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == expected
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {"sub": "7", "exp": 87_400}


def test_centrifugo_says_what_it_does_not_promise() -> None:
    durable, relaxed = Centrifugo("always"), Centrifugo("everysec")
    for rival in (durable, relaxed):
        assert "history is bounded" in rival.promises
        assert "receipts are none of its concern" in rival.promises
    assert "a power cut loses up to a second" in relaxed.promises
    assert "a power cut" not in durable.promises
    assert durable.name != relaxed.name


# --- XMPP ---------------------------------------------------------------------------------------


async def stream(monkeypatch: pytest.MonkeyPatch) -> tuple[XmppClient, Heard]:
    client = XmppClient(4)
    heard = Heard(client, monkeypatch)
    monkeypatch.setattr(client, "_is_open", True)
    return client, heard


async def test_xmpp_asks_whether_the_server_has_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    client, heard = await stream(monkeypatch)
    client.send(5, "1.1", 20)
    client.send(5, "1.2", 20)
    first, request, _, _ = heard.new()
    assert "to='u5@localhost'" in first
    assert f"<body>{content('1.1', 20)}</body><request xmlns='{RECEIPTS}'/>" in first
    assert request == f"<r xmlns='{MANAGEMENT}'/>"
    client.heard(f"<a xmlns='{MANAGEMENT}' h='1'/>")
    assert heard.taken == ["1.1"]
    client.heard(f"<a xmlns='{MANAGEMENT}' h='2'/>")
    client.heard(f"<a xmlns='{MANAGEMENT}' h='2'/>")
    assert heard.taken == ["1.1", "1.2"]


async def test_xmpp_answers_a_message_with_a_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    client, heard = await stream(monkeypatch)
    message = (
        f"<message to='u4@localhost/bench' from='u5@localhost/bench' id='1.1' xml:lang='en'><archived/>"
        f"<body>{content('1.1', 20)}</body><request xmlns='{RECEIPTS}'/></message>"
    )
    client.heard(message)
    (receipt,) = heard.new()
    assert heard.messages == ["1.1"]
    assert "to='u5@localhost/bench'" in receipt
    assert f"<received xmlns='{RECEIPTS}' id='1.1'/>" in receipt
    client.gives_receipts = False
    client.heard(message.replace("1.1", "1.2"))
    assert (heard.messages, heard.new()) == (["1.1", "1.2"], [])
    # Stanzas are counted, so that the server may ask how many came.
    client.heard("<iq type='result' id='c'/>")
    client.heard(f"<r xmlns='{MANAGEMENT}'/>")
    assert heard.new() == [f"<a xmlns='{MANAGEMENT}' h='3'/>"]


async def test_xmpp_hears_receipts(monkeypatch: pytest.MonkeyPatch) -> None:
    client, heard = await stream(monkeypatch)
    client.heard(
        f"<message from='u5@localhost' id='r1'><received xmlns=\"{RECEIPTS}\" id=\"1.1\"/></message>"
    )
    assert heard.receipts == ["1.1"]
    assert heard.messages == []


async def test_xmpp_answers_a_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    client, heard = await stream(monkeypatch)
    client.heard("<iq from='localhost' id='p7' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
    assert heard.new() == ["<iq xmlns='jabber:client' type='result' id='p7' to='localhost'/>"]


async def test_what_is_not_understood_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = await stream(monkeypatch)
    with pytest.raises(RuntimeError, match="not understood: <message><nothing/></message>"):
        client.heard("<message><nothing/></message>")


@pytest.mark.parametrize("lost", [0, 2])
async def test_a_login_that_is_not_answered_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    tried: list[XmppClient] = []

    async def login(client: XmppClient, _: str) -> None:
        tried.append(client)
        if len(tried) <= lost:
            raise TimeoutError

    monkeypatch.setattr(XmppClient, "login", login)
    monkeypatch.setattr(XmppClient, "write", lambda *_: None)
    assert await ejabberd.Ejabberd().connect(7) is tried[lost]


async def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def login(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(XmppClient, "login", login)
    with pytest.raises(TimeoutError):
        await ejabberd.Ejabberd().connect(7)


def test_the_archive_of_ejabberd_is_on() -> None:
    config = ejabberd.config(1234, 5678)
    assert config["listen"][0]["ip"] == "127.0.0.1"
    assert config["modules"]["mod_mam"]["default"] == "always"
    assert config["sql_port"] == 5678
