"""Bots: an account whose messages are answered by functions.

```python
from tidings.bot import Bot, Incoming

bot = Bot("profiles/echo")

@bot.message
async def echo(message: Incoming) -> None:
    await message.reply(message.text)

bot.run()
```

Messages are worked on one after the other, in the order in which they came, each by one run of its
handlers. Only if the process dies before a handler is through does its message come again at the next
start. What a handler raises is logged, and the next message has its turn.
"""

import asyncio
import contextlib
import functools
import inspect
import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tidings.client import (
    CaughtUpEvent,
    Client,
    ClientError,
    Event,
    MessageEvent,
    OpenedEvent,
    RequestEvent,
    SentMessage,
    Surroundings,
)
from tidings.client.contents import MARKED
from tidings.client.values import TEXT

__all__ = ["Bot", "Handler", "Incoming"]

GRACE_S = 5.0
"""how long a handler that is at work has when the bot is stopped"""
HELP = "/help"

log = logging.getLogger("tidings.bot")


class Incoming:
    """A message that somebody sent to the bot, and what a handler does with it most often.

    ```python
    bot = Bot("profiles/echo")

    @bot.message
    async def echo(message: Incoming) -> None:
        print(message.sender, message.event.created_at)
        await message.reply(f"You said: {message.text}")

    bot.run()
    ```
    """

    def __init__(self, client: Client, message: MessageEvent | OpenedEvent, arguments: str = "") -> None:
        """A bot makes these."""
        self.event = message
        """as `Client.events()` gave it"""
        self.arguments = arguments
        """what stands after a command's word"""
        self._client = client

    @property
    def text(self) -> str:
        """What was said.

        ```python
        @bot.message
        async def shout(message: Incoming) -> str:
            return message.text.upper()
        ```
        """
        return self.event.text

    @property
    def sender(self) -> str:
        """Whose message it is: a handle.

        ```python
        @bot.message
        async def greet(message: Incoming) -> str:
            return f"Hello, {message.sender}!"
        ```
        """
        return self.event.sender

    @property
    def in_group(self) -> bool:
        """Whether it was said in a group; the answer goes there, too.

        ```python
        @bot.message
        async def welcome(message: Incoming) -> str:
            return "Hello everybody!" if message.in_group else "Hello!"
        ```
        """
        return self.event.in_group

    @property
    def mentions_me(self) -> bool:
        """Whether it mentions the bot: in a group, most bots answer to that alone.

        ```python
        @bot.message
        async def serve(message: Incoming) -> str:
            if message.in_group and not message.mentions_me:
                return ""
            return "At your service."
        ```
        """
        return self.event.mentions_me

    async def reply(self, text: str | bytes, *, content_type: str = TEXT) -> SentMessage:
        """Answer in the same conversation, quoting the message. Waits and raises like `Client.send`.

        ```python
        @bot.message
        async def echo(message: Incoming) -> None:
            await message.reply("I heard you.")
        ```
        """
        return await self._client.send(self.event.peer, text, content_type=content_type, reply_to=self.event)

    async def react(self, reaction: str) -> SentMessage:
        """Put a reaction under the message; an empty one takes it back.

        ```python
        @bot.message
        async def like(message: Incoming) -> None:
            await message.react("👍")
        ```
        """
        return await self._client.messages.react(self.event, reaction)

    async def mark_read(self) -> None:
        """Say that the message was read: its sender sees that.

        ```python
        @bot.message
        async def read(message: Incoming) -> None:
            await message.mark_read()
        ```
        """
        await self._client.mark_read(self.event.peer, up_to=self.event.message_id)

    async def typing(self, *, active: bool = True) -> None:
        """Show the sender that an answer is being written; it fades after some seconds.

        ```python
        @bot.message
        async def think(message: Incoming) -> str:
            await message.typing()
            await asyncio.sleep(0.1)  # what takes time
            return "42"
        ```
        """
        await self._client.chats.typing(self.event.peer, active=active)


Handler = Callable[[Incoming], object]
"""A function, asynchronous or not. Text that it returns is sent as a reply."""
H = TypeVar("H", bound=Handler)


class Bot:
    """An account that answers by itself. `profile` is made once, with `tidings register`.

    With `accept_requests`, people unknown to it may write to it also where the server holds back
    what strangers write.

    ```python
    bot = Bot("profiles/echo", accept_requests=True)

    @bot.message
    async def echo(message: Incoming) -> None:
        await message.reply(message.text)

    bot.run()
    ```
    """

    def __init__(
        self,
        profile: str | Path,
        *,
        accept_requests: bool = False,
        passphrase: str | Callable[[], str] | None = None,
        surroundings: Surroundings | None = None,
    ) -> None:
        """`passphrase`: as `Client.open` takes it."""
        self._profile = profile
        self._passphrase = passphrase
        self._accepts = accept_requests
        self._surroundings = surroundings
        self._handlers: list[Handler] = []
        self._commands: dict[str, Handler] = {}
        self._client: Client | None = None
        self._stop: Callable[[], object] | None = None

    def message(self, handler: H) -> H:
        """Have a function called with every message that no command takes.

        Messages of the bot's own account, and what is told of changes of a group, are left out. Several
        functions are called one after the other. One that is not asynchronous runs on a thread, and may take
        its time there.

        ```python
        @bot.message
        def count(message: Incoming) -> str:
            return f"{len(message.text)} letters"
        ```
        """
        self._handlers.append(handler)
        return handler

    def command(self, word: str) -> Callable[[H], H]:
        """Have a function called with the messages whose first word this is.

        What follows the word is in `arguments`. `/help` lists the commands with the first lines of
        their docstrings, unless there is a command of that name.

        ```python
        @bot.command("/roll")
        async def roll(message: Incoming) -> str:
            \"\"\"Roll a die; /roll 20 rolls one with twenty sides.\"\"\"
            return str(random.randint(1, int(message.arguments or 6)))
        ```
        """
        if not word or word.split() != [word]:
            raise ValueError(f"a command is one word, not {word!r}")

        def register(handler: H) -> H:
            self._commands[word] = handler
            return handler

        return register

    @property
    def client(self) -> Client:
        """The bot's client, for everything else, while it runs.

        ```python
        @bot.message
        async def remember(message: Incoming) -> str:
            count = len(await bot.client.messages.recent(message.sender))
            return f"We have exchanged {count} messages."
        ```
        """
        if self._client is None:
            raise ClientError("cannot use the client of a bot that does not run", "use it in a handler")
        return self._client

    def run(self) -> None:
        """Answer until Ctrl-C, SIGTERM or `stop`. A handler at work has 5 s to come to its end.

        Raises ProfileMissing, ProfileInUse, … if it cannot begin, SessionEnded, StorageFailed if it
        cannot go on.

        ```python
        bot = Bot("profiles/echo")
        bot.message(lambda message: message.reply(message.text))
        bot.run()
        ```
        """
        asyncio.run(self._serve_until_signal())

    async def serve(self) -> None:
        """The same for a program that has a loop already: answer until `stop`, or until cancelled.

        ```python
        @bot.message
        async def once(message: Incoming) -> None:
            await message.reply("Only this once.")
            bot.stop()

        await bot.serve()
        ```
        """
        stopping = asyncio.Event()
        self._stop = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stopping.set)
        try:
            opened = Client.open(self._profile, passphrase=self._passphrase, surroundings=self._surroundings)
            async with opened as self._client:
                await self._until(stopping, self._client)
        finally:
            self._client = self._stop = None

    def stop(self) -> None:
        """End `run` or `serve`, from any thread; without effect on a bot that does not run.

        ```python
        @bot.command("/stop")
        def end(message: Incoming) -> str:
            bot.stop()
            return "Good night."
        ```
        """
        if (stop := self._stop) is not None:
            with contextlib.suppress(RuntimeError):  # its loop was closed at this moment
                stop()

    # --- its life ---------------------------------------------------------------------------

    async def _serve_until_signal(self) -> None:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():  # only there may they be handled
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        await self.serve()

    async def _until(self, stopping: asyncio.Event, client: Client) -> None:
        is_idle = asyncio.Event()
        is_idle.set()
        working = asyncio.ensure_future(self._work(client, stopping, is_idle))
        asked = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)
            # As soon as a handler is through, the loop asks for the next event, which stores that the
            # message was handled; what is cancelled then is only the wait.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(is_idle.wait(), GRACE_S)
        finally:
            working.cancel()
            asked.cancel()
            await asyncio.gather(working, asked, return_exceptions=True)
        if not working.cancelled():
            working.result()

    async def _work(self, client: Client, stopping: asyncio.Event, is_idle: asyncio.Event) -> None:
        async for event in client.events():
            if stopping.is_set():
                return  # this one was not handled: it comes again
            is_idle.clear()
            try:
                await self._take(client, event)
            finally:
                is_idle.set()

    async def _take(self, client: Client, event: Event) -> None:
        match event:
            case MessageEvent() | OpenedEvent() if not (
                # What cannot be read comes again once it can.
                event.own or event.deleted or event.expired or event.fault or event.change
            ):
                await self._handle(client, event)
            case RequestEvent() if self._accepts and event.count:
                await self._accept(client, event.peer)
            case CaughtUpEvent() if self._accepts:
                # Those who came before the bot did this, too.
                for request in await client.people.requests():
                    await self._accept(client, request.peer)

    # --- handlers ---------------------------------------------------------------------------

    async def _handle(self, client: Client, message: MessageEvent | OpenedEvent) -> None:
        word, arguments = [*_said(message).split(maxsplit=1), "", ""][:2]
        known = {HELP: self._help, **self._commands} if self._commands else {}
        command = known.get(word) if message.content_type in (TEXT, MARKED) else None
        handlers = self._handlers if command is None else [command]
        incoming = Incoming(client, message, "" if command is None else arguments.strip())
        for handler in handlers:
            try:
                await _call(handler, incoming)
            except Exception:
                name = getattr(handler, "__name__", repr(handler))
                log.exception("handler %s failed with message %d", name, message.message_id)

    async def _accept(self, client: Client, peer: str) -> None:
        try:
            await client.people.accept(peer)
        except ClientError as error:  # answered on another device, or its sender is gone
            log.warning("cannot let in @%s: %s", peer, error)

    def _help(self, _: Incoming) -> str:
        lines = []
        for word, handler in self._commands.items():
            summary = (inspect.getdoc(handler) or "").partition("\n")[0]
            lines.append(f"{word} – {summary}" if summary else word)
        return "\n".join(lines)


def _said(message: MessageEvent | OpenedEvent) -> str:
    """What was said, without the bot's name before it: `@robo /help`."""
    for mention in message.mentions:
        if mention.start == 0 and mention.user_id == message.me_id:
            return message.text[mention.length :].lstrip(" :,")
    return message.text


async def _call(handler: Handler, incoming: Incoming) -> None:
    if inspect.iscoroutinefunction(handler):
        answer = await handler(incoming)
    else:
        answer = await asyncio.to_thread(handler, incoming)
        if inspect.isawaitable(answer):  # of a lambda
            answer = await answer
    if isinstance(answer, str) and answer:
        await incoming.reply(answer)
