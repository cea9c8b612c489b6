"""Find out whether TLS is the reason for a failed connection, for example because only the server uses TLS.

gRPC's messages don't show this. So after a failure, this module tries a TLS handshake with Python's `ssl`.
"""

import socket
import ssl

from rnnserve.client.endpoint import Endpoint
from rnnserve.client.errors import ClientError, InvalidRequest, Unavailable

__all__ = ["explain_connection_failure"]

_NOT_CONNECTED = "failed to connect"
"""Part of gRPC's message for a failed connection. A server that responds UNAVAILABLE sends its own message."""

_HTTP = "http1.x server"
"""Part of gRPC's message if an HTTP/1.1 server responds."""

_SECONDS = 1.0
"""Seconds that the handshake waits for each response of the server."""


def explain_connection_failure(endpoint: Endpoint, error: ClientError) -> ClientError:
    """Return an error that explains a wrong TLS setting or port, or `error` itself if it has another reason.

    If `error` is a failure to connect, this tries a TLS handshake, which may block for seconds.
    """
    if not isinstance(error, Unavailable) or _NOT_CONNECTED not in str(error):
        return error
    if _HTTP in str(error):
        return InvalidRequest(
            f"{endpoint.url} is an HTTP server; use the gRPC port, which `rnnserve serve` prints (8001 by default)"
        )
    fault = _with_plain_text(endpoint) if endpoint.tls is None else _with_tls(endpoint, endpoint.tls.ssl_context())
    return error if fault is None else InvalidRequest(f"{endpoint.url}: {fault}")


def _with_plain_text(endpoint: Endpoint) -> str | None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _shake_hands(endpoint, context).close()
    except OSError as error:
        if not _is_alert(error):  # a response in another protocol, or no response
            return None
    return f"the server uses TLS; connect to grpcs://{endpoint.address}"


def _with_tls(endpoint: Endpoint, context: ssl.SSLContext) -> str | None:
    try:
        connection = _shake_hands(endpoint, context)
    except ssl.SSLCertVerificationError as error:
        hint = ". Pass the file with its CA certificate as tls_ca (--tls-ca)" if _is_issuer_unknown(error) else ""
        return f"the client does not trust the server's certificate: {error.verify_message.rstrip('.')}{hint}"
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as error:
        if _is_alert(error):  # TLS 1.2 refuses a client during the handshake
            return _client_certificate_fault(endpoint)
        return f"the server does not use TLS; connect to grpc://{endpoint.address}"
    except OSError:
        return None
    with connection:
        return None if _is_served(connection) else _client_certificate_fault(endpoint)


def _client_certificate_fault(endpoint: Endpoint) -> str:
    if endpoint.tls is None or endpoint.tls.certificate is None:
        return (
            "the server requires a client certificate; pass tls_certificate and tls_key (--tls-certificate, --tls-key)"
        )
    return f"the server rejected the client certificate in {endpoint.tls.certificate}; use one from a CA that it trusts"


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
