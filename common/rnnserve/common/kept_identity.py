"""The last good files for TLS, in memory that a process passes on to those that it starts.

A process that is started anew, as a worker in the place of one that has died, may find files that are no good: half
written, or a pair that does not fit. It then serves what the others serve.
"""

import hashlib
import json
import logging
import os
import time

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, read_identity

__all__ = ["KeptIdentity", "first_identity", "use_kept_identity", "used_kept_identity"]

_log = logging.getLogger(__name__)

_DIGEST = hashlib.sha256().digest_size
_TRIES = 10
_WAIT_SECONDS = 0.01


class KeptIdentity:
    """One identity, or none yet. It is written by the process that has made the memory, and by no other.

    Attributes:
        descriptor: Of the memory, for those to which it is passed on.
        is_own: Whether this process has made it.
    """

    def __init__(self, fd: int | None = None) -> None:
        """Open the memory behind a descriptor, for reading, or make some.

        Args:
            fd: Descriptor of memory that another process has made; None makes it. It stays open.
        """
        self.is_own = fd is None
        self.descriptor = os.memfd_create("rnnserve-tls-kept") if fd is None else fd

    def keep(self, identity: TlsIdentity) -> None:
        """Keep this from now on, in the process that has made the memory; elsewhere nothing is done."""
        if self.is_own:
            parts = (identity.certificate, identity.key, identity.client_ca)
            text = json.dumps([None if part is None else part.decode("latin-1") for part in parts]).encode()
            os.pwrite(self.descriptor, hashlib.sha256(text).digest() + text, 0)
            os.truncate(self.descriptor, _DIGEST + len(text))

    def read(self) -> TlsIdentity | None:
        """What is kept; None where there is nothing yet."""
        for _ in range(_TRIES):
            found = os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)
            digest, text = found[:_DIGEST], found[_DIGEST:]
            if not found:
                return None
            if hashlib.sha256(text).digest() == digest:
                certificate, key, client_ca = json.loads(text)
                authorities = None if client_ca is None else client_ca.encode("latin-1")
                return TlsIdentity(certificate.encode("latin-1"), key.encode("latin-1"), authorities)
            time.sleep(_WAIT_SECONDS)  # it is being written
        return None


_used: list[KeptIdentity] = []


def use_kept_identity(kept: KeptIdentity) -> None:
    """Have this process read what is kept there."""
    _used[:] = [kept]


def used_kept_identity() -> KeptIdentity:
    """What this process passes on, or was passed."""
    if not _used:
        _used.append(KeptIdentity())
    return _used[0]


def first_identity(files: TlsFiles) -> TlsIdentity:
    """What a process that starts serves: what the files hold, or what it was passed where that is better.

    It is kept, too, for those that this process starts.

    Raises:
        IdentityError: If the files cannot be used and nothing was passed.
    """
    memory = used_kept_identity()
    kept = None if memory.is_own else memory.read()
    try:
        found = read_identity(files)
        found.context(files)
        if kept is not None and found != kept and (flaw := found.flaw(files)):
            raise IdentityError(flaw)  # noqa: TRY301 - as what the lines above raise
    except IdentityError as error:
        if kept is None or (kept.client_ca is None) != (files.client_ca is None):
            raise
        _log.error("%s: what was served before goes on until the files are good", error)
        return kept
    memory.keep(found)
    return found
