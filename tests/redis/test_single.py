"""One Redis: what it may do to its nodes, and what they do about it."""

import asyncio
from pathlib import Path

import pytest

from redis.rig import ALICE, PATIENCE_S, SHORT_S, TOPIC, arrives, nodes, place, reaches, until
from redis.servers import Refused, Server
from server.test_tls import write_certificate
from tidings.bus.contract import PUBLICATION_BYTES, BusUnavailable
from tidings.directory.contract import DirectoryUnavailable, Entered, Found
from tidings.redis import link
from tidings.redis.config import RedisConfig
from tidings.redis.masters import PATIENCE_S as COMMAND_PATIENCE_S

pytestmark = pytest.mark.cluster

OWN, NOTHING = Entered(Found.OWN), Entered(Found.NOTHING)


@pytest.fixture
def config(redis_server: Server) -> RedisConfig:
    return RedisConfig(addresses=(redis_server.address,), timeout_s=SHORT_S)


async def test_what_operators_see(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config, 1) as [node]:
        await node.directory.enter([place(3, node=7, user=20, device=30)])
        fields = redis_server.run("HGETALL", "presence:{20}")
        assert fields[0] == b"30"
        assert fields[1].startswith(b"7 3 1")
        assert redis_server.run("TTL", "presence:{20}") == 60
        await node.listen("node:7", "nodes")
        assert sorted(redis_server.run("PUBSUB", "CHANNELS")) == [b"node:7", b"nodes"]
        assert redis_server.run("CLIENT", "LIST").count(b"name=tidings ") == 2


async def test_a_prefix_keeps_systems_apart(redis_server: Server, config: RedisConfig) -> None:
    theirs = RedisConfig(addresses=config.addresses, prefix="theirs:", timeout_s=SHORT_S)
    async with nodes(config, 1) as [here], nodes(theirs, 1) as [there]:
        await here.listen(TOPIC)
        await there.listen(TOPIC)
        await there.directory.enter([place()])
        assert await here.finds() == []
        here.bus.publish(TOPIC, b"ours")
        there.bus.publish(TOPIC, b"theirs")
        await until(lambda: here.heard and there.heard)
        assert (here.heard, there.heard) == ([b"ours"], [b"theirs"])
        assert redis_server.run("KEYS", "*") == [b"theirs:presence:{1}"]


async def test_a_database_of_its_own(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(RedisConfig(addresses=config.addresses, db=3), 1) as [node]:
        await node.directory.enter([place()])
        assert redis_server.run("INFO", "keyspace").count(b"db3:keys=1") == 1


async def test_broken_connections_lose_publications_and_no_places(
    redis_server: Server, config: RedisConfig
) -> None:
    async with nodes(config) as [here, there]:
        await there.listen(TOPIC)
        await here.directory.enter([place()])
        redis_server.interrupt()
        await until(lambda: here.gaps and there.gaps)
        await arrives(here, there)
        assert await reaches(there) == [place()]
        assert (here.forgets, there.forgets) == (0, 0)


async def test_what_comes_late_or_twice_is_left_out(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config) as [here, there]:
        control = redis_server.control()
        control("SUBSCRIBE", TOPIC)
        await there.listen(TOPIC)
        for data in (b"one", b"two", b"three"):
            here.bus.publish(TOPIC, data)
        await until(lambda: len(there.heard) == 3)
        one, two, three = (control.next()[2] for _ in range(3))
        for raw in (one, two, two, three):
            redis_server.run("PUBLISH", TOPIC, raw)
        await arrives(here, there)
        assert [data for data in there.heard if not data.startswith(b"news")] == [b"one", b"two", b"three"]
        control.close()


async def test_what_others_publish_there_harms_nobody(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config) as [here, there]:
        await there.listen(TOPIC)
        redis_server.run("PUBLISH", TOPIC, "garbage")
        await arrives(here, there)
        told = [line.event for line in there.lines if line.level == "error"]
        assert told == ["a publication could not be taken"]
        assert there.gaps == 0


async def test_killed_and_started_again(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config) as [here, there]:
        await there.listen(TOPIC)
        await here.directory.enter([place()])
        redis_server.kill()
        here.bus.publish(TOPIC, b"to nobody")
        with pytest.raises(DirectoryUnavailable):
            await here.directory.look_up([ALICE])
        with pytest.raises(DirectoryUnavailable):
            await here.directory.time_ms()
        redis_server.start()
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) == 1)
        await arrives(here, there)
        assert b"to nobody" not in there.heard
        assert await there.finds() == []
        assert await here.directory.enter([place()]) == [NOTHING]
        assert [line.event for line in here.lines if line.level == "info"] == ["connected to Redis"] * 2


async def test_whoever_asks_while_it_is_away_is_told_at_once(
    redis_server: Server, config: RedisConfig
) -> None:
    async with nodes(config, 1) as [node]:
        redis_server.kill()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for _ in range(50):
            assert await node.is_lost()
        # Only who asks when it has just broken waits for another connection.
        assert loop.time() - began_s < 2 * COMMAND_PATIENCE_S


async def test_frozen(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config) as [here, there]:
        await there.listen(TOPIC)
        await here.directory.enter([place()])
        redis_server.freeze()
        # Nobody asks anything; both connections of each are given up nevertheless.
        await until(lambda: here.lines and there.lines)
        for _ in range(100):
            here.bus.publish(TOPIC, b"to nobody" * 100)
        assert await here.is_lost()
        with pytest.raises(BusUnavailable):
            async with asyncio.timeout(PATIENCE_S):
                await here.bus.subscribe("node:8", here.heard.append)
        redis_server.thaw()
        await until(lambda: here.gaps and there.gaps)
        await arrives(here, there)
        assert await reaches(there) == [place()]
        assert (here.forgets, there.forgets) == (0, 0)


async def test_a_call_on_its_way_to_a_frozen_one_fails(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config, 1) as [node]:
        redis_server.freeze()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        with pytest.raises(DirectoryUnavailable, match="it does not answer"):
            await node.directory.enter([place()])
        assert loop.time() - began_s >= SHORT_S / 2


async def test_one_that_is_away_for_long_is_found_again(redis_server: Server, config: RedisConfig) -> None:
    async with nodes(config, 1) as [node]:
        await node.listen(TOPIC)
        for _ in range(3):
            redis_server.kill()
            await until(lambda: node.lines and node.lines[-1].event == "Redis cannot be used")
            redis_server.start()
            await arrives(node, node)
            node.lines.clear()


async def test_scripts_that_it_has_forgotten_are_sent_again(
    redis_server: Server, config: RedisConfig
) -> None:
    async with nodes(config, 1) as [node]:
        redis_server.run("SCRIPT", "FLUSH")
        assert await node.directory.enter([place(1), place(2, device=12)]) == [NOTHING, NOTHING]
        redis_server.run("SCRIPT", "FLUSH")
        await node.directory.leave([place(1)])
        assert await node.finds() == [place(2, device=12)]


async def test_one_that_is_demoted_is_left(
    redis_server: Server, config: RedisConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CHECK_S", 0.05)
    other = Server(tmp_path)
    other.start()
    both = RedisConfig(addresses=(redis_server.address, other.address), timeout_s=SHORT_S)
    try:
        async with nodes(both) as [here, there]:
            await there.listen(TOPIC)
            await here.directory.enter([place()])
            redis_server.run("REPLICAOF", "127.0.0.1", other.port)
            await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) == 1)
            await arrives(here, there)
            assert await here.directory.enter([place()]) == [NOTHING]
            assert other.run("EXISTS", "presence:{1}") == 1
    finally:
        other.stop()


async def test_a_replica_is_no_master(redis_server: Server, tmp_path: Path) -> None:
    replica = Server(tmp_path, "--replicaof", "127.0.0.1", str(redis_server.port))
    replica.start()
    try:
        with pytest.raises(BusUnavailable, match="it is no master just now"):
            async with nodes(RedisConfig(addresses=(replica.address,), timeout_s=SHORT_S)):
                pass
        # The master is taken, wherever it stands.
        both = RedisConfig(addresses=(replica.address, redis_server.address))
        async with nodes(both, 1) as [node]:
            assert await node.directory.enter([place()]) == [NOTHING]
    finally:
        replica.stop()


async def test_a_receiver_that_is_too_slow_for_it_is_told_that_it_lost(
    redis_server: Server, config: RedisConfig
) -> None:
    redis_server.run("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    redis_server.run("CONFIG", "SET", "timeout", 0)
    async with nodes(config) as [here, there]:
        await there.listen(TOPIC)
        wire = there.bus._masters.of(TOPIC.encode()).wire
        wire._transport.pause_reading()
        news = bytes(PUBLICATION_BYTES)
        async with asyncio.timeout(PATIENCE_S):
            while there.gaps == 0:
                here.bus.publish(TOPIC, news)
                await asyncio.sleep(0.005)
                if not wire.is_open:
                    continue
                if redis_server.run("CLIENT", "LIST", "TYPE", "pubsub").count(b"\n") == 0:
                    wire._transport.resume_reading()
        await arrives(here, there)


# --- who one is -------------------------------------------------------------------------------


async def refused(config: RedisConfig) -> str:
    with pytest.raises((BusUnavailable, DirectoryUnavailable)) as refusal:
        async with nodes(config, 1):
            pass
    return str(refusal.value)


async def test_a_password(redis_server: Server, config: RedisConfig, tmp_path: Path) -> None:
    redis_server.run("CONFIG", "SET", "requirepass", "correct horse")
    addresses, timeout_s = config.addresses, SHORT_S
    assert "NOAUTH" in await refused(config)
    wrong = RedisConfig(addresses=addresses, password="wrong horse", timeout_s=timeout_s)
    why = await refused(wrong)
    assert "WRONGPASS" in why
    assert "horse" not in why + repr(wrong)
    (tmp_path / "password").write_text("correct horse\n")
    for right in (
        RedisConfig(addresses=addresses, password="correct horse"),
        RedisConfig(addresses=addresses, username="default", password_file=str(tmp_path / "password")),
    ):
        async with nodes(right, 1) as [node]:
            await node.directory.enter([place()])
            assert await node.finds() == [place()]
            assert "horse" not in repr(right) + str(node.lines)


async def test_a_password_that_was_changed(redis_server: Server, tmp_path: Path) -> None:
    redis_server.run("CONFIG", "SET", "requirepass", "old")
    file = tmp_path / "password"
    file.write_text("old")
    config = RedisConfig(addresses=(redis_server.address,), password_file=str(file), timeout_s=SHORT_S)
    async with nodes(config) as [here, there]:
        await there.listen(TOPIC)
        control = redis_server.control()
        control("AUTH", "old")
        control("CONFIG", "SET", "requirepass", "new")
        file.write_text("new")
        control("CLIENT", "KILL", "TYPE", "pubsub", "SKIPME", "yes")
        await until(lambda: there.gaps)
        await arrives(here, there)
        control.close()


RULES = (
    "resetkeys ~presence:* resetchannels &node:* &nodes &user:* &conversation:* -@all "
    "+hello +auth +ping +select +info +time +client|setname +publish +subscribe +unsubscribe "
    "+hgetall +hget +hset +hdel +pexpire +script|load +eval +evalsha"
)


async def test_a_user_that_may_do_what_is_needed_and_no_more(
    redis_server: Server, config: RedisConfig
) -> None:
    guide = Path(__file__).parents[2] / "docs/operating/redis.md"
    assert RULES in " ".join(guide.read_text().replace("\\", "").split())
    redis_server.run("ACL", "SETUSER", "tidings", "on", ">secret", *RULES.split())
    mine = RedisConfig(addresses=config.addresses, username="tidings", password="secret", timeout_s=SHORT_S)
    async with nodes(mine) as [here, there]:
        await there.listen(TOPIC, "nodes", "user:1", "conversation:00")
        redis_server.run("SCRIPT", "FLUSH")
        assert await here.directory.enter([place(), place()]) == [NOTHING, OWN]
        await here.directory.leave([place(device=12)])
        assert await there.finds() == [place()]
        redis_server.interrupt()
        await arrives(here, there)
        assert redis_server.run("ACL", "LOG") == []
        with pytest.raises(BusUnavailable, match="NOPERM"):
            await there.listen("other")
        here.bus.publish("other", b"not allowed")
        here.bus.publish("other", b"not allowed")
        await arrives(here, there)
        told = [line for line in here.lines if line.level == "error"]
        assert [line.event for line in told] == ["Redis refuses publications"]
        assert "secret" not in str(here.lines) + str(there.lines)


async def test_a_user_that_may_do_too_little_is_found_out_at_once(
    redis_server: Server, config: RedisConfig
) -> None:
    rules = "~presence:* &* -@all +hello +auth +ping +info +client|setname +publish +subscribe +unsubscribe"
    redis_server.run("ACL", "SETUSER", "tidings", "on", ">secret", *rules.split())
    mine = RedisConfig(addresses=config.addresses, username="tidings", password="secret", timeout_s=SHORT_S)
    assert "NOPERM" in await refused(mine)


async def test_a_subscription_that_was_given_up_holds_no_more(
    redis_server: Server, config: RedisConfig
) -> None:
    async with nodes(config, 1) as [node]:
        given_up = asyncio.ensure_future(node.bus.subscribe(TOPIC, node.heard.append))
        for _ in range(3):
            await asyncio.sleep(0)  # it is on its way
        given_up.cancel()
        await asyncio.wait([given_up])
        assert given_up.cancelled()
        await node.bus.unsubscribe(TOPIC)
        await node.listen("node:8")
        assert redis_server.run("PUBSUB", "CHANNELS") == [b"node:8"]
        await node.listen(TOPIC)
        node.bus.publish(TOPIC, b"now it is")
        await until(lambda: node.heard == [b"now it is"])


# --- what is no Redis -------------------------------------------------------------------------


async def test_nobody_listens(redis_server: Server, config: RedisConfig) -> None:
    redis_server.kill()
    assert redis_server.address in await refused(config)


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 9, b""])
async def test_something_else_listens(greeting: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    assert f"Redis at {host}:{port}: " in await refused(
        RedisConfig(addresses=(f"{host}:{port}",), timeout_s=SHORT_S)
    )
    server.close()
    await server.wait_closed()


def test_the_tests_own_connection_raises(redis_server: Server) -> None:
    with pytest.raises(Refused):
        redis_server.run("NO SUCH COMMAND")


# --- TLS --------------------------------------------------------------------------------------


async def test_tls(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    files = ("--tls-cert-file", str(cert), "--tls-key-file", str(key), "--tls-ca-cert-file", str(cert))
    server = Server(tmp_path, *files, tls=True)
    server.start()
    name = (f"localhost:{server.port}",)
    shown = {"tls_cert": str(cert), "tls_key": str(key)}
    try:
        for right in (
            RedisConfig(addresses=name, tls=True, tls_ca=str(cert), **shown),
            RedisConfig(addresses=(server.address,), tls=True, tls_verify=False, **shown),
        ):
            async with nodes(right) as [here, there]:
                await there.listen(TOPIC)
                await here.directory.enter([place()])
                await arrives(here, there)
                for _ in range(20):
                    here.bus.publish(TOPIC, bytes(PUBLICATION_BYTES))
                here.bus.publish(TOPIC, b"the last")
                await until(lambda there=there: b"the last" in there.heard)
        for options, why in (
            ({"tls": True, **shown}, "certificate verify failed"),
            ({"tls": True, "tls_ca": str(cert)}, ""),  # Redis asks for one
            ({}, ""),
        ):
            assert why in await refused(RedisConfig(addresses=name, timeout_s=SHORT_S, **options))
        wrong_name = RedisConfig(addresses=(server.address,), tls=True, tls_ca=str(cert), **shown)
        assert "IP address mismatch" in await refused(wrong_name)
    finally:
        server.stop()
