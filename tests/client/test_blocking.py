"""The synchronous façade: it does what the asynchronous SDK does, waits like any call, and leaves nothing."""

import asyncio
import contextlib
import gc
import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import tidings.client
from client.rig import PASSWORD, PATIENCE_S, People, ServerProcess, environment
from tidings.client import ClientClosed, ClientError, MessageEvent, ProfileInUse, ProfileMissing, blocking
from tidings.client.blocking import Client
from tidings.client.blocking_loop import LoopThread

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
from blocking import translated

QUIET_S = 0.3


def threads() -> list[threading.Thread]:
    """The façade's."""
    return [one for one in threading.enumerate() if one.name == "tidings client"]


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    loop = LoopThread()
    loop.start()
    yield loop
    loop.stop()
    assert not threads()


async def count(ended: list[str]) -> AsyncGenerator[int, None]:
    """0, 1, 2, and then nothing for ever."""
    try:
        for number in range(3):
            yield number
        await asyncio.Event().wait()
    finally:
        ended.append("ended")


class TestTheLoop:
    def test_a_call_returns_or_raises_what_the_function_does(self, loop: LoopThread) -> None:
        async def half(number: int, *, plus: int = 0) -> float:
            return plus + 1 / number

        assert loop.call(half, 2, plus=1) == 1.5
        with pytest.raises(ZeroDivisionError):
            loop.call(half, 0)

    def test_nothing_for_so_long_ends_a_loop_quietly(self, loop: LoopThread) -> None:
        ended: list[str] = []
        assert list(loop.iterate(lambda: count(ended), 0.05)) == [0, 1, 2]
        assert ended == ["ended"]

    def test_a_timeout_of_the_generator_itself_is_no_end(self, loop: LoopThread) -> None:
        async def late() -> AsyncGenerator[int, None]:
            yield 1
            raise TimeoutError

        with pytest.raises(TimeoutError):
            list(loop.iterate(late, 10))

    def test_an_interrupt_between_asking_and_waiting_ends_the_generator(
        self, loop: LoopThread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended: list[str] = []
        items = loop.iterate(lambda: count(ended), None)
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        submit = loop._submit

        def interrupted(work: Any) -> Any:
            monkeypatch.setattr(loop, "_submit", submit)
            submit(work)
            raise KeyboardInterrupt

        monkeypatch.setattr(loop, "_submit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(items)
        assert ended == ["ended"]

    def test_a_loop_that_is_left_ends_the_generator(self, loop: LoopThread) -> None:
        ended: list[str] = []
        for _ in loop.iterate(lambda: count(ended), None):
            break
        assert ended == ["ended"]

    def test_one_that_is_never_begun_costs_nothing(self, loop: LoopThread) -> None:
        loop.iterate(lambda: count([]), None)
        gc.collect()

    def test_the_garbage_collector_may_end_it_on_the_loop_itself(self, loop: LoopThread) -> None:
        ended: list[str] = []
        kept = [loop.iterate(lambda: count(ended), None)]
        next(kept[0])

        async def forget() -> None:
            kept.clear()
            while not ended:
                await asyncio.sleep(0)

        loop.call(forget)

    def test_who_waits_when_it_ends_is_told(self, loop: LoopThread) -> None:
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(loop.call, asyncio.Event().wait)
            iterating = pool.submit(lambda: list(loop.iterate(lambda: count([]), None)))
            loop.call(asyncio.sleep, 0)
            loop.stop()
            for one in (waiting, iterating):
                with pytest.raises(ClientClosed):
                    one.result(PATIENCE_S)

    def test_it_cannot_be_used_before_or_after(self) -> None:
        loop = LoopThread()
        with pytest.raises(ClientError, match="not open"):
            loop.call(asyncio.sleep, 0)
        loop.stop()
        loop.start()
        loop.stop()
        loop.stop()
        with pytest.raises(ClientClosed):
            loop.call(asyncio.sleep, 0)
        with pytest.raises(ClientError, match="twice"):
            loop.start()


@pytest.mark.parametrize("name", blocking.__all__)
def test_it_has_everything_that_the_asynchronous_class_has(name: str) -> None:
    original, facade = getattr(tidings.client, name), getattr(blocking, name)
    names = [one for one in vars(original) if not one.startswith("_")]
    assert names == [one for one in vars(facade) if not one.startswith("_")]
    for one in names:
        here, there = inspect.getattr_static(facade, one), inspect.getattr_static(original, one)
        assert type(here) is type(there)
        if not isinstance(here, property):
            signatures = [inspect.signature(getattr(owner, one)).parameters for owner in (facade, original)]
            new = set(signatures[0]) - set(signatures[1])
            assert new <= {"timeout_s"}
            assert [value for value in signatures[0].values() if value.name not in new] == [
                *signatures[1].values()
            ]


def test_where_no_loop_can_be_made_that_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(asyncio.events, "new_event_loop", fail)
    loop = LoopThread()
    with pytest.raises(OSError, match="too many"):
        loop.start()
    loop.stop()
    assert not threads()


class TestTheGenerator:
    def test_an_example_becomes_synchronous(self) -> None:
        code = """
        from tidings.client import Client, MessageEvent
        async with Client.open("profiles/alice") as me:
            print((await me.account.info()).handle)
            async for event in me.events():
                await me.send("@bob", "hi")
        """
        assert translated(f"```python{code}```", "example").splitlines()[1:-1] == [
            "        from tidings.client import MessageEvent",
            "        from tidings.client.blocking import Client",
            '        with Client.open("profiles/alice") as me:',
            "            print(me.account.info().handle)",
            "            for event in me.events():",
            '                me.send("@bob", "hi")',
        ]

    def test_one_that_cannot_is_refused(self) -> None:
        with pytest.raises(SystemExit, match="the example of both cannot do without asyncio"):
            translated("```python\nawait asyncio.gather()\n```", "both")


@pytest.mark.slow
class TestWithAServer:
    def test_two_people_chat(self, people: People, tmp_path: Path) -> None:
        alice, bob = people.handle("alice"), people.handle("bob")
        for handle in (alice, bob):
            Client.register(
                people.server.url, handle=handle, password=PASSWORD, profile=tmp_path / "profiles" / handle
            )
        with (
            Client.open(tmp_path / "profiles" / alice) as a,
            Client.open(tmp_path / "profiles" / bob) as b,
        ):
            sent = a.send(bob, "hello")
            for event in b.events():
                if isinstance(event, MessageEvent):
                    assert (event.sender, event.text, event.message_id) == (alice, "hello", sent.message_id)
                    b.mark_read(alice)
                    b.messages.react(event, "👍")
                    break
            # The one that was being worked on comes again, to a loop that then asks for more.
            again = [one.text for one in b.events(timeout_s=QUIET_S) if isinstance(one, MessageEvent)]
            assert again == ["hello"]
            assert not [one for one in b.events(timeout_s=QUIET_S) if isinstance(one, MessageEvent)]
            (message,) = a.history(bob)
            assert message.reactions == {bob: "👍"}
            assert [one.peer for one in a.chats.list()] == [bob]
            with pytest.raises(ProfileInUse):
                Client.open(tmp_path / "profiles" / alice).__enter__()
            assert len(threads()) == 2
        assert not threads()
        with pytest.raises(ClientClosed):
            a.send(bob, "too late")
        a.close()

    def test_many_threads_use_one_client(self, people: People, tmp_path: Path) -> None:
        alice, bob = asyncio.run(_both(people))
        with Client.open(alice) as a, Client.open(bob) as b:
            with ThreadPoolExecutor(8) as pool:
                peer = people.handle("bob")
                ids = list(
                    pool.map(
                        lambda number: a.send(peer, str(number)).message_id, range(80), timeout=PATIENCE_S
                    )
                )
            assert len(set(ids)) == 80
            received = set()
            for event in b.events():
                if isinstance(event, MessageEvent):
                    received.add(event.message_id)
                    if len(received) == 80:
                        break
            assert received == set(ids)

    def test_closing_ends_a_loop_in_another_thread(self, people: People) -> None:
        alice, _ = asyncio.run(_both(people))
        with ThreadPoolExecutor(1) as pool, Client.open(alice) as a:
            is_connected = threading.Event()

            def watch() -> str:
                for _ in a.events():
                    is_connected.set()
                return "ended"

            watching = pool.submit(watch)
            assert is_connected.wait(PATIENCE_S)
            a.close()
            assert watching.result(PATIENCE_S) == "ended"
        assert not threads()

    async def test_it_may_be_called_where_a_loop_runs(self, people: People, tmp_path: Path) -> None:
        handle = people.handle("carol")
        Client.register(people.server.url, handle=handle, password=PASSWORD, profile=tmp_path / "carol")
        with Client.open(tmp_path / "carol", receive=False) as me:
            assert me.account.info().handle == handle

    def test_what_cannot_be_opened_leaves_no_thread(self, tmp_path: Path) -> None:
        with pytest.raises(ProfileMissing), Client.open(tmp_path / "nobody"):
            pass
        assert not threads()


async def _both(people: People) -> tuple[Path, Path]:
    return await people.register("alice"), await people.register("bob")


PROGRAM = """
import sys, threading
from tidings.client.blocking import Client

def watch(me):
    for event in me.events():
        print(type(event).__name__, flush=True)

def send(me):
    print("ConnectionEvent", flush=True)
    me.send("@bob", "nobody hears this")

try:
    with Client.open(sys.argv[1]) as me:
        {action}(me)
except KeyboardInterrupt:
    print("interrupted", *(one.name for one in threading.enumerate()), flush=True)
"""


@contextlib.contextmanager
def program(text: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A program that is killed in the end, should it still run."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
class TestInAProcess:
    @pytest.mark.parametrize("action", ["watch", "send"])
    def test_ctrl_c_ends_a_wait_and_leaves_nothing(
        self, own_server: ServerProcess, own_people: People, action: str
    ) -> None:
        alice = asyncio.run(own_people.register("alice"))
        if action == "send":
            own_server.stop()
        with program(PROGRAM.format(action=action), alice) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ConnectionEvent\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.read().splitlines()[-1:] == ["interrupted MainThread"]
            assert process.wait(PATIENCE_S) == 0

    def test_a_program_that_forgets_to_close_ends(self, people: People) -> None:
        alice = asyncio.run(people.register("alice"))
        forgetful = "import sys; from tidings.client.blocking import Client\n"
        forgetful += "me = Client.open(sys.argv[1]).__enter__(); print(me.handle)"
        with program(forgetful, alice) as process:
            assert process.stdout is not None
            assert process.stdout.read() == f"{people.handle('alice')}\n"
            assert process.wait(PATIENCE_S) == 0
