"""Workers that speak TLS: one signal renews the certificate of all."""

import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from integration.server import PATIENCE_S, TIDINGS, free_port, until
from server.test_tls import write_certificate

pytestmark = pytest.mark.slow

CONNECTIONS = 24
"""enough for each worker to be among those who answer"""


def serial_numbers(port: int) -> set[int]:
    """Of the certificates that many connections are shown."""
    found = set()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(CONNECTIONS):
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock,
            context.wrap_socket(sock) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
            assert der is not None
            found.add(x509.load_der_x509_certificate(der).serial_number)
    return found


def test_sighup_renews_it_in_all_workers(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    config, log, port = tmp_path / "tidings.toml", tmp_path / "log", free_port()
    config.write_text(f'workers = 2\ntls_cert = "{cert}"\ntls_key = "{key}"\n')
    where = ["--listen", f"127.0.0.1:{port}", "--admin", "", "--data", str(tmp_path / "data")]
    with log.open("ab") as stream:
        process = subprocess.Popen([TIDINGS, "serve", *where, "--config", str(config)], stderr=stream)
    try:
        until(lambda: "workers=2" in log.read_text() or process.poll() is not None, "the service")
        (first,) = serial_numbers(port)
        write_certificate(tmp_path, serial=2)
        assert serial_numbers(port) == {first}
        process.send_signal(signal.SIGHUP)
        until(lambda: log.read_text().count("was read again") == 2, "both to read it")
        assert serial_numbers(port) == {2}
        (tmp_path / "key.pem").write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        until(lambda: "stays as it was" in log.read_text(), "the refusal")
        assert log.read_text().count("stays as it was") == 1
        assert serial_numbers(port) == {2}
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait(PATIENCE_S)
