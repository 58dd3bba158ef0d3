"""Bots: each message has its handlers once, whatever they do, and however the bot ends."""

import asyncio
import contextlib
import logging
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from client.at_rest import database_of
from client.rig import PATIENCE_S, environment, until
from client.stage import CONFIG, LIMITS, exchange, listening, make_profile, settle
from integration.server import Server
from tidings.bot import Bot, Incoming
from tidings.client import Client, ClientError, MessageEvent, ProfileMissing
from tidings.protocol.api import LoggedIn

pytestmark = pytest.mark.slow

NAMES = [f"{name}{number}" for name in ("alice", "echo") for number in range(20)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, list[LoggedIn]]]:
    """A server where strangers have to ask, and accounts that nobody has used."""
    server = Server(tmp_path_factory.mktemp("bots"), config=CONFIG, limits=LIMITS)
    accounts = asyncio.run(settle(server.data, NAMES))
    server.start()
    yield server, list(accounts.values())
    server.stop()


class Pair:
    """Alice, and the bot that she talks to."""

    def __init__(self, server: Server, alice: LoggedIn, echo: LoggedIn, folder: Path) -> None:
        self.alice = make_profile(folder / "alice", server, alice)
        self.bot = make_profile(folder / "echo", server, echo)
        self.handle = echo.handle

    async def befriend(self) -> None:
        """Let them know each other, and leave neither anything unheard."""
        async with Client.open(self.alice) as alice, Client.open(self.bot) as echo:
            await exchange(alice, echo)
            async with listening(alice) as one, listening(echo) as other:
                await until(lambda: one and other)

    @contextlib.asynccontextmanager
    async def talking(self) -> AsyncIterator["Talk"]:
        """Alice, online."""
        async with Client.open(self.alice) as alice, listening(alice) as heard:
            yield Talk(alice, self.handle, heard)


class Talk:
    """What Alice says to the bot and hears of it."""

    def __init__(self, client: Client, bot: str, heard: list[MessageEvent]) -> None:
        self.client = client
        self._bot = bot
        self._heard = heard

    async def says(self, *texts: str) -> None:
        for text in texts:
            await self.client.send(self._bot, text)

    async def hears(self, *texts: str) -> None:
        """Wait until so many answers have come; they must be these."""
        await until(lambda: len(self.answers) >= len(texts))
        assert self.answers == list(texts)

    @property
    def answers(self) -> list[str]:
        return [one.text for one in self._heard if not one.own]


@pytest.fixture
async def pair(place: tuple[Server, list[LoggedIn]], tmp_path: Path) -> Pair:
    server, accounts = place
    alice = next(one for one in accounts if one.handle.startswith("alice"))
    echo = next(one for one in accounts if one.handle.startswith("echo"))
    accounts.remove(alice)
    accounts.remove(echo)
    pair = Pair(server, alice, echo, tmp_path)
    for profile in (pair.alice, pair.bot):
        async with Client.open(profile, receive=False) as me:
            await published(me)
    return pair


async def published(client: Client) -> None:
    """Wait until others can encrypt for an account that was settled, which has no keys before."""
    async with asyncio.timeout(PATIENCE_S):
        while not await client.devices.is_linked():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(bot: Bot) -> AsyncIterator[None]:
    """A bot at work; it must end by itself once it was asked to."""
    task = asyncio.ensure_future(bot.serve())
    try:
        yield
        bot.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_guide_s_first_bot_has_ten_lines() -> None:
    guide = (Path(__file__).parents[1] / "docs/guides/bots.md").read_text()
    assert len(guide.split("```python\n")[1].split("```")[0].splitlines()) <= 10


async def test_it_answers_each_message_in_turn(pair: Pair) -> None:
    await pair.befriend()
    bot = Bot(pair.bot)

    @bot.message
    async def echo(message: Incoming) -> None:
        await message.reply(message.text)

    async with serving(bot), pair.talking() as talk:
        await talk.says("one", "two", "three")
        await talk.hears("one", "two", "three")
        # An answer quotes what it answers.
        (sent,) = await talk.client.messages.recent(pair.handle, limit=1)
        assert sent.reply_to is not None


async def test_its_own_messages_are_never_given_to_it(pair: Pair) -> None:
    await pair.befriend()
    given: list[str] = []
    bot = Bot(pair.bot)
    bot.message(lambda message: given.append(message.text))
    async with serving(bot), pair.talking() as talk:
        async with Client.open(pair.bot, receive=False) as elsewhere:
            await elsewhere.send(talk.client.handle, "from the bot's own hand")
        await talk.says("the end")
        await until(lambda: "the end" in given)
    assert given == ["the end"]


async def test_what_cannot_be_read_yet_is_given_to_it_once_it_can(pair: Pair) -> None:
    await pair.befriend()
    given: list[str] = []
    bot = Bot(pair.bot)
    bot.message(lambda message: given.append(message.text))
    async with pair.talking() as talk:
        forget_sessions(pair.bot)
        await talk.says("sealed for what it has no more")
        async with serving(bot):
            await until(lambda: given)
            await talk.says("the end")
            await until(lambda: "the end" in given)
    assert given == ["sealed for what it has no more", "the end"]


def forget_sessions(profile: Path) -> None:
    """What comes over the ratchets that were cannot be read: its key must be asked for."""
    with contextlib.closing(database_of(profile)) as database:
        database.execute("DELETE FROM sessions")


async def test_a_handler_that_fails_is_logged_and_the_next_message_goes_on(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    await pair.befriend()
    bot = Bot(pair.bot)

    @bot.message
    async def half(message: Incoming) -> str:
        return str(1 / int(message.text))

    with caplog.at_level(logging.ERROR, "tidings.bot"):
        async with serving(bot), pair.talking() as talk:
            await talk.says("0", "2")
            await talk.hears("0.5")
    assert [one.message.partition(" with")[0] for one in caplog.records] == ["handler half failed"]
    assert "ZeroDivisionError" in caplog.text


async def test_commands_take_what_begins_with_their_word(pair: Pair) -> None:
    await pair.befriend()
    bot = Bot(pair.bot)

    @bot.command("/add")
    async def add(message: Incoming) -> str:
        """Add numbers.

        Not shown.
        """
        return str(sum(map(int, message.arguments.split())))

    @bot.command("/now")
    def now(message: Incoming) -> str:
        return "never"

    @bot.message
    async def rest(message: Incoming) -> str:
        return f"What is {message.text}?"

    async with serving(bot), pair.talking() as talk:
        await talk.says("/add 1 2", " /now\n", "/addition", "/help me")
        await talk.hears("3", "never", "What is /addition?", "/add – Add numbers.\n/now")
    with pytest.raises(ValueError, match="one word"):
        bot.command("two words")


async def test_without_commands_help_is_a_message_like_any_other(pair: Pair) -> None:
    await pair.befriend()
    bot = Bot(pair.bot)
    bot.message(lambda message: message.reply(message.text))
    async with serving(bot), pair.talking() as talk:
        await talk.says("/help")
        await talk.hears("/help")


async def test_all_that_a_handler_can_do(pair: Pair) -> None:
    await pair.befriend()
    bot = Bot(pair.bot)

    @bot.command("/all")
    async def everything(message: Incoming) -> None:
        assert message.sender.startswith("alice")
        await message.typing()
        await message.mark_read()
        await message.react("👍")
        await bot.client.send(message.sender, "done")

    async with serving(bot), pair.talking() as talk:
        await talk.says("/all")
        await talk.hears("done")
        said = [one for one in await talk.client.history(pair.handle) if one.text == "/all"]
        assert said[0].reactions == {pair.handle: "👍"}
        assert said[0].status.name == "READ"
    with pytest.raises(ClientError, match="does not run"):
        _ = bot.client


@pytest.mark.parametrize("before", [True, False], ids=["who knocked before", "who comes now"])
async def test_strangers_are_let_in_where_it_says_so(pair: Pair, *, before: bool) -> None:
    bot = Bot(pair.bot, accept_requests=True)
    bot.message(lambda message: message.reply(message.text))
    async with pair.talking() as talk:
        if before:
            await talk.says("hello")
        async with serving(bot):
            if not before:
                await until(lambda: _runs(bot))
                await talk.says("hello")
            await talk.hears("hello")


async def test_strangers_are_not_heard_otherwise(pair: Pair) -> None:
    given: list[str] = []
    bot = Bot(pair.bot)
    bot.message(lambda message: given.append(message.text))
    async with serving(bot), pair.talking() as talk:
        await talk.says("hello")
        await until(lambda: _runs(bot))

        async def has_knocked() -> None:
            while not await bot.client.people.requests():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(has_knocked(), PATIENCE_S)
    assert not given


async def test_a_bot_without_a_profile_says_so(tmp_path: Path) -> None:
    bot = Bot(tmp_path / "nobody")
    bot.stop()
    with pytest.raises(ProfileMissing):
        await bot.serve()


def _runs(bot: Bot) -> bool:
    with contextlib.suppress(ClientError):
        return bool(bot.client.handle)
    return False


PROGRAM = """
import asyncio, os, signal, sys
from tidings.bot import Bot

bot = Bot(sys.argv[1])

@bot.message
async def handle(message):
    print("got", message.text, flush=True)
    if message.text == "die" and sys.argv[2] == "mortal":
        os.kill(os.getpid(), signal.SIGKILL)
    if message.text == "slow":
        await asyncio.sleep(0.5)
    await message.reply("done " + message.text)
    print("done", message.text, flush=True)

bot.run()
print("ended", flush=True)
"""


@contextlib.contextmanager
def program(profile: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """The bot in a process of its own, killed in the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(profile), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    ) as process:
        yield process
        process.kill()


async def _lines(process: subprocess.Popen[str], last: str) -> list[str]:
    """What it prints, up to a line."""

    def read() -> list[str]:
        assert process.stdout is not None
        lines: list[str] = []
        while last not in lines and (line := process.stdout.readline()):
            lines.append(line.removesuffix("\n"))
        return lines

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.to_thread(read)


async def test_a_killed_bot_handles_the_one_message_again_that_it_was_at(pair: Pair) -> None:
    await pair.befriend()
    async with pair.talking() as talk:
        await talk.says("one", "die", "two")
        with program(pair.bot, "mortal") as process:
            lines = await _lines(process, "nothing")
            assert lines[-3:] == ["got one", "done one", "got die"]
            assert process.wait(PATIENCE_S) == -signal.SIGKILL
        with program(pair.bot, "immortal") as process:
            assert await _lines(process, "done two") == ["got die", "done die", "got two", "done two"]
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        await talk.hears("done one", "done die", "done two")
        with program(pair.bot, "immortal") as process:
            await talk.says("three")
            assert await _lines(process, "done three") == ["got three", "done three"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_lets_the_handler_at_work_finish(pair: Pair, number: signal.Signals) -> None:
    await pair.befriend()
    async with pair.talking() as talk:
        await talk.says("slow", "next")
        with program(pair.bot, "immortal") as process:
            await _lines(process, "got slow")
            process.send_signal(number)
            assert await _lines(process, "ended") == ["done slow", "ended"]
            assert process.wait(PATIENCE_S) == 0
        with program(pair.bot, "immortal") as process:
            # Neither is lost, neither comes twice.
            assert await _lines(process, "done next") == ["got next", "done next"]
        await talk.hears("done slow", "done next")


async def test_in_a_group_it_answers_there_and_sees_that_it_is_meant(pair: Pair) -> None:
    await pair.befriend()
    bot = Bot(pair.bot)
    heard: list[str] = []

    @bot.message
    async def serve(message: Incoming) -> str:
        heard.append(message.text)
        return "At your service" if message.in_group and message.mentions_me else ""

    @bot.command("/roll")
    def roll(message: Incoming) -> str:
        return f"6 of {message.arguments}"

    async with serving(bot), pair.talking() as talk:
        group = await talk.client.groups.create("Family", [pair.handle])
        for text in ("Hello", f"Hello @{pair.handle}", f"@{pair.handle}: /roll 20", "/roll 6"):
            await talk.client.send(group.peer, text)
        answers = ["At your service", "6 of 20", "6 of 6"]
        await until(lambda: [one for one in talk.answers if one in answers] == answers)
        there = [one.text for one in await talk.client.messages.recent("#Family") if not one.own]
        assert there[1:] == answers
    assert heard == ["Hello", f"Hello @{pair.handle}"]
