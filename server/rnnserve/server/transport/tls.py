"""The server's certificate, and the certificates that it asks of clients."""

import ssl
from pathlib import Path

import grpc

from rnnserve.server.counting.places import TLS_NOT_AFTER
from rnnserve.server.counting.table import used_table
from rnnserve.server.errors import StartError
from rnnserve.server.process.certificate_watch import certificate_end
from rnnserve.server.settings import Settings

__all__ = ["server_credentials"]


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Read the files for TLS.

    Returns:
        None for a port without TLS.

    Raises:
        StartError: If a file cannot be read, or is not what it should be. gRPC would only say that it cannot bind.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    certificate, key = _read(settings.tls_certificate), _read(settings.tls_key)
    used_table().process[TLS_NOT_AFTER] = certificate_end(certificate)
    client_ca = None if settings.tls_client_ca is None else _read(settings.tls_client_ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password, OpenSSL would ask for that of an encrypted key on the terminal.
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except ssl.SSLError as error:
        raise StartError(
            f"--tls-certificate {settings.tls_certificate} and --tls-key {settings.tls_key}: expected a certificate "
            f"chain and its private key, both in PEM and not encrypted ({error.reason or error})"
        ) from error
    if client_ca is not None:
        try:
            context.load_verify_locations(cadata=client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise StartError(f"--tls-client-ca {settings.tls_client_ca}: holds no certificates in PEM") from error
    return grpc.ssl_server_credentials([(key, certificate)], client_ca, require_client_auth=client_ca is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"cannot read {error.filename}: {error.strerror}") from error
