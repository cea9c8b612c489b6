"""The server's certificate, and the certificates that it asks of clients; new files are served without a restart."""

import queue
from typing import Self

import grpc

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, read_identity
from rnnserve.common.tls_watch import TlsWatch
from rnnserve.server.counting.places import TLS_NOT_AFTER, TLS_NOT_RELOADED, TLS_RELOADED
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import StartError
from rnnserve.server.process.tls_files import tls_files
from rnnserve.server.settings import Settings

__all__ = ["ServedTls"]


class ServedTls:
    """TLS of a port.

    gRPC asks for what is new at each new connection, before its handshake, and waits: it is handed what has been read
    and checked before, by `TlsWatch`. Connections that are open keep what they have.

    Attributes:
        credentials: For the port.
    """

    def __init__(self, files: TlsFiles) -> None:
        """Read the files.

        Args:
            files: Files that the settings name.

        Raises:
            StartError: If a file cannot be read, or is not what it should be. gRPC would only say that it cannot bind.
        """
        try:
            served = read_identity(files)
            served.context(files)
        except IdentityError as error:
            raise StartError(str(error)) from error
        self._new: queue.SimpleQueue[grpc.ServerCertificateConfiguration] = queue.SimpleQueue()
        self._note_end(served)
        self.credentials = grpc.dynamic_ssl_server_credentials(
            _configuration(served),
            self._take_new,  # type: ignore[arg-type]  # grpc takes None, too, for no change; its stubs do not say so
            require_client_authentication=files.client_ca is not None,
        )
        self._watch = TlsWatch(files, served, self._use, lambda: count_in_process(TLS_NOT_RELOADED))

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """TLS as the settings say, or None for a port without it.

        Raises:
            StartError: As of the class.
        """
        files = tls_files(settings)
        return None if files is None else cls(files)

    def follow(self) -> None:
        """Look at the files from now on."""
        self._watch.start()

    def close(self) -> None:
        """Look at the files no more."""
        self._watch.close()

    def _use(self, identity: TlsIdentity) -> None:
        self._new.put(_configuration(identity))
        self._note_end(identity)
        count_in_process(TLS_RELOADED)

    def _take_new(self) -> grpc.ServerCertificateConfiguration | None:
        """The newest of what has come since the last connection; None where nothing has. It must not raise."""
        newest = None
        while True:
            try:
                newest = self._new.get_nowait()
            except queue.Empty:
                return newest

    @staticmethod
    def _note_end(identity: TlsIdentity) -> None:
        used_table().process[TLS_NOT_AFTER] = identity.end


def _configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], identity.client_ca)
