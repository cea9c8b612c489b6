"""TLS for the gateway. New certificate files take effect without a restart."""

import ssl
from typing import Any

from rnnserve.common.tls_identity import TlsFiles, TlsIdentity, TlsWatch, read_identity

__all__ = ["ServedContext"]


class ServedContext(ssl.SSLContext):
    """The listening context: passes each new connection to the most recent valid context.

    Two simpler designs fail. Loading new files into one context breaks it for all clients if the key belongs to another
    certificate. Switching contexts in `sni_callback` keeps the sessions of the first context, so a client whose
    authority was removed could resume an old session without showing a certificate.
    """

    def __new__(cls, *_: TlsFiles) -> "ServedContext":
        """Create the context for the event loop. It never handles a connection itself."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises IdentityError if they are unusable."""
        self._files = files
        self._identity = read_identity(files)
        self._current = self._identity.context(files)

    def watch(self) -> TlsWatch:
        """Return a watch that reloads changed files after you start it."""
        return TlsWatch(self._files, self._identity, self._use)

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - the arguments of ssl, unchanged
        """Begin TLS on a connection with the current context."""
        return self._current.wrap_bio(*args, **named)

    def _use(self, identity: TlsIdentity) -> None:
        self._current = identity.context(self._files)
