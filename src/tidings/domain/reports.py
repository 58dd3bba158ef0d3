"""Reports: somebody tells the operator about somebody.

A report names messages and holds none: the operator reads nobody's conversations. It blocks
nobody, and the reported one is not told.

spec §6.13
"""

from tidings.domain.clock import Clock, IdClock
from tidings.domain.commit import GroupCommit
from tidings.domain.wording import check_text
from tidings.protocol.errors import INVALID, NO_SUCH_USER, TOO_LARGE, ProtocolError
from tidings.protocol.frames import Report
from tidings.protocol.ids import EPOCH_MS, SNOWFLAKE_MAX, EntryId, UserId, unix_ms
from tidings.protocol.limits import Limits
from tidings.store.contract import Put, Store
from tidings.store.schema import REPORTS, REPORTS_BUCKET_S, USERS, ReportRow


class Reports:
    """Takes reports, and lists them for the operator."""

    def __init__(self, store: Store, commit: GroupCommit, clock: Clock, ids: IdClock, limits: Limits) -> None:
        self._store = store
        self._commit = commit
        self._clock = clock
        self._ids = ids
        self._limits = limits

    async def report(self, reporter: UserId, frame: Report) -> EntryId:
        """Keep a report; durable when it returns. Raises ProtocolError.

        invalid, too_large, no_such_user, store_….
        """
        limits = self._limits
        reason = check_text("reason", frame.reason, limits.report_chars, lines=True)
        if len(frame.messages) > limits.report_messages:
            raise ProtocolError(TOO_LARGE, f"at most {limits.report_messages} messages are named in a report")
        if frame.user_id == reporter:
            raise ProtocolError(INVALID, "nobody can report themselves")
        if await self._store.get(USERS, (frame.user_id,)) is None:
            raise ProtocolError(NO_SUCH_USER, "there is no such user")
        self._commit.admit()
        report_id = EntryId(self._ids.next())
        row = ReportRow(
            _bucket(report_id),
            report_id,
            reporter,
            frame.user_id,
            reason,
            frame.messages,
            self._clock.wall_ms(),
        )
        await self._commit.write([Put(REPORTS, row, report_id)])
        return report_id

    async def recent(self, limit: int, before: int | None = None) -> list[ReportRow]:
        """Reports, the newest first; those before one, where it is named. Raises StoreError."""
        found: list[ReportRow] = []
        before = min(before or SNOWFLAKE_MAX, self._ids.last + 1)
        bucket = _bucket(before)
        while bucket >= 0 and len(found) < limit:
            left = limit - len(found)
            found += await self._store.range(REPORTS, (bucket,), after=(before,), limit=left)
            bucket -= REPORTS_BUCKET_S
        return found


def _bucket(report_id: int) -> int:
    seconds = (unix_ms(report_id) - EPOCH_MS) // 1000
    return seconds - seconds % REPORTS_BUCKET_S
