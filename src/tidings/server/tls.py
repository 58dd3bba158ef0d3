"""TLS of the server's port: one certificate, at least TLS 1.2, renewed without a restart.

RFC 8446, RFC 5246
"""

import ssl
from pathlib import Path

from cryptography import x509

from tidings.server.config import Config, ConfigError


class Certificate:
    """The certificate that handshakes use from now on; `context` is what a server is given."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises ConfigError."""
        self._cert = cert
        self._key = key
        self._current, self.expires_at = _load(cert, key)
        self.context = self._current
        # Loading another key into a context would leave one of another kind beside it. So the
        # handshake is handed over to the newest context instead; also where no name is asked for.
        self.context.sni_callback = self._choose

    @classmethod
    def of(cls, config: Config) -> "Certificate | None":
        """What the config names; None: no TLS. Raises ConfigError."""
        if not config.tls_cert and not config.tls_key:
            return None
        if not config.tls_cert or not config.tls_key:
            missing = "tls_key" if config.tls_cert else "tls_cert"
            raise ConfigError(f"config: `{missing}` is missing: TLS needs both `tls_cert` and `tls_key`")
        return cls(Path(config.tls_cert), Path(config.tls_key))

    def reload(self) -> None:
        """Read the files again. Raises ConfigError, and then the old certificate stays."""
        self._current, self.expires_at = _load(self._cert, self._key)

    def _choose(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002
        if self._current is not context:
            handshake.context = self._current


def _load(cert: Path, key: Path) -> tuple[ssl.SSLContext, float]:
    """A context, and the Unix time at which its certificate ends."""
    chain = _read("tls_cert", cert)
    _read("tls_key", key)
    try:
        expires_at = x509.load_pem_x509_certificate(chain).not_valid_after_utc.timestamp()
    except ValueError:
        raise ConfigError(f"config: `tls_cert`: {cert} is not a certificate in PEM format") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a function for the password OpenSSL would ask the terminal for it.
        context.load_cert_chain(cert, key, password=_no_password)
    except _EncryptedKey:
        raise ConfigError(f"config: `tls_key`: {key} is encrypted; give one without a password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"config: `tls_key`: {key} is not the key of {cert}") from None
        raise ConfigError(
            f"config: `tls_key`: {key} is not a private key in PEM format ({error.reason or error})"
        ) from None
    return context, expires_at


class _EncryptedKey(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKey


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"config: `{name}`: cannot read {path}: {error.strerror}") from None
