"""A server's TLS certificate, its key and the CAs of its clients, read from files and checked before use."""

import contextlib
import dataclasses
import datetime as dt
import itertools
import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rnnserve.common.regular_files import read_regular

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["IdentityError", "TlsFiles", "TlsIdentity", "read_identity"]

_MOST_BYTES = 1 << 20


class IdentityError(Exception):
    """The TLS files cannot be used. The message names the file and what it should contain."""


class TlsFiles(NamedTuple):
    """The PEM files of the TLS options. See `TlsIdentity`."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclasses.dataclass(frozen=True)
class TlsIdentity:
    """The contents of the TLS files, in PEM, as they were when they were read.

    Attributes:
        certificate: Certificate chain.
        key: Private key.
        client_ca: Certificates of the CAs whose clients are admitted. None admits all clients.
    """

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)
    client_ca: bytes | None

    @property
    def end(self) -> float:
        """The earliest expiry in the certificate chain, in seconds since the epoch, or 0 if it cannot be read."""
        return min((certificate.not_valid_after_utc.timestamp() for certificate in self._chain()), default=0.0)

    def context(self, files: TlsFiles) -> ssl.SSLContext:
        """Create a context for the server's side of connections. `files` are used only in error messages.

        Raises:
            IdentityError: The key doesn't match the certificate, or a file isn't PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Files in memory, so that OpenSSL loads exactly the checked bytes. The empty password keeps OpenSSL from
            # asking for one on the terminal if the key is encrypted.
            with _in_memory(self.certificate) as certificate, _in_memory(self.key) as key:
                context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError as error:
            raise IdentityError(
                f"--tls-certificate {files.certificate} and --tls-key {files.key}: expected a certificate "
                f"chain and its private key, both in PEM and not encrypted ({error.reason or error})"
            ) from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(cadata=self.client_ca.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:
                raise IdentityError(f"--tls-client-ca {files.client_ca}: holds no certificates in PEM") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def flaw(self, files: TlsFiles) -> str:
        """Return why clients would refuse the certificate chain, or an empty text: its dates and its signatures."""
        chain, now, flaw = self._chain(), dt.datetime.now(dt.UTC), ""
        if not chain:  # OpenSSL also reads other PEM labels, such as TRUSTED CERTIFICATE
            flaw = "holds no CERTIFICATE in PEM"
        elif any(certificate.not_valid_before_utc > now for certificate in chain):
            flaw = "certificate is not yet valid"
        elif any(certificate.not_valid_after_utc <= now for certificate in chain):
            flaw = "certificate has expired"
        for certificate, issuer in itertools.pairwise(chain):
            try:
                certificate.verify_directly_issued_by(issuer)
            except Exception:  # noqa: BLE001 - ValueError, TypeError or cryptography's InvalidSignature
                flaw = flaw or "each certificate must be followed by the one that signed it"
        return flaw and f"--tls-certificate {files.certificate}: {flaw}"

    def _chain(self) -> "list[x509.Certificate]":
        from cryptography import x509  # takes 30 ms, and servers without TLS don't need it

        try:
            return x509.load_pem_x509_certificates(self.certificate)
        except ValueError:  # OpenSSL accepted the certificate, but this reads fewer forms
            return []


def read_identity(files: TlsFiles) -> TlsIdentity:
    """Read the files without checking their contents. May raise IdentityError."""
    return TlsIdentity(
        _read(files.certificate), _read(files.key), None if files.client_ca is None else _read(files.client_ca)
    )


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise IdentityError(f"cannot read {path}: {error.strerror}") from error


@contextlib.contextmanager
def _in_memory(contents: bytes) -> Iterator[str]:
    """Yield the path of an in-memory file with these contents."""
    with os.fdopen(os.memfd_create("rnnserve-tls"), "wb") as file:
        file.write(contents)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
