"""An event loop in a thread of its own, on which the synchronous façade's calls run.

Any thread may call; each call waits for its own answer and nothing else. A call that is interrupted
(Ctrl-C) is cancelled on the loop. The thread is a daemon: a program that forgets to close still ends.

`tidings.client.blocking` is generated on top of this; it must not know what a call does.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, ParamSpec, TypeVar

from tidings.client.errors import ClientClosed, ClientError

T = TypeVar("T")
P = ParamSpec("P")


class LoopThread:
    """One event loop: not started, running, or closed for good."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._changing = threading.Lock()

    # --- its life ---------------------------------------------------------------------------

    def open(self, client: AbstractAsyncContextManager[object]) -> None:
        """Start the loop and enter a client on it; the loop ends again if that fails. Only once."""
        self.start()
        try:
            self.call(client.__aenter__)
        except BaseException:
            self.stop()
            raise

    def close(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a last call, then end the loop and its thread. Without effect if there is none any more."""
        if self._loop is None:
            return
        try:
            self.call(close)
        except ClientClosed:
            return  # another thread did it, or does it now
        finally:
            self.stop()

    def start(self) -> None:
        """Start the thread; returns once the loop runs. Raises OSError where there can be none."""
        with self._changing:
            if self._thread is not None:
                raise ClientError("cannot open a client twice", "open the profile anew: Client.open(path)")
            started: concurrent.futures.Future[None] = concurrent.futures.Future()
            self._thread = threading.Thread(
                target=self._run, args=[started], name="tidings client", daemon=True
            )
            self._thread.start()
            started.result()

    def stop(self) -> None:
        """Cancel what still runs, and wait for the thread's end."""
        with self._changing:
            loop, self._loop = self._loop, None
            if loop is not None and self._stop is not None:
                loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @classmethod
    def once(cls, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one asynchronous function; also where the caller's own thread runs a loop."""
        thread = cls()
        thread.start()
        try:
            return thread.call(function, *args, **kwargs)
        finally:
            thread.stop()

    # --- calls ------------------------------------------------------------------------------

    def call(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an asynchronous function on the loop and wait for what it returns or raises.

        Raises ClientClosed where the loop has ended, or ends meanwhile.
        """
        if self._thread is None:
            raise ClientError("cannot use a client that is not open", "use: with Client.open(path) as me")

        future = self._submit(functools.partial(function, *args, **kwargs))
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _closed() from None
        except BaseException:
            future.cancel()  # of effect if it was interrupted; else it is done
            raise

    def iterate(self, make: Callable[[], AsyncGenerator[T, None]], timeout_s: float | None) -> Iterator[T]:
        """What an asynchronous generator yields, one at a time; ends when nothing came for `timeout_s`.

        Like with `async for`, the generator goes on when the caller asks for the next one.
        """
        source = self.call(_Source.of, make)
        return self._items(source, timeout_s)

    def _items(self, source: "_Source[T]", timeout_s: float | None) -> Iterator[T]:
        try:
            while found := self.call(source.next, timeout_s):
                yield from found
        finally:
            self._release(source)

    def _release(self, source: "_Source[T]") -> None:
        """End a generator that nobody asks any more; it may be the garbage collector that says so."""
        try:
            if self._thread is threading.current_thread():
                self._submit(source.close)  # it could never wait for itself
            else:
                self.call(source.close)
        except ClientClosed:
            return  # the loop's end was the generator's, too

    def _submit(self, work: Callable[[], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        with self._changing:
            if self._loop is None:
                raise _closed()
            # The coroutine is made on the loop: an interrupt here leaves none that nobody awaits.
            self._loop.call_soon_threadsafe(_begin, work, answer)
        return answer

    # --- on the thread ----------------------------------------------------------------------

    def _run(self, started: "concurrent.futures.Future[None]") -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._until_stopped(started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _until_stopped(self, started: "concurrent.futures.Future[None]") -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        started.set_result(None)
        # Whatever runs on when this returns is cancelled by the runner, and with it who waits for it.
        await self._stop.wait()


def _begin(work: Callable[[], Coroutine[Any, Any, T]], answer: "concurrent.futures.Future[T]") -> None:
    """Run a coroutine on this loop for who waits on another thread, and may give up."""
    if answer.cancelled():
        return
    loop = asyncio.get_running_loop()
    task = loop.create_task(work())

    def done(task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            answer.cancel()
        elif answer.set_running_or_notify_cancel():
            error = task.exception()
            if error is None:
                answer.set_result(task.result())
            else:
                answer.set_exception(error)
        else:
            task.exception()  # nobody waits for it any more

    def given_up(answer: "concurrent.futures.Future[T]") -> None:
        if answer.cancelled():
            with contextlib.suppress(RuntimeError):  # the loop is gone, and the task with it
                loop.call_soon_threadsafe(task.cancel)

    task.add_done_callback(done)
    answer.add_done_callback(given_up)


class _Source(Generic[T]):
    """An asynchronous generator of which one thing is asked at a time; its end ends a wait for the next."""

    def __init__(self, generator: AsyncGenerator[T, None]) -> None:
        self._generator = generator
        self._asking = asyncio.Lock()
        self._asked: asyncio.Task[Any] | None = None

    @classmethod
    async def of(cls, make: Callable[[], AsyncGenerator[T, None]]) -> "_Source[T]":
        return cls(make())

    async def next(self, timeout_s: float | None) -> list[T]:
        """The next one; nothing at the end, or after so long."""
        async with self._asking:
            self._asked = asyncio.current_task()
            try:
                async with asyncio.timeout(timeout_s) as waiting:
                    return [await anext(self._generator)]
            except StopAsyncIteration:
                return []
            except TimeoutError:
                if waiting.expired():
                    return []
                raise
            finally:
                self._asked = None

    async def close(self) -> None:
        # Who was interrupted between asking and waiting has left a question behind.
        if self._asked is not None:
            self._asked.cancel()
        async with self._asking:
            await self._generator.aclose()


def _closed() -> ClientClosed:
    return ClientClosed("the client was closed", "what was stored goes out when the profile is opened again")
