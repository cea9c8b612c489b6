"""A server's TLS certificate, its key and the CAs of its clients, read from files and checked before use."""

import contextlib
import dataclasses
import os
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rnnserve.common.certificate_end import certificate_end
from rnnserve.common.regular_files import read_regular

__all__ = ["IdentityError", "TlsFiles", "TlsIdentity", "read_identity"]

_MOST_BYTES = 1 << 20

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_FLIGHTS = 8
"""Limit for the rounds of a handshake. TLS 1.3 needs three."""


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
        return certificate_end(self.certificate)

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
        """Return why clients would refuse the chain, or an empty text. Tries a handshake in memory.

        The test client trusts the CAs in the chain, or the certificate itself if it is alone. It checks dates,
        signatures within the chain and the certificate's purpose, but no names. May raise IdentityError.
        """
        server = dataclasses.replace(self, client_ca=None).context(files)
        chain = _PEM.findall(self.certificate.decode("ascii", "replace"))
        if not chain:  # OpenSSL also reads other PEM labels, such as TRUSTED CERTIFICATE
            return f"--tls-certificate {files.certificate}: holds no CERTIFICATE in PEM"
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            client.load_verify_locations(cadata="\n".join(chain[1:] or chain))
            _shake_hands(client, server)
        except ssl.SSLCertVerificationError as error:
            return f"--tls-certificate {files.certificate}: {error.verify_message}"
        except ssl.SSLError as error:
            return f"--tls-certificate {files.certificate}: no client can connect ({error.reason or error})"
        return ""


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


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Run a handshake between two contexts. Raises ssl.SSLError if one refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(_FLIGHTS):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
