"""Replaying an exported chat, and the count that must come out."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.rig import tidings
from client.rig import ServerProcess
from integration.server import Server
from tidings.cli.cast import cast, slug
from tidings.cli.tally import Tally, Verdict, total

EXPORT = """\
[01-02-21 10:00:00] Nora: one
[01-02-21 10:00:01] Åse: two
still two
[13-02-21 10:00:02] +47 9: three
"""


@given(st.permutations(range(6)))
def test_any_order_but_the_right_one_is_noticed(order: list[int]) -> None:
    verdict = Tally(list(range(6)), order).verdict()
    assert (verdict.deliveries, verdict.lost, verdict.duplicates) == (6, 0, 0)
    assert (verdict.out_of_order == 0) == (order == sorted(order))


def test_loss_repetition_and_strangers() -> None:
    assert Tally([1, 2, 3], [9, 1, 3, 3, 9]).verdict() == Verdict(2, 1, 1, 0)
    assert Tally([1, 2, 3], [1, 2, 1, 3]).verdict() == Verdict(3, 0, 1, 0)
    assert Tally([1, 2, 3], [3, 1, 2]).verdict() == Verdict(3, 0, 0, 2)
    assert total([Verdict(1, 0, 0, 0), Verdict(2, 1, 0, 0)]) == Verdict(3, 1, 0, 0)
    assert not Verdict(3, 1, 0, 0).is_clean
    assert Verdict(3, 0, 0, 0).is_clean


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("José García", "jose.garcia"),
        ("+1 123", "1.123"),
        ("小林", "somebody"),
        ("Jessie & James", "jessie.james"),
    ],
)
def test_names_become_handles(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_every_speaker_has_a_folder_of_its_own(tmp_path: Path) -> None:
    places = [speaker.profile.name for speaker in cast(["A b", "a-b", "小", "林"], tmp_path)]
    assert places == ["a.b", "a.b-2", "somebody", "somebody-2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello\n", "line 1: it does not begin with a date and a time"),
        ("[01-02-21 10:00:00] Nora: alone\n", "it has 1 speaker"),
    ],
)
def test_what_cannot_be_replayed(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "chat.txt").write_text(text)
    done = tidings("replay", tmp_path / "chat.txt", "--server", "http://127.0.0.1:9")
    assert done.code == 1
    assert says in done.err
    done = tidings("replay", tmp_path / "none.txt", "--server", "http://127.0.0.1:9")
    assert "no such file" in done.err.lower()


@pytest.mark.slow
def test_a_chat_is_replayed_and_again_with_the_same_profiles(
    shared_server: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "chat.txt").write_text(EXPORT)
    for _ in range(2):
        done = tidings(
            *("replay", tmp_path / "chat.txt", "--server", shared_server.url),
            *("--dir", tmp_path / "cast", "--json"),
        )
        assert done.code == 0, done.err
        counts = done.objects[0]
        assert counts.pop("seconds") > 0
        assert counts == {
            **{"lines": 3, "speakers": 3, "deliveries": 6},
            **{"lost": 0, "duplicates": 0, "out_of_order": 0},
        }
    handles = [json.loads(file.read_text())["handle"] for file in tmp_path.glob("cast/*/account.json")]
    assert len(set(handles)) == 3
    table = tidings("replay", tmp_path / "chat.txt", "--server", shared_server.url).out
    assert "out of order" in table


@pytest.mark.slow
def test_a_chat_is_replayed_where_strangers_must_knock(asking_server: Server, tmp_path: Path) -> None:
    # More lines than a stranger may write.
    lines = [f"[01-02-21 10:00:{n:02}] {'NÅ'[n % 2]}x: line {n}" for n in range(20)]
    (tmp_path / "chat.txt").write_text("\n".join(lines))
    done = tidings("replay", tmp_path / "chat.txt", "--server", asking_server.url, "--json")
    assert done.code == 0, done.err
    assert done.objects[0]["deliveries"] == 20


@pytest.mark.slow
def test_a_replay_survives_the_servers_deaths(own_server: ServerProcess, tmp_path: Path) -> None:
    lines = [f"[01-02-21 10:{n // 60:02}:{n % 60:02}] {'NÅL'[n % 3]}x: line {n}" for n in range(300)]
    (tmp_path / "chat.txt").write_text("\n".join(lines))
    results = []

    def play() -> None:
        results.append(
            tidings(
                "replay", tmp_path / "chat.txt", "--server", own_server.url, "--dir", tmp_path / "c", "--json"
            )
        )

    playing = threading.Thread(target=play)
    playing.start()
    kills = 0
    while playing.is_alive() and kills < 2:
        playing.join(1.2)
        if playing.is_alive() and len(list(tmp_path.glob("c/*/account.json"))) == 3:
            own_server.kill()
            own_server.start()
            kills += 1
    playing.join()
    (done,) = results
    assert done.code == 0, done.err
    assert kills > 0
    assert (done.objects[0]["deliveries"], done.objects[0]["lost"]) == (600, 0)
