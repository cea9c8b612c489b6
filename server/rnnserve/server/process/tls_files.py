"""The files for TLS that the settings name, and what a process keeps of them for those that it starts."""

import contextlib
from collections.abc import Iterator

from rnnserve.common.kept_identity import first_identity, used_kept_identity
from rnnserve.common.tls_identity import IdentityError, TlsFiles
from rnnserve.common.tls_watch import TlsWatch
from rnnserve.server.errors import StartError
from rnnserve.server.settings import Settings

__all__ = ["tls_files", "tls_kept"]


def tls_files(settings: Settings) -> TlsFiles | None:
    """The files; None where TLS is not wanted."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


@contextlib.contextmanager
def tls_kept(settings: Settings) -> Iterator[None]:
    """Keep the last good files inside the block, in a process that serves nothing itself, for its workers.

    Raises:
        StartError: If the files cannot be used.
    """
    files = tls_files(settings)
    if files is None:
        yield
        return
    try:
        served = first_identity(files)
    except IdentityError as error:
        raise StartError(str(error)) from error
    watch = TlsWatch(files, served, used_kept_identity().keep, lambda: None)
    watch.start()
    try:
        yield
    finally:
        watch.close()
