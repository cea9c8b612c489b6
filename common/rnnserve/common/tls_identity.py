"""A server's TLS certificate, its key and the CAs of its clients: read from files, checked and reloaded.

If new files are invalid, `TlsWatch` logs an error and keeps the old certificate.
"""

import contextlib
import dataclasses
import datetime as dt
import itertools
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rnnserve.common.regular_files import read_regular

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["IdentityError", "TlsFiles", "TlsIdentity", "TlsWatch", "read_identity"]

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20

_LOOK_SECONDS = 0.5
"""Seconds between two checks. Reading the three files takes 25 microseconds, and validating new ones 2 ms."""


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
        """Return why the files can't be used, or why clients would refuse the chain's dates or signatures, or ""."""
        try:
            self.context(files)
        except IdentityError as error:
            return str(error)
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
    with os.fdopen(os.memfd_create("rnnserve-tls"), "wb", buffering=0) as file:
        file.write(contents)
        yield f"/proc/self/fd/{file.fileno()}"


class TlsWatch:
    """Checks the files twice per second, on its own thread, so that a hanging file system blocks nothing else.

    It compares the files' bytes, not their dates, because links may be swapped and a file may be written twice within
    one tick of the clock. Certificate and key are often written one after the other. So new files count only when two
    checks in a row have found the same.
    """

    def __init__(
        self,
        files: TlsFiles,
        served: TlsIdentity,
        use: Callable[[TlsIdentity], None],
        refuse: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare, with the current identity `served`, which was read from `files`. `start` starts the checks.

        `use` is called with each new valid identity, and `refuse` when new files are refused.
        """
        self._files = files
        self._found: TlsIdentity | str = served  # by the last check, or why it couldn't read the files
        self._done: TlsIdentity | str = served  # the last files that were used or refused
        self._use = use
        self._refuse = refuse
        self._is_closed = threading.Event()

    def start(self) -> None:
        """Start the thread that checks the files."""
        threading.Thread(target=self._loop, name="certificates", daemon=True).start()

    def close(self) -> None:
        """Stop the thread."""
        self._is_closed.set()

    def look(self) -> None:
        """Check the files once: use new valid files, and log invalid ones."""
        before = self._found
        try:
            found: TlsIdentity | str = read_identity(self._files)
        except IdentityError as error:
            found = str(error)
        self._found = found
        if found != before or found == self._done:
            return
        flaw = found if isinstance(found, str) else found.flaw(self._files)
        if isinstance(found, str) or flaw:
            self._refuse()
            _log.error("Rejected the new TLS files (%s); still serving the previous certificate", flaw)
        else:
            self._use(found)
            end = dt.datetime.fromtimestamp(found.end, dt.UTC).isoformat()
            _log.info("Loaded the new TLS files; the certificate expires at %s", end)
        self._done = found

    def _loop(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - out of memory or descriptors, or a bug: keep checking
                _log.warning("Cannot check the TLS files: %s", error)
            if self._is_closed.wait(_LOOK_SECONDS):
                return
