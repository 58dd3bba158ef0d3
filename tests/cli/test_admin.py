"""`tidings admin` against a real server."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.server import Server, running
from tidings.cli.failure import Failure
from tidings.cli.main import application

pytestmark = pytest.mark.slow


class Admin:
    """The command, in this process."""

    def __init__(self, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self.server = server
        self._capsys = capsys

    def __call__(self, *arguments: str) -> str:
        """What it prints on stdout."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            application("admin")(["admin", *arguments, "--data", str(self.server.data)], prog_name="tidings")
        assert ended.value.code == 0
        return self._capsys.readouterr().out

    def objects(self, *arguments: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in self(*arguments, "--json").splitlines()]

    def refused(self, *arguments: str) -> Failure:
        with pytest.raises(Failure) as refused:
            application("admin")(["admin", *arguments, "--data", str(self.server.data)], prog_name="tidings")
        return refused.value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("admin")) as server:
        server.register("alice")
        yield server


@pytest.fixture
def admin(server: Server, capsys: pytest.CaptureFixture[str]) -> Admin:
    return Admin(server, capsys)


def test_users_are_shown_for_people_and_programs(admin: Admin) -> None:
    assert "@alice" in admin("users")
    (user,) = admin.objects("users")
    assert user["handle"] == "alice"
    shown = admin("user", "@alice")
    assert str(user["user_id"]) in shown
    (detail,) = admin.objects("user", f"id:{user['user_id']}")
    assert detail["user"] == user


def test_suspending_and_letting_in_again(admin: Admin) -> None:
    credentials = {"handle": "alice", "secret": "a long secret"}
    assert "@alice is suspended" in admin("suspend", "@alice")
    assert admin.server.http("/v1/sessions", credentials)[1]["name"] == "suspended"
    assert "@alice may come back" in admin("unsuspend", "alice")
    assert admin.server.http("/v1/sessions", credentials)[0] == 201
    assert "@alice is signed out" in admin("sign-out", "alice")
    (detail,) = admin.objects("user", "alice")
    assert detail["devices"] == []
    assert admin.objects("quota", "alice", "--devices", "2")[0]["devices_max"] == 2


def test_invites(admin: Admin) -> None:
    code = admin("invite", "--uses", "2", "--expires", "12h", "--note", "for [bold]them[/]").strip()
    (invite,) = admin.objects("invites")
    assert (invite["uses_left"], invite["note"]) == (2, "for [bold]them[/]")
    assert "for [bold]them[/]" in admin("invites")
    assert code not in admin("invites")
    assert admin("invites", "--revoke", str(invite["invite_id"])) == "revoked\n"
    assert admin.objects("invites") == []


def test_limits(admin: Admin) -> None:
    (limit,) = admin.objects("limits", "send_rate", "7,30")
    assert limit["value"] == {"per_s": 7, "burst": 30}
    assert "7,30" in admin("limits", "send_rate")
    assert len(admin.objects("limits")) > 50


def test_status_metrics_and_reports(admin: Admin) -> None:
    assert admin.objects("status")[0]["store"] == "ok"
    assert "users online" in admin("status")
    assert "tidings_connections_max" in admin("metrics")
    assert admin.objects("metrics")[0]["tidings_store_ok"] == 1
    assert admin.objects("reports") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["user", "nobody"], "nobody has this handle"),
        (["user", "../../metrics"], "Not Found"),
        (["user", "a b"], "handle"),
        (["quota", "alice"], "no quota was given"),
        (["invite", "--expires", "soon"], "no length of time"),
        (["invites", "--revoke", "zz"], "an invite's id"),
        (["limits", "nonsense"], "no limit named"),
        (["limits", "nonsense", "5"], "no limit named"),
        (["limits", "send_rate", "x"], "is no limit"),
        (["limits", "send_rate", "NaN"], "is no limit"),
        (["limits", "send_rate", "0,5"], "a rate has"),
    ],
)
def test_what_cannot_be_is_said(admin: Admin, arguments: list[str], said: str) -> None:
    assert said in admin.refused(*arguments).message


def test_no_server_no_administration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(tmp_path)
    admin = Admin(server, capsys)
    failure = admin.refused("status")
    assert "no server runs" in failure.message
    assert "--data" in failure.hint
    server.data.mkdir()
    (server.data / "admin.json").write_text("nonsense")
    assert "cannot read" in admin.refused("status").message


def test_the_file_of_a_killed_server_leads_nowhere_and_the_next_one_replaces_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path) as server:
        admin = Admin(server, capsys)
        server.kill()
        failure = admin.refused("status")
        assert "no server answers" in failure.message
        assert "admin.json" in failure.hint
        server.start()
        assert "ok" in admin("status")


def test_drain_stops_the_server_as_sigterm_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        assert "stopping" in Admin(server, capsys)("drain")
        began = time.monotonic()
        server.reap()
        assert time.monotonic() - began < 5
        server.check_log()
        assert "stopped" in server.log
        assert not (server.data / "admin.json").exists()
    finally:
        server.discard()


def test_the_server_stops_while_somebody_holds_the_admin_port(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    found = json.loads((server.data / "admin.json").read_text())
    host, _, port = found["url"].removeprefix("http://").partition(":")
    with (
        socket.create_connection((host, int(port))) as idle,
        socket.create_connection((host, int(port))) as half,
    ):
        half.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n")
        idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        assert server.stop() < 5
