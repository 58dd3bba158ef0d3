"""`bench crash`: something terrible happens to the server while people write, over and over.

Clients do what real ones do: they reconnect, repeat what was not answered, acknowledge what they
stored, show no message twice and of twins the greater. After each blow the service must come back by
itself; then people rest, and once nothing is on its way any more, both sides of each conversation and
both histories must show the same in the same order: everything that was ever acknowledged, once.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from tidings.bench.crowd import Crowd, Dialogue, ring
from tidings.bench.faults import Fault, Saboteur
from tidings.bench.figures import percentile
from tidings.bench.process import ServerProcess
from tidings.bench.progress import Progress
from tidings.bench.recovery import Recovery
from tidings.bench.seed import seed
from tidings.bench.verdict import Verdict, judge_both
from tidings.protocol import ids
from tidings.protocol.ids import MessageId

BACK_S = 90.0
"""the service has to be back within this"""
SETTLE_S = 90.0
"""and after this nothing may be on its way any more"""
POLL_S = 0.05
JUDGED_AGAIN_MS = 60_000
"""what was said so long before a round is judged with it once more"""


class CrashOptions(NamedTuple):
    """What `bench crash` does."""

    fault: Fault = Fault.KILLED
    times: int = 20
    workers: int = 1
    people: int = 50
    conversations: int = 8
    """of each, an even number; one message is on its way in each direction"""
    content_bytes: int = 200
    seed: int = 1
    """of the moments, and of who is hit"""
    moments_s: tuple[float, float] = (0.5, 2.0)
    """a blow falls so long after people began to write"""


class Round(NamedTuple):
    """What became of one blow."""

    back_s: list[float]
    """how long each side of each conversation waited until it was served again"""
    was_back: bool
    settle_s: float
    has_settled: bool
    broken: int
    """connections that were lost"""
    verdict: Verdict

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return self.was_back and self.has_settled and self.verdict.is_clean


async def crash(folder: Path, options: CrashOptions, progress: Progress) -> dict[str, object]:
    """Run it in an empty folder; the result is what `--json` prints. Raises RuntimeError, ClosedForGood."""
    random = Random(options.seed)
    saboteur = Saboteur(options.fault, folder, random)
    progress.say(f"{options.people} people with {options.conversations} conversations each")
    links = ring(options.people, options.conversations)
    accounts, conversations = await seed(folder / "data", options.people, links)
    crowd = Crowd(accounts, links, conversations, options.content_bytes, random)
    server = ServerProcess(folder / "data", config=_configured(folder, saboteur), workers=options.workers)
    await server.start()
    try:
        with crowd.connected(server.port):
            rounds = []
            for number in range(1, options.times + 1):
                rounds.append(await _round(server, saboteur, crowd, random.uniform(*options.moments_s)))
                progress.say(f"{number} of {options.times}: {_in_words(rounds[-1])}")
                crowd.check()
            progress.say("judging all of it")
            verdict = await _judge(crowd.dialogues, MessageId(0))
    finally:
        await server.stop()
    return _result(options, crowd, rounds, verdict)


async def _round(server: ServerProcess, saboteur: Saboteur, crowd: Crowd, moment_s: float) -> Round:
    began_ms, breaks = int(time.time() * 1000), crowd.breaks
    crowd.write()
    await asyncio.sleep(moment_s)
    recovery = Recovery(crowd.dialogues)
    _, was_back = await asyncio.gather(saboteur.strike(server, recovery.begin), recovery.all(BACK_S))
    crowd.rest()
    resting_s = time.monotonic()
    has_settled = await _until_settled(crowd.dialogues)
    return Round(
        recovery.waited_s,
        was_back,
        time.monotonic() - resting_s,
        has_settled,
        crowd.breaks - breaks,
        await _judge(crowd.dialogues, MessageId(ids.first_at(began_ms - JUDGED_AGAIN_MS))),
    )


async def _until_settled(dialogues: Sequence[Dialogue]) -> bool:
    until_s = time.monotonic() + SETTLE_S
    unsettled = list(dialogues)
    while unsettled and time.monotonic() < until_s:
        await asyncio.sleep(POLL_S)
        unsettled = [dialogue for dialogue in unsettled if not dialogue.is_settled]
    return not unsettled


async def _judge(dialogues: Sequence[Dialogue], after: MessageId) -> Verdict:
    verdicts = await asyncio.gather(*(judge_both(one, other, after) for one, other in dialogues))
    return sum(verdicts, Verdict())


# --- the result -----------------------------------------------------------------------------


def _configured(folder: Path, saboteur: Saboteur) -> Path | None:
    if saboteur.reserve_bytes is None:
        return None
    config = folder / "tidings.toml"
    config.write_text(f"[limits]\nstore_free_bytes = {saboteur.reserve_bytes}\n")
    return config


def _in_words(one: Round) -> str:
    slowest = f"back after {max(one.back_s, default=0.0):.1f} s" if one.was_back else "not all are back"
    settled = f"settled in {one.settle_s:.1f} s" if one.has_settled else "it does not settle"
    verdict = one.verdict
    return (
        f"{slowest}, {one.broken} connections broken, {settled}, {verdict.lost} lost, "
        f"{verdict.duplicates} twice, {verdict.out_of_order} out of order, {verdict.disagreeing} disagree"
    )


def _result(
    options: CrashOptions, crowd: Crowd, rounds: Sequence[Round], verdict: Verdict
) -> dict[str, object]:
    back_s = [waited_s for one in rounds for waited_s in one.back_s]
    refused: Counter[str] = sum((person.refused for person in crowd.people), Counter())
    return {
        "bench": "crash",
        "fault": options.fault.value,
        "times": options.times,
        "workers": options.workers,
        "seed": options.seed,
        **verdict._asdict(),
        "re_sent": sum(side.shown.repeats for person in crowd.people for side in person.sides.values()),
        "refused_for_a_while": dict(refused.most_common()),
        "refused_for_good": sum(len(person.refused_for_good) for person in crowd.people),
        "connections_broken": sum(one.broken for one in rounds),
        "back_p50_s": round(percentile(back_s, 0.5), 2),
        "back_p99_s": round(percentile(back_s, 0.99), 2),
        "back_worst_s": round(max(back_s, default=0.0), 2),
        "settle_worst_s": round(max(one.settle_s for one in rounds), 2),
        "unclean_rounds": sum(not one.is_clean for one in rounds),
    }
