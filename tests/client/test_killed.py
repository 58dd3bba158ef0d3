"""Nothing is lost and nothing is seen twice, whoever is killed and whenever."""

import asyncio
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from client.at_rest import database_of
from client.rig import PATIENCE_S, People, ServerProcess, environment, watching
from tidings.client import CaughtUpEvent, Client, Status

pytestmark = pytest.mark.slow

MORTAL = Path(__file__).parent / "mortal.py"


def run_mortal(*arguments: str) -> list[str]:
    """Run the program until it is killed; returns what it printed."""
    done = subprocess.run(
        [sys.executable, MORTAL, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment(),
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.splitlines()


async def test_a_server_killed_in_mid_flight_costs_nothing(
    own_server: ServerProcess, own_people: People
) -> None:
    people, total = own_people, 400
    alice, bob = await people.register("alice"), await people.register("bob")
    texts = [f"line {number}" for number in range(total)]
    async with watching(alice) as a, watching(bob) as b:
        await b.until(lambda w: w.of(CaughtUpEvent))
        sending = asyncio.gather(*(a.client.send(people.handle("bob"), text) for text in texts))
        for part in (1, 2, 3):
            await b.until(lambda w, part=part: len(w.texts) >= total * part // 4)  # type: ignore[misc]
            own_server.kill()
            await asyncio.to_thread(own_server.start)
        await sending
        await b.until(lambda w: len(w.texts) >= total)
        await a.client.flushed()
        page = await b.client.history(people.handle("alice"), limit=total * 2)
        assert [one.text for one in page] == texts
        assert b.texts == texts
        await a.until(
            lambda w: sum(len(one.message_ids) for one in w.events if hasattr(one, "message_ids")) >= total
        )


@pytest.mark.parametrize("moment", ["before-ack", "after-ack"])
async def test_a_receiver_killed_around_its_ack_shows_everything_once(people: People, moment: str) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    texts = [f"line {number}" for number in range(50)]
    async with Client.open(alice) as a:
        await asyncio.gather(*(a.send(people.handle("bob"), text) for text in texts))
    printed = await asyncio.to_thread(run_mortal, str(bob), moment)
    async with watching(bob) as b:
        await b.until(lambda w: w.of(CaughtUpEvent))
        # The line that was being printed may come again; no other does.
        assert printed == texts[: len(printed)]
        assert b.texts[0] in texts[max(0, len(printed) - 1) : len(printed) + 1]
        assert b.texts == texts[texts.index(b.texts[0]) :]
    with closing(database_of(bob)) as database:
        stored, names = database.execute(
            "SELECT count(*), count(DISTINCT client_id) FROM messages"
        ).fetchone()
    assert (stored, names) == (50, 50)


async def test_a_sender_killed_before_its_answer_sends_once(people: People) -> None:
    alice, bob = await people.register("alice"), await people.register("bob")
    await asyncio.to_thread(run_mortal, str(alice), "before-sent", people.handle("bob"), "only once")
    async with Client.open(alice, receive=False) as a:
        # The next command takes along what was left, before its own.
        await a.send(people.handle("bob"), "after it")
        page = await a.history(people.handle("bob"))
        assert [one.text for one in page] == ["only once", "after it"]
        assert page[0].status == Status.SENT
    async with watching(bob) as b:
        await b.until(lambda w: w.of(CaughtUpEvent))
        assert b.texts == ["only once", "after it"]
