"""A real service: one command, two workers and a hub, any of which may die."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.rig import tidings
from integration.people import Friends, Speaker, Talk
from integration.server import until
from integration.test_not_starting import check_words, refusal, written_store
from server.test_admin import Rig
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import TOO_LARGE
from tidings.protocol.frames import Error
from tidings.store.memory import MemoryStore
from tidings.store.schema import FORMAT
from tidings.testing.world import World
from workers.load import under_load
from workers.processes import WORKERS, Service, serving
from workers.rig import is_alive

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture(scope="module")
def friends(server: Service) -> Friends:
    return asyncio.run(Friends.of(server))


async def apart(server: Service, friends: Friends) -> Talk:
    """Alice at the first worker, Bob at the second."""
    alice = await server.online_at("worker1", friends.tokens[0])
    bob = await server.online_at("worker2", friends.tokens[1])
    return Talk(alice, bob, friends.conversation)


# --- one service ----------------------------------------------------------------------------


async def test_people_at_two_workers_talk(server: Service, friends: Friends) -> None:
    talk = await apart(server, friends)
    async with talk.alice, talk.bob:
        for _ in range(5):
            assert await talk.exchange() < 5.0


async def test_the_operator_sees_one_service(server: Service, friends: Friends, tmp_path: Path) -> None:
    before = server.metrics()
    talk = await apart(server, friends)
    async with talk.alice, talk.bob:
        for _ in range(3):
            await talk.exchange()
        after, status = server.metrics(), server.status()
    assert status["connections"] == 2
    assert [status["processes"][n]["connections"] for n in (1, 2)] == [1, 1]
    assert after["tidings_users_online"] == 2
    accepted = "tidings_messages_accepted_total"
    assert after[accepted] - before[accepted] == 3
    copy = server.ask("POST", "/v1/admin/backup", {"path": str(tmp_path / "copy")})
    assert copy.is_success, copy.text
    assert (tmp_path / "copy" / "CURRENT").exists()
    assert server.ask("POST", "/v1/admin/backup", {"path": "here"}).status_code == 400
    assert server.log.count("listening") == 1
    audit = (server.data / "audit.log").read_text()
    assert audit.count('"admin_backup"') == 1
    assert audit.count('"registered"') == 2


async def test_who_is_suspended_is_out_wherever_they_are(server: Service) -> None:
    token = server.register("mallory")["token"]
    for name in ("worker1", "worker2"):
        async with await server.online_at(name, token) as speaker:
            assert server.ask("GET", "/v1/admin/users/mallory").json()["user"]["online"] is True
            assert server.ask("POST", "/v1/admin/users/mallory/suspend").is_success
            assert (await speaker.closing()).code == CloseCode.NOT_ALLOWED
        assert server.ask("POST", "/v1/admin/users/mallory/unsuspend").is_success
        if name == "worker1":
            token = server.http("/v1/sessions", {"handle": "mallory", "secret": "a long secret"})[1]["token"]


async def test_a_limit_is_one_for_all_workers(server: Service, friends: Friends) -> None:
    assert server.ask("PUT", "/v1/admin/limits/content_bytes", {"value": 1000}).is_success
    talk = await apart(server, friends)
    async with talk.alice, talk.bob:
        for speaker in (talk.alice, talk.bob):
            assert speaker.seen == []
            speaker.say(speaker.message(friends.conversation, bytes(2000)))
            assert (await speaker.expect(Error)).code == TOO_LARGE.code
    assert server.ask("PUT", "/v1/admin/limits/content_bytes", {"value": 64 * 1024}).is_success
    audit = (server.data / "audit.log").read_text()
    assert audit.count('"admin_limit"') == 2


def test_the_operators_command_restarts_the_workers(server: Service) -> None:
    before = server.processes()
    done = tidings("admin", "restart-workers", "--data", server.data)
    assert (done.code, done.out) == (0, "the workers are being replaced: see `tidings admin status`\n")
    until(lambda: "all workers were replaced" in server.log, "the end of it")
    shown = tidings("admin", "status", "--data", server.data).out
    after = server.processes()
    for name, one in after.items():
        assert (one["pid"] == before[name]["pid"]) == (name == "hub")
        assert re.search(rf"{name} +{one['pid']} +[0-9]+ s +0 +0", shown), shown


async def test_a_single_process_has_no_workers_to_restart() -> None:
    store = MemoryStore()
    rig = Rig(await World.start(store), store)
    async with rig.client:
        assert await rig.refused("POST", "restart-workers") == (501, "not_available")
        assert (await rig.ask("GET", "status"))["processes"] == []


# --- deaths ---------------------------------------------------------------------------------


async def test_a_worker_is_killed_and_the_others_notice_nothing(server: Service, friends: Friends) -> None:
    before = server.processes()
    talk = await apart(server, friends)
    async with talk.alice, talk.bob:
        server.kill_process("worker1")
        assert (await talk.alice.closing()).code == 1006
        await talk.bob.settled()
        async with await Speaker.online(server, friends.tokens[0]) as alice:
            assert await Talk(alice, talk.bob, friends.conversation).exchange() < 10.0
        server.until_followed("worker1", before)
        async with await server.online_at("worker1", friends.tokens[0]) as alice:
            assert await Talk(alice, talk.bob, friends.conversation).exchange() < 10.0
    after = server.processes()
    assert [after[name]["pid"] for name in ("hub", "worker2")] == [
        before[name]["pid"] for name in ("hub", "worker2")
    ]


async def test_the_hub_is_killed_and_everybody_stays(server: Service, friends: Friends) -> None:
    before = server.processes()
    talk = await apart(server, friends)
    async with talk.alice, talk.bob:
        server.kill_process("hub")
        assert await talk.exchange() < 10.0
        server.until_followed("hub", before)
        assert await talk.exchange() < 10.0
    after = server.processes()
    assert [after[f"worker{n}"]["pid"] for n in (1, 2)] == [before[f"worker{n}"]["pid"] for n in (1, 2)]


DEATHS = [
    ("hub", signal.SIGKILL),
    ("worker1", signal.SIGKILL),
    ("worker2", signal.SIGSTOP),
    ("hub", signal.SIGSTOP),
]


async def test_whoever_is_killed_or_stopped_is_followed_and_nothing_is_lost(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        async with under_load(service) as load:
            for name, how in DEATHS:
                before = await asyncio.to_thread(service.processes)
                os.kill(before[name]["pid"], how)
                await asyncio.to_thread(service.until_followed, name, before)
                assert not is_alive(before[name]["pid"])
                await load.more()
        assert service.log.count("silent: killed") == 2
        service.terminate()  # its log complains of reads that no hub answered
    finally:
        service.discard()


async def test_workers_are_replaced_under_load_and_nothing_is_lost(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        async with under_load(service) as load:
            before = await asyncio.to_thread(service.processes)
            os.kill(service.pid, signal.SIGUSR1)
            while "all workers were replaced" not in service.log:
                async with await Speaker.dial(service.port):  # there is always somebody who listens
                    await load.more()
            after = await asyncio.to_thread(service.processes)
        for name in ("worker1", "worker2"):
            assert after[name]["pid"] != before[name]["pid"]
            assert after[name]["restarts"] == 0
        assert after["hub"]["pid"] == before["hub"]["pid"]
        service.stop()
    finally:
        service.discard()


def test_a_supervisor_that_is_killed_takes_everybody_with_it(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    try:
        pids = [one["pid"] for one in service.processes().values()]
        assert len(pids) == 1 + WORKERS
        service.kill()
        until(lambda: not [pid for pid in pids if is_alive(pid)], "their end")
        service.start()
        service.stop()
    finally:
        service.discard()


async def test_a_stop_tells_everybody_when_to_come_back_and_lets_the_port_go(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.start()
    try:
        friends = await Friends.of(service)
        talk = await apart(service, friends)
        async with talk.alice, talk.bob:
            took_s, *closed = await asyncio.gather(
                asyncio.to_thread(service.stop), talk.alice.closing(), talk.bob.closing()
            )
        assert {one.code for one in closed} == {CloseCode.DRAIN}
        assert took_s < 6.0
        with socket.create_server(("127.0.0.1", service.port)):
            pass
        assert not (service.data / "hub.sock").exists()
        assert not (service.data / "admin.json").exists()
    finally:
        service.discard()


# --- starts that fail -----------------------------------------------------------------------


def refused(*arguments: str | Path, port: int = 0) -> str:
    return refusal("--workers", "2", *arguments, port=port)


async def test_a_store_in_use_by_another_service(server: Service) -> None:
    check_words(refused("--data", server.data), "in use", str(server.data))
    assert server.health()["status"] == "ok"


async def test_a_newer_store(tmp_path: Path) -> None:
    await written_store(tmp_path / "data", FORMAT + 1)
    said = refused("--data", tmp_path / "data")
    check_words(said, "newer")
    assert said == refusal("--data", tmp_path / "data"), "as a single process says it"


def test_the_port_of_another_service(server: Service, tmp_path: Path) -> None:
    said = refused("--data", tmp_path / "data", port=server.port)
    check_words(said, f"cannot bind 127.0.0.1:{server.port}: address already in use", "--listen")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("workers = 0", ["workers", ">= 1"]),
        ("workers = 65", ["workers", "<= 64"]),
        ('workers = 2\ntls_cert = "/nowhere"\ntls_key = "/nowhere"', ["tls_cert", "/nowhere"]),
    ],
)
def test_a_config_that_cannot_be_used(tmp_path: Path, config: str, words: list[str]) -> None:
    file = tmp_path / "tidings.toml"
    file.write_text(config)
    check_words(refusal("--config", file, "--data", tmp_path / "data"), *words)


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    check_words(refused("--data", file), str(file))
