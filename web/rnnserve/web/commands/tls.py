"""TLS for the gateway. New certificate files take effect without a restart."""

import ssl
from typing import Any

from rnnserve.common.gateway_counts import used_gateway_counts
from rnnserve.common.tls_identity import TlsFiles, TlsIdentity, read_identity
from rnnserve.common.tls_watch import TlsWatch

__all__ = ["ServedContext"]


class _Counting(ssl.SSLObject):
    """TLS of one connection. It counts failed handshakes, because neither asyncio nor uvloop reports them."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            used_gateway_counts().count_end("tls_handshake")
            raise


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
        self._current = self._counting(self._identity)

    def watch(self) -> TlsWatch:
        """Return a watch that reloads changed files after you start it."""
        counts = used_gateway_counts()
        return TlsWatch(self._files, self._identity, self._use, lambda: counts.count_tls_reload("refused"))

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - the arguments of ssl, unchanged
        """Begin TLS on a connection with the current context."""
        return self._current.wrap_bio(*args, **named)

    def _use(self, identity: TlsIdentity) -> None:
        self._current = self._counting(identity)
        used_gateway_counts().count_tls_reload("ready")

    def _counting(self, identity: TlsIdentity) -> ssl.SSLContext:
        context = identity.context(self._files)
        context.sslobject_class = _Counting
        return context
