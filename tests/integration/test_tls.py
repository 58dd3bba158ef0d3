"""A real server that speaks TLS: a device talks to it, its certificate is renewed, it stops."""

import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from integration.server import PATIENCE_S, TIDINGS, free_port, until
from server.test_tls import write_certificate
from tidings.protocol import frames
from tidings.protocol.codec import MSGPACK

pytestmark = pytest.mark.slow


class TlsServer:
    """`tidings serve` with a certificate, and how to trust it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        cert, key = write_certificate(folder)
        config = folder / "tidings.toml"
        config.write_text(f'tls_cert = "{cert}"\ntls_key = "{key}"\n')
        self.origin = f"localhost:{free_port()}"
        self.log = folder / "log"
        where = ["--listen", self.origin, "--admin", "127.0.0.1:0", "--data", str(folder / "data")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [TIDINGS, "serve", *where, "--config", str(config)], stdout=log, stderr=log
            )
        until(lambda: "listening" in self.log.read_text() or self.process.poll() is not None, "the server")

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def post(self, path: str, body: object) -> dict[str, str]:
        answer = httpx.post(
            f"https://{self.origin}{path}", json=body, verify=self.trust, trust_env=False, timeout=PATIENCE_S
        )
        assert answer.is_success, answer.text
        found: dict[str, str] = answer.json()
        return found

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TlsServer]:
    server = TlsServer(tmp_path)
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.wait(PATIENCE_S)


def test_a_device_talks_is_told_when_to_come_back_and_the_server_stops(server: TlsServer) -> None:
    token = server.post("/v1/accounts", {"handle": "alice", "secret": "a long secret"})["token"]
    with websockets.sync.client.connect(
        f"wss://{server.origin}/v1/ws",
        ssl=server.trust,
        subprotocols=["tidings.v1.msgpack"],
        proxy=None,  # type: ignore[list-item]
    ) as device:
        device.send(MSGPACK.encode(frames.Hello(token)))
        welcome = MSGPACK.decode_server(device.recv(PATIENCE_S))  # type: ignore[arg-type]
        assert isinstance(welcome, frames.Welcome)
        assert welcome.handle == "alice"
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            until(lambda: device.recv(PATIENCE_S) is None, "the end")
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4001
        assert float(closed.value.rcvd.reason) >= 0
    assert server.process.wait(PATIENCE_S) == 0
    assert time.monotonic() - began < 5
    assert "error" not in server.log.read_text()


def test_sighup_takes_the_renewed_certificate(server: TlsServer) -> None:
    write_certificate(server.folder, serial=2)
    with pytest.raises(httpx.ConnectError):
        server.post("/v1/kdf", {"handle": "alice"})  # we trust the new one, the server still shows the old
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "read again" in server.log.read_text(), "the certificate to be read")
    server.post("/v1/kdf", {"handle": "alice"})
    (server.folder / "key.pem").write_text("nonsense")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "stays as it was" in server.log.read_text(), "the refusal")
    server.post("/v1/kdf", {"handle": "alice"})
    assert server.end(signal.SIGTERM) == 0
