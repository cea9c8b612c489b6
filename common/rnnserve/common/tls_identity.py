"""What a server shows over TLS, and whom it admits: its files read, and checked before anybody meets them."""

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
"""Turns of both sides in a handshake. Of TLS 1.3 there are three."""


class IdentityError(Exception):
    """The files for TLS cannot be used: the text says which, and what they should be."""


class TlsFiles(NamedTuple):
    """The files that the options for TLS name, in PEM: see `TlsIdentity`."""

    certificate: Path
    key: Path
    client_ca: Path | None


@dataclasses.dataclass(frozen=True)
class TlsIdentity:
    """The contents of the files when they were read, in PEM.

    Attributes:
        certificate: Certificate chain.
        key: Private key.
        client_ca: Certificates of the authorities whose clients are admitted. None admits all.
    """

    certificate: bytes
    key: bytes = dataclasses.field(repr=False)
    client_ca: bytes | None

    @property
    def end(self) -> float:
        """When the first of the chain's certificates ends, in seconds since the epoch; 0 where that cannot be read."""
        return certificate_end(self.certificate)

    def context(self, files: TlsFiles) -> ssl.SSLContext:
        """Make a context for the server's side of connections. `files` are for messages.

        Raises:
            IdentityError: The key doesn't match the certificate, or something is not in PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Files in memory, so that what is checked is what was read. Without a password, OpenSSL would ask for that
            # of an encrypted key on the terminal.
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
        """Return why clients would refuse the chain, found by a handshake in memory. Empty if they would not.

        The client there trusts the authorities in the chain, or a certificate that is alone: it judges dates,
        signatures within the chain and the certificate's purpose, and no names. May raise IdentityError.
        """
        server = dataclasses.replace(self, client_ca=None).context(files)
        chain = _PEM.findall(self.certificate.decode("ascii", "replace"))
        if not chain:  # but one of another kind, which OpenSSL reads, too
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
    """Read the files, without a check of their contents. May raise IdentityError."""
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
    """The path of a file in memory with some contents."""
    with os.fdopen(os.memfd_create("rnnserve-tls"), "wb") as file:
        file.write(contents)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Have two contexts shake hands. Raises ssl.SSLError if one refuses the other."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for _ in range(_FLIGHTS):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
