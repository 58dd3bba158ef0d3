"""The Python client of docs/guides/any-client.md, and the description that a server gives of itself."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.guide import LINES_MAX, block, chat, introduce
from integration.people import until
from integration.server import MakeServer, Server, running

pytestmark = pytest.mark.slow

HEARTBEAT_S = 0.1
IDLE_S = 0.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where strangers have to ask."""
    config = {"strangers": "request"}
    with running(tmp_path_factory.mktemp("any-client"), config=config) as server:
        yield server


@pytest.mark.parametrize("language", ["python", "js"])
def test_a_client_fits_into_thirty_lines(language: str) -> None:
    assert len(block(language).splitlines()) <= LINES_MAX


async def test_two_people_chat(server: Server, tmp_path: Path) -> None:
    await introduce(server, tmp_path, "alice", "bob")
    async with chat(server, tmp_path, "bob", "alice") as bob, chat(server, tmp_path, "alice", "bob") as alice:
        alice.type("Supper is ready")
        await alice.shows("sent ")
        await bob.shows("< Supper is ready")
        bob.type("J’arrive 🍲")
        await bob.shows("sent ")
        await alice.shows("< J’arrive 🍲")


async def test_what_was_written_meanwhile_waits(server: Server, tmp_path: Path) -> None:
    await introduce(server, tmp_path, "dora", "emil")
    async with chat(server, tmp_path, "emil", "dora") as emil, chat(server, tmp_path, "dora", "emil") as dora:
        emil.type("there?")
        await dora.shows("< there?")
        dora.type("yes")
        await dora.shows("sent ")
        await emil.shows("sent ")
        await emil.shows("< yes")
    async with chat(server, tmp_path, "dora", "emil") as dora:
        for line in ("one", "two"):
            dora.type(line)
            await dora.shows("sent ")
    async with chat(server, tmp_path, "emil", "dora", ready=False) as emil:
        # What was acknowledged does not come again.
        await emil.shows("< one")
        await emil.shows("< two")


async def test_a_stranger_who_was_not_named_is_not_heard(server: Server, tmp_path: Path) -> None:
    await introduce(server, tmp_path, "fay", "gil")
    async with chat(server, tmp_path, "gil", "fay") as gil:
        async with chat(server, tmp_path, "mallory", "gil") as mallory:
            mallory.type("psst")
            await mallory.shows("sent ")
        async with chat(server, tmp_path, "fay", "gil") as fay:
            fay.type("hello")
            await gil.shows("< hello")


async def test_it_stays_connected_without_a_word(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(limits={"heartbeat_s": HEARTBEAT_S, "idle_s": IDLE_S})
    server.start()
    await introduce(server, tmp_path, "alice", "bob")
    async with chat(server, tmp_path, "bob", "alice") as bob, chat(server, tmp_path, "alice", "bob") as alice:
        alice.type("one")
        await bob.shows("< one")
        began = time.monotonic()
        await until(lambda: time.monotonic() > began + 3 * IDLE_S)
        assert server.connections == 2
        alice.type("two")
        await bob.shows("< two")
    server.stop()


# --- the description of the HTTP side -----------------------------------------------------------


@pytest.fixture(scope="module")
def description(server: Server) -> dict[str, Any]:
    status, found = server.http("/v1/openapi/openapi.json")
    assert status == 200
    return found


def resolve(description: dict[str, Any], schema: dict[str, Any]) -> Any:
    """What a reference inside the document points at."""
    while "$ref" in schema:
        pointer = str(schema["$ref"])
        assert pointer.startswith("#/"), pointer
        found: Any = description
        for part in pointer[2:].split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        schema = found
    return schema


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Everything in a document that refers to another part of it."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_description_is_whole(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.")
    assert description["info"]["title"] == "Tidings"
    assert description["info"]["version"]
    for reference in references(description):
        assert resolve(description, reference), reference
    operations = [
        operation
        for path in description["paths"].values()
        for method, operation in path.items()
        if method in {"get", "put", "post", "delete"}
    ]
    assert all(operation["responses"] for operation in operations)
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert {"/v1/accounts", "/v1/sessions", "/v1/health"} <= set(description["paths"])


def test_one_can_register_by_the_description_alone(server: Server, description: dict[str, Any]) -> None:
    operation = description["paths"]["/v1/accounts"]["post"]
    body = resolve(description, operation["requestBody"]["content"]["application/json"]["schema"])
    assert set(body["required"]) == {"handle", "secret"}
    values = {name: f"by-description-{name}" for name in body["required"]}
    assert all(resolve(description, body["properties"][name])["type"] == "string" for name in values)
    status, answer = server.http("/v1/accounts", values)
    made = resolve(description, operation["responses"][str(status)]["content"]["application/json"]["schema"])
    assert set(made["required"]) <= answer.keys() <= set(made["properties"])


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"handle": "x"},
        {"handle": 1, "secret": "a long secret"},
        {"handle": "no way!", "secret": "short"},
    ],
    ids=json.dumps,
)
def test_a_wrong_body_is_told_what_is_wrong(server: Server, body: object) -> None:
    status, problem = server.http("/v1/accounts", body)
    assert status == 400
    assert problem["message"]
