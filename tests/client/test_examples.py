"""Everything public in the SDK has an example, and every example works, those of the guides too."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import tidings.bot
from client.examples import Example, found, lacking
from client.stage import CONFIG, LIMITS, Stage, settle
from integration.server import Server

EXAMPLES = {f"{number:04x}": example for number, example in enumerate(found())}
"""by what makes their names their own"""

RAISES = """
async with Client.open("profiles/alice") as me:
    await me.send("@nobody", "hello")
raise RuntimeError("planted")
"""
NEVER_PAST = """
async with Client.open("profiles/alice") as me:
    async for event in me.events():
        if event is None:
            print("never")
        break
"""
FAILING_BOT = """
bot = Bot("profiles/echo")

@bot.message
async def fail(message):
    message.no_such_thing

bot.run()
"""
CANARIES = {
    f"ff{number:02x}": (Example(f"canary {number}", code, tidings.bot), fault)
    for number, (code, fault) in enumerate(
        [(RAISES, "planted"), (NEVER_PAST, r"line \[5\]"), (FAILING_BOT, "handler fail failed")]
    )
}
"""examples with faults, and how they are told"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    server = Server(tmp_path_factory.mktemp("examples"), config=CONFIG, limits=LIMITS)
    examples = EXAMPLES | {suffix: example for suffix, (example, _) in CANARIES.items()}
    handles = [name for suffix, one in examples.items() for name in one.renamed(suffix).accounts()]
    accounts = asyncio.run(settle(server.data, handles))
    server.start()
    yield Stage(server, accounts)
    try:
        server.stop()
    finally:
        server.discard()


def test_everything_public_has_an_example() -> None:
    assert not lacking()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", EXAMPLES, ids=[str(one) for one in EXAMPLES.values()])
def test_example(stage: Stage, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stage.play(EXAMPLES[suffix].renamed(suffix, stage.server.url), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CANARIES)
def test_a_planted_fault_is_found(
    stage: Stage, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example, fault = CANARIES[suffix]
    with pytest.raises((AssertionError, RuntimeError), match=fault):
        stage.play(example.renamed(suffix, stage.server.url), tmp_path)
