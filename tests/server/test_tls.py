"""TLS: HTTP and WebSockets on the one port, and what is said of files that will not do."""

import asyncio
import datetime
import ssl
from pathlib import Path

import httpx
import pytest
import websockets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from server.rig import PATIENCE_S, Rig
from tidings.protocol.limits import KiB, Limits
from tidings.server.config import Config, ConfigError
from tidings.server.tls import Certificate

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def write_certificate(folder: Path, key: Key | None = None, serial: int = 1) -> tuple[Path, Path]:
    """A certificate for localhost that its own key has signed, and that key."""
    key = key or new_key()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


class TlsRig:
    """A gateway that speaks TLS, and how to trust it."""

    def __init__(self, rig: Rig, folder: Path, certificate: Certificate) -> None:
        self.rig = rig
        self.folder = folder
        self.certificate = certificate
        self.origin = f"localhost:{rig.port}"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "cert.pem"))

    def websocket(self) -> websockets.connect:
        return websockets.connect(
            f"wss://{self.origin}/v1/ws",
            ssl=self.trust,
            max_size=None,
            compression=None,
            proxy=None,
            open_timeout=PATIENCE_S,
            close_timeout=0.2,
        )


@pytest.fixture
async def tls(rig: Rig, tmp_path: Path) -> TlsRig:
    certificate = Certificate(*write_certificate(tmp_path))
    await rig.start(limits=Limits(close_s=0.2), tls=certificate.context)
    return TlsRig(rig, tmp_path, certificate)


async def test_http_and_websocket_on_one_port(tls: TlsRig) -> None:
    async with httpx.AsyncClient(verify=tls.trust, trust_env=False) as client:
        for _ in range(3):
            answer = await client.post(f"https://{tls.origin}/x", content=b"y" * 50_000)
            assert answer.text == "POST /x 50000"
        async with tls.websocket() as peer:
            await peer.send(b"hello")
            assert await peer.recv() == b"hello"
            answer = await client.get(f"https://{tls.origin}/z")
            assert answer.text == "GET /z 0"


@pytest.mark.parametrize("size", [0, 125, 126, 16 * KiB, 65_535, 65_536, 128 * KiB])
async def test_messages_of_every_size(tls: TlsRig, size: int) -> None:
    async with tls.websocket() as peer:
        await peer.send(b"x" * size)
        assert await peer.recv() == b"x" * size


async def test_many_messages_at_once_keep_their_order(tls: TlsRig) -> None:
    sent = [number.to_bytes(4, "big") * 500 for number in range(500)]
    async with tls.websocket() as peer:

        async def send() -> None:
            for message in sent:
                await peer.send(message)

        sending = asyncio.ensure_future(send())
        assert [await peer.recv() for _ in sent] == sent
        await sending


async def test_both_ends_may_close(tls: TlsRig) -> None:
    async with tls.websocket() as peer:
        await peer.close(4000, "bye")
    handler = await tls.rig.opened.get()
    async with asyncio.timeout(PATIENCE_S):
        await handler.ended.wait()
    async with tls.websocket() as peer:
        (await tls.rig.opened.get()).shutdown()
        with pytest.raises(websockets.ConnectionClosedOK) as closed:
            await peer.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.reason == "bye"


async def test_who_breaks_the_protocol_is_told_and_cut_off(tls: TlsRig) -> None:
    """There is no half a close in TLS: the timer ends it."""
    async with tls.websocket() as peer:
        await peer.send(b"x" * (128 * KiB + 1))
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await peer.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    handler = await tls.rig.opened.get()
    async with asyncio.timeout(PATIENCE_S):
        await handler.ended.wait()


async def test_who_does_not_read_is_cut_off(rig: Rig, tmp_path: Path) -> None:
    certificate = Certificate(*write_certificate(tmp_path))
    await rig.start(limits=Limits(write_buffer_bytes=64 * KiB), tls=certificate.context)
    tls = TlsRig(rig, tmp_path, certificate)
    async with tls.websocket() as peer:
        handler = await rig.opened.get()
        peer.transport.pause_reading()
        async with asyncio.timeout(PATIENCE_S):
            while not handler.ended.is_set():
                handler.link.send(b"x" * 10_000)
                await asyncio.sleep(0)


async def test_who_speaks_no_tls_gets_nothing(tls: TlsRig) -> None:
    peer = await tls.rig.dial()
    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP" not in await peer.rest()


async def test_a_handshake_has_its_time(rig: Rig, tmp_path: Path) -> None:
    certificate = Certificate(*write_certificate(tmp_path))
    await rig.start(limits=Limits(http_head_s=0.05), tls=certificate.context)
    peer = await rig.dial()
    assert await peer.rest() == b""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_old_versions_are_refused(tls: TlsRig) -> None:
    old = tls.trust
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", tls.rig.port, ssl=old)


async def serial(port: int) -> int:
    """Of the certificate that a new handshake is shown."""
    anyone = ssl.create_default_context()
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=anyone)
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(shown).serial_number
    finally:
        writer.transport.abort()


async def test_a_renewed_certificate_is_used_from_then_on(tls: TlsRig) -> None:
    async with tls.websocket() as before:
        assert await serial(tls.rig.port) == 1
        write_certificate(tls.folder, rsa.generate_private_key(65_537, 2048), serial=2)
        tls.certificate.reload()
        assert await serial(tls.rig.port) == 2
        async with tls.websocket() as after:
            await after.send(b"new")
            assert await after.recv() == b"new"
        await before.send(b"old")
        assert await before.recv() == b"old"


async def test_a_renewal_that_will_not_do_changes_nothing(tls: TlsRig) -> None:
    (tls.folder / "cert.pem").write_text("nonsense")
    with pytest.raises(ConfigError):
        tls.certificate.reload()
    assert await serial(tls.rig.port) == 1


def test_no_keys_no_tls() -> None:
    assert Certificate.of(Config()) is None


def refusal(cert: Path | str, key: Path | str) -> str:
    with pytest.raises(ConfigError) as refused:
        Certificate.of(Config(tls_cert=str(cert), tls_key=str(key)))
    return str(refused.value)


def test_what_is_wrong_with_the_files_is_said_by_key(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, wrong = write_certificate(other)
    text = tmp_path / "text"
    text.write_text("nonsense")
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        new_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert refusal(cert, "") == "config: `tls_key` is missing: TLS needs both `tls_cert` and `tls_key`"
    assert refusal("", key) == "config: `tls_cert` is missing: TLS needs both `tls_cert` and `tls_key`"
    gone = refusal(tmp_path / "gone", key)
    assert "`tls_cert`: cannot read" in gone
    assert "No such file" in gone
    assert "`tls_key`: cannot read" in refusal(cert, tmp_path)
    assert "is not a certificate in PEM format" in refusal(text, key)
    assert "is not a private key in PEM format" in refusal(cert, text)
    assert f"{wrong} is not the key of {cert}" in refusal(cert, wrong)
    assert "is encrypted" in refusal(cert, locked)
