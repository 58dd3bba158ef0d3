"""Structured logs on stderr: one event a line, never content, tokens or passwords."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor


def open_log(level: str, *, as_json: bool, stream: TextIO = sys.stderr) -> FilteringBoundLogger:
    """A logger for one node; nothing global is configured."""
    end: Processor = structlog.processors.JSONRenderer()
    if not as_json:
        # The default formatter prints local variables, and passwords are among them.
        plain = structlog.dev.plain_traceback
        end = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0, exception_formatter=plain)
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if as_json:
        processors.append(structlog.processors.format_exc_info)
    log: FilteringBoundLogger = structlog.wrap_logger(
        # A line in one write: several processes may share stderr.
        structlog.WriteLogger(cast(TextIO, _Unfailing(stream))),
        processors=[*processors, end],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    return log


class _Unfailing:
    """A stream that nobody may read any more: a terminal that was closed must not stop a server."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class Bridge(logging.Handler):
    """Takes what libraries (and the gateway) log the standard way into our log."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """One record, as one event."""
        self._log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)


def bridge(log: FilteringBoundLogger, level: str) -> None:
    """Send the process's standard logging to `log`; for the process's entry, not for tests."""
    logging.basicConfig(
        handlers=[Bridge(log)],
        level=max(logging.INFO, logging.getLevelNamesMapping()[level.upper()]),
        force=True,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def unhandled(log: FilteringBoundLogger) -> Callable[[asyncio.AbstractEventLoop, dict[str, object]], None]:
    """An event loop's handler for exceptions that nobody caught: bugs of ours."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        log.error(str(context.get("message")), exc_info=context.get("exception"))

    return handle
