"""The admin port: who gets in, what the operator can do, and that metrics tell of nobody."""

import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidings.protocol import frames
from tidings.protocol.api import Credentials
from tidings.protocol.close import CloseCode
from tidings.protocol.errors import SUSPENDED, TOO_MANY_DEVICES, UNAUTHENTICATED, ErrorKind, ProtocolError
from tidings.protocol.limits import Limits
from tidings.server.admin.app import Node, application
from tidings.server.admin.port import AdminPort
from tidings.server.config import ConfigError
from tidings.server.metrics import Metrics, Sources
from tidings.store.memory import MemoryStore
from tidings.testing.world import PASSWORD, World

TOKEN = "f" * 64
HOST = "http://127.0.0.1:8081"


class Rig:
    """A world, and its admin port without a socket."""

    def __init__(self, world: World, store: MemoryStore) -> None:
        self.world = world
        self.drained = 0
        services = world.services
        sources = Sources(
            services.counts,
            services.connections,
            services.commit,
            services.inboxes,
            services.claims,
            services.audit,
            lambda: (1, 2),
            lambda: 1_900_000_000.0,
        )
        node = Node(
            services,
            store,
            Metrics(sources),
            lambda: (1, 2),
            lambda: None,
            self._drain,
            lambda: bool(self.drained),
        )
        self.app = application(node, TOKEN)
        self.client = self.client_of({"Authorization": f"Bearer {TOKEN}"})

    def _drain(self) -> None:
        self.drained += 1

    def client_of(self, headers: dict[str, str]) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        return httpx.AsyncClient(transport=transport, base_url=HOST, headers=headers)

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.client.request(method, f"/v1/admin/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Status and name of the problem."""
        answer = await self.client.request(method, f"/v1/admin/{path}", json=body)
        return answer.status_code, answer.json()["name"]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    store = MemoryStore()
    world = await World.start(store)
    rig = Rig(world, store)
    yield rig
    await rig.client.aclose()
    assert world.complaints == []


# --- who gets in ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer " + "f" * 63},
        {"Authorization": "Bearer " + "f" * 65},
        {"Authorization": TOKEN},
        {"Authorization": "Basic " + TOKEN},
        {"Authorization": "Bearer " + "\u00ff" * 64},
    ],
)
@pytest.mark.parametrize("path", ["status", "users", "limits", "nothing", "../admin/status"])
async def test_without_the_token_there_is_nothing(rig: Rig, headers: dict[str, str], path: str) -> None:
    encoded = {name: value.encode("latin-1") for name, value in headers.items()}
    async with rig.client_of(encoded) as client:  # type: ignore[arg-type]
        answer = await client.get(f"/v1/admin/{path}")
    assert (answer.status_code, answer.json()["name"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8081", "localhost.evil.example", "127.0.0.1.evil.example:80", ""]
)
@pytest.mark.parametrize("path", ["/metrics", "/v1/admin/status"])
async def test_a_page_that_rebinds_its_name_gets_nothing(rig: Rig, host: str, path: str) -> None:
    answer = await rig.client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["name"]) == (403, "forbidden")


async def test_a_page_of_a_browser_gets_nothing(rig: Rig) -> None:
    for origin in ("https://evil.example", "http://127.0.0.1:8081", "null"):
        answer = await rig.client.get("/metrics", headers={"Origin": origin})
        assert answer.status_code == 403


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:1", "[::1]:8081", "[::1]"]
)
async def test_local_names_get_in(rig: Rig, host: str) -> None:
    assert (await rig.client.get("/v1/admin/status", headers={"Host": host})).status_code == 200


async def test_bad_requests_are_told_and_change_nothing(rig: Rig) -> None:
    await rig.world.register("alice")
    bad: list[tuple[str, str, object]] = [
        ("PUT", "users/alice/quota", {"messages_per_day": "many"}),
        ("PUT", "users/alice/quota", {"messages_per_day": -1}),
        ("PUT", "users/alice/quota", {"devices_max": 10_000}),
        ("PUT", "users/alice/quota", [1]),
        ("POST", "invites", {"uses": 0}),
        ("POST", "invites", {"uses": 10**9}),
        ("POST", "invites", {"expires_in_s": -1}),
        ("POST", "invites", {"note": "x" * 1000}),
        ("DELETE", "invites/zz", None),
        ("GET", "users?after=x", None),
        ("GET", "users/id:x", None),
        ("GET", "users/id:99999999999999999999", None),
        ("POST", "backup", {"path": "relative"}),
        ("POST", "backup", {"path": "/nul\0"}),
    ]
    for method, path, body in bad:
        status, name = await rig.refused(method, path, body)
        assert (400 <= status < 500, name) == (True, "invalid"), (method, path, body, status)
    for method, path in (
        ("POST", "users/bob/suspend"),
        ("GET", "users/id:7"),
        ("POST", "users/id:7/sign-out"),
    ):
        assert await rig.refused(method, path) == (404, "no_such_user")
    status, _ = await rig.refused("POST", "invites", {"note": "x" * 20_000})
    assert status == 413
    user = (await rig.ask("GET", "users/alice"))["user"]
    assert (user["messages_per_day"], user["devices_max"]) == (0, 0)


# --- users ----------------------------------------------------------------------------------


async def test_users_are_listed_page_by_page(rig: Rig) -> None:
    handles = {f"user{number}" for number in range(7)}
    for handle in handles:
        await rig.world.register(handle)
    found: list[str] = []
    after = ""
    while True:
        page = await rig.ask("GET", f"users?limit=3{after}")
        found += [user["handle"] for user in page["users"]]
        if page["after"] is None:
            break
        after = f"&after={page['after']}"
    assert sorted(found) == sorted(handles)


async def test_one_user_by_handle_or_id_with_devices(rig: Rig) -> None:
    account = await rig.world.register("alice")
    device = await rig.world.online(account)
    await rig.world.services.commit.barrier()
    for name in ("alice", f"id:{account.user_id}"):
        found = await rig.ask("GET", f"users/{name}")
        assert found["user"]["user_id"] == account.user_id
        assert found["user"]["online"] is True
        assert [one["device_id"] for one in found["devices"]] == [account.device_id]
        assert found["devices"][0]["seen_at"] > 0
    device.drop()
    assert (await rig.ask("GET", "users/alice"))["user"]["online"] is False


async def refused_login(world: World, handle: str) -> ErrorKind:
    with pytest.raises(ProtocolError) as refused:
        await world.services.accounts.login(Credentials(handle, PASSWORD))
    return refused.value.kind


async def test_a_suspended_user_is_out_at_once_and_stays_out(rig: Rig) -> None:
    world = rig.world
    alice, bob = await world.register("alice"), await world.register("bob")
    sessions = [await world.online(alice), await world.online(alice, receive=False)]
    other = await world.online(bob)
    user = await rig.ask("POST", "users/alice/suspend")
    assert user["suspended_at"] > 0
    assert [await session.closing() for session in sessions] == [CloseCode.NOT_ALLOWED] * 2
    await other.settle()
    again = world.connect(alice)
    again.hello()
    assert await again.closing() == CloseCode.NOT_ALLOWED
    assert await refused_login(world, "alice") is SUSPENDED
    await rig.ask("POST", "users/alice/suspend")  # twice changes nothing
    assert (await rig.ask("POST", "users/alice/unsuspend"))["suspended_at"] == 0
    await world.online(alice)


async def test_signing_out_ends_every_device_and_no_account(rig: Rig) -> None:
    world = rig.world
    alice = await world.register("alice")
    phone, laptop = await world.online(alice), await world.online(await world.login("alice"))
    await rig.ask("POST", "users/alice/sign-out")
    assert [await device.closing() for device in (phone, laptop)] == [CloseCode.NOT_ALLOWED] * 2
    with pytest.raises(ProtocolError) as refused:
        await world.services.accounts.authenticate(alice.token)
    assert refused.value.kind is UNAUTHENTICATED
    await world.online(await world.login("alice"))
    assert len((await rig.ask("GET", "users/alice"))["devices"]) == 1


async def test_a_hello_on_its_way_does_not_slip_through(rig: Rig) -> None:
    """Recognised before the account was suspended, welcome after: it must not be."""
    world = rig.world
    alice = await world.register("alice")
    slipping = world.connect(alice)
    inboxes, cursor = world.services.inboxes, world.services.inboxes.cursor

    async def meanwhile(device: Any) -> Any:
        inboxes.cursor = cursor  # type: ignore[method-assign]
        await rig.ask("POST", "users/alice/suspend")
        return await cursor(device)

    inboxes.cursor = meanwhile  # type: ignore[method-assign]
    slipping.hello()
    assert await slipping.closing() == CloseCode.NOT_ALLOWED
    assert not world.services.connections.sessions(frames.UserId(int(alice.user_id)))


async def test_a_quota_holds_from_then_on(rig: Rig) -> None:
    await rig.world.register("alice")
    user = await rig.ask("PUT", "users/alice/quota", {"devices_max": 1})
    assert (user["devices_max"], user["messages_per_day"]) == (1, 0)
    assert await refused_login(rig.world, "alice") is TOO_MANY_DEVICES
    user = await rig.ask("PUT", "users/alice/quota", {"messages_per_day": 5})
    assert (user["devices_max"], user["messages_per_day"]) == (1, 5)
    await rig.ask("PUT", "users/alice/quota", {"devices_max": 0})
    await rig.world.login("alice")


# --- invites, limits, reports, stopping -----------------------------------------------------


async def test_an_invite_is_shown_once_listed_and_revoked(rig: Rig) -> None:
    code = (await rig.ask("POST", "invites", {"uses": 2, "expires_in_s": 60, "note": "for them"}))["code"]
    assert len(code.replace("-", "")) * 5 >= 80  # bits
    (invite,) = (await rig.ask("GET", "invites"))["invites"]
    assert (invite["uses_left"], invite["note"]) == (2, "for them")
    assert code not in json.dumps(invite)
    await rig.ask("DELETE", f"invites/{invite['invite_id']}")
    assert (await rig.ask("GET", "invites"))["invites"] == []
    assert await rig.refused("DELETE", "invites/" + "00" * 32) == (403, "bad_invite")


async def test_a_limit_changes_for_everybody_at_once(rig: Rig) -> None:
    limits = rig.world.services.limits
    listed = {limit["name"]: limit for limit in (await rig.ask("GET", "limits"))["limits"]}
    assert list(listed) == list(Limits.__struct_fields__)
    assert listed["watched"] == {"name": "watched", "value": 100, "default": 100, "counts_from": "now"}
    assert (await rig.ask("PUT", "limits/watched", {"value": 1}))["value"] == 1
    alice = await rig.world.online(await rig.world.register("alice"))
    refused = await alice.ask(lambda number: frames.Watch(number, [7, 8]), frames.Error)  # type: ignore[list-item]
    assert "at most 1" in refused.message
    assert limits.watched == 1


async def test_a_rate_that_is_lowered_meets_who_is_connected(rig: Rig) -> None:
    alice = await rig.world.online(await rig.world.register("alice"))
    await alice.settle()
    await rig.ask("PUT", "limits/query_rate", {"value": {"per_s": 0.001, "burst": 1}})
    await alice.settle()
    alice.say(frames.Sync(99, 0))
    assert (await alice.expect(frames.Error)).retry_after is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonsense", 1),
        ("__class__", 1),
        ("watched", "1"),
        ("watched", 1.5),
        ("watched", None),
        ("watched", -1),
        ("watched", 0),
        ("typing_s", -0.5),
        ("send_rate", 5),
        ("send_rate", {"per_s": 0, "burst": 5}),
        ("send_rate", {"per_s": 5, "burst": 0}),
        ("send_rate", {"per_s": 5}),
        ("password_hashes", 4),
        ("drain_s", 4),
    ],
)
async def test_a_limit_that_makes_no_sense_changes_nothing(rig: Rig, name: str, value: object) -> None:
    before = await rig.ask("GET", "limits")
    assert await rig.refused("PUT", f"limits/{name}", {"value": value}) == (400, "invalid")
    assert await rig.ask("GET", "limits") == before


async def test_reports_are_shown_the_newest_first(rig: Rig) -> None:
    world = rig.world
    alice, bob = await world.register("alice"), await world.register("bob")
    device = await world.online(alice)
    about = frames.UserId(int(bob.user_id))
    for reason in ("spam", "more spam", "once more"):
        await device.ask(lambda number, why=reason: frames.Report(number, about, why), frames.Ok)  # type: ignore[misc]
    page = await rig.ask("GET", "reports?limit=2")
    assert [one["reason"] for one in page["reports"]] == ["once more", "more spam"]
    assert {(one["reporter"], one["reported"]) for one in page["reports"]} == {("alice", "bob")}
    page = await rig.ask("GET", f"reports?limit=2&before={page['before']}")
    assert [one["reason"] for one in page["reports"]] == ["spam"]
    assert page["before"] is None


async def test_status_and_draining(rig: Rig) -> None:
    status = await rig.ask("GET", "status")
    assert (status["store"], status["draining"], status["connections_max"]) == ("ok", False, 2)
    await rig.ask("POST", "drain")
    assert rig.drained == 1
    assert (await rig.ask("GET", "status"))["draining"] is True


async def test_what_the_operator_does_is_counted_for_the_audit_log(rig: Rig) -> None:
    await rig.world.register("alice")
    for path in ("suspend", "unsuspend", "sign-out"):
        await rig.ask("POST", f"users/alice/{path}")
    counts = rig.world.services.audit.counts
    assert counts["admin_suspend"] == counts["admin_unsuspend"] == counts["admin_sign_out"] == 1


# --- metrics --------------------------------------------------------------------------------


async def samples(rig: Rig) -> dict[str, float]:
    async with rig.client_of({}) as anybody:
        answer = await anybody.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def test_metrics_count_what_happens_and_name_nobody(rig: Rig) -> None:
    world = rig.world
    alice, bob = await world.register("alicia"), await world.register("bobby")
    sender, receiver = await world.online(alice), await world.online(bob)
    before = await samples(rig)
    conversation = await sender.open("bobby")
    sender.send(conversation, "a secret")
    await sender.expect(frames.Sent)
    await receiver.texts(1)
    sender.send(conversation, "x" * 1_000_000)
    await sender.expect(frames.Error)
    after = await samples(rig)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0.0)

    assert grown("tidings_messages_accepted_total") == 1
    assert grown("tidings_deliveries_total") == 1
    assert grown('tidings_refused_total{error="too_large"}') == 1
    assert grown("tidings_commit_batches_total") >= 1
    assert grown("tidings_commit_rows_total") >= 3
    assert after["tidings_users_online"] == after["tidings_sessions"] == 2
    assert after["tidings_store_ok"] == after["tidings_audit_ok"] == 1
    assert after["tidings_certificate_expires_timestamp_seconds"] == 1_900_000_000
    assert after['tidings_audit_events_total{event="registered"}'] == 2
    told = " ".join(after)
    assert not any(word in told for word in ("alicia", "bobby", alice.user_id, bob.user_id, "secret"))


# --- the port -------------------------------------------------------------------------------


async def test_the_file_is_ours_alone_and_goes_with_the_server(rig: Rig, tmp_path: Path) -> None:
    port = AdminPort.open("127.0.0.1:0", tmp_path, Limits())
    assert port is not None
    file = tmp_path / "admin.json"
    file.write_text("of a server that was killed")
    file.chmod(0o644)
    port.start(application_of(rig, port))
    try:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        found = json.loads(file.read_text())
        assert found == {"url": port.url, "token": port.token}
        assert len(found["token"]) == 64
        assert [one.name for one in tmp_path.iterdir()] == ["admin.json"]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(
                f"{port.url}/v1/admin/status", headers={"Authorization": f"Bearer {port.token}"}
            )
            assert answer.json()["store"] == "ok"
    finally:
        await port.stop()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{port.url}/metrics", trust_env=False)


def application_of(rig: Rig, port: AdminPort) -> Any:
    """The rig's application, behind the port's own token."""
    guard = rig.app
    guard._expected = b"Bearer " + port.token.encode()
    return guard


async def test_the_file_of_another_server_stays(rig: Rig, tmp_path: Path) -> None:
    port = AdminPort.open("127.0.0.1:0", tmp_path, Limits())
    assert port is not None
    port.start(application_of(rig, port))
    other = json.dumps({"url": "http://127.0.0.1:1", "token": "0" * 64})
    (tmp_path / "admin.json").write_text(other)
    await port.stop()
    assert (tmp_path / "admin.json").read_text() == other


@pytest.mark.parametrize("where", ["0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.org:0"])
def test_only_the_loopback_interface_will_do(where: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only the loopback interface is allowed"):
        AdminPort.open(where, tmp_path, Limits())


def test_a_port_in_use_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"`admin`: cannot bind {where}: address already in use"):
            AdminPort.open(where, tmp_path, Limits())


def test_empty_turns_it_off(tmp_path: Path) -> None:
    assert AdminPort.open("", tmp_path, Limits()) is None
