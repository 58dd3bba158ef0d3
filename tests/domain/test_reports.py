"""Reports: the operator is told, in clear text, and of no content."""

import pytest

from tidings.protocol import frames
from tidings.protocol.errors import INVALID, NO_SUCH_USER, TOO_LARGE, ErrorKind, ProtocolError
from tidings.protocol.frames import Ok, Reference, Report
from tidings.protocol.ids import SNOWFLAKE_MAX, ClientId, DeviceId, EntryId, UserId
from tidings.protocol.limits import Limits
from tidings.store.schema import REPORTS_BUCKET_S
from tidings.testing.world import World

LIMITS = Limits(receipt_delay_s=0.0)
MESSAGE = Reference(DeviceId(5), ClientId(b"c" * 16))


async def two_people() -> tuple[World, UserId, UserId]:
    world = await World.start(limits=LIMITS)
    alice, bob = [UserId(int((await world.register(handle)).user_id)) for handle in ("alice", "bob")]
    return world, alice, bob


async def test_a_report_is_kept_as_it_was_made() -> None:
    world, alice, bob = await two_people()
    reports = world.services.reports
    report_id = await reports.report(alice, Report(1, bob, " He sells\nwatches. ", [MESSAGE]))
    (row,) = await reports.recent(10)
    assert (row.report_id, row.reporter, row.reported) == (report_id, alice, bob)
    assert row.reason == "He sells\nwatches."
    assert row.messages == [MESSAGE]
    assert row.created_at == world.clock.wall_ms()


async def test_reports_are_listed_newest_first_and_in_pages_over_the_months() -> None:
    world, alice, bob = await two_people()
    reports = world.services.reports
    made = []
    for number in range(12):
        made.append(await reports.report(alice, Report(1, bob, f"{number}")))
        world.clock.advance(number % 4 * REPORTS_BUCKET_S / 2)
    newest_first = made[::-1]
    assert [row.report_id for row in await reports.recent(100)] == newest_first
    listed: list[EntryId] = []
    before: EntryId | None = None
    while page := await reports.recent(5, before):
        listed += [row.report_id for row in page]
        before = page[-1].report_id
    assert listed == newest_first
    assert await reports.recent(0) == []
    assert await reports.recent(5, made[0]) == []
    for much in (SNOWFLAKE_MAX, 10**30):
        assert len(await reports.recent(5, much)) == 5
    assert await reports.recent(5, -1) == []


async def test_a_report_of_long_ago_is_found_in_a_clock_of_2035() -> None:
    world, alice, bob = await two_people()
    await world.services.reports.report(alice, Report(1, bob, "old"))
    world.clock.advance(9 * 365 * 86_400)
    await world.services.reports.report(alice, Report(1, bob, "new"))
    assert [row.reason for row in await world.services.reports.recent(10)] == ["new", "old"]


@pytest.mark.parametrize(
    ("reason", "messages", "kind"),
    [
        ("x" * 1001, 0, TOO_LARGE),
        ("x" * 1_000_000, 0, TOO_LARGE),
        ("", 21, TOO_LARGE),
        ("\x1b[2J\x1b]0;root\x07", 0, INVALID),
        ("\u202egnp.exe", 0, INVALID),
    ],
)
async def test_a_bad_report_is_a_clear_error(reason: str, messages: int, kind: ErrorKind) -> None:
    world, alice, bob = await two_people()
    for _ in range(2):
        with pytest.raises(ProtocolError) as refused:
            await world.services.reports.report(alice, Report(1, bob, reason, [MESSAGE] * messages))
        assert refused.value.kind is kind
        assert refused.value.message.isprintable()
    assert await world.services.reports.recent(10) == []


async def test_nobody_reports_themselves_or_who_is_not_there() -> None:
    world, alice, _ = await two_people()
    for user, kind in ((alice, INVALID), (UserId(1), NO_SUCH_USER), (UserId(SNOWFLAKE_MAX), NO_SUCH_USER)):
        with pytest.raises(ProtocolError) as refused:
            await world.services.reports.report(alice, Report(1, user, "?"))
        assert refused.value.kind is kind
    assert await world.services.reports.recent(10) == []


async def test_tricks_in_a_reason_are_just_text() -> None:
    world, alice, bob = await two_people()
    reason = "'); DROP TABLE reports; -- ../../etc/passwd {{7*7}} <script>"
    await world.services.reports.report(alice, Report(1, bob, reason))
    assert (await world.services.reports.recent(1))[0].reason == reason


async def test_a_report_over_a_connection_is_answered_and_the_reported_one_told_nothing() -> None:
    world, _, bob = await two_people()
    alice_device = await world.online(await world.login("alice"))
    bob_device = await world.online(await world.login("bob"))
    await bob_device.settle()
    await alice_device.ask(lambda n: Report(n, bob, "spam", [MESSAGE]), Ok)
    assert await bob_device.settle() == []
    alice_device.say(Report(77, bob, "\x07"))
    assert (await alice_device.expect(frames.Error)).request_id == 77
    assert len(await world.services.reports.recent(10)) == 1
    assert world.complaints == []
