"""Redis with Sentinels: three of them, a master and a replica; the master dies."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from redis.rig import SHORT_S, TOPIC, arrives, nodes, place, reaches, until
from redis.servers import Refused, waits
from redis.watched import Watched, role_of
from tidings.bus.contract import BusUnavailable
from tidings.directory.contract import Entered, Found
from tidings.redis import link
from tidings.redis.config import RedisConfig

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

OWN, NOTHING = Entered(Found.OWN), Entered(Found.NOTHING)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    try:
        watched.start()
        yield watched
    finally:
        watched.stop()


def config(watched: Watched, **options: object) -> RedisConfig:
    settings = {**watched.settings, "timeout_s": SHORT_S, **options}
    return RedisConfig(**settings)  # type: ignore[arg-type]


async def test_the_master_dies(watched: Watched) -> None:
    async with nodes(config(watched)) as [here, there]:
        await there.listen(TOPIC)
        await here.directory.enter([place()])
        await arrives(here, there)
        watched.master.kill()
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) == 1)
        await arrives(here, there)
        # It had been passed on to the replica, or had not.
        assert await here.directory.enter([place()]) in ([OWN], [NOTHING])
        assert await reaches(there) == [place()]
        assert watched.replica.run("EXISTS", "presence:{1}", password="secret") == 1
        assert "secret" not in str(here.lines + there.lines)


async def test_the_master_freezes_and_comes_back_as_a_replica(watched: Watched) -> None:
    async with nodes(config(watched)) as [here, there]:
        await there.listen(TOPIC)
        watched.master.freeze()
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) == 1)
        await arrives(here, there)
        watched.master.thaw()
        waits(lambda: role_of(watched.master) == b"slave")
        await arrives(here, there)
        await here.directory.enter([place()])
        assert await there.finds() == [place()]
        assert (here.gaps, there.gaps) == (1, 1)


async def test_another_is_made_master_while_the_old_one_lives(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CHECK_S", 0.1)
    async with nodes(config(watched)) as [here, there]:
        await there.listen(TOPIC)
        watched.sentinels[0].run("SENTINEL", "FAILOVER", "chat", password="watch")
        await until(lambda: min(here.gaps, there.gaps, here.forgets, there.forgets) >= 1)
        await arrives(here, there)
        await here.directory.enter([place()])
        assert await there.finds() == [place()]
        assert watched.replica.run("EXISTS", "presence:{1}", password="secret") == 1


async def test_one_sentinel_is_enough_to_find_the_master(watched: Watched) -> None:
    for sentinel in watched.sentinels[:2]:
        sentinel.kill()
    async with nodes(config(watched), 1) as [node]:
        await node.directory.enter([place()])


async def test_a_user_of_the_sentinels_that_may_ask_and_no_more(watched: Watched) -> None:
    rules = "-@all +hello +auth +ping +client|setname +sentinel|get-master-addr-by-name"
    for sentinel in watched.sentinels:
        sentinel.run("ACL", "SETUSER", "tidings", "on", ">ask", *rules.split(), password="watch")
    user = config(watched, sentinel_username="tidings", sentinel_password="ask")
    async with nodes(user, 1) as [node]:
        await node.directory.enter([place()])


async def test_what_is_wrong_is_said(watched: Watched) -> None:
    for options, why in (
        ({"sentinel_password": "wrong"}, "WRONGPASS"),
        ({"password": "wrong"}, "WRONGPASS"),
        ({"sentinel_password": ""}, "NOAUTH"),
    ):
        with pytest.raises(BusUnavailable, match=why):
            async with nodes(config(watched, **options), 1):
                pass
    with pytest.raises(BusUnavailable, match="knows no master called 'mail'"):
        async with nodes(config(watched, service="mail"), 1):
            pass


def test_the_sentinels_ask_for_their_password(watched: Watched) -> None:
    with pytest.raises(Refused, match="NOAUTH"):
        watched.sentinels[0].run("SENTINEL", "MASTERS")
