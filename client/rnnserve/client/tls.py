"""A client's TLS files: the CAs it trusts and its own certificate, in the forms that gRPC and `ssl` need."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from rnnserve.client.errors import InvalidRequest

__all__ = ["TlsFiles"]


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: CAs to trust (None for the machine's own), the client's certificate chain, and its key."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return the credentials for a channel. Raises InvalidRequest if a file cannot be read."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))

    def ssl_context(self) -> ssl.SSLContext:
        """Return a context for `ssl`. Raises InvalidRequest if a file is invalid, with the file and the reason.

        gRPC itself would only fail to connect.
        """
        context = ssl.create_default_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python sets this since 3.13, but gRPC doesn't
        if self.ca is not None:
            text = _read(self.ca)
            try:
                context.load_verify_locations(cadata=(text or b"").decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise InvalidRequest(f"tls_ca {self.ca} contains no certificates in PEM format") from error
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequest("a client certificate needs two files; pass both tls_certificate and tls_key")
        if self.certificate is not None and self.key is not None:
            _read(self.certificate)
            _read(self.key)
            try:
                # The empty password keeps OpenSSL from asking for one on the terminal if the key is encrypted.
                context.load_cert_chain(self.certificate, self.key, password="")
            except ssl.SSLError as error:
                raise InvalidRequest(
                    f"cannot use tls_certificate {self.certificate} with tls_key {self.key} ({error.reason or error}); "
                    "expected a certificate chain and its private key, in PEM format and not encrypted"
                ) from error
        return context


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path} ({error.strerror})") from error
