"""Find out whether TLS is the reason for a failed connection, for example because only the server uses TLS.

gRPC's messages don't show this. So after a failure, this module tries a TLS
handshake with Python's `ssl`.
"""

import socket
import ssl

from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import ClientError, InvalidRequest, Unavailable

__all__ = ["explain_connection_failure", "find_tls_fault"]

_NOT_CONNECTED = "failed to connect"
"""Part of gRPC's message for a failed connection. A server that responds UNAVAILABLE sends its own message."""

_HTTP = "http1.x server"
"""Part of gRPC's message if an HTTP/1.1 server responds."""

_SECONDS = 1.0
"""Seconds that the handshake waits for each response of the server."""


def explain_connection_failure(endpoint: Endpoint, error: ClientError) -> ClientError:
    """Return an error that explains a wrong TLS setting or port, or `error` itself if it has another reason.

    If `error` is a failure to connect, this may block for seconds.
    """
    if not isinstance(error, Unavailable) or _NOT_CONNECTED not in str(error):
        return error
    if _HTTP in str(error):
        return InvalidRequest(
            f"{endpoint.url}: an HTTP server answers there: give the port for gRPC, which `rnnserve serve` prints; "
            "it is 8001 unless --grpc-port says another"
        )
    fault = find_tls_fault(endpoint)
    return error if fault is None else InvalidRequest(fault)


def find_tls_fault(endpoint: Endpoint) -> str | None:
    """Try a TLS handshake with a server after gRPC has failed to connect.

    Returns a line that begins with the server's URL, or None if TLS is not the reason or no server listens there.
    """
    fault = _with_plain_text(endpoint) if endpoint.tls is None else _with_tls(endpoint, endpoint.tls.ssl_context())
    return None if fault is None else f"{endpoint.url}: {fault}"


def _with_plain_text(endpoint: Endpoint) -> str | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _shake_hands(endpoint, context).close()
    except OSError as error:
        if not _is_alert(error):  # a response in another protocol, or no response
            return None
    return f"the server speaks TLS: use grpcs://{endpoint.address}"


def _with_tls(endpoint: Endpoint, context: ssl.SSLContext) -> str | None:
    try:
        connection = _shake_hands(endpoint, context)
    except ssl.SSLCertVerificationError as error:
        hint = "; tls_ca (--tls-ca) names the file with the authorities to trust" if _is_issuer_unknown(error) else ""
        return f"the server's certificate is not trusted: {error.verify_message.rstrip('.')}{hint}"
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as error:
        if _is_alert(error):  # TLS 1.2 refuses a client during the handshake
            return _client_certificate_fault(endpoint)
        return f"the server does not speak TLS: use grpc://{endpoint.address}"
    except OSError:
        return None
    with connection:
        return None if _is_served(connection) else _client_certificate_fault(endpoint)


def _client_certificate_fault(endpoint: Endpoint) -> str:
    if endpoint.tls is None or endpoint.tls.certificate is None:
        return (
            "the server asks for a client certificate: give tls_certificate and tls_key (--tls-certificate, --tls-key)"
        )
    return f"the server does not accept the client certificate in {endpoint.tls.certificate}"


def _shake_hands(endpoint: Endpoint, context: ssl.SSLContext) -> ssl.SSLSocket:
    host, _, port = endpoint.addresses[0].rpartition(":")
    host = host.strip("[]")
    context.set_alpn_protocols(["h2"])
    connection = socket.create_connection((host, int(port)), _SECONDS)
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def _is_served(connection: ssl.SSLSocket) -> bool:
    """Return whether the server keeps the connection. With TLS 1.3, it refuses a client only after the handshake."""
    try:
        return connection.recv(1) != b""  # an HTTP/2 server sends first
    except TimeoutError:
        return True
    except OSError:
        return False


def _is_issuer_unknown(error: ssl.SSLCertVerificationError) -> bool:
    """Return whether the CA is the reason, rather than the name or the dates (OpenSSL, x509_vfy.h)."""
    return 18 <= error.verify_code <= 21


def _is_alert(error: OSError) -> bool:
    """Return whether the server responded with a TLS alert."""
    return isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or "")
