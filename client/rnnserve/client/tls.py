"""The files with which a client proves who it is and whom it trusts, in the forms that gRPC and `ssl` need."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from rnnserve.client.errors import InvalidRequest

__all__ = ["TlsFiles"]


@dataclass(frozen=True)
class TlsFiles:
    """Files in PEM: authorities to trust (None: those of the machine), the client's certificate chain and its key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials of a channel, or raise InvalidRequest if a file cannot be read."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for `ssl`, or raise InvalidRequest, which says what is wrong with a file.

        GRPC only fails to connect.
        """
        context = ssl.create_default_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # set since Python 3.13, and not by gRPC
        if self.ca is not None:
            text = _read(self.ca)
            try:
                context.load_verify_locations(cadata=(text or b"").decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise InvalidRequest(f"tls_ca {self.ca}: holds no certificates in PEM") from error
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("a client certificate needs both tls_certificate and tls_key")
        if self.certificate is not None and self.key is not None:
            _read(self.certificate)
            _read(self.key)
            try:
                # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
                context.load_cert_chain(self.certificate, self.key, password="")
            except ssl.SSLError as error:
                raise InvalidRequest(
                    f"tls_certificate {self.certificate} and tls_key {self.key}: expected a certificate chain and its "
                    f"private key, both in PEM and not encrypted ({error.reason or error})"
                ) from error
        return context


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read ({error.strerror})") from error
