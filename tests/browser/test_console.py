"""The client of docs/guides/any-client.md for a browser's console, in a browser's console."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from browser.console import Console, browser, console
from integration.guide import block, chat, introduce
from integration.server import MakeServer, Server, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where strangers have to ask."""
    with running(tmp_path_factory.mktemp("console"), config={"strangers": "request"}) as server:
        yield server


@pytest.fixture
async def carol() -> AsyncIterator[Console]:
    """In front of her browser."""
    async with console() as found:
        yield found


async def test_a_browser_and_a_terminal_chat(server: Server, carol: Console, tmp_path: Path) -> None:
    await introduce(server, tmp_path, "alice", "carol")
    await carol.visit(server.url)
    assert await carol.type(block("js")) == ""
    await carol.shows("ready")
    async with chat(server, tmp_path, "alice", "carol") as alice:
        await carol.type('send("Hello from the console")')
        await carol.shows("sent ")
        await alice.shows("< Hello from the console")
        alice.type("Grüße 🎈 zurück")
        await alice.shows("sent ")
        await carol.shows("< Grüße 🎈 zurück")

    # After a reload she is the same device: nothing comes twice, and what came meanwhile comes.
    async with chat(server, tmp_path, "alice", "carol") as alice:
        await carol.visit(f"{server.url}/v1/health")
        alice.type("still there?")
        await alice.shows("sent ")
        assert await carol.type(block("js")) == ""
        shown = {await carol.shows(""), await carol.shows("")}
        assert shown == {"ready", "< still there?"}


async def test_a_refusal_is_what_the_console_shows(
    make_server: MakeServer, carol: Console, tmp_path: Path
) -> None:
    server = make_server()
    server.start()
    server.register("carol")
    await carol.visit(server.url)
    assert "somebody has this handle" in await carol.type(block("js"))
    server.stop()


DIAL = """
new Promise((answer) => {
  const ws = new WebSocket("ws://127.0.0.1:%d/v1/ws", "tidings.v1.json");
  ws.onopen = () => { answer("open"); ws.close(); };
  ws.onerror = () => answer("refused");
})
"""

ASK = """
fetch("http://127.0.0.1:%d/v1/kdf", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: '{"handle": "alice"}',
}).then((answer) => answer.status, () => "refused")
"""


async def test_only_pages_of_named_origins_may_connect(make_server: MakeServer, carol: Console) -> None:
    elsewhere = make_server()
    elsewhere.start()
    closed, opened = make_server(), make_server(config={"origins": [elsewhere.url]})
    closed.start()
    opened.start()
    await carol.visit(elsewhere.url)
    assert await carol.value(DIAL % elsewhere.port) == "open"
    assert await carol.value(DIAL % closed.port) == "refused"
    assert await carol.value(DIAL % opened.port) == "open"
    assert await carol.value(ASK % closed.port) == "refused"
    assert await carol.value(ASK % opened.port) == 200
    for server in (elsewhere, closed, opened):
        server.stop()


async def test_the_description_is_read_from_a_page(server: Server, carol: Console) -> None:
    await carol.visit(server.url)
    described = await carol.value("fetch('/v1/openapi/openapi.json').then((answer) => answer.json())")
    assert "/v1/accounts" in described["paths"]


def test_a_machine_without_a_browser_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="scripts/setup --tests"):
        browser()
