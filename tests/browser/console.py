"""The console of a real browser: Debian's Chromium, without a window, driven over its own protocol."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import CDPSession, ConsoleMessage, Page, async_playwright

from integration.server import PATIENCE_S

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def browser() -> str:
    """The path of the system's own. Its lack is a fault of the machine, never a reason to skip."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    pytest.fail("no Chromium on this machine: run scripts/setup --tests (as root on Debian it installs it)")


class Console:
    """What a person has in front of them after F12: they type, and read what is logged."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self._page = page
        self._session = session
        self._logged: asyncio.Queue[str] = asyncio.Queue()
        page.on("console", self._log)

    async def visit(self, url: str) -> None:
        """Open a page; what was logged before is gone, as is what ran there."""
        await self._page.goto(url)
        while not self._logged.empty():
            self._logged.get_nowait()

    async def type(self, code: str) -> str:
        """Enter code as it is; returns what the console says it threw, or nothing."""
        # What the console does: declarations stay, and `await` is allowed.
        request: dict[str, Any] = {"expression": code, "replMode": True, "awaitPromise": True}
        answer = await self._session.send("Runtime.evaluate", request)
        thrown = answer.get("exceptionDetails")
        return "" if thrown is None else str(thrown.get("exception", {}).get("description", thrown["text"]))

    async def value(self, expression: str) -> Any:
        """What a promise comes to."""
        request = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = await self._session.send("Runtime.evaluate", request)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def shows(self, start: str) -> str:
        """The next line that is logged, which must start so; returns the rest of it."""
        async with asyncio.timeout(PATIENCE_S):
            line = await self._logged.get()
        assert line.startswith(start), f"{line!r} instead of {start!r}"
        return line.removeprefix(start)

    def _log(self, message: ConsoleMessage) -> None:
        # The browser has its own to say there, such as that a site has no icon.
        if message.type == "log":
            self._logged.put_nowait(message.text)


@contextlib.asynccontextmanager
async def console() -> AsyncIterator[Console]:
    """A browser of its own, with an empty profile."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=browser(), headless=True)
        try:
            page = await chromium.new_page()
            yield Console(page, await page.context.new_cdp_session(page))
        finally:
            await chromium.close()
