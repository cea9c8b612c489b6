"""TLS of the gateway. New files are served without a restart."""

import ssl
from typing import Any

from rnnserve.common.gateway_counts import used_gateway_counts
from rnnserve.common.tls_identity import TlsFiles, TlsIdentity, read_identity
from rnnserve.common.tls_watch import TlsWatch

__all__ = ["ServedContext"]


class _Counting(ssl.SSLObject):
    """TLS of one connection: counts handshakes that fail, of which neither asyncio nor uvloop tells."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            used_gateway_counts().count_end("tls_handshake")
            raise


class ServedContext(ssl.SSLContext):
    """What a loop listens with: each new connection has the context that is served at that time.

    Not one context that new files are loaded into: given the key of another certificate, it serves no one any more. Nor
    one whose `sni_callback` gives each connection another context: sessions stay those of the first one, so a client
    whose authority is no longer admitted could resume an earlier session, which shows no certificate.
    """

    def __new__(cls, *_: TlsFiles) -> "ServedContext":
        """Make the context that a loop is given: it makes no connection itself."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. IdentityError if they cannot be used."""
        self._files = files
        self._identity = read_identity(files)
        self._current = self._counting(self._identity)

    def watch(self) -> TlsWatch:
        """What follows the files, once it is started."""
        counts = used_gateway_counts()
        return TlsWatch(self._files, self._identity, self._use, lambda: counts.count_tls_reload("refused"))

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:  # noqa: ANN401 - those of ssl, unchanged
        """Begin TLS of a connection, with the context that is served now."""
        return self._current.wrap_bio(*args, **named)

    def _use(self, identity: TlsIdentity) -> None:
        self._current = self._counting(identity)
        used_gateway_counts().count_tls_reload("ready")

    def _counting(self, identity: TlsIdentity) -> ssl.SSLContext:
        context = identity.context(self._files)
        context.sslobject_class = _Counting
        return context
