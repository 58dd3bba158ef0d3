"""The watch over processes that fall silent: a loop that hangs, a process that is stopped.

Time is the supervisor's own. A supervisor that did not run itself (a suspended machine, SIGSTOP, a
paused virtual machine) has heard nobody, and judges nobody: everybody's time begins anew.
"""

import asyncio
from collections.abc import Callable, Iterable

from structlog.typing import FilteringBoundLogger

from tidings.server.workers.child import Child

SILENT_S = 5.0
"""a process that says nothing for so long is killed"""
ROUND_S = 0.5
"""how often the watch looks"""
AWAY_S = 2.0
"""a round that comes so late says that the supervisor was away"""


class Watch:
    """Looks at the processes that serve; those that start may take their time."""

    def __init__(
        self,
        children: Callable[[], Iterable[Child]],
        now_s: Callable[[], float],
        log: FilteringBoundLogger,
    ) -> None:
        self._children = children
        self._now_s = now_s
        self._log = log
        self._looked_s = now_s()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(ROUND_S)
            self.look()

    def look(self) -> None:
        """One round: kill who is silent."""
        now_s = self._now_s()
        away_s, self._looked_s = now_s - self._looked_s - ROUND_S, now_s
        for child in tuple(self._children()):
            if child.ready_s is None or child.has_ended:
                continue
            if away_s >= AWAY_S:
                child.heard_s = now_s
            elif now_s - child.heard_s >= SILENT_S:
                silent_s = round(now_s - child.heard_s, 1)
                self._log.warning("silent: killed", process=child.name, pid=child.pid, silent_s=silent_s)
                child.kill()
