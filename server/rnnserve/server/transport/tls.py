"""The server's certificate, and the certificates that it asks of clients; new files are served without a restart."""

import grpc

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, read_identity
from rnnserve.common.tls_watch import TlsWatch
from rnnserve.server.counting.places import TLS_NOT_AFTER, TLS_NOT_RELOADED, TLS_RELOADED
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import StartError

__all__ = ["ServedTls"]


class ServedTls:
    """TLS of a port.

    gRPC asks for what is new at each new connection, before its handshake, and waits: it is handed what has been read
    and checked before, by `TlsWatch`. Connections that are open keep what they have.

    Attributes:
        credentials: For the port.
        watch: Looks at the files, once it has been started.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files; raises StartError with the reason, of which gRPC would say only that it cannot bind."""
        try:
            served = read_identity(files)
            served.context(files)
        except IdentityError as error:
            raise StartError(str(error)) from error
        self._newest = self._handed = _configuration(served)
        used_table().process[TLS_NOT_AFTER] = served.end
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._handed,
            self._take_new,  # type: ignore[arg-type]  # grpc takes None, too, for no change; its stubs do not say so
            require_client_authentication=files.client_ca is not None,
        )
        self.watch = TlsWatch(files, served, self._use, lambda: count_in_process(TLS_NOT_RELOADED))

    def _use(self, identity: TlsIdentity) -> None:
        self._newest = _configuration(identity)
        used_table().process[TLS_NOT_AFTER] = identity.end
        count_in_process(TLS_RELOADED)

    def _take_new(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what has come since the last connection, or None. It must not raise."""
        newest = self._newest
        if newest is self._handed:
            return None
        self._handed = newest
        return newest


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], identity.client_ca)
